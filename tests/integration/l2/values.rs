//! Values that a node keeps and home does not know, and policies that say how deep.

use super::{LONG, SHORT, Scene, bulk, ok};
use crate::support::{Client, Value, wait_until};

const POLICIES: &str = "[[policy]]\nmatch = \"node:*\"\ntier = \"l2\"\n\n[[policy]]\nmatch = \"here:*\"\ntier = \"l1\"\nl1_ttl = \"60s\"\n\n\
    [[policy]]\nmatch = \"never:*\"\nl2_ttl = \"0s\"\n";

fn scene() -> Scene {
    let mut scene = Scene::start(0, &[]);
    scene.add_with(POLICIES, &[]);
    scene.add_with(POLICIES, &[]);
    scene.nodes.iter().for_each(super::Member::await_vouched);
    scene
}

fn call(client: &mut Client, command: &str) -> Value {
    let words: Vec<&str> = command.split(' ').collect();
    client.call(&words).unwrap_or_else(|e| panic!("{command}: {e}"))
}

/// Sets a value that home is not told, until L2 keeps it: a process that began an epoch meanwhile drops all.
fn keep(client: &mut Client, command: &str) {
    assert!(wait_until(LONG, || call(client, command) == ok()), "{command}: {:?}", call(client, command));
}

#[test]
fn a_value_set_in_l2_is_found_by_all_processes_of_the_node_until_the_key_is_written() {
    let scene = scene();
    let (mut one, mut other) = (scene.client(0), scene.client(1));
    other.hello(3).unwrap();
    for key in ["k", "{k}2"] {
        keep(&mut one, &format!("CACHE SET {key} v{key} TIER l2"));
        assert_eq!(scene.at_home(&["EXISTS", key]), Value::Integer(0));
        for client in [&mut one, &mut other] {
            assert!(wait_until(LONG, || call(client, &format!("GET {key}")) == bulk(&format!("v{key}"))));
        }
    }
    assert_eq!(scene.copies("k"), 2);
    scene.set("k", "written");
    for client in [&mut one, &mut other] {
        assert!(wait_until(LONG, || call(client, "GET k") == bulk("written")));
    }
    // What is set again takes the place of what home had.
    keep(&mut one, "CACHE SET k again TIER L2");
    assert!(wait_until(LONG, || call(&mut other, "GET k") == bulk("again")));
    assert_eq!(scene.at_home(&["GET", "k"]), bulk("written"));
    assert_eq!(call(&mut one, "CACHE INVALIDATE KEYS k"), Value::Integer(1));
    assert!(wait_until(LONG, || call(&mut other, "GET k") == bulk("written")));
    keep(&mut one, "CACHE SET short v TIER l2 PX 300");
    assert!(wait_until(LONG, || call(&mut other, "GET short") == Value::Nil), "it does not end");
    assert_eq!(call(&mut one, "SELECT 4"), ok());
    keep(&mut one, "CACHE SET k four TIER l2");
    assert!(wait_until(LONG, || call(&mut one, "GET k") == bulk("four")));
    assert_eq!(call(&mut other, "GET k"), bulk("written"));
}

#[test]
fn a_policy_says_how_deep_values_of_strata_go() {
    let scene = scene();
    let (mut one, mut other) = (scene.client(0), scene.client(1));
    keep(&mut one, "CACHE SET node:k v");
    assert!(wait_until(LONG, || call(&mut other, "GET node:k") == bulk("v")));
    keep(&mut one, "CACHE SET here:k v");
    assert_eq!(call(&mut one, "GET here:k"), bulk("v"));
    assert_eq!((call(&mut other, "GET here:k"), scene.copies("here:k")), (Value::Nil, 0));
    assert_eq!(call(&mut one, "CACHE SET deep:k v"), ok());
    assert_eq!(
        scene.at_home(&["MGET", "node:k", "here:k", "deep:k"]),
        Value::Array(vec![Value::Nil, Value::Nil, bulk("v")])
    );
    for (command, part) in [
        ("CACHE SET node:k v TIER l3", "a policy says tier = l2"),
        ("CACHE SET here:k v TIER l2", "a policy says tier = l1"),
        ("CACHE SET never:k v TIER l2", "a policy keeps this key from L2"),
    ] {
        let said = format!("{:?}", call(&mut one, command));
        assert!(said.contains(part), "{command}: {said}");
    }
    assert!(format!("{:?}", call(&mut one, "CACHE WHERE node:k")).contains(&format!("{:?}", bulk("tier"))));
}

/// What home has of such a key is copied in L1 alone.
#[test]
fn copies_go_no_deeper_than_a_policy_says() {
    let scene = scene();
    let mut client = scene.client(0);
    assert_eq!(call(&mut client, "SET here:k v"), ok());
    assert_eq!(call(&mut client, "SET node:k v"), ok());
    assert_eq!(scene.at_home(&["GET", "here:k"]), bulk("v"));
    scene.fill(0, &["GET", "node:k"]);
    let copied = wait_until(LONG, || {
        let before = scene.home.calls("get");
        assert_eq!(call(&mut client, "GET here:k"), bulk("v"));
        scene.home.calls("get") == before
    });
    assert!(copied, "it is not copied in L1");
    assert!(!wait_until(SHORT, || scene.copies("here:k") > 0));
}
