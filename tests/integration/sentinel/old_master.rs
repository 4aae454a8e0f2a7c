//! A server that was master, and still answers.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{LONG, bulk, connections, ok, reads, writes};
use crate::support::{Sentinels, Value, wait_until};

const LEASE: Duration = Duration::from_secs(1);

/// It wakes up as a master that knows of no other, and goes on to be one until sentinels tell it otherwise.
#[test]
fn who_wakes_up_as_an_old_master_is_never_used_again() {
    let mut group = Sentinels::start(&[]);
    let strata = group.strata(&[("l3.request_timeout", "60s")]);
    let mut client = strata.connect();
    assert!(writes(&mut client, "k", "old") && reads(&mut client, "k", "old"));
    group.pause(0);
    group.wait_switched(0);
    let mut client = strata.connect();
    assert!(writes(&mut client, "k", "new"));
    group.resume(0);
    let until = Instant::now() + Duration::from_secs(4);
    let mut as_master = 0;
    while Instant::now() < until {
        let mut old = group.server(0).connect();
        let role = old.call(&["ROLE"]).unwrap().elements().unwrap()[0].clone();
        as_master += usize::from(role == bulk("master"));
        assert_eq!(client.call(&["GET", "k"]).unwrap(), bulk("new"));
        let mut another = strata.connect();
        assert_eq!(another.call(&["GET", "k"]).unwrap(), bulk("new"));
        assert_eq!(another.call(&["SET", "other", "x"]).unwrap(), ok());
        sleep(Duration::from_millis(10));
    }
    assert!(as_master > 0, "the old master has to be one for a while");
    assert_eq!(connections(&group, 0), 0);
    assert!(wait_until(LONG, || group.server(0).info("replication")["role"] == "slave"));
    assert_eq!(group.server(1).connect().call(&["GET", "other"]).unwrap(), bulk("x"));
}

/// Copies of what the old master said end with the lease at the latest.
#[test]
fn copies_do_not_outlive_the_master_they_came_from() {
    let mut group = Sentinels::start(&[]);
    let strata = group.strata(&[("l3.request_timeout", "60s")]);
    let mut client = strata.connect();
    assert!(writes(&mut client, "k", "old"));
    let reads_at_home = group.server(0).calls("get");
    assert!(wait_until(LONG, || {
        let before = group.server(0).calls("get");
        reads(&mut client, "k", "old") && group.server(0).calls("get") == before && before > reads_at_home
    }));
    group.pause(0);
    group.wait_switched(0);
    group.server(1).connect().call(&["SET", "k", "new"]).unwrap();
    let written = Instant::now();
    let mut client = strata.connect();
    loop {
        let asked = Instant::now();
        match client.call(&["GET", "k"]).unwrap() {
            value if value == bulk("new") => break,
            // It may take a moment until the new one is reached.
            value if value.is_error() => assert!(asked < written + LONG, "{value:?}"),
            value => assert!(asked < written + LEASE, "{value:?} {:?} after the write", asked - written),
        }
    }
    group.resume(0);
}

/// Nobody tells strata, and the connections stay: the probe of the lease finds out.
#[test]
fn a_master_that_was_demoted_by_hand_is_left_within_the_lease() {
    let group = Sentinels::start(&[]);
    let strata = group.strata(&[]);
    let mut client = strata.connect();
    assert!(writes(&mut client, "k", "old") && reads(&mut client, "k", "old"));
    let port = group.server(1).port().to_string();
    let mut old = group.server(0).connect();
    group.server(1).connect().call(&["REPLICAOF", "NO", "ONE"]).unwrap();
    let demoted = Instant::now();
    assert_eq!(old.call(&["REPLICAOF", "127.0.0.1", &port]).unwrap(), ok());
    let refused = |reply: &Value| reply.is_error() && format!("{reply:?}").contains("no master but a slave");
    let left = wait_until(LONG, || refused(&client.call(&["GET", "k"]).unwrap()));
    let took = demoted.elapsed();
    println!("left {took:?} after REPLICAOF");
    // Sentinels would see to it themselves after 8 s.
    assert!(left && took <= Duration::from_secs(6), "{took:?}");
    assert!(wait_until(LONG, || connections(&group, 0) <= 1), "but for who tries");
}
