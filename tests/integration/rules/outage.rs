//! Rule 12: an error is not an absence, and what is served while home is away is what a policy allows, no more.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{LONG, Scene, bulk, ok};
use crate::support::{Client, Value, wait_until};

/// Copies may be served stale for 3 s.
const STALE: &str = "[[policy]]\nmatch = \"stale:*\"\nl1_ttl = \"1s\"\nstale_if_error = \"4s\"\n";

fn is_outage(reply: &Value) -> bool {
    matches!(reply, Value::Error(text) if text.starts_with("ERR strata: "))
}

#[test]
fn while_home_is_away_reads_and_writes_are_errors_and_never_nil() {
    let scene = Scene::start(&[("l2.backoff_max", "200ms")]);
    let mut client = scene.client();
    client.call(&["MSET", "k", "v", "l", "w"]).unwrap();
    assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("v"));
    scene.lose_home();
    // The copy may be served until strata notices.
    assert!(wait_until(LONG, || client.call(&["GET", "k"]).unwrap() != bulk("v")));
    for words in [
        &["GET", "k"][..],
        &["GET", "none"],
        &["MGET", "k", "l"],
        &["EXISTS", "k"],
        &["HGETALL", "none"],
        &["TTL", "k"],
        &["SET", "k", "x"],
        &["DEL", "k"],
        &["EVAL", "return 1", "0"],
    ] {
        let asked = Instant::now();
        let reply = client.call(words).unwrap();
        assert!(is_outage(&reply), "{words:?}: {reply:?}");
        assert!(asked.elapsed() < Duration::from_secs(2), "{words:?} took {:?}", asked.elapsed());
    }
    scene.relay.refuse(false);
    assert!(wait_until(LONG, || client.call(&["GET", "k"]).unwrap() == bulk("v")));
    scene.await_guard();
    assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("v"));
}

#[test]
fn a_home_that_is_loading_or_busy_is_no_absence() {
    let scene = Scene::start_with(&[("busy-reply-threshold", "1")], "", &[]);
    let mut client = scene.client();
    client.call(&["SET", "k", "v"]).unwrap();
    let mut script = scene.home.connect();
    script.send_raw(b"EVAL \"while true do end\" 0\r\n").unwrap();
    let busy = |value: Value| matches!(value, Value::Error(text) if text.starts_with("BUSY"));
    assert!(wait_until(LONG, || busy(client.call(&["GET", "none"]).unwrap())));
    assert!(busy(client.call(&["SET", "k", "w"]).unwrap()));
    scene.at_home(&["SCRIPT", "KILL"]);
    assert!(wait_until(LONG, || client.call(&["GET", "none"]).unwrap() == Value::Nil));
    assert_eq!(client.call(&["GET", "k"]).unwrap(), bulk("v"));
}

/// A scene with copies of `stale:k` (no end of its own), `stale:end` (ends after 2 s) and of `stale:none`'s absence.
fn stale_scene() -> (Scene, Client, Instant) {
    let scene = Scene::start_with(&[], STALE, &[("l2.backoff_max", "200ms"), ("l1.negative_ttl", "20s")]);
    let mut client = scene.client();
    scene.at_home(&["SET", "stale:k", "v"]);
    scene.at_home(&["SET", "strict", "v"]);
    scene.at_home(&["SET", "stale:end", "v", "PX", "2000"]);
    let written = Instant::now();
    assert_eq!(scene.copied(&mut client, &["GET", "stale:none"]), Value::Nil);
    assert_eq!(scene.copied(&mut client, &["GET", "strict"]), bulk("v"));
    assert_eq!(scene.copied(&mut client, &["GET", "stale:end"]), bulk("v"));
    assert_eq!(scene.copied(&mut client, &["GET", "stale:k"]), bulk("v"));
    scene.lose_home();
    assert!(wait_until(LONG, || is_outage(&client.call(&["GET", "strict"]).unwrap())));
    (scene, client, written)
}

#[test]
fn a_policy_may_have_copies_served_for_a_while_but_no_absence_and_nothing_past_its_end() {
    let (scene, mut client, written) = stale_scene();
    assert_eq!(client.call(&["GET", "stale:k"]).unwrap(), bulk("v"));
    assert_eq!(client.call(&["GET", "stale:end"]).unwrap(), bulk("v"));
    assert!(is_outage(&client.call(&["GET", "stale:none"]).unwrap()));
    assert!(is_outage(&client.call(&["GET", "strict"]).unwrap()));
    assert!(is_outage(&client.call(&["SET", "stale:l", "v"]).unwrap()));
    sleep((written + Duration::from_secs(2)).saturating_duration_since(Instant::now()));
    assert!(is_outage(&client.call(&["GET", "stale:end"]).unwrap()));
    assert_eq!(client.call(&["GET", "stale:k"]).unwrap(), bulk("v"));
    // The cap counts from the reading of the copy, which was after `written`.
    let end = wait_until(LONG, || is_outage(&client.call(&["GET", "stale:k"]).unwrap()));
    assert!(end && written.elapsed() < Duration::from_secs(8), "{:?}", written.elapsed());
    drop(scene);
}

#[test]
fn a_write_ends_what_may_be_served_stale_though_it_fails() {
    let ways: [&[&str]; 4] =
        [&["FLUSHALL"], &["SWAPDB", "0", "1"], &["EVAL", "return 1", "0"], &["DEL", "stale:k"]];
    for words in ways {
        let (_scene, mut client, _) = stale_scene();
        assert_eq!(client.call(&["GET", "stale:k"]).unwrap(), bulk("v"));
        assert!(is_outage(&client.call(words).unwrap()), "{words:?}");
        let reply = client.call(&["GET", "stale:k"]).unwrap();
        assert!(is_outage(&reply), "after {words:?}: {reply:?}");
    }
}

#[test]
fn the_first_good_connection_ends_what_was_served_stale() {
    let (scene, mut client, _) = stale_scene();
    assert_eq!(client.call(&["GET", "stale:k"]).unwrap(), bulk("v"));
    scene.at_home(&["SET", "stale:k", "new"]);
    scene.relay.refuse(false);
    scene.await_guard();
    assert!(wait_until(LONG, || client.call(&["SET", "x", "y"]).unwrap() == ok()));
    assert_eq!(scene.copied(&mut client, &["GET", "stale:k"]), bulk("new"));
    scene.lose_home();
    assert!(wait_until(LONG, || is_outage(&client.call(&["GET", "none"]).unwrap())));
    assert_eq!(client.call(&["GET", "stale:k"]).unwrap(), bulk("new"));
}
