//! How home fares, as CACHE HEALTH tells it and the log.

use std::time::Duration;

use super::{bulk, call, field, text};
use crate::support::{Client, RedisServer, Strata, Value, wait_until};

const PATIENCE: Duration = Duration::from_secs(10);
/// Looks at home often enough for a test.
const OFTEN: (&str, &str) = ("l2.health_interval", "100ms");

/// Waits until a tier is in a state; what is then said of the tier.
fn settle(client: &mut Client, tier: &str, state: &str) -> Value {
    let mut said = Value::Nil;
    let settled = wait_until(PATIENCE, || {
        said = field(&call(client, "CACHE HEALTH"), tier);
        field(&said, "status") == bulk(state)
    });
    assert!(settled, "{tier} never became {state}: {said:?}");
    said
}

/// Waits until L2 is degraded for a reason with these words.
fn degrade(client: &mut Client, words: &str) {
    let mut said = Value::Nil;
    let degraded = wait_until(PATIENCE, || {
        said = field(&call(client, "CACHE HEALTH"), "l2");
        field(&said, "status") == bulk("degraded") && reasons(&said).contains(words)
    });
    assert!(degraded, "L2 is not degraded because {words}: {said:?}");
}

fn reasons(said: &Value) -> String {
    let reasons = field(said, "reasons").elements().expect("an array");
    reasons.iter().map(text).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_healthy_home_shows_its_figures() {
    let home = RedisServer::start(&[("maxmemory", "50mb"), ("maxmemory-policy", "allkeys-lru")]);
    let strata = Strata::start(&home.unix(), &[OFTEN]);
    let mut client = strata.connect();
    let l2 = settle(&mut client, "l2", "healthy");
    assert_eq!(reasons(&l2), "");
    assert_eq!(
        (field(&l2, "role"), field(&l2, "version")),
        (bulk("master"), bulk(&home.info("server")["redis_version"]))
    );
    assert_eq!(field(&l2, "max_memory"), Value::Integer(50 << 20));
    assert_eq!((field(&l2, "last_save_status"), field(&l2, "aof")), (bulk("ok"), bulk("off")));
    assert_eq!(reasons(&settle(&mut client, "l1", "healthy")), "");
}

#[test]
fn a_home_that_dies_is_unhealthy_until_it_is_back() {
    let mut home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), &[OFTEN]);
    let mut client = strata.connect();
    settle(&mut client, "l2", "healthy");
    home.kill();
    let l2 = settle(&mut client, "l2", "unhealthy");
    assert!(reasons(&l2).contains("home"), "{l2:?}");
    let l1 = settle(&mut client, "l1", "unhealthy");
    assert!(reasons(&l1).starts_with("copies are not served"), "{l1:?}");
    home.start_again();
    settle(&mut client, "l2", "healthy");
    settle(&mut client, "l1", "healthy");
    let log = strata.output();
    assert!(log.contains("home is unhealthy") && log.contains("home is healthy"), "{log}");
}

#[test]
fn a_home_that_hangs_is_unhealthy_within_its_bound() {
    let mut home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), &[OFTEN, ("l2.request_timeout", "300ms")]);
    let mut client = strata.connect();
    settle(&mut client, "l2", "healthy");
    home.pause();
    settle(&mut client, "l2", "unhealthy");
    home.resume();
    settle(&mut client, "l2", "healthy");
}

#[test]
fn troubles_short_of_an_outage_degrade() {
    let home = RedisServer::start(&[]);
    let master = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), &[OFTEN]);
    let mut client = strata.connect();
    let mut admin = home.connect();
    settle(&mut client, "l2", "healthy");
    let used: u64 = home.info("memory")["used_memory"].parse().expect("a number");
    call(&mut admin, &format!("CONFIG SET maxmemory {}", used + 50_000));
    degrade(&mut client, "may not evict");
    call(&mut admin, "CONFIG SET maxmemory 0");
    settle(&mut client, "l2", "healthy");
    let address = master.tcp().url().trim_start_matches("redis://").replace(':', " ");
    call(&mut admin, &format!("REPLICAOF {address}"));
    degrade(&mut client, "its role is slave");
    call(&mut admin, "REPLICAOF NO ONE");
    settle(&mut client, "l2", "healthy");
}

#[test]
fn a_slow_ping_degrades() {
    let home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), &[OFTEN, ("targets.latency.l2", "1us")]);
    degrade(&mut strata.connect(), "targets.latency.l2");
}

#[test]
fn a_user_who_may_not_ask_info_leaves_home_degraded() {
    let home = RedisServer::start(&[]);
    let mut admin = home.connect();
    call(&mut admin, "ACL SETUSER app on >pw ~* &* +@all -info");
    let settings = [OFTEN, ("l2.username", "app"), ("l2.password", "pw")];
    let strata = Strata::start(&home.unix(), &settings);
    degrade(&mut strata.connect(), "does not tell how it fares");
}
