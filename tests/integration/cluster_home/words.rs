//! What one Redis would say, and what a cluster says where several keys would have to be in one place.

use super::{good, text};
use crate::support::{Cluster, Value};

const CROSSED: &str = "CROSSSLOT Keys in request don't hash to the same slot";

#[test]
fn keys_of_all_nodes_are_served_as_by_one() {
    let cluster = Cluster::start(&[]);
    let strata = cluster.strata(&[]);
    let mut client = strata.connect();
    for number in 0..300 {
        let (key, value) = (format!("k{number}"), format!("v{number}"));
        good(&mut client, &["SET", &key, &value]);
        assert_eq!(cluster.connect_to(&key).call(&["GET", &key]).expect("home answers"), text(&value));
    }
    for number in 0..300 {
        let (key, value) = (format!("k{number}"), format!("v{number}"));
        assert_eq!(good(&mut client, &["GET", &key]), text(&value));
        assert_eq!(good(&mut client, &["STRLEN", &key]), Value::Integer(value.len() as i64));
    }
    good(&mut client, &["MSET", "{t}a", "1", "{t}b", "2"]);
    assert_eq!(good(&mut client, &["SINTERSTORE", "{t}c", "{t}d", "{t}e"]), Value::Integer(0));
    let script = "return redis.call('GET', KEYS[1]) .. redis.call('GET', KEYS[2])";
    assert_eq!(good(&mut client, &["EVAL", script, "2", "{t}a", "{t}b"]), text("12"));
}

#[test]
fn what_needs_one_slot_is_refused_in_the_words_of_redis() {
    let cluster = Cluster::start(&[]);
    let strata = cluster.strata(&[]);
    let (mut client, mut home) = (strata.connect(), cluster.node(0).connect());
    let error = |text: &str| Value::Error(text.to_owned());
    for words in [&["SINTER", "a", "b"][..], &["RENAME", "a", "b"], &["EVAL", "return 1", "2", "a", "b"]] {
        let reply = client.call(words).expect("strata answers");
        assert_eq!((reply, home.call(words).expect("home answers")), (error(CROSSED), error(CROSSED)));
    }
    for words in [&["SELECT", "1"][..], &["SELECT", "0"], &["SWAPDB", "0", "1"], &["GET"]] {
        assert_eq!(client.call(words).expect("strata answers"), home.call(words).expect("home answers"));
    }
    let key = cluster.key_of_node(0, "t");
    let own = format!("{{{key}}}2");
    let within: &[&[&str]] = &[&["MULTI"], &["SET", &key, "1"], &["SET", &own, "2"], &["EXEC"]];
    let crossed: &[&[&str]] = &[&["MULTI"], &["SET", &key, "1"], &["SET", "b", "1"], &["EXEC"], &["EXEC"]];
    let early: &[&[&str]] = &[&["MULTI"], &["SINTER", "a", "b"], &["SET", &key, "1"], &["EXEC"]];
    for words in within.iter().chain(early) {
        let (said, expected) = (client.call(words), home.call(words));
        assert_eq!(said.expect("strata answers"), expected.expect("home answers"), "{words:?}");
    }
    let said: Vec<_> = crossed.iter().map(|words| client.call(words).expect("strata answers")).collect();
    assert_eq!(said[3..], [error(CROSSED), error("ERR EXEC without MULTI")]);
}
