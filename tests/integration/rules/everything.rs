//! Rule 5: what changes everything at once ends all copies, in every database.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{LONG, Scene, bulk, ok};
use crate::support::Direction::Replies;
use crate::support::{Client, Part, Value, wait_until};

/// A client in a database of its own.
fn in_database(scene: &Scene, database: &str) -> Client {
    let mut client = scene.client();
    assert_eq!(client.call(&["SELECT", database]).unwrap(), ok());
    client
}

/// `k` is copied as "a" in database 0 and as "b" in database 1.
fn two_databases(scene: &Scene) -> (Client, Client) {
    let (mut zero, mut one) = (scene.client(), in_database(scene, "1"));
    zero.call(&["SET", "k", "a"]).unwrap();
    one.call(&["SET", "k", "b"]).unwrap();
    for _ in 0..2 {
        assert_eq!(scene.copied(&mut zero, &["GET", "k"]), bulk("a"));
        assert_eq!(scene.copied(&mut one, &["GET", "k"]), bulk("b"));
    }
    (zero, one)
}

#[test]
fn keys_of_one_name_in_two_databases_are_two() {
    let scene = Scene::start(&[]);
    let (mut zero, mut one) = two_databases(&scene);
    one.call(&["SET", "k", "c"]).unwrap();
    assert_eq!(one.call(&["GET", "k"]).unwrap(), bulk("c"));
    assert_eq!(zero.call(&["GET", "k"]).unwrap(), bulk("a"));
    // A name says no database: a change in the one ends the copies of both, wherever it was made.
    assert_eq!(scene.copied(&mut one, &["GET", "k"]), bulk("c"));
    let mut home = scene.home.connect();
    home.call(&["SELECT", "1"]).unwrap();
    home.call(&["DEL", "k"]).unwrap();
    assert!(wait_until(LONG, || one.call(&["GET", "k"]).unwrap() == Value::Nil));
    assert_eq!(zero.call(&["GET", "k"]).unwrap(), bulk("a"));
    assert_eq!(zero.call(&["MOVE", "k", "1"]).unwrap(), Value::Integer(1));
    assert_eq!(zero.call(&["GET", "k"]).unwrap(), Value::Nil);
    assert!(wait_until(LONG, || one.call(&["GET", "k"]).unwrap() == bulk("a")));
}

#[test]
fn a_flush_ends_all_copies_whoever_makes_it_and_wherever() {
    for words in [&["FLUSHALL"][..], &["FLUSHDB"], &["FLUSHALL", "ASYNC"]] {
        let scene = Scene::start(&[("l2.lease", "20s")]);
        let (mut zero, mut one) = two_databases(&scene);
        let mut home = scene.home.connect();
        home.call(&["SELECT", "1"]).unwrap();
        home.call(words).unwrap();
        assert!(wait_until(LONG, || one.call(&["GET", "k"]).unwrap() == Value::Nil), "{words:?}");
        let left = if words[0] == "FLUSHALL" { Value::Nil } else { bulk("a") };
        assert_eq!(zero.call(&["GET", "k"]).unwrap(), left, "{words:?}");

        let (mut zero, mut one) = two_databases(&scene);
        scene.relay.stall_part(Part::Guard, Replies, true);
        assert_eq!(one.call(words).unwrap(), ok());
        assert_eq!(one.call(&["GET", "k"]).unwrap(), Value::Nil, "{words:?}");
        // The same name in another database may wait for the guard.
        scene.relay.stall_part(Part::Guard, Replies, false);
        assert_eq!(zero.call(&["GET", "k"]).unwrap(), left, "{words:?}");
    }
}

#[test]
fn a_swap_through_strata_is_seen_at_once() {
    let scene = Scene::start(&[("l2.lease", "20s")]);
    let (mut zero, mut one) = two_databases(&scene);
    assert_eq!(zero.call(&["SWAPDB", "0", "1"]).unwrap(), ok());
    assert_eq!(zero.call(&["GET", "k"]).unwrap(), bulk("b"));
    assert_eq!(one.call(&["GET", "k"]).unwrap(), bulk("a"));
    assert_eq!(scene.copied(&mut zero, &["GET", "k"]), bulk("b"));
}

#[test]
fn a_swap_made_elsewhere_is_noticed_within_the_lease() {
    for hidden in [false, true] {
        let scene = Scene::start(&[]);
        let (mut zero, mut one) = two_databases(&scene);
        let mut home = scene.home.connect();
        home.call(&["SWAPDB", "0", "1"]).unwrap();
        let swapped = Instant::now();
        if hidden {
            // The count of SWAPDB is what it was before.
            home.call(&["CONFIG", "RESETSTAT"]).unwrap();
        }
        sleep((swapped + Duration::from_secs(1)).saturating_duration_since(Instant::now()));
        assert_eq!(zero.call(&["GET", "k"]).unwrap(), bulk("b"));
        assert_eq!(one.call(&["GET", "k"]).unwrap(), bulk("a"));
    }
}

#[test]
fn every_database_of_home_is_there_and_no_other() {
    let scene = Scene::start_with(&[("databases", "40")], "", &[]);
    for protocol in [2, 3] {
        let mut client = scene.client();
        client.hello(protocol).unwrap();
        for database in 0..40 {
            let text = database.to_string();
            assert_eq!(client.call(&["SELECT", &text]).unwrap(), ok());
            assert_eq!(client.call(&["SET", "me", &text]).unwrap(), ok());
            assert_eq!(scene.copied(&mut client, &["GET", "me"]), bulk(&text));
        }
        let refused = Value::Error("ERR DB index is out of range".into());
        assert_eq!(client.call(&["SELECT", "40"]).unwrap(), refused);
        assert_eq!(client.call(&["GET", "me"]).unwrap(), bulk("39"));
    }
}
