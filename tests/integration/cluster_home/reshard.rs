//! A thousand slots move under load of every kind, and clients see no error at all.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;

use super::{good, text};
use crate::support::{Arguments, Client, Cluster, Shape, Value, arguments, slot_of};

/// The slots that move.
const MOVING: std::ops::RangeInclusive<u16> = 0..=999;

/// Keys that are there all the time, in slots that move, and some besides.
const KEYS: usize = 1_500;

/// Names in slots that move, five of six; the others in slots that stay.
fn names() -> Vec<String> {
    let moves = |name: &String| MOVING.contains(&slot_of(name.as_bytes()));
    let all = || (0..).map(|number: u32| format!("r{number}"));
    let stay = all().filter(|name| !moves(name)).take(KEYS / 6);
    all().filter(moves).take(KEYS - KEYS / 6).chain(stay).collect()
}

/// One client's round on one name: strings, several keys of a slot, hashes, scripts, transactions and keys that come and
/// go. Its keys are its own.
fn round(client: &mut Client, name: &str, number: u64) {
    let key = |suffix: &str| format!("{{{name}}}{suffix}");
    let value = number.to_string();
    let (a, b, hash, gone) = (key("a"), key("b"), key("h"), key("gone"));
    good(client, &["MSET", &a, &value, &b, &value]);
    let both = Value::Array(vec![text(&value), text(&value)]);
    assert_eq!(good(client, &["MGET", &a, &b]), both);
    good(client, &["HSET", &hash, "f", &value]);
    assert_eq!(good(client, &["HGET", &hash, "f"]), text(&value));
    assert_eq!(good(client, &["GET", &gone]), Value::Nil);
    good(client, &["SET", &gone, &value]);
    assert_eq!(good(client, &["GETDEL", &gone]), text(&value));
    let script = "return redis.call('GET', KEYS[1]) .. redis.call('GET', KEYS[2])";
    assert_eq!(good(client, &["EVAL", script, "2", &a, &b]), text(&format!("{value}{value}")));
    let block: Vec<Arguments> =
        [&["MULTI"][..], &["INCR", &a], &["INCR", &b], &["EXEC"]].map(arguments).into();
    let replies = client.pipeline(&block).expect("strata answers");
    let next = Value::Integer(number as i64 + 1);
    assert_eq!(replies[3], Value::Array(vec![next.clone(), next]), "{replies:?}");
}

#[test]
fn a_thousand_slots_move_and_no_client_sees_an_error() {
    let cluster = Cluster::start_as(Shape { replicas: 0, ..Shape::default() });
    let strata = cluster.strata(&[]);
    let names = names();
    let (end, done) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|worker: usize| {
                let (strata, names, end, done) = (&strata, &names, &end, &done);
                scope.spawn(move || {
                    let mut client = strata.connect();
                    client.hello(2).expect("strata greets");
                    let own = names.iter().skip(worker).step_by(6).cycle();
                    for (number, name) in (0..).zip(own) {
                        if end.load(SeqCst) {
                            break;
                        }
                        round(&mut client, name, number);
                        done.fetch_add(1, SeqCst);
                    }
                })
            })
            .collect();
        // Moving is over only when everybody has seen something of it.
        cluster.move_slots(MOVING, 1);
        end.store(true, SeqCst);
        for client in clients {
            client.join().expect("no error");
        }
    });
    assert!(done.load(SeqCst) > 100, "{done:?} rounds");
    cluster.wait_ok();
    assert_eq!(cluster.owner(*MOVING.end()), 1);
}
