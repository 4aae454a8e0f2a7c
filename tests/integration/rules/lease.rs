//! Rule 7: copies are served for no longer than the lease after home last answered, whatever is silent.

use std::io::ErrorKind;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{LONG, SHORT, Scene, bulk};
use crate::support::Direction::Replies;
use crate::support::{Client, Part, wait_until};

const LEASE: Duration = Duration::from_secs(1);

/// Reads `k` until it is new; no read that is sent a lease after `written` may say anything else.
fn old_ends_with_the_lease(client: &mut Client, written: Instant) {
    loop {
        let asked = Instant::now();
        let value = client.call(&["GET", "k"]).unwrap();
        if value == bulk("new") {
            return;
        }
        assert!(asked < written + LEASE, "{value:?} {:?} after the write", asked - written);
        sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_guard_that_falls_silent_vouches_for_no_longer_than_the_lease() {
    let scene = Scene::start(&[]);
    let mut client = scene.client();
    scene.at_home(&["SET", "k", "old"]);
    assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("old"));
    scene.relay.stall_part(Part::Guard, Replies, true);
    scene.at_home(&["SET", "k", "new"]);
    old_ends_with_the_lease(&mut client, Instant::now());
}

#[test]
fn the_lease_counts_from_the_sending_of_the_probe() {
    let scene = Scene::start(&[]);
    let mut client = scene.client();
    for _ in 0..2 {
        scene.relay.delay_part(Part::Guard, Duration::ZERO);
        scene.at_home(&["SET", "k", "old"]);
        assert!(wait_until(LONG, || client.call(&["GET", "k"]).unwrap() == bulk("old")));
        assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("old"));
        scene.relay.delay_part(Part::Guard, Duration::from_millis(350));
        // The relay has an answer that it will hand over late; what comes behind it is held.
        let answers = scene.relay.chunks(Part::Guard, Replies);
        assert!(wait_until(LONG, || scene.relay.chunks(Part::Guard, Replies) > answers));
        sleep(Duration::from_millis(5));
        scene.at_home(&["SET", "k", "new"]);
        let written = Instant::now();
        sleep(Duration::from_millis(60));
        scene.relay.stall_part(Part::Guard, Replies, true);
        old_ends_with_the_lease(&mut client, written);
        scene.relay.stall_part(Part::Guard, Replies, false);
    }
}

#[test]
fn a_home_that_stops_is_waited_for_and_its_copies_are_good_again_when_it_goes_on() {
    let mut scene = Scene::start(&[("l2.lease", "500ms")]);
    let mut client = scene.client();
    scene.at_home(&["SET", "k", "v"]);
    assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("v"));
    let connections = scene.relay.accepted();
    scene.home.pause();
    sleep(Duration::from_millis(510));
    client.set_patience(SHORT);
    assert_eq!(client.call(&["GET", "k"]).unwrap_err().kind(), ErrorKind::TimedOut);
    scene.home.resume();
    client.set_patience(LONG);
    assert_eq!(client.read().unwrap(), bulk("v"));
    assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("v"));
    assert_eq!(scene.relay.accepted(), connections);
}

#[test]
fn a_process_that_was_stopped_for_long_does_not_serve_from_before() {
    let mut scene = Scene::start(&[]);
    let mut client = scene.client();
    scene.at_home(&["SET", "k", "old"]);
    assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("old"));
    // The news is still on its way when the process goes on.
    scene.relay.stall_part(Part::Guard, Replies, true);
    scene.strata.pause();
    scene.at_home(&["SET", "k", "new"]);
    sleep(LEASE);
    client.send_raw(b"GET k\r\n").unwrap();
    scene.strata.resume();
    assert_eq!(client.read().unwrap(), bulk("new"));
}

/// A reply that need not wait, because no copy is served, may be newer than copies that are served again later.
#[test]
fn a_lease_that_is_renewed_late_does_not_take_a_client_back_in_time() {
    let scene = Scene::start(&[("server.workers", "1")]);
    let mut client = scene.client();
    scene.at_home(&["HSET", "k", "f1", "old", "f2", "old"]);
    scene.at_home(&["SET", "other", "v"]);
    for round in 0..6 {
        let (first, second) = (format!("a{round}"), format!("b{round}"));
        scene.relay.delay_part(Part::Guard, Duration::ZERO);
        scene.copied(&mut client, &["HGET", "k", "f1"]);
        scene.copied(&mut client, &["GET", "other"]);
        // Of each lease little is left when the answer to its probe comes.
        scene.relay.delay_part(Part::Guard, Duration::from_millis(300));
        // The lease is over; at some moment of the next probe's way the change is made.
        assert!(wait_until(LONG, || scene.read(&mut client, &["GET", "other"]).1 == 1));
        sleep(Duration::from_millis(100 * round));
        scene.at_home(&["HSET", "k", "f1", &first, "f2", &second]);
        assert_eq!(client.call(&["HGET", "k", "f2"]).unwrap(), bulk(&second));
        let end = Instant::now() + Duration::from_millis(700);
        while Instant::now() < end {
            assert_eq!(client.call(&["HGET", "k", "f1"]).unwrap(), bulk(&first));
            sleep(Duration::from_millis(2));
        }
    }
}
