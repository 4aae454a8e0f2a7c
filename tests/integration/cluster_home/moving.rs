//! Slots that move: nobody notices, and nothing is done twice or out of order.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use super::{End, good, small, text};
use crate::support::{Arguments, Cluster, Strata, Value, slot_of};

#[test]
fn a_slot_that_moved_is_found() {
    let cluster = small();
    let strata = cluster.strata(&[]);
    let mut client = strata.connect();
    let key = cluster.key_of_node(0, "k");
    good(&mut client, &["SET", &key, "1"]);
    cluster.move_slot(slot_of(key.as_bytes()), 1);
    assert_eq!(good(&mut client, &["INCR", &key]), Value::Integer(2));
    cluster.move_slot(slot_of(key.as_bytes()), 2);
    assert_eq!(good(&mut client, &["GET", &key]), text("2"));
    assert_eq!(good(&mut client, &["INCR", &key]), Value::Integer(3));
}

#[test]
fn keys_on_their_way_are_found() {
    let cluster = small();
    let strata = cluster.strata(&[]);
    let mut client = strata.connect();
    let key = cluster.key_of_node(0, "k");
    let (slot, absent) = (slot_of(key.as_bytes()), format!("{{{key}}}absent"));
    good(&mut client, &["SET", &key, "here"]);
    cluster.begin_move(slot, 1);
    assert_eq!(good(&mut client, &["GET", &key]), text("here"));
    assert_eq!(good(&mut client, &["GET", &absent]), Value::Nil);
    good(&mut client, &["SET", &absent, "there"]);
    assert_eq!(good(&mut client, &["GET", &absent]), text("there"));
    let transaction = ["MULTI", "APPEND", "GET", "EXEC"];
    for word in transaction {
        let words: &[&str] = match word {
            "APPEND" => &[word, &absent, "!"],
            "GET" => &[word, &absent],
            _ => &[word],
        };
        let reply = good(&mut client, words);
        if word == "EXEC" {
            assert_eq!(reply, Value::Array(vec![Value::Integer(6), text("there!")]));
        }
    }
    while cluster.move_keys(slot, 1, 1) > 0 {}
    assert_eq!(good(&mut client, &["GET", &key]), text("here"));
    cluster.end_move(slot, 1);
    let both = Value::Array(vec![text("here"), text("there!")]);
    assert_eq!(good(&mut client, &["MGET", &key, &absent]), both);
}

#[test]
fn several_keys_wait_until_they_are_in_one_place() {
    let cluster = small();
    let strata = cluster.strata(&[]);
    let mut client = strata.connect();
    let key = cluster.key_of_node(0, "k");
    let (slot, other) = (slot_of(key.as_bytes()), format!("{{{key}}}other"));
    good(&mut client, &["MSET", &key, "1", &other, "2"]);
    cluster.begin_move(slot, 1);
    assert_eq!(cluster.move_keys(slot, 1, 1), 1);
    let both = thread::scope(|scope| {
        let asking = scope.spawn(|| good(&mut client, &["MGET", &key, &other]));
        thread::sleep(Duration::from_millis(100));
        assert!(!asking.is_finished());
        while cluster.move_keys(slot, 1, 10) > 0 {}
        cluster.end_move(slot, 1);
        asking.join().expect("an answer")
    });
    assert_eq!(both, Value::Array(vec![text("1"), text("2")]));
}

/// Neither node executes a request about keys that are not all there; both execute one about a key that is.
#[test]
fn what_is_asked_behind_several_keys_waits_for_them() {
    let cluster = small();
    let strata = cluster.strata(&[]);
    let mut client = strata.connect();
    let talk = |cluster: &Cluster, first: &str, second: &str, value: &str| {
        let commands: [&[&str]; 4] = [
            &["MSET", first, value, second, value],
            &["GET", first],
            &["APPEND", second, "!"],
            &["GET", second],
        ];
        let commands: Vec<Arguments> =
            commands.iter().map(|words| words.iter().map(|word| (*word).into()).collect()).collect();
        let mut client = strata.connect();
        let replies = thread::scope(|scope| {
            let asking = scope.spawn(|| client.pipeline(&commands).expect("strata answers"));
            thread::sleep(Duration::from_millis(100));
            assert!(!asking.is_finished());
            let slot = slot_of(first.as_bytes());
            while cluster.move_keys(slot, 1, 10) > 0 {}
            cluster.end_move(slot, 1);
            asking.join().expect("answers")
        });
        let after = text(&format!("{value}!"));
        assert_eq!(
            replies,
            [Value::Simple("OK".into()), text(value), Value::Integer(value.len() as i64 + 1), after]
        );
    };
    // Both are absent: the one node has them no more, the other not yet.
    let key = cluster.key_of_node(0, "absent");
    cluster.begin_move(slot_of(key.as_bytes()), 1);
    talk(&cluster, &key, &format!("{{{key}}}other"), "1");
    // One is here and one is there.
    let key = cluster.key_of_node(0, "present");
    let other = format!("{{{key}}}other");
    good(&mut client, &["MSET", &key, "old", &other, "old"]);
    cluster.begin_move(slot_of(key.as_bytes()), 1);
    assert_eq!(cluster.move_keys(slot_of(key.as_bytes()), 1, 1), 1);
    thread::scope(|scope| {
        // That it moves is known when somebody was told.
        let told = scope.spawn(|| good(&mut client, &["MGET", &key, &other]));
        thread::sleep(Duration::from_millis(100));
        assert!(!told.is_finished());
        talk(&cluster, &key, &other, "new");
        assert_eq!(told.join().expect("an answer"), Value::Array(vec![text("old"), text("old")]));
    });
}

/// Counts up keys in pipelines until told to end; returns how far.
fn count_up(strata: &Strata, name: &str, keys: usize, end: &AtomicBool) -> u64 {
    let mut client = strata.connect();
    let mut reached = 0;
    while !end.load(SeqCst) {
        let commands: Vec<Arguments> = (0..50)
            .flat_map(|_| (0..keys).map(|k| ["INCR".into(), format!("{name}{k}").into()].into()))
            .collect();
        let replies = client.pipeline(&commands).expect("strata answers");
        for (index, reply) in replies.into_iter().enumerate() {
            let expected = reached as i64 + (index / keys) as i64 + 1;
            assert_eq!(reply, Value::Integer(expected), "{name}{}", index % keys);
        }
        reached += 50;
    }
    reached
}

#[test]
fn pipelines_stay_in_order_while_slots_move_back_and_forth() {
    let cluster = small();
    let strata = cluster.strata(&[]);
    let end = AtomicBool::new(false);
    let names = ["a", "b", "c", "d"];
    thread::scope(|scope| {
        let counting: Vec<_> =
            names.iter().map(|name| scope.spawn(|| count_up(&strata, name, 5, &end))).collect();
        let ending = End::of(&end);
        for round in 0..4 {
            // Nodes that have not heard of the last move take the next one for a quarrel.
            cluster.wait_ok();
            for slot in (0..5).flat_map(|k| names.map(|name| slot_of(format!("{name}{k}").as_bytes()))) {
                cluster.move_slot(slot, (cluster.owner(slot) + 1 + round % 2) % 3);
            }
        }
        drop(ending);
        for (name, count) in names.iter().zip(counting) {
            let reached = count.join().expect("counted");
            for k in 0..5 {
                let key = format!("{name}{k}");
                let at_home = cluster.connect_to(&key).call(&["GET", &key]).expect("home answers");
                assert_eq!(at_home, text(&reached.to_string()));
            }
        }
    });
}

#[test]
fn a_live_reshard_is_not_noticed() {
    let cluster = small();
    let strata = cluster.strata(&[]);
    let (end, done) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for worker in 0..4 {
            let (end, done, strata) = (&end, &done, &strata);
            scope.spawn(move || {
                let mut client = strata.connect();
                for round in 0u64.. {
                    if end.load(SeqCst) {
                        break;
                    }
                    let key = format!("w{worker}:{}", round % 20_000);
                    good(&mut client, &["SET", &key, &round.to_string()]);
                    assert_eq!(good(&mut client, &["GET", &key]), text(&round.to_string()));
                    done.fetch_add(2, SeqCst);
                }
            });
        }
        let ending = End::of(&end);
        cluster.move_slots(0..=199, 1);
        cluster.move_slots(100..=199, 2);
        drop(ending);
    });
    assert!(done.load(SeqCst) > 100, "{done:?}");
}
