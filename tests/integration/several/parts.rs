//! MGET, MSET and what else is split: the parts, the copies, and what fails.

use std::time::Duration;

use super::{call, error, good};
use crate::support::{Cluster, Value, arguments, wait_until};

/// A key of each master's.
fn keys(cluster: &Cluster) -> Vec<String> {
    (0..3).map(|node| cluster.key_of_node(node, "k")).collect()
}

#[test]
fn parts_are_put_together_in_the_order_asked() {
    let cluster = super::cluster(0, &[]);
    let strata = super::start(&cluster, &[]);
    let mut client = strata.connect();
    let mut mset = vec!["MSET".to_owned()];
    let mut mget = vec!["MGET".to_owned()];
    for number in 0..500 {
        mset.extend([format!("k{number}"), format!("v{number}")]);
        mget.extend([format!("k{number}"), format!("none{number}")]);
    }
    assert_eq!(client.call(&mset).expect("a reply"), Value::Simple("OK".into()));
    for _ in 0..3 {
        let reply = client.call(&mget).expect("a reply");
        let values = reply.elements().expect("an array");
        assert_eq!(values.len(), 1000);
        for (number, pair) in values.chunks(2).enumerate() {
            assert_eq!(pair, [Value::Bulk(format!("v{number}").into_bytes()), Value::Nil]);
        }
    }
    let mut del = vec!["DEL".to_owned()];
    del.extend((0..500).map(|number| format!("k{number}")));
    assert_eq!(client.call(&del).expect("a reply"), Value::Integer(500));
    assert_eq!(good(&mut client, "dbsize"), Value::Integer(0));
}

#[test]
fn what_is_read_of_all_nodes_is_what_was_written() {
    let cluster = super::cluster(0, &[]);
    let strata = super::start(&cluster, &[]);
    let mut client = strata.connect();
    let [a, b, c] = keys(&cluster).try_into().expect("three keys");
    good(&mut client, &format!("mset {a} 1 {b} 2 {c} 3"));
    let mget = format!("mget {a} {b} {c}");
    let one_two_three = ["1", "2", "3"].map(|value| Value::Bulk(value.into())).to_vec();
    for _ in 0..20 {
        assert_eq!(good(&mut client, &mget), Value::Array(one_two_three.clone()));
    }
    // By another client at home, and by this one.
    for (number, key) in [&a, &b, &c].into_iter().enumerate() {
        assert_eq!(
            good(&mut cluster.connect_to(key), &format!("set {key} x{number}")),
            Value::Simple("OK".into())
        );
    }
    let changed = ["x0", "x1", "x2"].map(|value| Value::Bulk(value.into())).to_vec();
    assert!(wait_until(Duration::from_secs(30), || good(&mut client, &mget) == Value::Array(changed.clone())));
    for round in 0..50 {
        good(&mut client, &format!("mset {a} {round} {b} {round} {c} {round}"));
        let expected = vec![Value::Bulk(round.to_string().into_bytes()); 3];
        assert_eq!(good(&mut client, &mget), Value::Array(expected));
    }
}

#[test]
fn pipelined_requests_see_what_was_asked_before_them() {
    let cluster = super::cluster(0, &[]);
    let strata = super::start(&cluster, &[]);
    let mut client = strata.connect();
    let [a, b, c] = keys(&cluster).try_into().expect("three keys");
    let mut commands = Vec::new();
    for round in 0..200 {
        let round = round.to_string();
        commands.push(arguments(&["MSET", &a, &round, &b, &round, &c, &round]));
        commands.push(arguments(&["MGET", &c, &b, &a]));
        commands.push(arguments(&["GET", &b]));
        commands.push(arguments(&["DEL", &a, &c]));
        commands.push(arguments(&["EXISTS", &a, &b, &c]));
        commands.push(arguments(&["DBSIZE"]));
    }
    let replies = client.pipeline(&commands).expect("replies");
    for (round, replies) in replies.chunks(6).enumerate() {
        let value = Value::Bulk(round.to_string().into_bytes());
        let all = Value::Array(vec![value.clone(); 3]);
        let expected =
            [Value::Simple("OK".into()), all, value, Value::Integer(2), Value::Integer(1), Value::Integer(1)];
        assert_eq!(replies, expected, "round {round}");
    }
}

#[test]
fn a_part_that_fails_says_which() {
    let cluster = super::cluster(0, &[]);
    let strata = super::start(&cluster, &[]);
    let mut client = strata.connect();
    let [a, b, c] = keys(&cluster).try_into().expect("three keys");
    // A node that takes no writes: of the three keys, one is not set.
    good(&mut cluster.node(1).connect(), "config set maxmemory 1");
    let node = cluster.node(1).address();
    let reply = call(&mut client, &format!("mset {a} 1 {b} 2 {c} 3"));
    let said = error(&reply);
    assert!(said.starts_with("OOM command not allowed"), "{said}");
    assert!(said.contains(&node) && said.contains(&b) && said.contains("may have been done"), "{said}");
    good(&mut cluster.node(1).connect(), "config set maxmemory 0");
    let values = [Value::Bulk("1".into()), Value::Nil, Value::Bulk("3".into())];
    assert_eq!(good(&mut client, &format!("mget {a} {b} {c}")), Value::Array(values.to_vec()));
}

#[test]
fn a_node_that_is_away_fails_the_whole_and_is_named() {
    let mut cluster = super::cluster(0, &[]);
    let strata = super::start(&cluster, &[("l3.request_timeout", "1s")]);
    let mut client = strata.connect();
    let [a, b, c] = keys(&cluster).try_into().expect("three keys");
    good(&mut client, &format!("mset {a} 1 {b} 2 {c} 3"));
    let node = cluster.node(2).address();
    cluster.kill(2);
    for command in
        [format!("mset {a} 4 {b} 5 {c} 6"), "dbsize".to_owned(), "keys *".to_owned(), "flushall".to_owned()]
    {
        let reply = call(&mut client, &command);
        assert!(
            error(&reply).contains(&node) || error(&reply).contains("CLUSTERDOWN"),
            "{command}: {reply:?}"
        );
    }
}
