//! What nodes tell of their own keys, and shard channels: heard as from one Redis.

use super::{LONG, good, small, text};
use crate::support::{Client, Cluster, Strata, Value, slot_of, wait_until};

fn push(words: &[&str]) -> Value {
    Value::Push(words.iter().map(|word| text(word)).collect())
}

fn subscriber(strata: &Strata, words: &[&str]) -> Client {
    let mut client = strata.connect();
    client.set_patience(LONG);
    client.hello(3).expect("RESP3");
    let confirmed = good(&mut client, words);
    let expected = Value::Push(vec![text(&words[0].to_lowercase()), text(words[1]), Value::Integer(1)]);
    assert_eq!(confirmed, expected);
    client
}

/// Keys of all masters.
fn keys(cluster: &Cluster) -> Vec<String> {
    (0..3).map(|node| cluster.key_of_node(node, "k")).collect()
}

fn notify(cluster: &Cluster, number: usize) {
    cluster.node(number).connect().call(&["CONFIG", "SET", "notify-keyspace-events", "KEA"]).expect("OK");
}

#[test]
fn every_master_tells_of_its_keys_once() {
    let cluster = small();
    (0..3).for_each(|number| notify(&cluster, number));
    let strata = cluster.strata(&[]);
    let mut writer = strata.connect();
    let mut all = subscriber(&strata, &["PSUBSCRIBE", "*"]);
    let mut spaces = subscriber(&strata, &["PSUBSCRIBE", "__keyspace@0__:*"]);
    let mut deleted = subscriber(&strata, &["SUBSCRIBE", "__keyevent@0__:del"]);
    assert_eq!(good(&mut writer, &["PUBSUB", "NUMPAT"]), Value::Integer(2));
    let count = good(&mut writer, &["PUBSUB", "NUMSUB", "__keyevent@0__:del"]);
    assert_eq!(count, Value::Array(vec![text("__keyevent@0__:del"), Value::Integer(1)]));
    for key in keys(&cluster) {
        good(&mut writer, &["SET", &key, "1"]);
        good(&mut writer, &["DEL", &key]);
        let channel = format!("__keyspace@0__:{key}");
        for event in ["set", "del"] {
            assert_eq!(
                spaces.read().expect("an event"),
                push(&["pmessage", "__keyspace@0__:*", &channel, event])
            );
            assert_eq!(all.read().expect("an event"), push(&["pmessage", "*", &channel, event]));
            let events = format!("__keyevent@0__:{event}");
            assert_eq!(all.read().expect("an event"), push(&["pmessage", "*", &events, &key]));
        }
        assert_eq!(deleted.read().expect("an event"), push(&["message", "__keyevent@0__:del", &key]));
    }
    // What is published comes once.
    assert_eq!(good(&mut writer, &["PUBLISH", "news", "1"]), Value::Integer(1));
    assert_eq!(all.read().expect("a message"), push(&["pmessage", "*", "news", "1"]));
    let mut others = strata.connect();
    good(&mut others, &["SET", "end", "1"]);
    assert_eq!(
        spaces.read().expect("an event"),
        push(&["pmessage", "__keyspace@0__:*", "__keyspace@0__:end", "set"])
    );
    let last = push(&["pmessage", "*", "__keyspace@0__:end", "set"]);
    assert_eq!(all.read().expect("an event"), last);
}

#[test]
fn a_master_that_is_new_tells_of_its_keys() {
    let mut cluster = small();
    (0..3).for_each(|number| notify(&cluster, number));
    let strata = cluster.strata(&[]);
    let mut writer = strata.connect();
    let mut hears = subscriber(&strata, &["PSUBSCRIBE", "__keyspace@*"]);
    let key = cluster.key_of_node(0, "k");
    let added = cluster.add_master();
    notify(&cluster, added);
    cluster.move_slot(slot_of(key.as_bytes()), added);
    let channel = format!("__keyspace@0__:{key}");
    let expected = push(&["pmessage", "__keyspace@*", &channel, "incrby"]);
    assert!(wait_until(LONG, || {
        good(&mut writer, &["INCR", &key]);
        let arrived = hears.arrived().expect("a connection");
        arrived.iter().any(|frame| Value::parse(frame).expect("RESP") == expected)
    }));
}

#[test]
fn shard_channels_are_those_of_one_redis() {
    let cluster = small();
    let strata = cluster.strata(&[]);
    let mut publisher = strata.connect();
    let channels = keys(&cluster);
    let mut client = strata.connect();
    client.set_patience(LONG);
    client.hello(3).expect("RESP3");
    // Of several slots at once, too.
    let words = ["SSUBSCRIBE", &channels[0], &channels[1], &channels[2]];
    for (index, name) in channels.iter().enumerate() {
        let confirmed = if index == 0 { good(&mut client, &words) } else { client.read().expect("a push") };
        let count = Value::Integer(index as i64 + 1);
        assert_eq!(confirmed, Value::Push(vec![text("ssubscribe"), text(name), count]));
    }
    let mut second = subscriber(&strata, &["SSUBSCRIBE", &channels[0]]);
    for (name, count) in channels.iter().zip([2, 1, 1]) {
        assert_eq!(good(&mut publisher, &["SPUBLISH", name, "hi"]), Value::Integer(count));
        assert_eq!(client.read().expect("a message"), push(&["smessage", name, "hi"]));
        let subscribers = good(&mut publisher, &["PUBSUB", "SHARDNUMSUB", name]);
        assert_eq!(subscribers, Value::Array(vec![text(name), Value::Integer(count)]));
    }
    assert_eq!(second.read().expect("a message"), push(&["smessage", &channels[0], "hi"]));
    let gone = Value::Push(vec![text("sunsubscribe"), text(&channels[0]), Value::Integer(2)]);
    assert_eq!(good(&mut client, &["SUNSUBSCRIBE", &channels[0]]), gone);
    assert_eq!(good(&mut publisher, &["SPUBLISH", &channels[0], "2"]), Value::Integer(1));
    assert_eq!(second.read().expect("a message"), push(&["smessage", &channels[0], "2"]));
}

#[test]
fn a_shard_channel_is_followed_to_where_its_slot_goes() {
    let cluster = small();
    let strata = cluster.strata(&[]);
    let mut publisher = strata.connect();
    let name = cluster.key_of_node(0, "k");
    let mut client = subscriber(&strata, &["SSUBSCRIBE", &name]);
    for node in [1, 2, 0] {
        cluster.move_slot(slot_of(name.as_bytes()), node);
        let message = node.to_string();
        let expected = push(&["smessage", &name, &message]);
        // What is published before the new node is asked is missed, as by who follows it by himself.
        assert!(wait_until(LONG, || {
            good(&mut publisher, &["SPUBLISH", &name, &message]);
            let arrived = client.arrived().expect("a connection");
            arrived.iter().any(|frame| Value::parse(frame).expect("RESP") == expected)
        }));
    }
}
