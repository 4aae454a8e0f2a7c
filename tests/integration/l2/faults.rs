//! An L2 that is slow, away or full holds nobody up, and is used again by itself.

use std::time::{Duration, Instant};

use super::{LONG, Scene, bulk};
use crate::support::{Client, Direction, Part, wait_until};

/// So that many who wait so long are told from few.
const SLOW: [(&str, &str); 1] = [("l2.answer_within", "500ms")];

/// How long 200 reads take one after the other.
fn time(client: &mut Client, expected: &str) -> Duration {
    let began = Instant::now();
    for _ in 0..200 {
        assert_eq!(client.call(&["GET", "k"]).unwrap(), bulk(expected));
    }
    began.elapsed()
}

#[test]
fn an_l2_that_is_killed_is_passed_by_and_used_again() {
    let mut scene = Scene::start(2, &SLOW);
    scene.set("k", "v");
    scene.fill(0, &["GET", "k"]);
    scene.l2.kill();
    let mut client = scene.client(1);
    assert!(time(&mut client, "v") < LONG);
    assert!(wait_until(LONG, || scene.nodes[1].state() == "down"));
    scene.at_home(&["SET", "k", "w"]);
    assert!(wait_until(LONG, || client.call(&["GET", "k"]).unwrap() == bulk("w")));
    scene.l2.start_again();
    scene.nodes.iter().for_each(|member| member.await_vouched());
    scene.fill(0, &["GET", "k"]);
    assert_eq!(scene.read_in_l2(1, &["GET", "k"]), bulk("w"));
}

#[test]
fn an_l2_that_stops_is_passed_by() {
    let mut scene = Scene::start(2, &SLOW);
    scene.set("k", "v");
    scene.fill(0, &["GET", "k"]);
    assert_eq!(scene.read_in_l2(1, &["GET", "k"]), bulk("v"));
    scene.l2.pause();
    let mut client = scene.client(1);
    // One waits; the others do not.
    assert!(time(&mut client, "v") < LONG);
    assert_ne!(scene.nodes[1].state(), "up");
    // Nor later, when the connection of deletes is given up.
    assert!(wait_until(LONG, || scene.nodes[1].state() == "down"));
    assert!(time(&mut client, "v") < LONG);
    assert_ne!(scene.nodes[1].state(), "up");
    scene.at_home(&["SET", "k", "w"]);
    assert!(wait_until(LONG, || client.call(&["GET", "k"]).unwrap() == bulk("w")));
    scene.l2.resume();
    scene.nodes.iter().for_each(|member| member.await_vouched());
    assert_eq!(client.call(&["GET", "k"]).unwrap(), bulk("w"));
    scene.fill(0, &["GET", "k"]);
    assert_eq!(scene.read_in_l2(1, &["GET", "k"]), bulk("w"));
}

#[test]
fn an_l2_that_is_away_at_the_start_is_used_when_it_comes() {
    let mut scene = Scene::start(1, &[]);
    scene.nodes[0].strata.kill();
    scene.l2.kill();
    scene.nodes[0].strata.start_again();
    scene.at_home(&["SET", "k", "v"]);
    assert!(time(&mut scene.client(0), "v") < LONG);
    scene.l2.start_again();
    scene.nodes[0].await_vouched();
    assert_eq!(scene.read_in_l2(0, &["GET", "k"]), bulk("v"));
}

#[test]
fn an_l2_without_room_evicts_and_stays_true() {
    let options = [("maxmemory", "2mb"), ("maxmemory-policy", "allkeys-lru")];
    let scene = Scene::start_with(2, &options, &[]);
    let mut clients = [scene.client(0), scene.client(1)];
    let filler = "x".repeat(900);
    let mut home = scene.home.connect();
    let name = |key: usize| format!("k{key}");
    for key in 0..2000 {
        home.call(&["SET", &name(key), &format!("old{filler}")]).unwrap();
    }
    scene.quiet();
    for round in 0..3 {
        for key in 0..2000 {
            clients[(key + round) % 2].call(&["GET", &name(key)]).unwrap();
            if key % 5 == 0 {
                home.call(&["SET", &name((key + 7) % 2000), &format!("{round}{filler}")]).unwrap();
            }
        }
    }
    assert_ne!(scene.l2.info("stats")["evicted_keys"], "0");
    for key in 0..2000 {
        let expected = home.call(&["GET", &name(key)]).unwrap();
        for client in &mut clients {
            // What was written last may not have been announced yet.
            let seen = wait_until(LONG, || client.call(&["GET", &name(key)]).unwrap() == expected);
            assert!(seen, "{}", name(key));
        }
    }
}

#[test]
fn an_l2_that_refuses_to_store_is_no_error_of_clients() {
    let options = [("maxmemory", "1500kb"), ("maxmemory-policy", "noeviction")];
    let scene = Scene::start_with(1, &options, &[]);
    let filler = "x".repeat(900);
    let mut client = scene.client(0);
    for n in 0..3000 {
        let (key, value) = (format!("k{n}"), format!("{n}{filler}"));
        scene.at_home(&["SET", &key, &value]);
        assert_eq!(client.call(&["GET", &key]).unwrap(), bulk(&value));
    }
    assert_eq!(client.call(&["GET", "k0"]).unwrap(), bulk(&format!("0{filler}")));
}

/// Copies are not read while the connection by which they are deleted is silent.
#[test]
fn a_silent_connection_of_deletes_ends_the_epoch() {
    let scene = Scene::start(1, &SLOW);
    scene.set("k", "old");
    scene.fill(0, &["GET", "k"]);
    let epochs = scene.nodes[0].stat("epochs");
    scene.nodes[0].to_l2.stall_part(Part::Other, Direction::Replies, true);
    assert!(wait_until(LONG, || scene.nodes[0].state() != "up"));
    scene.at_home(&["SET", "k", "new"]);
    assert!(wait_until(LONG, || scene.client(0).call(&["GET", "k"]).unwrap() == bulk("new")));
    scene.nodes[0].to_l2.stall_part(Part::Other, Direction::Replies, false);
    assert!(wait_until(LONG, || scene.nodes[0].state() == "up"));
    assert!(scene.nodes[0].stat("epochs") >= epochs);
    assert_eq!(scene.read_in_l2(0, &["GET", "k"]), bulk("new"));
}

#[test]
fn an_l2_that_was_made_to_forget_the_scripts_gets_them_again() {
    let scene = Scene::start(1, &[]);
    scene.set("k", "v");
    scene.l2.connect().call(&["SCRIPT", "FLUSH"]).unwrap();
    assert_eq!(scene.read_in_l2(0, &["GET", "k"]), bulk("v"));
}
