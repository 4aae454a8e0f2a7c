//! Home's own settings beside the configuration: what differs is told, and set where strata manages home.

use std::time::Duration;

use super::{call, field, text};
use crate::support::{Client, Cluster, RedisServer, Sentinels, Strata, Value, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);

/// What CACHE HEALTH says to differ in a tier.
fn differs(client: &mut Client, tier: &str) -> Vec<String> {
    let said = field(&field(&call(client, "CACHE HEALTH"), tier), "differs");
    said.elements().expect("an array").iter().map(text).collect()
}

fn setting(client: &mut Client, name: &str) -> String {
    text(&call(client, &format!("CONFIG GET {name}")).elements().expect("a pair")[1])
}

/// What a managed home is set to: memory, policy, points of saving, the append-only file.
fn settings(client: &mut Client) -> [String; 4] {
    ["maxmemory", "maxmemory-policy", "save", "appendonly"].map(|name| setting(client, name))
}

#[test]
fn what_differs_at_home_is_told_and_left_alone() {
    let home = RedisServer::start(&[]);
    let strata = Strata::start(&home.tcp(), &[("l2.health_interval", "100ms")]);
    let mut client = strata.connect();
    let address = format!("127.0.0.1:{}", home.port());
    let expected = [
        format!("{address}: maxmemory is 0, not 100000000 (l2.max_size)"),
        format!("{address}: maxmemory-policy is \"noeviction\", not \"allkeys-lru\""),
    ];
    assert!(wait_until(PATIENCE, || differs(&mut client, "l2") == expected));
    assert!(strata.output().contains("maxmemory is 0, not 100000000 (l2.max_size)"));
    assert_eq!(settings(&mut home.connect()), ["0", "noeviction", "", "no"]);
    call(&mut home.connect(), "CONFIG SET maxmemory 100mb maxmemory-policy allkeys-lru");
    assert!(wait_until(PATIENCE, || differs(&mut client, "l2").len() == 1), "100 MiB are too many");
    call(&mut home.connect(), "CONFIG SET maxmemory 100500000");
    assert!(wait_until(PATIENCE, || differs(&mut client, "l2").is_empty()));
}

#[test]
fn a_managed_home_is_set_and_set_again() {
    let home = RedisServer::start(&[]);
    let settings_of_strata =
        [("l2.health_interval", "100ms"), ("l2.manage", "true"), ("l2.max_size", "50MB")];
    let strata = Strata::start(&home.tcp(), &settings_of_strata);
    let mut own = home.connect();
    let set = ["50000000", "allkeys-lru", "", "no"];
    assert!(wait_until(PATIENCE, || settings(&mut own) == set), "what is on disk stays as it is");
    assert!(wait_until(PATIENCE, || differs(&mut strata.connect(), "l2").is_empty()));
    call(&mut own, "CONFIG SET maxmemory 0");
    assert!(wait_until(PATIENCE, || settings(&mut own) == set));
    assert!(strata.output().contains("maxmemory is 0, not 50000000 (l2.max_size): set (l2.manage)"));
}

#[test]
fn who_may_not_read_settings_is_told_so() {
    let home = RedisServer::start(&[("user", "app on >secret ~* &* +@all -config|get")]);
    let login = [("l2.username", "app"), ("l2.password", "secret"), ("l2.health_interval", "100ms")];
    let strata = Strata::start(&home.tcp(), &login);
    let mut client = strata.connect();
    let told = |client: &mut Client| differs(client, "l2").join("; ").contains("cannot be read: NOPERM");
    assert!(wait_until(PATIENCE, || told(&mut client)));
}

#[test]
fn the_masters_of_a_managed_cluster_share_its_size_and_keep_their_data() {
    let cluster = Cluster::start(&[]);
    let managed = [("l3.manage", "true"), ("l3.max_size", "300MB"), ("l3.health_interval", "100ms")];
    let strata = cluster.strata(&managed);
    let set = ["100000000", "allkeys-lru", "3600 1 300 100 60 10000", "yes"];
    for master in cluster.masters() {
        let mut own = cluster.node(master).connect();
        assert!(wait_until(PATIENCE, || settings(&mut own) == set), "{:?}", settings(&mut own));
    }
    assert!(wait_until(PATIENCE, || differs(&mut strata.connect(), "l3").is_empty()));
}

#[test]
fn a_new_master_is_managed_too() {
    let group = Sentinels::start(&[]);
    let managed = [("l3.manage", "true"), ("l3.max_size", "300MB"), ("l3.health_interval", "100ms")];
    let strata = group.strata(&managed);
    let set = ["300000000", "allkeys-lru", "3600 1 300 100 60 10000", "yes"];
    let is_set =
        |number: usize| wait_until(PATIENCE, || settings(&mut group.server(number).connect()) == set);
    assert!(is_set(0));
    assert!(is_set(group.failover()));
    assert_eq!(call(&mut strata.connect(), "SET k v"), Value::Simple("OK".into()));
}
