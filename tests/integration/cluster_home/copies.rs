//! Copies of a cluster's keys: served without home, and true whatever moves.

use std::time::{Duration, Instant};

use super::{LONG, PATIENT, good, text};
use crate::support::{Client, Cluster, Shape, Value, slot_of, wait_until};

const LEASE: Duration = Duration::from_secs(1);

/// How often a node ran a command.
fn calls(cluster: &Cluster, node: usize, command: &str) -> u64 {
    let info = cluster.node(node).connect().call(&["INFO", "commandstats"]).expect("home answers");
    let text = String::from_utf8_lossy(info.bytes().expect("text")).into_owned();
    let line =
        text.lines().find_map(|l| l.strip_prefix(&format!("cmdstat_{command}:calls=")).map(str::to_owned));
    line.and_then(|l| l.split(',').next()?.parse().ok()).unwrap_or(0)
}

/// Reads until a copy answers.
fn warm(cluster: &Cluster, client: &mut Client, node: usize, key: &str) {
    let copied = wait_until(LONG, || {
        let before = calls(cluster, node, "get");
        for _ in 0..20 {
            good(client, &["GET", key]);
        }
        calls(cluster, node, "get") == before
    });
    assert!(copied, "{key} is read at home again and again");
}

/// Reads until this is shown. What was `changed` by then may be shown as it was only to who asked within a lease of it.
fn seen(client: &mut Client, key: &str, value: &Value, changed: Instant) {
    loop {
        let asked = Instant::now();
        let shown = good(client, &["GET", key]);
        if shown == *value {
            return;
        }
        assert!(asked < changed + LEASE, "{key} is {shown:?} {:?} after it was changed", asked - changed);
    }
}

#[test]
fn copies_of_every_node_are_served_and_renewed() {
    let cluster = Cluster::start_as(Shape { replicas: 0, ..Shape::default() });
    let strata = cluster.strata(&[]);
    let mut client = strata.connect();
    for node in 0..3 {
        let key = cluster.key_of_node(node, "k");
        good(&mut client, &["SET", &key, "1"]);
        warm(&cluster, &mut client, node, &key);
        assert_eq!(good(&mut client, &["GET", &key]), text("1"));
        cluster.connect_to(&key).call(&["SET", &key, "2"]).expect("home answers");
        seen(&mut client, &key, &text("2"), Instant::now());
        warm(&cluster, &mut client, node, &key);
        good(&mut client, &["SET", &key, "3"]);
        assert_eq!(good(&mut client, &["GET", &key]), text("3"));
        warm(&cluster, &mut client, node, &key);
        cluster.node(node).connect().call(&["FLUSHALL"]).expect("home answers");
        seen(&mut client, &key, &Value::Nil, Instant::now());
    }
}

#[test]
fn copies_end_when_their_slot_moves() {
    let cluster = Cluster::start_as(Shape { replicas: 0, ..Shape::default() });
    let strata = cluster.strata(&[]);
    let mut client = strata.connect();
    let present = cluster.key_of_node(0, "k");
    let absent = format!("{{{present}}}absent");
    good(&mut client, &["SET", &present, "1"]);
    warm(&cluster, &mut client, 0, &present);
    warm(&cluster, &mut client, 0, &absent);
    cluster.move_slot(slot_of(present.as_bytes()), 1);
    let mut home = cluster.node(1).connect();
    for key in [&present, &absent] {
        assert_eq!(home.call(&["SET", key, "2"]).expect("home answers"), Value::Simple("OK".into()));
    }
    let changed = Instant::now();
    for key in [&present, &absent] {
        seen(&mut client, key, &text("2"), changed);
        warm(&cluster, &mut client, 1, key);
    }
}

#[test]
fn what_is_absent_may_be_written_while_its_slot_moves() {
    let cluster = Cluster::start_as(Shape { replicas: 0, ..Shape::default() });
    let strata = cluster.strata(&[]);
    let mut client = strata.connect();
    let key = cluster.key_of_node(0, "k");
    warm(&cluster, &mut client, 0, &key);
    cluster.begin_move(slot_of(key.as_bytes()), 1);
    let mut home = cluster.node(1).connect();
    good(&mut home, &["ASKING"]);
    good(&mut home, &["SET", &key, "1"]);
    seen(&mut client, &key, &text("1"), Instant::now());
    // What is read by the way is not kept.
    good(&mut home, &["ASKING"]);
    good(&mut home, &["SET", &key, "2"]);
    assert_eq!(good(&mut client, &["GET", &key]), text("2"));
}

#[test]
fn a_master_that_stands_still_vouches_for_a_lease_and_no_longer() {
    let mut cluster = Cluster::start(&[]);
    let strata = cluster.strata(&[PATIENT]);
    let mut client = strata.connect();
    let (key, other) = (cluster.key_of_node(0, "k"), cluster.key_of_node(1, "k"));
    good(&mut client, &["SET", &key, "old"]);
    good(&mut client, &["SET", &other, "1"]);
    cluster.wait_in_step(0);
    warm(&cluster, &mut client, 0, &key);
    warm(&cluster, &mut client, 1, &other);
    cluster.pause(0);
    assert_eq!(good(&mut client, &["GET", &key]), text("old"));
    cluster.wait_promoted(3);
    cluster.node(3).connect().call(&["SET", &key, "new"]).expect("home answers");
    // The lease ran out long ago.
    let mut fresh = strata.connect();
    assert_eq!(good(&mut fresh, &["GET", &key]), text("new"));
    warm(&cluster, &mut client, 1, &other);
    cluster.resume(0);
    cluster.wait_ok();
    assert_eq!(good(&mut client, &["GET", &key]), text("new"));
    warm(&cluster, &mut client, 3, &key);
}
