//! Nodes that join and get slots, nodes that leave, and one that hangs.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};
use std::thread;

use super::{End, LONG, PATIENT, good, text};
use crate::support::{Cluster, Shape, Strata, Value, slot_of, wait_until};

/// Counts up a key until told to end, and reads it each time.
fn count_up(strata: &Strata, key: &str, end: &AtomicBool, reached: &AtomicI64) {
    let mut client = strata.connect();
    client.set_patience(LONG);
    for count in 1.. {
        if end.load(SeqCst) {
            return;
        }
        assert_eq!(good(&mut client, &["INCR", key]), Value::Integer(count));
        assert_eq!(good(&mut client, &["GET", key]), text(&count.to_string()));
        reached.store(count, SeqCst);
    }
}

/// Waits until all have been answered what they asked after this was called, so that what they ask now goes where it was
/// answered. A node that is ended with a write on its way to it leaves everybody in doubt, whoever the client is.
fn go_on(counts: &[AtomicI64]) {
    for reached in counts {
        let before = reached.load(SeqCst);
        assert!(wait_until(LONG, || reached.load(SeqCst) >= before + 2), "it counts no longer");
    }
}

#[test]
fn nodes_join_and_leave_unnoticed() {
    let mut cluster = Cluster::start_as(Shape { replicas: 0, ..Shape::default() });
    let strata = cluster.strata(&[]);
    let end = AtomicBool::new(false);
    let keys: Vec<String> = (0..3).map(|node| cluster.key_of_node(node, "k")).collect();
    let slots: Vec<u16> = keys.iter().map(|key| slot_of(key.as_bytes())).collect();
    let counts = [const { AtomicI64::new(0) }; 3];
    thread::scope(|scope| {
        let ending = End::of(&end);
        let counting: Vec<_> = keys
            .iter()
            .zip(&counts)
            .map(|(key, reached)| scope.spawn(|| count_up(&strata, key, &end, reached)))
            .collect();
        go_on(&counts);
        let joined = cluster.add_master();
        slots.iter().for_each(|&slot| cluster.move_slot(slot, joined));
        go_on(&counts);
        let heir = cluster.add_master();
        cluster.move_all(joined, heir);
        go_on(&counts);
        cluster.remove(joined);
        go_on(&counts);
        drop(ending);
        counting.into_iter().for_each(|client| client.join().expect("counted without an error"));
    });
    for (key, count) in keys.iter().zip(counts) {
        let count = count.into_inner().to_string();
        assert_eq!(cluster.connect_to(key).call(&["GET", key]).unwrap(), text(&count));
    }
}

#[test]
fn a_node_that_hangs_holds_up_nobody_who_does_not_need_it() {
    // Nobody takes its place while this test runs.
    let mut cluster = Cluster::start(&[("cluster-node-timeout", "60000")]);
    let strata = cluster.strata(&[("server.workers", "1"), PATIENT]);
    let (hung, well) = (cluster.key_of_node(1, "k"), cluster.key_of_node(2, "k"));
    good(&mut strata.connect(), &["SET", &hung, "1"]);
    cluster.pause(1);
    thread::scope(|scope| {
        // More than there are connections to lease, each of which needs the node in its own way.
        let waiting: Vec<_> = (0..80)
            .map(|number| {
                let (strata, hung) = (&strata, &hung);
                scope.spawn(move || {
                    let words: &[&str] = match number % 4 {
                        0 => &["GET", hung],
                        1 => &["SET", hung, "2"],
                        2 => &["BLPOP", hung, "1"],
                        _ => &["WATCH", hung],
                    };
                    let mut client = strata.connect();
                    client.set_patience(LONG);
                    client.call(words).expect("an answer or an error")
                })
            })
            .collect();
        let mut client = strata.connect();
        for count in 1..=200 {
            assert_eq!(good(&mut client, &["INCR", &well]), Value::Integer(count));
            assert_eq!(good(&mut client, &["GET", &well]), text(&count.to_string()));
        }
        let served = |number: &usize| waiting[*number].is_finished();
        assert!(!(0..80).filter(|number| number % 4 < 2).any(|number| served(&number)));
        cluster.resume(1);
        waiting.into_iter().for_each(|client| drop(client.join().expect("an answer or an error")));
    });
    good(&mut strata.connect(), &["GET", &hung]);
}
