//! Why copies in L2 are true: each test fails when the rule it is about is taken out.

use std::thread::sleep;
use std::time::Duration;

use super::{LONG, SHORT, Scene, bulk, ok};
use crate::support::Direction::{Replies, Requests};
use crate::support::{Client, Part, Value, wait_until};

/// What announces to a process, and what it reads home by.
pub(super) const GUARD: Part = Part::Guard;
pub(super) const LANE: Part = Part::Lane2;
/// By what a process deletes in L2. Copies are read there by lanes.
pub(super) const LINK: Part = Part::Other;

/// A key that L2 has as `old` and believes.
pub(super) fn with_old(scene: &Scene) {
    scene.set("k", "old");
    scene.fill(0, &["GET", "k"]);
    for node in 0..scene.nodes.len() {
        assert_eq!(scene.read_in_l2(node, &["GET", "k"]), bulk("old"));
    }
}

#[test]
fn what_home_announces_is_deleted_in_l2() {
    let scene = Scene::start(2, &[]);
    with_old(&scene);
    scene.at_home(&["SET", "k", "new"]);
    assert!(wait_until(LONG, || scene.copies("k") == 0 || scene.read_in_l2(1, &["GET", "k"]) == bulk("new")));
    assert_eq!(scene.client(0).call(&["GET", "k"]).unwrap(), bulk("new"));
    assert_eq!(scene.client(1).call(&["GET", "k"]).unwrap(), bulk("new"));
}

/// A process does not read from L2 what it knows to have changed, as long as it may still be there.
#[test]
fn a_delete_that_l2_has_not_confirmed_keeps_from_reading() {
    let mut scene = Scene::start(2, &[]);
    with_old(&scene);
    // Nobody else deletes it.
    scene.nodes[0].strata.pause();
    scene.nodes[1].to_l2.stall_part(LINK, Requests, true);
    scene.at_home(&["SET", "k", "new"]);
    assert!(wait_until(LONG, || scene.nodes[1].stat("deletes_outstanding") > 0));
    let mut client = scene.client(1);
    for _ in 0..20 {
        assert_eq!(client.call(&["GET", "k"]).unwrap(), bulk("new"));
        sleep(Duration::from_millis(2));
    }
    assert_eq!(scene.copies("k"), 1, "somebody has deleted it");
    scene.nodes[1].to_l2.stall_part(LINK, Requests, false);
    scene.nodes[0].strata.resume();
}

/// Reads `k` by way of process 0, whose reply is on its way from home when `k` changes and process 1 deletes it.
fn fill_late(scene: &mut Scene, paused: bool) {
    scene.set("k", "old");
    let mut slow = scene.client(0);
    // So that its lane is there.
    slow.call(&["GET", "other"]).unwrap();
    scene.nodes[0].to_home.stall_part(LANE, Replies, true);
    let before = scene.home.calls("get");
    slow.send_raw(b"GET k\r\n").unwrap();
    assert!(wait_until(LONG, || scene.home.calls("get") > before));
    // It has been told nothing when it fills.
    scene.nodes[0].to_home.stall_part(GUARD, Replies, true);
    if paused {
        scene.nodes[0].strata.pause();
    }
    scene.at_home(&["SET", "k", "new"]);
    assert!(wait_until(LONG, || !scene.knows("k")), "nobody deletes it");
    if paused {
        // Longer than the lease.
        sleep(Duration::from_millis(1200));
        scene.nodes[0].strata.resume();
    }
    scene.nodes[0].to_home.stall_part(LANE, Replies, false);
    assert_eq!(slow.read().unwrap(), bulk("old"));
    let member = &scene.nodes[0];
    assert!(wait_until(LONG, || member.stat("refused") + member.stat("abandoned") > 0));
    assert_eq!(scene.copies("k"), 0, "what came late was filled");
    assert_eq!(scene.client(1).call(&["GET", "k"]).unwrap(), bulk("new"));
    scene.nodes[0].to_home.stall_part(GUARD, Replies, false);
    assert!(wait_until(LONG, || scene.client(0).call(&["GET", "k"]).unwrap() == bulk("new")));
}

#[test]
fn a_fill_whose_nonce_was_deleted_is_refused() {
    let mut scene = Scene::start(2, &[]);
    fill_late(&mut scene, false);
    assert_eq!(scene.nodes[0].stat("refused"), 1);
}

#[test]
fn a_process_that_was_stopped_past_its_lease_fills_nothing() {
    let mut scene = Scene::start(2, &[("l3.lease", "1s")]);
    fill_late(&mut scene, true);
}

/// The nonce is in the copy's own hash: when room is made in L2, nonce and copies go together.
#[test]
fn a_nonce_that_was_evicted_takes_the_fill_with_it() {
    let scene = Scene::start(1, &[]);
    scene.set("k", "old");
    let mut slow = scene.client(0);
    slow.call(&["GET", "other"]).unwrap();
    scene.nodes[0].to_home.stall_part(LANE, Replies, true);
    slow.send_raw(b"GET k\r\n").unwrap();
    assert!(wait_until(LONG, || scene.knows("k")));
    scene.l2.connect().call(&["FLUSHALL"]).unwrap();
    scene.nodes[0].to_home.stall_part(LANE, Replies, false);
    assert_eq!(slow.read().unwrap(), bulk("old"));
    assert!(wait_until(LONG, || scene.nodes[0].stat("refused") == 1));
    assert_eq!(scene.copies("k"), 0);
    // A missing epoch is replaced by a random one.
    assert_eq!(scene.read_in_l2(0, &["GET", "k"]), bulk("old"));
}

/// Whoever was not told of changes believes nothing that was in L2 then.
#[test]
fn coverage_that_was_lost_begins_an_epoch() {
    let mut scene = Scene::start(2, &[]);
    with_old(&scene);
    scene.nodes[0].strata.pause();
    scene.nodes[1].to_home.refuse(true);
    scene.nodes[1].to_home.cut_part(GUARD);
    assert!(wait_until(LONG, || scene.nodes[1].state() == "down"));
    scene.at_home(&["SET", "k", "new"]);
    scene.nodes[1].to_home.refuse(false);
    scene.nodes[1].await_vouched();
    let mut client = scene.client(1);
    for _ in 0..20 {
        assert_eq!(client.call(&["GET", "k"]).unwrap(), bulk("new"));
    }
    assert_eq!(scene.read_in_l2(1, &["GET", "k"]), bulk("new"));
    scene.nodes[0].strata.resume();
    assert!(wait_until(LONG, || scene.client(0).call(&["GET", "k"]).unwrap() == bulk("new")));
    assert_eq!(scene.read_in_l2(0, &["GET", "k"]), bulk("new"));
}

#[test]
fn all_processes_gone_leave_nothing_that_the_next_believes() {
    let mut scene = Scene::start(2, &[]);
    with_old(&scene);
    for member in &mut scene.nodes {
        member.strata.kill();
    }
    scene.at_home(&["SET", "k", "new"]);
    assert_eq!(scene.copies("k"), 1);
    for node in 0..2 {
        scene.nodes[node].strata.start_again();
        scene.nodes[node].await_vouched();
        assert_eq!(scene.client(node).call(&["GET", "k"]).unwrap(), bulk("new"));
        assert_eq!(scene.read_in_l2(node, &["GET", "k"]), bulk("new"));
    }
}

/// Others go on with what they are told of; the epoch of a process that starts is for all that is filled from then on.
#[test]
fn a_process_that_starts_costs_the_others_nothing_but_fills() {
    let mut scene = Scene::start(2, &[]);
    with_old(&scene);
    scene.nodes[1].strata.kill();
    scene.nodes[1].strata.start_again();
    scene.nodes[1].await_vouched();
    let reads = scene.home.calls("get");
    assert_eq!(scene.read_in_l2(0, &["GET", "k"]), bulk("old"));
    assert_eq!(scene.home.calls("get"), reads);
    // What the new one fills, the old one believes.
    assert_eq!(scene.client(1).call(&["GET", "k"]).unwrap(), bulk("old"));
    assert_eq!(scene.read_in_l2(0, &["GET", "k"]), bulk("old"));
    assert_eq!(scene.read_in_l2(1, &["GET", "k"]), bulk("old"));
}

/// What L2 forgot to delete because it was started from an older snapshot.
#[test]
fn a_server_that_was_started_anew_is_not_believed() {
    let mut scene = Scene::start_with(1, &[("dbfilename", "l2.rdb")], &[]);
    with_old(&scene);
    scene.l2.connect().call(&["SAVE"]).unwrap();
    scene.at_home(&["SET", "k", "new"]);
    assert!(wait_until(LONG, || !scene.knows("k")));
    scene.l2.kill();
    scene.l2.start_again();
    assert_eq!(scene.copies("k"), 1, "the old copy is not back");
    scene.nodes[0].await_vouched();
    let mut client = scene.client(0);
    for _ in 0..20 {
        assert_eq!(client.call(&["GET", "k"]).unwrap(), bulk("new"));
    }
    assert_eq!(scene.read_in_l2(0, &["GET", "k"]), bulk("new"));
}

/// L2 has not been told yet of what a client of this process wrote, and been told was written.
#[test]
fn a_write_is_seen_at_once_by_all_clients_of_its_process() {
    let mut scene = Scene::start(2, &[]);
    with_old(&scene);
    scene.nodes[0].strata.pause();
    scene.nodes[1].to_home.stall_part(GUARD, Replies, true);
    let (mut writer, mut reader) = (scene.client(1), scene.client(1));
    assert_eq!(writer.call(&["SET", "k", "new"]).unwrap(), ok());
    assert_eq!(scene.copies("k"), 1, "somebody has deleted it");
    assert_eq!(told(&scene, &mut reader), bulk("new"));
    assert_eq!(writer.call(&["GET", "k"]).unwrap(), bulk("new"));
    scene.nodes[0].strata.resume();
}

/// What `GET k` by way of process 1 says, whose guard is silent: at once, or else when it speaks again.
fn told(scene: &Scene, client: &mut Client) -> Value {
    client.set_patience(SHORT);
    let at_once = client.call(&["GET", "k"]).ok();
    client.set_patience(LONG);
    scene.nodes[1].to_home.stall_part(GUARD, Replies, false);
    at_once.unwrap_or_else(|| client.read().unwrap())
}

/// L2 may be older than what home said to another request of the key: one that is copied, one that is not, one of
/// several keys, and one in a transaction.
#[test]
fn what_home_said_of_a_key_is_not_followed_by_what_l2_said_before() {
    let mut scene = Scene::start(2, &[]);
    let requests = ["STRLEN k", "DUMP k", "MGET k other", "MULTI\r\nGETRANGE k 0 -1\r\nEXEC"];
    for request in requests {
        with_old(&scene);
        // Else its copies had home's reply wait.
        scene.nodes[1].forgets();
        scene.nodes[0].strata.pause();
        scene.nodes[1].to_home.stall_part(GUARD, Replies, true);
        scene.at_home(&["SET", "k", "new!"]);
        let mut client = scene.client(1);
        client.send_raw(format!("{request}\r\n").as_bytes()).unwrap();
        for _ in request.lines() {
            let reply = client.read().expect(request);
            assert!(!reply.is_error(), "{request}");
        }
        assert_eq!(told(&scene, &mut client), bulk("new!"), "{request}");
        scene.nodes[0].strata.resume();
    }
}

/// What was read from L2 and waits to become a copy in L1 is refused when its key is announced.
#[test]
fn what_comes_from_l2_is_no_copy_of_l1_before_the_guard_confirms() {
    let mut scene = Scene::start(2, &[("l1.ttl", "1m")]);
    scene.set("k", "old");
    scene.client(0).call(&["GET", "k"]).unwrap();
    assert!(wait_until(LONG, || scene.copies("k") == 1));
    scene.nodes[0].strata.pause();
    scene.nodes[1].to_home.stall_part(GUARD, Replies, true);
    scene.at_home(&["SET", "k", "new"]);
    // Nobody has told this process yet.
    let mut client = scene.client(1);
    assert_eq!(client.call(&["GET", "k"]).unwrap(), bulk("old"));
    scene.nodes[1].to_home.stall_part(GUARD, Replies, false);
    assert!(wait_until(LONG, || client.call(&["GET", "k"]).unwrap() == bulk("new")));
    for _ in 0..50 {
        assert_eq!(client.call(&["GET", "k"]).unwrap(), bulk("new"));
    }
    scene.nodes[0].strata.resume();
}

#[test]
fn a_lease_that_ran_out_ends_reading_read_in_l2() {
    let mut scene = Scene::start(2, &[("l3.lease", "1s")]);
    with_old(&scene);
    scene.nodes[0].strata.pause();
    scene.nodes[1].to_home.stall_part(GUARD, Replies, true);
    scene.at_home(&["SET", "k", "new"]);
    sleep(Duration::from_millis(1050));
    let mut client = scene.client(1);
    for _ in 0..20 {
        assert_eq!(client.call(&["GET", "k"]).unwrap(), bulk("new"));
    }
    scene.nodes[1].to_home.stall_part(GUARD, Replies, false);
    scene.nodes[0].strata.resume();
}

/// SWAPDB announces nothing, FLUSHALL no key.
#[test]
fn what_changes_everything_begins_an_epoch() {
    let scene = Scene::start(1, &[]);
    with_old(&scene);
    let mut client = scene.client(0);
    assert_eq!(client.call(&["SWAPDB", "0", "1"]).unwrap(), ok());
    assert_eq!(client.call(&["GET", "k"]).unwrap(), Value::Nil);
    assert_eq!(client.call(&["SWAPDB", "0", "1"]).unwrap(), ok());
    assert_eq!(scene.read_in_l2(0, &["GET", "k"]), bulk("old"));
    scene.at_home(&["FLUSHALL"]);
    assert!(wait_until(LONG, || client.call(&["GET", "k"]).unwrap() == Value::Nil));
    for _ in 0..20 {
        assert_eq!(client.call(&["GET", "k"]).unwrap(), Value::Nil);
    }
}

/// L1's copies of a key may be older than what L2 has just been given.
#[test]
fn what_is_newer_in_l2_than_announced_is_not_followed_by_l1() {
    let scene = Scene::start(2, &[("l1.ttl", "1m")]);
    scene.set("k", "old");
    let mut client = scene.client(1);
    // L1 has its length.
    assert!(wait_until(LONG, || {
        let before = scene.home.calls("strlen") + scene.nodes[1].stat("hits");
        client.call(&["STRLEN", "k"]).unwrap();
        before == scene.home.calls("strlen") + scene.nodes[1].stat("hits")
    }));
    scene.nodes[1].to_home.stall_part(GUARD, Replies, true);
    let deletes = scene.nodes[0].stat("deletes");
    scene.at_home(&["SET", "k", "new!"]);
    assert!(wait_until(LONG, || scene.nodes[0].stat("deletes") > deletes), "process 0 does not delete it");
    scene.quiet();
    assert_eq!(scene.client(0).call(&["GET", "k"]).unwrap(), bulk("new!"));
    assert!(wait_until(LONG, || scene.copies("k") == 1));
    client.set_patience(SHORT);
    let told = client.call(&["GET", "k"]).ok();
    if let Some(value) = &told {
        assert_eq!(*value, bulk("new!"));
        assert_eq!(client.call(&["STRLEN", "k"]).unwrap(), Value::Integer(4));
    }
    scene.nodes[1].to_home.stall_part(GUARD, Replies, false);
    client.set_patience(LONG);
    if told.is_none() {
        assert_eq!(client.read().unwrap(), bulk("new!"));
    }
    assert_eq!(client.call(&["STRLEN", "k"]).unwrap(), Value::Integer(4));
}
