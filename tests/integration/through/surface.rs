//! What operators see of sources.

use super::{LONG, Scene, bulk, error, field, words};
use crate::support::{Client, Value, wait_until};

/// What a command says under these names, one inside the other.
fn said(client: &mut Client, command: &[&str], path: &[&str]) -> Value {
    let mut value = client.call(command).unwrap();
    for name in path {
        let items = value.elements().unwrap_or_else(|| panic!("{command:?}: {value:?} holds no {name}"));
        let at = items.iter().step_by(2).position(|item| *item == bulk(name));
        value = items[at.unwrap_or_else(|| panic!("{command:?}: {name} is missing")) * 2 + 1].clone();
    }
    value
}

#[test]
fn where_says_what_a_key_is_made_of() {
    let scene = Scene::start(1);
    let mut client = scene.client(0);
    let mut origin = |key: &str| {
        let l4 = said(&mut client, &["CACHE", "WHERE", key], &["l4"]).elements().unwrap();
        l4.iter().skip(1).step_by(2).cloned().collect::<Vec<Value>>()
    };
    assert_eq!(origin("other"), [Value::Nil]);
    assert_eq!(origin("factor:1"), [bulk("factors"), bulk("no"), bulk("no")]);
    scene.client(0).call(&["MGET", "factor:1", "factor:99999"]).unwrap();
    // While its life is lengthened, mark and key are read one after the other.
    assert!(wait_until(LONG, || origin("factor:1") == [bulk("factors"), bulk("yes"), bulk("no")]));
    assert_eq!(origin("factor:99999"), [bulk("factors"), bulk("no"), bulk("yes")]);
    scene.client(0).call(&["SET", "factor:1", "mine"]).unwrap();
    assert_eq!(origin("factor:1"), [bulk("factors"), bulk("no"), bulk("no")]);
}

#[test]
fn stats_health_and_info_tell_of_the_database() {
    let mut scene = Scene::start(1);
    let mut client = scene.client(0);
    client.call(&["GET", "factor:1"]).unwrap();
    client.call(&["GET", "factor:99999"]).unwrap();
    client.call(&["HGETALL", "person:1"]).unwrap();
    let stats = ["CACHE", "STATS", "l4"];
    assert_eq!(said(&mut client, &stats, &["state"]), bulk("up"));
    assert_eq!(said(&mut client, &stats, &["loads"]), Value::Integer(3));
    assert_eq!(said(&mut client, &stats, &["put"]), Value::Integer(2));
    assert_eq!(said(&mut client, &stats, &["sources", "factors", "misses"]), Value::Integer(1));
    assert_eq!(said(&mut client, &["CACHE", "STATS"], &["l4", "rows"]), Value::Integer(2));
    assert_eq!(said(&mut client, &["CACHE", "HEALTH"], &["l4", "status"]), bulk("healthy"));
    assert_eq!(
        (field(&scene.strata[0], "l4_loads"), words(&scene.strata[0], "tiers")),
        (3, "l1,l2,l4".to_owned())
    );
    scene.postgres.stop();
    let unhealthy = || {
        let _ = client.call(&["GET", "factor:2"]);
        said(&mut client, &["CACHE", "HEALTH"], &["l4", "status"]) == bulk("unhealthy")
    };
    assert!(wait_until(LONG, unhealthy));
    assert_eq!(words(&scene.strata[0], "l4_state"), "unreachable");
}

#[test]
fn tiers_that_there_are_not_are_named() {
    let scene = Scene::start(1);
    let reply = scene.client(0).call(&["CACHE", "STATS", "l9"]).unwrap();
    assert_eq!(error(&reply), "ERR unknown tier 'l9'. Tiers are L1, L2 and L4.");
}
