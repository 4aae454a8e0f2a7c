//! CACHE GET and CACHE SET.

use std::time::Duration;

use super::{bulk, call, field, ok, pair};
use crate::support::{Client, Value, wait_until};

fn copies(client: &mut Client, key: &str) -> i64 {
    field(&field(&call(client, &format!("CACHE WHERE {key}")), "l1"), "copies").integer().expect("a number")
}

/// Home announces its changes.
fn awake(client: &mut Client) {
    call(client, "SET awake v");
    assert!(wait_until(Duration::from_secs(10), || {
        call(client, "GET awake");
        copies(client, "awake") > 0
    }));
}

#[test]
fn a_value_is_read_without_leaving_a_copy() {
    let (_home, strata) = pair("");
    let mut client = strata.connect();
    awake(&mut client);
    call(&mut client, "SET k v");
    for _ in 0..20 {
        assert_eq!(call(&mut client, "CACHE GET k NOPROMOTE"), bulk("v"));
    }
    assert_eq!(copies(&mut client, "k"), 0);
    let kept = wait_until(Duration::from_secs(10), || {
        assert_eq!(call(&mut client, "CACHE GET k"), bulk("v"));
        copies(&mut client, "k") == 1
    });
    assert!(kept);
    assert_eq!(call(&mut client, "CACHE GET k NOPROMOTE"), bulk("v"));
    assert_eq!(call(&mut client, "CACHE GET none"), Value::Nil);
    let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
    call(&mut client, "RPUSH list a");
    assert_eq!(call(&mut client, "CACHE GET list"), Value::Error(wrong.into()));
    assert_eq!(call(&mut client, "CACHE GET k PROMOTE"), Value::Error("ERR syntax error".into()));
}

#[test]
fn a_value_set_at_home_is_set_as_by_set() {
    let (home, strata) = pair("");
    let mut client = strata.connect();
    awake(&mut client);
    let mut at_home = home.connect();
    for (tier, life) in [("", ""), (" TIER l2", ""), ("", " EX 100"), (" TIER L2", " PX 100000")] {
        call(&mut client, "SET k old");
        assert_eq!(call(&mut client, &format!("CACHE SET k new{life}{tier}")), ok());
        assert_eq!(call(&mut client, "GET k"), bulk("new"));
        assert_eq!(call(&mut at_home, "GET k"), bulk("new"));
        let left = call(&mut at_home, "PTTL k").integer().expect("a number");
        assert_eq!(left > 90_000, !life.is_empty(), "{left}");
    }
    for command in ["CACHE SET k v TIER l3", "CACHE SET k v THROUGH", "CACHE SET k v TIER l9"] {
        let refused = call(&mut client, command);
        assert!(matches!(refused, Value::Error(_)), "{command}: {refused:?}");
    }
    assert_eq!(call(&mut at_home, "GET k"), bulk("new"));
}

#[test]
fn a_value_set_in_l1_is_known_to_this_process_alone_until_the_key_is_written() {
    let (home, strata) = pair("");
    let (mut client, mut other) = (strata.connect(), strata.connect());
    awake(&mut client);
    let mut at_home = home.connect();
    call(&mut client, "SET k home");
    assert_eq!(call(&mut client, "CACHE SET k here! TIER l1"), ok());
    other.hello(3).expect("RESP3");
    for client in [&mut client, &mut other] {
        assert_eq!(call(client, "GET k"), bulk("here!"));
        assert_eq!(call(client, "MGET k"), Value::Array(vec![bulk("here!")]));
        assert_eq!(call(client, "STRLEN k"), Value::Integer(4));
    }
    assert_eq!(call(&mut at_home, "GET k"), bulk("home"));
    // Whoever writes the key ends it.
    call(&mut at_home, "SET k newer");
    assert!(wait_until(Duration::from_secs(5), || call(&mut client, "GET k") == bulk("newer")));
    assert_eq!(call(&mut client, "CACHE SET k again TIER l1"), ok());
    call(&mut client, "DEL k");
    assert_eq!(call(&mut client, "GET k"), Value::Nil);
    assert_eq!(call(&mut client, "CACHE SET short v TIER l1 PX 60"), ok());
    assert!(wait_until(Duration::from_secs(5), || call(&mut client, "GET short") == Value::Nil));
    // A client's pipeline finds what it has just set.
    let commands = ["CACHE SET p v TIER l1", "GET p"]
        .map(|c| crate::support::arguments(&c.split(' ').collect::<Vec<_>>()));
    assert_eq!(client.pipeline(&commands).expect("answered"), [ok(), bulk("v")]);
}
