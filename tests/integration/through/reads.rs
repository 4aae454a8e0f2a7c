//! What clients see of rows: what they would see of a Redis that holds them.

use super::{Scene, bulk};
use crate::support::{Client, RedisServer, Value, arguments};

/// Keys of rows, of rows that are not there, of sources' patterns with parts of the wrong type, and others.
const COMMANDS: &[&str] = &[
    "GET factor:1",
    "GET factor:99999",
    "GET factor:abc",
    "GET person:1",
    "GET other",
    "STRLEN factor:2",
    "STRLEN factor:99999",
    "GETRANGE factor:3 0 2",
    "GETRANGE factor:99999 0 2",
    "TYPE factor:4",
    "TYPE person:2",
    "TYPE person:3",
    "EXISTS factor:5",
    "EXISTS factor:6 factor:6 factor:99999 person:1 other",
    "EXISTS factor:99999 factor:99998",
    "TTL factor:99999",
    "MGET factor:7 other factor:99999 factor:8 person:1 factor:7",
    "MGET factor:99999",
    "HGETALL person:1",
    "HGETALL person:2",
    "HGETALL person:3",
    "HMGET person:1 name mail none age",
    "HMGET person:3 name",
    "HGET person:1 name",
    "HGET person:1 mail",
    "HGET person:3 mail",
    "HLEN person:1",
    "HLEN person:3",
    "HEXISTS person:2 mail",
    "HEXISTS person:1 mail",
    "HKEYS person:1",
    "HVALS person:2",
    "HSTRLEN person:1 name",
    "HGETALL factor:1",
    "HGET factor:9 x",
    "SCARD factor:10",
    "LRANGE person:1 0 -1",
    "GETBIT factor:11 1",
    "BITCOUNT factor:12",
    "OBJECT ENCODING factor:13",
    "DUMP factor:99999",
    "TOUCH factor:14 factor:99999",
    "SINTER factor:15 other",
];

/// What the sources hold, in a Redis.
fn same_in(redis: &RedisServer) {
    let mut client = redis.connect();
    for n in 1..=20 {
        client.call(&["SET", &format!("factor:{n}"), &format!("value {n}")]).unwrap();
    }
    client.call(&["HSET", "person:1", "name", "Ada", "age", "36"]).unwrap();
    client.call(&["HSET", "person:2", "name", "", "age", "7", "mail", "two@example.org"]).unwrap();
}

/// The reply, with the fields of a hash in order.
fn ask(client: &mut Client, command: &str) -> Value {
    let reply = client.call(&command.split(' ').collect::<Vec<_>>()).unwrap();
    match reply {
        Value::Map(mut pairs) => {
            pairs.sort();
            Value::Map(pairs)
        }
        Value::Array(items) if command.starts_with("HGETALL") => {
            let mut pairs: Vec<&[Value]> = items.chunks(2).collect();
            pairs.sort();
            Value::Array(pairs.concat())
        }
        Value::Array(mut items) if command.starts_with("HKEYS") || command.starts_with("HVALS") => {
            items.sort();
            Value::Array(items)
        }
        reply => reply,
    }
}

fn compare(settings: &[(&str, &str)]) {
    let plain = RedisServer::start(&[]);
    same_in(&plain);
    let scene = Scene::start_with(1, &[], settings);
    for proto in [2, 3] {
        scene.client(0).call(&["FLUSHALL"]).unwrap();
        let (mut expected, mut client) = (plain.connect(), scene.client(0));
        expected.hello(proto).unwrap();
        client.hello(proto).unwrap();
        // The first round loads, the others find keys at home and copies in L1.
        for round in 0..3 {
            for command in COMMANDS {
                assert_eq!(
                    ask(&mut client, command),
                    ask(&mut expected, command),
                    "{command} (round {round})"
                );
            }
        }
    }
}

#[test]
fn replies_are_those_of_a_redis_that_holds_the_rows() {
    compare(&[]);
}

#[test]
fn without_copies_they_are_the_same() {
    compare(&[("l1.enabled", "false")]);
}

#[test]
fn a_key_from_a_row_lives_as_long_as_its_source_says() {
    let scene = Scene::start(1);
    let mut client = scene.client(0);
    let left = client.call(&["TTL", "factor:1"]).unwrap().integer().unwrap();
    assert!((1..=3600).contains(&left), "{left}");
    scene.await_confirmed("factor:1");
    let left = client.call(&["PTTL", "factor:1"]).unwrap().integer().unwrap();
    assert!((3_000_000..=3_600_000).contains(&left), "{left}");
    assert_eq!(client.call(&["GET", "factor:1"]).unwrap(), bulk("value 1"));
    assert_eq!(scene.asked(), 1);
}

#[test]
fn a_pipeline_is_answered_as_by_one_redis() {
    let scene = Scene::start(1);
    let mut client = scene.client(0);
    let commands = [
        &["GET", "factor:1"][..],
        &["SET", "factor:1", "mine"],
        &["GET", "factor:1"],
        &["DEL", "factor:1"],
        &["GET", "factor:1"],
        &["GET", "factor:99999"],
        &["SET", "factor:99999", "set"],
        &["GET", "factor:99999"],
        &["APPEND", "factor:2", "!"],
        &["GET", "factor:2"],
    ];
    let replies = client.pipeline(&commands.map(arguments)).unwrap();
    let ok = || Value::Simple("OK".into());
    let expected = [
        bulk("value 1"),
        ok(),
        bulk("mine"),
        Value::Integer(1),
        bulk("value 1"),
        Value::Nil,
        ok(),
        bulk("set"),
        // A write is about what home has.
        Value::Integer(1),
        bulk("!"),
    ];
    assert_eq!(replies, expected);
}

#[test]
fn other_databases_have_no_sources() {
    let scene = Scene::start(1);
    let mut client = scene.client(0);
    client.call(&["SELECT", "1"]).unwrap();
    assert_eq!(client.call(&["GET", "factor:1"]).unwrap(), Value::Nil);
    client.call(&["SELECT", "0"]).unwrap();
    assert_eq!(client.call(&["GET", "factor:1"]).unwrap(), bulk("value 1"));
}

#[test]
fn keys_that_no_policy_lets_be_copied_are_loaded() {
    let mut scene = Scene::start(0);
    scene.file += "\n[[policy]]\nmatch = 'factor:*'\nno_cache = true\n";
    scene.add(&[]);
    let mut client = scene.client(0);
    for _ in 0..3 {
        assert_eq!(client.call(&["GET", "factor:1"]).unwrap(), bulk("value 1"));
        assert_eq!(
            client.call(&["MGET", "factor:1", "factor:2"]).unwrap().elements().unwrap()[1],
            bulk("value 2")
        );
    }
    assert_eq!(scene.asked(), 2);
}

#[test]
fn rows_are_compressed_where_a_policy_says_so() {
    let mut scene = Scene::start(0);
    scene.file += "\n[[policy]]\nmatch = 'factor:*'\ncompress = true\n";
    let long = "0123456789".repeat(1000);
    scene.postgres.execute(&format!("UPDATE factor SET value = '{long}' WHERE id = 1"));
    scene.add(&[]);
    assert_eq!(scene.client(0).call(&["GET", "factor:1"]).unwrap(), bulk(&long));
    assert_eq!(scene.client(0).call(&["STRLEN", "factor:1"]).unwrap(), Value::Integer(10_000));
    let stored = scene.at_home(&["STRLEN", "factor:1"]).integer().unwrap();
    assert!(stored < 1_000, "{stored} bytes");
}

#[test]
fn every_key_is_a_value_and_nothing_else() {
    let scene = Scene::start(1);
    let mut client = scene.client(0);
    for part in
        ["1' OR '1'='1", "1; DROP TABLE factor", "\0", "\u{fffd}\\", "1}", "{}1", "99999999999999999999"]
    {
        let key = format!("factor:{part}");
        assert_eq!(client.call(&["GET", &key]).unwrap(), Value::Nil, "{part:?}");
    }
    assert_eq!(client.call(&[&b"GET"[..], b"factor:\xff\xfe"]).unwrap(), Value::Nil);
    assert_eq!(client.call(&["GET", "factor:1"]).unwrap(), bulk("value 1"));
}
