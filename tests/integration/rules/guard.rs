//! Rule 2: copies stand and fall with the connection that hears of their changes, and a lane carries nothing before it
//! is in its database.

use std::time::{Duration, Instant};

use super::{LONG, Scene, bulk, ok, resp3};
use crate::support::{Client, Part, RedisServer, Relay, Strata, Value, wait_until};

/// So long that only the loss itself can end the copies.
const LONG_LEASE: (&str, &str) = ("l2.lease", "1m");

fn kept_stale(pattern: &str) -> String {
    format!("[[policy]]\nmatch = \"{pattern}\"\nstale_if_error = \"10m\"\n")
}

#[test]
fn without_its_guard_no_copy_is_served() {
    for file in [String::new(), kept_stale("*")] {
        let scene = Scene::start_with(&[], &file, &[LONG_LEASE]);
        let mut client = scene.client();
        scene.at_home(&["SET", "k", "old"]);
        assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("old"));
        scene.lose_guard();
        assert!(wait_until(LONG, || scene.guards() == 0));
        scene.at_home(&["SET", "k", "new"]);
        let lost = Instant::now();
        assert!(wait_until(LONG, || client.call(&["GET", "k"]).unwrap() == bulk("new")));
        assert!(lost.elapsed() < Duration::from_secs(5), "{:?}", lost.elapsed());
        for _ in 0..5 {
            assert_eq!(scene.read(&mut client, &["GET", "k"]), (bulk("new"), 1));
        }
    }
}

#[test]
fn a_guard_killed_at_home_comes_back_and_the_copies_from_before_do_not() {
    for file in [String::new(), kept_stale("*")] {
        let scene = Scene::start_with(&[], &file, &[LONG_LEASE]);
        let mut client = scene.client();
        scene.at_home(&["MSET", "k", "old", "l", "same"]);
        assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("old"));
        scene.lose_guard();
        assert!(wait_until(LONG, || scene.guards() == 0));
        // Nobody hears of this.
        scene.at_home(&["SET", "k", "new"]);
        scene.relay.refuse(false);
        scene.await_guard();
        // Copies are served again.
        assert_eq!(scene.copied(&mut client, &["GET", "l"]), bulk("same"));
        assert_eq!(client.call(&["GET", "k"]).unwrap(), bulk("new"));
    }
}

#[test]
fn the_operator_may_kill_every_connection_at_any_time() {
    let scene = Scene::start(&[]);
    let mut client = scene.client();
    for round in 0..5 {
        let value = round.to_string();
        scene.at_home(&["SET", "k", &value]);
        assert!(wait_until(LONG, || client.call(&["GET", "k"]).unwrap() == bulk(&value)));
        assert!(scene.home.kill_tcp_clients() > 0);
    }
    scene.await_guard();
    assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("4"));
}

#[test]
fn nothing_is_copied_where_home_refuses_to_track() {
    let home = RedisServer::start(&[]);
    home.connect().call(&["ACL", "SETUSER", "default", "-client|tracking"]).unwrap();
    let relay = Relay::start(&home.tcp());
    let strata = Strata::start(&relay.endpoint(), &[("l2.backoff_max", "100ms")]);
    let mut client = strata.connect();
    assert!(wait_until(LONG, || relay.accepted() > 3));
    for round in 0..20 {
        let value = round.to_string();
        home.connect().call(&["SET", "k", &value]).unwrap();
        let read = || client.call(&["GET", "k"]).is_ok_and(|v| !v.is_error() && v == bulk(&value));
        assert!(wait_until(LONG, read));
    }
    home.connect().call(&["ACL", "SETUSER", "default", "+client|tracking"]).unwrap();
    let scene = Scene { home, relay, strata };
    scene.await_guard();
    assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("19"));
}

#[test]
fn nothing_is_copied_before_tracking_is_confirmed() {
    use crate::support::Direction::Requests;
    let home = RedisServer::start(&[]);
    let relay = Relay::start(&home.tcp());
    relay.stall_part(Part::Guard, Requests, true);
    let strata = Strata::start(&relay.endpoint(), &[]);
    let scene = Scene { home, relay, strata };
    let mut client = scene.client();
    let ready = wait_until(LONG, || client.call(&["SET", "k", "v"]).unwrap() == ok());
    assert!(ready);
    for _ in 0..10 {
        assert_eq!(scene.read(&mut client, &["GET", "k"]), (bulk("v"), 1));
    }
    scene.relay.stall_part(Part::Guard, Requests, false);
    assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("v"));
}

#[test]
fn a_lane_whose_select_is_refused_carries_nothing() {
    let scene = Scene::start(&[("l2.backoff_max", "100ms")]);
    let mut plain = scene.client();
    plain.call(&["SET", "mine", "v"]).unwrap();
    scene.at_home(&["ACL", "SETUSER", "default", "-select"]);
    for client in [&mut scene.client(), &mut resp3(&scene.strata.endpoint())] {
        assert_eq!(client.call(&["SELECT", "3"]).unwrap(), ok());
        let refused = client.call(&["SET", "k", "3"]).unwrap();
        assert!(matches!(&refused, Value::Error(text) if text.contains("NOPERM")), "{refused:?}");
        assert_eq!(scene.at_home(&["EXISTS", "k"]), Value::Integer(0));
        // The others do not feel it.
        assert_eq!(plain.call(&["GET", "mine"]).unwrap(), bulk("v"));
        assert_eq!(plain.call(&["INCR", "counter"]).unwrap().integer().map(|n| n > 0), Some(true));
    }
    scene.at_home(&["ACL", "SETUSER", "default", "+select"]);
    let mut client = scene.client();
    assert_eq!(client.call(&["SELECT", "3"]).unwrap(), ok());
    assert!(wait_until(LONG, || client.call(&["SET", "k", "3"]).unwrap() == ok()));
    assert_eq!(scene.at_home(&["EXISTS", "k"]), Value::Integer(0));
}

#[test]
fn a_select_answered_busy_lets_nothing_land_in_database_0() {
    let scene = Scene::start_with(&[("busy-reply-threshold", "1")], "", &[("l2.backoff_max", "100ms")]);
    let mut client = scene.client();
    assert!(wait_until(LONG, || client.call(&["SELECT", "5"]).unwrap() == ok()));
    let mut script = scene.home.connect();
    script.send_raw(b"EVAL \"while true do end\" 0\r\n").unwrap();
    let busy = || {
        let pong = scene.home.connect().call(&["GET", "x"]);
        matches!(pong, Ok(Value::Error(text)) if text.starts_with("BUSY"))
    };
    assert!(wait_until(LONG, busy));
    let refused = client.call(&["SET", "k", "5"]).unwrap();
    assert!(refused.is_error(), "{refused:?}");
    scene.at_home(&["SCRIPT", "KILL"]);
    assert!(wait_until(LONG, || client.call(&["SET", "k", "5"]).unwrap() == ok()));
    assert_eq!(scene.at_home(&["EXISTS", "k"]), Value::Integer(0));
    let mut home = Client::connect(&scene.home.unix()).unwrap();
    home.call(&["SELECT", "5"]).unwrap();
    assert_eq!(home.call(&["GET", "k"]).unwrap(), bulk("5"));
}
