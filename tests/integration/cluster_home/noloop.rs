//! CLIENT TRACKING NOLOOP over several masters: a client is told of what others change, wherever that is.

use super::{good, small, text};
use crate::support::{Client, Cluster, Strata, Value, encode, slot_of};

/// So long that a busy machine does not have clients told to drop everything.
const LEASE: (&str, &str) = ("l3.lease", "20s");
/// Who cannot be connected to is not tracked for.
const DIAL: (&str, &str) = ("l3.connect_timeout", "60s");

/// A key of each master.
fn keys(cluster: &Cluster) -> Vec<String> {
    (0..3).map(|node| cluster.key_of_node(node, "k")).collect()
}

/// A client that tracks with NOLOOP and these options.
fn tracker(strata: &Strata, options: &[&str]) -> Client {
    let mut client = strata.connect();
    client.hello(3).expect("RESP3");
    good(&mut client, &[&["CLIENT", "TRACKING", "ON", "NOLOOP"], options].concat());
    client
}

/// Asks for a key, without waiting for what is said.
fn ask(client: &mut Client, key: &str) {
    client.send_raw(&encode(&["GET", key])).expect("sent");
}

fn push(keys: &[&str]) -> Value {
    Value::Push(vec![text("invalidate"), Value::Array(keys.iter().map(|key| text(key)).collect())])
}

fn everything() -> Value {
    Value::Push(vec![text("invalidate"), Value::Nil])
}

/// What the client is told before another changes this key, which it reads before.
fn told(client: &mut Client, writer: &mut Client, end: &str) -> Vec<Value> {
    let mut seen = Vec::new();
    ask(client, end);
    while let told @ Value::Push(_) = client.read().expect("a reply") {
        seen.push(told);
    }
    good(writer, &["INCR", end]);
    loop {
        let next = client.read().expect("a push");
        if next == push(&[end]) {
            return seen;
        }
        seen.push(next);
    }
}

#[test]
fn own_writes_are_not_told_and_those_of_others_are() {
    let cluster = small();
    let strata = cluster.strata(&[LEASE, DIAL]);
    let keys = keys(&cluster);
    let all: Vec<&str> = keys.iter().map(String::as_str).collect();
    for options in [&[][..], &["BCAST"], &["BCAST", "PREFIX", "k", "PREFIX", "end"]] {
        let (mut client, mut writer) = (tracker(&strata, options), strata.connect());
        for key in &all {
            for own in [
                &["SET", key, "1"][..],
                &["INCR", key],
                &["EVAL", "return redis.call('SET', KEYS[1], 1)", "1", key],
                &["MULTI"],
                &["INCR", key],
                &["EXEC"],
                &["MSET", all[0], "1", all[1], "2", all[2], "3"],
                &["DEL", all[0], all[1], all[2]],
            ] {
                // What a script does is not its client's own to Redis, where it broadcasts.
                if own[0] == "EVAL" && !options.is_empty() {
                    continue;
                }
                match own[0] {
                    "MSET" | "DEL" => good(&mut client, &[&["MGET"], &all[..]].concat()),
                    _ => good(&mut client, &["GET", key]),
                };
                good(&mut client, own);
                if own != ["MULTI"] && own[0] != "INCR" {
                    assert_eq!(told(&mut client, &mut writer, "end"), [], "{options:?} {own:?}");
                }
            }
            good(&mut client, &["GET", key]);
            good(&mut writer, &["SET", key, "2"]);
            assert_eq!(client.read().expect("a push"), push(&[key]), "{options:?}");
            assert_eq!(told(&mut client, &mut writer, "end"), [], "{options:?}");
        }
        good(&mut client, &["CLIENT", "TRACKING", "OFF"]);
        good(&mut client, &["GET", all[0]]);
        good(&mut writer, &["SET", all[0], "3"]);
        assert_eq!(good(&mut client, &["GET", all[0]]), text("3"));
    }
}

#[test]
fn another_protocol_changes_nothing_of_what_is_tracked() {
    let cluster = small();
    let strata = cluster.strata(&[LEASE, DIAL]);
    let (mut client, mut writer) = (strata.connect(), strata.connect());
    good(&mut client, &["CLIENT", "TRACKING", "ON", "NOLOOP"]);
    client.hello(3).expect("RESP3");
    for key in keys(&cluster) {
        good(&mut client, &["SET", &key, "1"]);
        assert_eq!(good(&mut client, &["GET", &key]), text("1"));
        good(&mut writer, &["SET", &key, "2"]);
        assert_eq!(client.read().expect("a push"), push(&[&key]));
    }
}

#[test]
fn slots_that_move_have_everything_dropped() {
    let cluster = small();
    let strata = cluster.strata(&[DIAL]);
    let key = cluster.key_of_node(0, "k");
    let (mut client, mut writer) = (tracker(&strata, &[]), strata.connect());
    assert_eq!(good(&mut client, &["GET", &key]), Value::Nil);
    cluster.move_slot(slot_of(key.as_bytes()), 1);
    // Home says nothing to who read a key that was not there.
    assert_eq!(client.read().expect("a push"), everything());
    // On a busy machine the lease may run out now and then: then it is told so again.
    let read = |client: &mut Client, expected: &Value| {
        ask(client, &key);
        while !matches!(client.read().expect("a reply"), value if value == *expected) {}
    };
    read(&mut client, &Value::Nil);
    good(&mut writer, &["SET", &key, "1"]);
    let next = client.read().expect("a push");
    assert!(next == push(&[&key]) || next == everything(), "{next:?}");
    read(&mut client, &text("1"));
}

#[test]
fn a_master_that_is_replaced_has_everything_dropped() {
    let mut cluster = Cluster::start(&[]);
    let strata = cluster.strata(&[super::PATIENT, DIAL]);
    let key = cluster.key_of_node(0, "k");
    let (mut client, mut writer) = (tracker(&strata, &[]), strata.connect());
    client.set_patience(super::LONG);
    writer.set_patience(super::LONG);
    good(&mut client, &["SET", &key, "1"]);
    assert_eq!(good(&mut client, &["GET", &key]), text("1"));
    let replica = cluster.replicas(0)[0];
    cluster.kill(0);
    assert_eq!(client.read().expect("a push"), everything());
    cluster.wait_promoted(replica);
    // From some moment on the next master tracks: what it changes is told once.
    loop {
        ask(&mut client, &key);
        while matches!(client.read().expect("a reply"), Value::Push(_)) {}
        good(&mut writer, &["INCR", &key]);
        let next = client.read().expect("a push");
        if next == push(&[&key]) {
            return;
        }
    }
}
