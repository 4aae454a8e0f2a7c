//! Connections that clients have for themselves: to the node of the slot, and on to another when that moves.

use std::thread;
use std::time::Duration;

use super::{LONG, good, small, text};
use crate::support::{Cluster, Value, slot_of, wait_until};

#[test]
fn watched_keys_are_watched_where_they_are() {
    let cluster = small();
    let strata = cluster.strata(&[]);
    let (mut client, mut other) = (strata.connect(), strata.connect());
    for node in 0..3 {
        let key = cluster.key_of_node(node, "w");
        let elsewhere = cluster.key_of_node((node + 1) % 3, "w");
        good(&mut client, &["SET", &key, "1"]);
        good(&mut client, &["WATCH", &key]);
        // What is on another node is read there.
        good(&mut client, &["SET", &elsewhere, "e"]);
        assert_eq!(good(&mut client, &["GET", &elsewhere]), text("e"));
        good(&mut client, &["MULTI"]);
        good(&mut client, &["INCR", &key]);
        assert_eq!(good(&mut client, &["EXEC"]), Value::Array(vec![Value::Integer(2)]));
        good(&mut client, &["WATCH", &key]);
        good(&mut other, &["SET", &key, "5"]);
        good(&mut client, &["MULTI"]);
        good(&mut client, &["INCR", &key]);
        assert_eq!(good(&mut client, &["EXEC"]), Value::Nil);
        assert_eq!(good(&mut client, &["GET", &key]), text("5"));
        good(&mut client, &["WATCH", &key]);
        let crossed = client.call(&["WATCH", &elsewhere]).expect("strata answers");
        assert!(matches!(crossed, Value::Error(text) if text.starts_with("CROSSSLOT")));
        good(&mut client, &["UNWATCH"]);
    }
}

#[test]
fn what_is_watched_and_moves_has_changed() {
    let cluster = small();
    let strata = cluster.strata(&[]);
    let mut client = strata.connect();
    let key = cluster.key_of_node(0, "w");
    good(&mut client, &["SET", &key, "1"]);
    good(&mut client, &["WATCH", &key]);
    cluster.move_slot(slot_of(key.as_bytes()), 1);
    assert_eq!(good(&mut client, &["GET", &key]), text("1"));
    good(&mut client, &["MULTI"]);
    good(&mut client, &["INCR", &key]);
    assert_eq!(good(&mut client, &["EXEC"]), Value::Nil);
    assert_eq!(good(&mut client, &["GET", &key]), text("1"));
    // Strata knows by now, and has not heard of the next move.
    cluster.move_slot(slot_of(key.as_bytes()), 2);
    good(&mut client, &["WATCH", &key]);
    good(&mut client, &["MULTI"]);
    good(&mut client, &["INCR", &key]);
    assert_eq!(good(&mut client, &["EXEC"]), Value::Array(vec![Value::Integer(2)]));
}

#[test]
fn who_waits_is_woken_wherever_the_key_is() {
    let cluster = small();
    let strata = cluster.strata(&[]);
    for node in 0..3 {
        let (mut client, mut other) = (strata.connect(), strata.connect());
        let key = cluster.key_of_node(node, "l");
        let popped = thread::scope(|scope| {
            let waiting = scope.spawn(|| good(&mut client, &["BLPOP", &key, "100"]));
            thread::sleep(Duration::from_millis(100));
            good(&mut other, &["RPUSH", &key, "1"]);
            waiting.join().expect("woken")
        });
        assert_eq!(popped, Value::Array(vec![text(&key), text("1")]));
    }
    let (mut client, mut other) = (strata.connect(), strata.connect());
    let number = match good(&mut client, &["CLIENT", "ID"]) {
        Value::Integer(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let key = cluster.key_of_node(2, "none");
    let popped = thread::scope(|scope| {
        let waiting = scope.spawn(|| good(&mut client, &["BLPOP", &key, "100"]));
        let unblock = || good(&mut other, &["CLIENT", "UNBLOCK", &number]) == Value::Integer(1);
        assert!(wait_until(LONG, unblock));
        waiting.join().expect("let go")
    });
    assert_eq!(popped, Value::Nil);
}

#[test]
fn who_waits_goes_with_the_slot() {
    let cluster = small();
    let strata = cluster.strata(&[]);
    let (mut client, mut other) = (strata.connect(), strata.connect());
    client.set_patience(LONG);
    let key = cluster.key_of_node(0, "l");
    let popped = thread::scope(|scope| {
        let waiting = scope.spawn(|| good(&mut client, &["BLPOP", &key, "100"]));
        thread::sleep(Duration::from_millis(100));
        cluster.move_slot(slot_of(key.as_bytes()), 1);
        thread::sleep(Duration::from_millis(100));
        assert!(!waiting.is_finished());
        good(&mut other, &["RPUSH", &key, "1"]);
        waiting.join().expect("woken")
    });
    assert_eq!(popped, Value::Array(vec![text(&key), text("1")]));
}

#[test]
fn messages_come_from_any_node() {
    let cluster = small();
    let strata = cluster.strata(&[]);
    let mut client = strata.connect();
    good(&mut client, &["SUBSCRIBE", "news"]);
    for node in 0..3 {
        let payload = format!("from {node}");
        good(&mut cluster.node(node).connect(), &["PUBLISH", "news", &payload]);
        let heard = client.read().expect("a message");
        assert_eq!(heard, Value::Array(vec![text("message"), text("news"), text(&payload)]));
    }
}

#[test]
fn wait_counts_the_replicas_that_every_master_has() {
    let mut cluster = Cluster::start(&[]);
    let strata = cluster.strata(&[super::PATIENT]);
    let mut client = strata.connect();
    client.set_patience(super::LONG);
    let keys: Vec<String> = (0..3).map(|node| cluster.key_of_node(node, "k")).collect();
    for key in &keys {
        good(&mut client, &["SET", key, "1"]);
    }
    assert_eq!(good(&mut client, &["WAIT", "1", "0"]), Value::Integer(1));
    assert_eq!(good(&mut client, &["WAIT", "2", "10"]), Value::Integer(1));
    let replica = cluster.replicas(1)[0];
    cluster.pause(replica);
    good(&mut client, &["SET", &keys[1], "2"]);
    assert_eq!(good(&mut client, &["WAIT", "1", "100"]), Value::Integer(0));
    assert_eq!(good(&mut client, &["WAIT", "0", "0"]), Value::Integer(0));
    let error = client.call(&["WAIT", "x", "0"]).expect("strata answers");
    assert_eq!(error, Value::Error("ERR value is not an integer or out of range".to_owned()));
    cluster.resume(replica);
    assert_eq!(good(&mut client, &["WAIT", "1", "0"]), Value::Integer(1));
}
