//! What a transaction changed is nowhere older once EXEC is answered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{LONG, bulk, call, ok, pair};
use crate::support::{Client, Value, wait_until};

fn number(value: &Value) -> u64 {
    value.bytes().map_or(0, |bytes| String::from_utf8_lossy(bytes).parse().expect("a number"))
}

/// Runs `write` for rising numbers, and reads by another client at once: never an older one, while others keep the
/// copies warm.
fn never_older(write: impl Fn(&mut Client, u64)) {
    let (_home, strata) = pair(&[("server.workers", "2")]);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = strata.connect();
                while !over.load(Ordering::Relaxed) {
                    call(&mut client, "GET a");
                    call(&mut client, "GET b");
                }
            });
        }
        let (mut writer, mut reader) = (strata.connect(), strata.connect());
        for n in 1..400 {
            write(&mut writer, n);
            for key in ["a", "b"] {
                let seen = number(&call(&mut reader, &format!("GET {key}")));
                if seen < n {
                    over.store(true, Ordering::Relaxed);
                }
                assert_eq!(seen, n, "{key}");
            }
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn nobody_reads_older_copies_once_exec_is_answered() {
    never_older(|client, n| {
        client.send_raw(format!("MULTI\r\nSET a {n}\r\nSET b {n}\r\nEXEC\r\n").as_bytes()).unwrap();
        let last = (0..4).map(|_| client.read().unwrap()).last();
        assert_eq!(last, Some(Value::Array(vec![ok(), ok()])));
    });
}

#[test]
fn nor_of_keys_that_a_script_inside_does_not_name() {
    never_older(|client, n| {
        call(client, "MULTI");
        let script = format!("for _, k in ipairs({{'a', 'b'}}) do redis.call('set', k, {n}) end");
        client.call(&["EVAL", &script, "0"]).unwrap();
        assert_eq!(call(client, "EXEC"), Value::Array(vec![Value::Nil]));
    });
}

#[test]
fn nor_of_keys_changed_while_watching() {
    never_older(|client, n| {
        assert_eq!(call(client, "WATCH x"), ok());
        assert_eq!(call(client, &format!("SET a {n}")), ok());
        call(client, "MULTI");
        call(client, &format!("SET b {n}"));
        assert_eq!(call(client, "EXEC"), Value::Array(vec![ok()]));
    });
}

#[test]
fn who_read_a_value_in_a_transaction_reads_none_older_after_it() {
    let (home, strata) = pair(&[]);
    let mut writer = home.connect();
    let (mut client, mut other) = (strata.connect(), strata.connect());
    for n in 1..400 {
        call(&mut other, "GET k");
        call(&mut other, "GET k");
        writer.call(&["SET", "k", &n.to_string()]).unwrap();
        client.send_raw(b"MULTI\r\nGET k\r\nEXEC\r\n").unwrap();
        let reply = (0..3).map(|_| client.read().unwrap()).last().unwrap();
        assert_eq!(reply, Value::Array(vec![bulk(&n.to_string())]));
        assert_eq!(number(&call(&mut other, "GET k")), n);
    }
}

#[test]
fn who_lost_a_race_reads_what_won_it() {
    let (home, strata) = pair(&[]);
    let mut writer = home.connect();
    let (mut client, mut other) = (strata.connect(), strata.connect());
    for n in 1..200 {
        call(&mut client, "WATCH k");
        call(&mut other, "GET k");
        call(&mut other, "GET k");
        writer.call(&["SET", "k", &n.to_string()]).unwrap();
        call(&mut client, "MULTI");
        assert_eq!(call(&mut client, "EXEC"), Value::Nil);
        assert_eq!(number(&call(&mut client, "GET k")), n);
    }
}

#[test]
fn reads_pass_copies_by_while_a_key_is_watched() {
    let (home, strata) = pair(&[]);
    let mut client = strata.connect();
    call(&mut client, "SET k v");
    let by_copy = |client: &mut Client| {
        let before = home.calls("get");
        call(client, "GET k");
        home.calls("get") == before
    };
    assert!(wait_until(LONG, || by_copy(&mut client)));
    call(&mut client, "WATCH other");
    assert!((0..5).all(|_| !by_copy(&mut client)));
    call(&mut client, "UNWATCH");
    assert!(wait_until(LONG, || by_copy(&mut client)), "copies answer again");
}
