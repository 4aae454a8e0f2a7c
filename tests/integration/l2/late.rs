//! What comes late, from L2 or from home, and what was lost on the way: each test fails when its rule is taken out.

use std::thread::sleep;
use std::time::Duration;

use super::rules::{GUARD, LANE, LINK, with_old};
use super::{LONG, Scene, bulk};
use crate::support::Direction::{Replies, Requests};
use crate::support::{Client, wait_until};

/// A client of process 0 that waits for L2's answer about `k`, which is `old` and on its way.
fn asked(scene: &Scene) -> Client {
    let mut client = scene.client(0);
    // Its lane is there.
    client.call(&["GET", "other"]).unwrap();
    scene.nodes[0].to_l2.stall_part(LANE, Replies, true);
    let before = scene.l2.calls("hget");
    client.send_raw(b"GET k\r\n").unwrap();
    assert!(wait_until(LONG, || scene.l2.calls("hget") > before));
    client
}

#[test]
fn an_answer_of_l2_from_before_a_change_that_was_announced_is_not_used() {
    let scene = Scene::start(1, &[]);
    with_old(&scene);
    let mut client = asked(&scene);
    scene.set("k", "new");
    scene.nodes[0].to_l2.stall_part(LANE, Replies, false);
    assert_eq!(client.read().unwrap(), bulk("new"));
}

#[test]
fn an_answer_of_l2_that_comes_after_the_lease_is_not_used() {
    let scene = Scene::start(1, &[("l3.lease", "1s")]);
    with_old(&scene);
    // Until it was asked within a lease.
    let mut client = asked(&scene);
    scene.nodes[0].to_home.stall_part(GUARD, Replies, true);
    scene.at_home(&["SET", "k", "new"]);
    sleep(Duration::from_millis(1050));
    scene.nodes[0].to_l2.stall_part(LANE, Replies, false);
    assert_eq!(client.read().unwrap(), bulk("new"));
    scene.nodes[0].to_home.stall_part(GUARD, Replies, false);
}

/// Fills are numbered by epoch: what is filled into an older one could pass for older than it is.
#[test]
fn a_fill_of_an_older_epoch_is_refused() {
    let mut scene = Scene::start(1, &[]);
    scene.set("k", "v");
    let mut slow = scene.client(0);
    slow.call(&["GET", "other"]).unwrap();
    scene.nodes[0].to_home.stall_part(LANE, Replies, true);
    let before = scene.home.calls("get");
    slow.send_raw(b"GET k\r\n").unwrap();
    assert!(wait_until(LONG, || scene.home.calls("get") > before));
    scene.add(&[]);
    scene.nodes[1].await_vouched();
    scene.nodes[0].to_home.stall_part(LANE, Replies, false);
    assert_eq!(slow.read().unwrap(), bulk("v"));
    assert!(wait_until(LONG, || scene.nodes[0].stat("refused") == 1));
    assert_eq!(scene.copies("k"), 0);
    assert_eq!(scene.read_in_l2(1, &["GET", "k"]), bulk("v"));
}

/// Nobody knows whether L2 has heard what was under way.
#[test]
fn a_connection_that_was_lost_with_deletes_under_way_begins_an_epoch() {
    let mut scene = Scene::start(2, &[]);
    with_old(&scene);
    // Nobody else deletes it.
    scene.nodes[0].strata.pause();
    let to_l2 = &scene.nodes[1].to_l2;
    to_l2.stall_part(LINK, Requests, true);
    let chunks = to_l2.chunks(LINK, Requests);
    scene.at_home(&["SET", "k", "new"]);
    assert!(wait_until(LONG, || to_l2.chunks(LINK, Requests) > chunks));
    assert!(wait_until(LONG, || scene.nodes[1].stat("deletes_outstanding") == 1));
    let epochs = scene.nodes[1].stat("epochs");
    to_l2.cut_part(LINK);
    to_l2.stall_part(LINK, Requests, false);
    assert!(wait_until(LONG, || scene.nodes[1].stat("deletes_outstanding") == 0));
    assert_eq!(scene.copies("k"), 1, "somebody has deleted it");
    scene.nodes[1].await_vouched();
    for _ in 0..20 {
        assert_eq!(scene.client(1).call(&["GET", "k"]).unwrap(), bulk("new"));
    }
    assert_eq!(scene.read_in_l2(1, &["GET", "k"]), bulk("new"));
    assert!(scene.nodes[1].stat("epochs") > epochs);
    scene.nodes[0].strata.resume();
}

/// What is known of one run of L2 says nothing of the next, also as long as its end was not noticed.
#[test]
fn lanes_lead_to_the_run_of_the_server_that_deletes_went_to() {
    let mut scene = Scene::start_with(1, &[("dbfilename", "l2.rdb")], &[]);
    with_old(&scene);
    scene.l2.connect().call(&["SAVE"]).unwrap();
    scene.set("k", "new");
    assert!(!scene.knows("k"));
    // It does not hear that the server is gone.
    let to_l2 = &scene.nodes[0].to_l2;
    to_l2.stall_part(LINK, Replies, true);
    let chunks = to_l2.chunks(LINK, Replies);
    assert!(wait_until(LONG, || to_l2.chunks(LINK, Replies) > chunks));
    scene.l2.kill();
    scene.l2.start_again();
    assert_eq!(scene.copies("k"), 1, "the old copy is not back");
    let mut client = scene.client(0);
    for _ in 0..20 {
        assert_eq!(client.call(&["GET", "k"]).unwrap(), bulk("new"));
        sleep(Duration::from_millis(5));
    }
    scene.nodes[0].to_l2.stall_part(LINK, Replies, false);
    scene.nodes[0].await_vouched();
    assert_eq!(scene.read_in_l2(0, &["GET", "k"]), bulk("new"));
}
