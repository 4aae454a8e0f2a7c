//! What one process has read at home, others have from L2.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{LONG, Scene, bulk, ok};
use crate::support::{Value, encode, wait_until};

#[test]
fn what_one_process_read_another_has_read_in_l2() {
    let scene = Scene::start(2, &[]);
    scene.set("k", "v");
    assert_eq!(scene.fill(0, &["GET", "k"]), bulk("v"));
    let reads = scene.home.calls("get");
    assert_eq!(scene.read_in_l2(1, &["GET", "k"]), bulk("v"));
    assert_eq!(scene.home.calls("get"), reads);
    // Another request of the key, another protocol and another database are other copies.
    assert_eq!(scene.fill(1, &["STRLEN", "k"]), Value::Integer(1));
    assert_eq!(scene.read_in_l2(0, &["STRLEN", "k"]), Value::Integer(1));
    let mut other = scene.client(0);
    other.call(&["SELECT", "1"]).unwrap();
    assert_eq!(other.call(&["GET", "k"]).unwrap(), Value::Nil);
    other.hello(3).unwrap();
    other.call(&["SELECT", "0"]).unwrap();
    assert_eq!(other.call(&["GET", "k"]).unwrap(), bulk("v"));
}

#[test]
fn replies_of_all_shapes_come_back_as_they_were() {
    let scene = Scene::start(2, &[]);
    let long = "strata ".repeat(5000);
    scene.at_home(&["SET", "long", &long]);
    scene.at_home(&["HSET", "h", "a", "1", "b", &long]);
    scene.at_home(&["ZADD", "z", "1", "one", "2.5", "two"]);
    let requests: [&[&str]; 5] = [
        &["GET", "long"],
        &["HGETALL", "h"],
        &["ZRANGE", "z", "0", "-1", "WITHSCORES"],
        &["LRANGE", "none", "0", "-1"],
        &["GET", "none"],
    ];
    for request in requests {
        let reply = scene.home.connect().call(request).unwrap();
        assert_eq!(scene.fill(0, request), reply);
        assert_eq!(scene.read_in_l2(1, request), reply, "{request:?}");
    }
    // Compressed.
    let l2 = scene.nodes[0].stat("bytes_filled");
    assert!(l2 < long.len() as u64, "{l2} bytes");
    // Errors are no copies, and hold nobody up.
    let began = Instant::now();
    for node in [0, 1, 0, 1] {
        assert!(scene.client(node).call(&["GET", "h"]).unwrap().is_error());
    }
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn a_copy_ends_with_its_key_and_with_the_tier() {
    let scene = Scene::start(2, &[("l2.ttl", "3s"), ("l1.ttl", "1m"), ("l1.max_size", "64KB")]);
    let (mut client, mut other) = (scene.client(0), scene.client(1));
    let mut written = Instant::now();
    // It may end before it was ever read.
    assert!(wait_until(LONG, || {
        scene.set("own", "v");
        scene.at_home(&["PEXPIRE", "own", "1000"]);
        written = Instant::now();
        client.call(&["GET", "own"]).unwrap() == bulk("v") && scene.copies("own") == 1
    }));
    // Read from L2 it ends no later.
    while written.elapsed() < Duration::from_millis(1020) {
        other.call(&["GET", "own"]).unwrap();
    }
    assert_eq!(other.call(&["GET", "own"]).unwrap(), Value::Nil);
    assert_eq!(client.call(&["GET", "own"]).unwrap(), Value::Nil);
    scene.set("tier", "v");
    assert_eq!(client.call(&["GET", "tier"]).unwrap(), bulk("v"));
    assert!(wait_until(LONG, || scene.copies("tier") == 1));
    assert!(wait_until(LONG, || !scene.knows("tier")));
}

#[test]
fn a_policy_says_how_long_copies_live_in_l2() {
    let policies = "[[policy]]\nmatch = \"never:*\"\nl2_ttl = \"0s\"\n[[policy]]\nmatch = \"short:*\"\nl2_ttl = \"20s\"\n";
    let mut scene = Scene::start(0, &[]);
    scene.add_with(policies, &[]);
    scene.nodes[0].await_vouched();
    let left = |key: &str| {
        let mut l2 = scene.l2.connect();
        let names = l2.call(&["KEYS", &format!("strata:l2:*:{key}")]).unwrap().elements().unwrap();
        l2.call(&[&b"PTTL"[..], names[0].bytes().unwrap()]).unwrap().integer().unwrap()
    };
    for key in ["short:k", "long"] {
        scene.set(key, "v");
        assert_eq!(scene.fill(0, &["GET", key]), bulk("v"));
    }
    assert!((1..=20_000).contains(&left("short:k")) && left("long") > 200_000);
    scene.set("never:k", "v");
    let asked = scene.nodes[0].stat("misses");
    for _ in 0..10 {
        assert_eq!(scene.client(0).call(&["GET", "never:k"]).unwrap(), bulk("v"));
    }
    assert!(!scene.knows("never:k"));
    assert_eq!(scene.nodes[0].stat("misses"), asked);
}

/// The time that a copy says "absent" is counted from the reading at home, however often it was copied.
#[test]
fn what_is_absent_lives_no_longer_for_having_been_in_l2() {
    let scene = Scene::start(2, &[("l1.negative_ttl", "30s")]);
    let mut client = scene.client(1);
    assert_eq!(scene.fill(0, &["GET", "none"]), Value::Nil);
    let filled = Instant::now();
    sleep(Duration::from_millis(500));
    assert_eq!(scene.read_in_l2(1, &["GET", "none"]), Value::Nil);
    let mut left = None;
    let copied = wait_until(LONG, || {
        let found = client.call(&["CACHE", "WHERE", "none"]).unwrap();
        left = left_in_l1(&found);
        left.is_some()
    });
    assert!(copied, "it is no copy in L1");
    let most = 30_000 - filled.elapsed().as_millis().min(500) as i64;
    assert!(left.is_some_and(|left| left <= most), "{left:?} of {most} ms");
}

/// For how many milliseconds L1 has its first copy, as CACHE WHERE says.
fn left_in_l1(found: &Value) -> Option<i64> {
    let of = |map: &Value, name: &str| {
        let parts = map.elements()?;
        parts.chunks_exact(2).find(|pair| pair[0] == bulk(name)).map(|pair| pair[1].clone())
    };
    let first = of(&of(found, "l1")?, "requests")?.elements()?.into_iter().next()?;
    of(&first, "time_left_ms")?.integer()
}

#[test]
fn a_copy_of_l2_becomes_one_of_l1_and_is_dropped_with_it() {
    let scene = Scene::start(2, &[("l1.ttl", "1m")]);
    scene.set("k", "old");
    assert_eq!(scene.client(0).call(&["GET", "k"]).unwrap(), bulk("old"));
    assert!(wait_until(LONG, || scene.copies("k") == 1));
    let mut client = scene.client(1);
    assert_eq!(scene.read_in_l2(1, &["GET", "k"]), bulk("old"));
    let hits = || scene.nodes[1].stat("hits");
    assert!(wait_until(LONG, || {
        let before = hits();
        assert_eq!(client.call(&["GET", "k"]).unwrap(), bulk("old"));
        hits() == before
    }));
    scene.at_home(&["SET", "k", "new"]);
    assert!(wait_until(LONG, || client.call(&["GET", "k"]).unwrap() == bulk("new")));
    assert_eq!(scene.client(0).call(&["GET", "k"]).unwrap(), bulk("new"));
}

/// A read that L2 does not answer goes home later than it came; what its client asks next must not be there first.
#[test]
fn a_write_does_not_overtake_a_read_that_l2_is_asked_for() {
    let scene = Scene::start(1, &[]);
    let mut client = scene.client(0);
    for round in 0..50 {
        scene.at_home(&["SET", &format!("k{round}"), &format!("old{round}")]);
    }
    scene.quiet();
    for round in 0..50 {
        let (key, old, new) = (format!("k{round}"), format!("old{round}"), format!("new{round}"));
        let commands = [
            encode(&["GET", &key]),
            encode(&["GET", "other"]),
            encode(&["SET", &key, &new]),
            encode(&["GET", &key]),
            encode(&["STRLEN", &key]),
            b"DEL ".to_vec(),
        ];
        let mut raw = commands.concat();
        raw.extend(format!("{key}\r\nGET {key}\r\n*2\r\n$3\r\nGE").into_bytes());
        client.send_raw(&raw).unwrap();
        let replies: Vec<Value> = (0..7).map(|_| client.read().unwrap()).collect();
        let length = Value::Integer(new.len() as i64);
        let expected = vec![bulk(&old), Value::Nil, ok(), bulk(&new), length, Value::Integer(1), Value::Nil];
        assert_eq!(replies, expected, "round {round}");
        client.send_raw(format!("T\r\n${}\r\n{key}\r\n", key.len()).as_bytes()).unwrap();
        assert_eq!(client.read().unwrap(), Value::Nil);
    }
    assert!(scene.nodes[0].stat("misses") > 50);
}

/// Reads that find nothing again and again are not worth asking L2 for.
#[test]
fn a_load_without_locality_passes_l2_by() {
    let scene = Scene::start(1, &[]);
    let mut client = scene.client(0);
    for round in 0..300 {
        let commands: Vec<_> = (0..100).map(|n| ["GET".to_owned(), format!("k{round}-{n}")]).collect();
        let raw: Vec<u8> = commands.iter().flat_map(|words| encode(words)).collect();
        client.send_raw(&raw).unwrap();
        commands.iter().for_each(|_| assert_eq!(client.read().unwrap(), Value::Nil));
    }
    let member = &scene.nodes[0];
    let (asked, passed) = (member.stat("misses"), member.stat("passed_by"));
    assert!(passed > asked && asked + passed > 29_000, "{asked} asked, {passed} passed by");
    let before = asked;
    for n in 0..2_000 {
        client.call(&["GET", &format!("m{n}")]).unwrap();
    }
    let asked = member.stat("misses") - before;
    assert!((20..500).contains(&asked), "{asked} of 2000");
}
