//! What a client that keeps a cache of its own is told while home announces nothing.

use super::{LONG, bulk, call, connect, invalidation, raw, resp3, surplus};
use crate::support::{Direction, Part, RedisServer, Relay, Strata, Value, wait_until};

fn null() -> Value {
    Value::Push(vec![bulk("invalidate"), Value::Nil])
}

#[test]
fn a_loss_of_the_guard_drops_everything_and_what_is_read_without_it_is_not_kept() {
    for options in ["", "BCAST", "BCAST PREFIX k"] {
        let home = RedisServer::start(&[]);
        let relay = Relay::start(&home.tcp());
        let strata = Strata::start(&relay.endpoint(), &[("l2.lease", "20s")]);
        let mut client = resp3(&strata.endpoint());
        let on = format!("CLIENT TRACKING ON {options}");
        assert_eq!(call(&mut client, on.trim()), Value::Simple("OK".into()));
        assert_eq!(call(&mut client, "GET k"), Value::Nil);
        relay.cut_part(Part::Guard);
        assert_eq!(client.read().unwrap(), null(), "{options}");
        // Whether the guard is back already or not, what changes after a read is told after it. A client of its own
        // each time: who reads while the guard comes back is told twice, at once and when home announces the change.
        for n in 0..20 {
            let mut client = resp3(&strata.endpoint());
            assert_eq!(call(&mut client, on.trim()), Value::Simple("OK".into()));
            assert!(!call(&mut client, "GET k").is_error());
            call(&mut home.connect(), &format!("SET k {n}"));
            assert_eq!(client.read().unwrap(), invalidation(&["k"]), "{options} {n}");
        }
    }
}

#[test]
fn a_guard_that_hangs_is_lost_with_its_lease() {
    let home = RedisServer::start(&[]);
    let relay = Relay::start(&home.tcp());
    let strata = Strata::start(&relay.endpoint(), &[("l2.lease", "200ms")]);
    let mut client = resp3(&strata.endpoint());
    call(&mut client, "CLIENT TRACKING ON");
    assert_eq!(call(&mut client, "GET k"), Value::Nil);
    relay.stall_part(Part::Guard, Direction::Replies, true);
    assert_eq!(client.read().unwrap(), null());
    assert_eq!(call(&mut client, "GET k"), Value::Nil);
    assert_eq!(client.read().unwrap(), invalidation(&["k"]));
    relay.stall_part(Part::Guard, Direction::Replies, false);
    let covered = wait_until(LONG, || {
        call(&mut client, "GET k");
        surplus(&mut client).is_none() || {
            client = resp3(&strata.endpoint());
            call(&mut client, "CLIENT TRACKING ON");
            false
        }
    });
    assert!(covered, "reads are remembered again");
}

#[test]
fn without_copies_keys_are_tracked_all_the_same() {
    let home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), &[("l1.enabled", "false")]);
    let mut client = resp3(&strata.endpoint());
    call(&mut client, "CLIENT TRACKING ON");
    for n in 0..5 {
        call(&mut client, "GET k");
        call(&mut home.connect(), &format!("SET k {n}"));
        assert_eq!(client.read().unwrap(), invalidation(&["k"]));
    }
    let mut writer = connect(&strata.endpoint());
    call(&mut client, "GET k");
    call(&mut writer, "SET k x");
    assert_eq!(raw(&mut client), ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n");
}
