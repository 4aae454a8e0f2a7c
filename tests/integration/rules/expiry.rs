//! Rule 1: home does not announce that a key expires, so every copy ends with its key by the clock.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Scene, bulk};
use crate::support::{Part, Value};

/// Home deletes what has expired only when it is asked for it: nothing is announced before that.
fn silent_home() -> Scene {
    let scene = Scene::start_with(&[("enable-debug-command", "yes")], "", &[("server.workers", "1")]);
    scene.at_home(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
    scene
}

fn sleep_until(moment: Instant) {
    sleep(moment.saturating_duration_since(Instant::now()));
}

/// The 1.5 s of the keys here, and the two clock ticks of 1 ms that home itself is late.
const LIFE: Duration = Duration::from_millis(1_502);

#[test]
fn a_copy_ends_with_its_key() {
    let scene = silent_home();
    let mut client = scene.client();
    scene.at_home(&["SET", "k", "v", "PX", "1500"]);
    let end = Instant::now() + LIFE;
    assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("v"));
    sleep_until(end);
    assert_eq!(client.call(&["GET", "k"]).unwrap(), Value::Nil);
}

#[test]
fn a_lifetime_counts_from_the_sending_of_the_read() {
    let scene = silent_home();
    let mut client = scene.client();
    // The lane is there before it becomes slow.
    client.call(&["GET", "other"]).unwrap();
    scene.relay.delay_part(Part::Lane2, Duration::from_millis(250));
    scene.at_home(&["SET", "k", "v", "PX", "1500"]);
    let end = Instant::now() + LIFE;
    assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("v"));
    sleep_until(end);
    assert_eq!(client.call(&["GET", "k"]).unwrap(), Value::Nil);
}

#[test]
fn a_lifetime_that_is_set_later_bounds_the_copy_too() {
    let scene = silent_home();
    let mut client = scene.client();
    scene.at_home(&["SET", "k", "v"]);
    assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("v"));
    scene.at_home(&["PEXPIRE", "k", "1500"]);
    let end = Instant::now() + LIFE;
    assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("v"));
    sleep_until(end);
    assert_eq!(client.call(&["GET", "k"]).unwrap(), Value::Nil);
}

#[test]
fn a_reply_over_several_keys_ends_with_the_first_of_them() {
    let scene = silent_home();
    let mut client = scene.client();
    scene.at_home(&["MSET", "a", "1", "b", "2", "c", "3"]);
    scene.at_home(&["PEXPIRE", "b", "1500"]);
    let end = Instant::now() + LIFE;
    assert_eq!(scene.copied(&mut client, &["EXISTS", "a", "b", "c"]), Value::Integer(3));
    sleep_until(end);
    assert_eq!(client.call(&["EXISTS", "a", "b", "c"]).unwrap(), Value::Integer(2));
}

#[test]
fn a_reply_over_several_keys_ends_with_a_change_of_any() {
    let scene = Scene::start(&[]);
    let mut client = scene.client();
    scene.at_home(&["SADD", "a", "1", "2"]);
    scene.at_home(&["SADD", "b", "2", "3"]);
    for (key, sum) in [("a", 2), ("b", 3)] {
        assert_eq!(scene.copied(&mut client, &["SINTERCARD", "2", "a", "b"]), Value::Integer(sum - 1));
        let mut writer = scene.client();
        writer.call(&["SADD", key, "2", if key == "a" { "3" } else { "1" }]).unwrap();
        assert_eq!(writer.call(&["SINTERCARD", "2", "a", "b"]).unwrap(), Value::Integer(sum));
    }
}

#[test]
fn the_tier_bounds_a_copy_of_a_key_that_lives_on() {
    let scene = Scene::start(&[("l1.ttl", "300ms"), ("l1.negative_ttl", "0s")]);
    let mut client = scene.client();
    scene.at_home(&["SET", "k", "v"]);
    assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("v"));
    let copied = Instant::now();
    sleep_until(copied + Duration::from_millis(300));
    assert_eq!(scene.read(&mut client, &["GET", "k"]), (bulk("v"), 1));
    for _ in 0..5 {
        assert_eq!(scene.read(&mut client, &["GET", "absent"]), (Value::Nil, 1));
    }
}

#[test]
fn absence_is_remembered_briefly_and_a_write_ends_it_at_once() {
    let scene = Scene::start(&[("l1.negative_ttl", "1s")]);
    let mut client = scene.client();
    assert_eq!(scene.copied(&mut client, &["GET", "k"]), Value::Nil);
    let copied = Instant::now();
    sleep_until(copied + Duration::from_secs(1));
    assert_eq!(scene.read(&mut client, &["GET", "k"]), (Value::Nil, 1));
    assert_eq!(scene.copied(&mut client, &["GET", "k"]), Value::Nil);
    client.call(&["SET", "k", "v"]).unwrap();
    assert_eq!(client.call(&["GET", "k"]).unwrap(), bulk("v"));
}
