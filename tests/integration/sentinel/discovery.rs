//! How the master is found.

use std::process::Command;

use super::{LONG, bulk, connections, explains, field, ok, reads, writes};
use crate::support::{Port, Sentinels, Strata, wait_until};

#[test]
fn the_master_is_found_through_whichever_sentinel_answers() {
    let mut group = Sentinels::start(&[]);
    group.kill_sentinel(0);
    group.pause_sentinel(1);
    let strata = group.strata(&[]);
    let mut client = strata.connect();
    assert_eq!(client.call(&["SET", "k", "v"]).unwrap(), ok());
    assert_eq!(group.server(0).connect().call(&["GET", "k"]).unwrap(), bulk("v"));
    assert_eq!(connections(&group, 1), 0, "replicas are left alone");
    let place = format!("127.0.0.1:{} (master main)", group.server(0).port());
    assert_eq!(field(&mut client, "strata_l3_address"), place);
    group.resume_sentinel(1);
}

#[test]
fn sentinels_that_others_name_are_followed_too() {
    let mut group = Sentinels::start(&[]);
    let one = format!("[\"{}\"]", group.sentinel(0));
    let strata = group.strata(&[("l3.nodes", &one)]);
    let mut client = strata.connect();
    assert_eq!(client.call(&["SET", "k", "v"]).unwrap(), ok());
    group.kill_sentinel(0);
    group.kill(0);
    let new = group.wait_switched(0);
    assert!(writes(&mut client, "k", "new"));
    assert_eq!(group.server(new).connect().call(&["GET", "k"]).unwrap(), bulk("new"));
}

/// What cannot be found is told, and found later.
#[test]
fn without_sentinels_strata_starts_and_says_why_it_has_no_home() {
    let port = Port::reserve().unwrap();
    let nodes = format!("[\"{}\"]", port.address());
    let settings = [
        ("l3.enabled", "true"),
        ("l3.mode", "sentinel"),
        ("l3.master", "main"),
        ("l3.nodes", &*nodes),
        ("l2.enabled", "false"),
    ];
    let strata = Strata::start_bare(&settings);
    explains(&strata, &[&format!("sentinel {}: ", port.address())]);

    let group = Sentinels::start(&[]);
    let strata = group.strata(&[("l3.master", "other")]);
    explains(&strata, &["it knows no master of that name"]);
}

#[test]
fn a_group_that_is_set_up_anew_is_followed_though_its_epochs_begin_anew() {
    let group = Sentinels::start(&[]);
    let strata = group.strata(&[]);
    let mut client = strata.connect();
    assert!(writes(&mut client, "k", "v"));
    let new = group.failover();
    assert!(writes(&mut client, "k", "w"));
    group.wait_ok();
    // All say now that the other one is it, of epoch 0, and make it so themselves.
    let other = 1 - new;
    group.server(other).connect().call(&["REPLICAOF", "NO", "ONE"]).unwrap();
    for sentinel in 0..3 {
        let mut sentinel = group.sentinel_client(sentinel);
        assert_eq!(sentinel.call(&["SENTINEL", "REMOVE", "main"]).unwrap(), ok());
        let port = group.server(other).port().to_string();
        assert_eq!(sentinel.call(&["SENTINEL", "MONITOR", "main", "127.0.0.1", &port, "2"]).unwrap(), ok());
    }
    let moved = wait_until(LONG, || {
        client.call(&["SET", "k", "there"]).unwrap() == ok()
            && group.server(other).connect().call(&["GET", "k"]).unwrap() == bulk("there")
    });
    assert!(moved && reads(&mut client, "k", "there"));
}

#[test]
fn check_tells_the_master() {
    let group = Sentinels::start(&[]);
    let check = |master: &str| {
        let nodes = format!("l3.nodes={}", group.nodes());
        let sets = [
            "l3.enabled=true",
            "l3.mode=sentinel",
            &nodes,
            "l3.connect_timeout=30s",
            &format!("l3.master={master}"),
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_strata"));
        command.current_dir(group.server(0).directory()).arg("check");
        command.args(sets.iter().flat_map(|set| ["--set", set])).output().unwrap()
    };
    let well = check("main");
    let text = String::from_utf8_lossy(&well.stdout).into_owned();
    let place = format!("127.0.0.1:{} (master main)", group.server(0).port());
    assert!(well.status.success() && text.contains(&place), "{text}");
    let failed = check("other");
    let text = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success() && text.contains("it knows no master of that name"), "{text}");
}
