//! What operators see of L2, and do to it.

use super::{LONG, Scene, bulk, ok};
use crate::support::{Client, Value, wait_until};

fn shown(value: &Value) -> String {
    format!("{value:?}")
}

#[test]
fn where_stats_and_health_show_l2() {
    let scene = Scene::start(1, &[]);
    scene.set("k", "v");
    scene.fill(0, &["GETRANGE", "k", "0", "1"]);
    let mut client = scene.client(0);
    client.hello(3).unwrap();
    let found = shown(&client.call(&["CACHE", "WHERE", "k"]).unwrap());
    for part in ["l1", "l2", "l3", "getrange 0 1", "age_seconds", "believed"] {
        assert!(found.contains(&shown_word(part)) || found.contains(part), "{part} is not in {found}");
    }
    let all = shown(&client.call(&["CACHE", "STATS"]).unwrap());
    let l2 = shown(&client.call(&["CACHE", "STATS", "L2"]).unwrap());
    assert!(all.len() > l2.len());
    assert!(client.call(&["CACHE", "STATS", "L3"]).unwrap().elements().is_some());
    client.call(&["CACHE", "HEALTH"]).unwrap();
    client.call(&["CACHE", "TARGETS"]).unwrap();
    let member = &scene.nodes[0];
    assert_eq!((member.state().as_str(), member.stat("fills")), ("up", 1));
    assert!(member.stat("bytes_filled") > 0 && member.stat("epochs") >= 1);
    assert!(wait_until(LONG, || member.stat("bytes") > 0));
}

/// All texts in it.
fn flat(value: &Value) -> String {
    let inner = || value.elements().unwrap_or_default().iter().map(flat).collect::<Vec<_>>().join(" ");
    value.bytes().map_or_else(inner, |bytes| String::from_utf8_lossy(bytes).into_owned())
}

fn shown_word(word: &str) -> String {
    shown(&bulk(word))
}

/// As to home's: but nothing in it is worth a disk.
#[test]
fn a_managed_l2_is_set_and_one_that_is_not_is_told_of() {
    let options = [("save", "3600 1"), ("appendonly", "yes")];
    let setting = |client: &mut Client, name| {
        let pair = client.call(&["CONFIG", "GET", name]).unwrap().elements().unwrap();
        String::from_utf8_lossy(pair[1].bytes().unwrap()).into_owned()
    };
    let names = ["maxmemory", "maxmemory-policy", "save", "appendonly"];
    let looks = [("l2.health_interval", "100ms"), ("l2.max_size", "50MB")];
    let scene = Scene::start_with(1, &options, &looks);
    let told = |scene: &Scene| flat(&scene.client(0).call(&["CACHE", "HEALTH"]).unwrap());
    assert!(wait_until(LONG, || told(&scene).contains("maxmemory is 0, not 50000000 (l2.max_size)")));
    assert_eq!(names.map(|name| setting(&mut scene.l2.connect(), name))[2..], ["3600 1", "yes"]);
    let scene = Scene::start_with(1, &options, &[looks[0], looks[1], ("l2.manage", "true")]);
    let wanted = ["50000000", "allkeys-lru", "", "no"];
    assert!(wait_until(LONG, || names.map(|name| setting(&mut scene.l2.connect(), name)) == wanted));
    assert!(wait_until(LONG, || !told(&scene).contains("l2.max_size")));
}

#[test]
fn copies_in_l2_are_dropped_by_name_by_pattern_and_all() {
    let scene = Scene::start(2, &[]);
    let mut client = scene.client(0);
    let fill = |keys: &[&str]| {
        for key in keys {
            // Whoever heard of it late would delete what is filled.
            scene.set(key, "v");
            scene.fill(1, &["GET", key]);
        }
    };
    fill(&["a1", "a2", "b1", "b2"]);
    let invalidated = client.call(&["CACHE", "INVALIDATE", "KEYS", "a1", "none", "b2"]).unwrap();
    assert_eq!(invalidated, Value::Integer(2));
    assert_eq!((scene.knows("a1"), scene.knows("a2"), scene.knows("b2")), (false, true, false));
    assert_eq!(client.call(&["CACHE", "INVALIDATE", "MATCH", "a*"]).unwrap(), Value::Integer(1));
    assert_eq!((scene.knows("a2"), scene.knows("b1")), (false, true));
    assert_eq!(client.call(&["CACHE", "CLEAR", "L1"]).unwrap(), ok());
    assert!(scene.knows("b1"));
    assert_eq!(client.call(&["CACHE", "CLEAR", "L2"]).unwrap(), ok());
    assert!(!scene.knows("b1"));
    scene.nodes[0].await_vouched();
    fill(&["c1"]);
    assert_eq!(client.call(&["CACHE", "CLEAR", "COPIES"]).unwrap(), ok());
    assert!(!scene.knows("c1"));
    scene.nodes[0].await_vouched();
    fill(&["c1"]);
    assert_eq!(scene.read_in_l2(0, &["GET", "c1"]), bulk("v"));
    assert!(client.call(&["CACHE", "CLEAR", "L3"]).unwrap().is_error());
}
