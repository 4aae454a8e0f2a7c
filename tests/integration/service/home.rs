//! A home that is not there, goes, and comes back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{LONG, bulk, ok};
use crate::support::{RedisServer, Relay, Strata, Value, wait_until};

#[test]
fn a_home_that_is_down_at_the_start_is_an_error_at_once_and_found_when_it_comes() {
    let mut home = RedisServer::start(&[]);
    home.stop();
    let strata = Strata::start(&home.tcp(), &[("l2.backoff_max", "500ms")]);
    let mut client = strata.connect();
    for words in [&["GET", "k"][..], &["SET", "k", "v"], &["MGET", "a", "b"]] {
        let asked = Instant::now();
        let reply = client.call(words).unwrap();
        let says = matches!(&reply, Value::Error(text) if text.contains("cannot be reached"));
        assert!(says, "{reply:?}");
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    }
    assert_eq!(client.call(&["PING"]).unwrap(), Value::Simple("PONG".into()));
    home.start_again();
    assert!(wait_until(LONG, || client.call(&["SET", "k", "v"]).unwrap() == ok()));
    assert_eq!(client.call(&["GET", "k"]).unwrap(), bulk("v"));
}

#[test]
fn a_home_that_restarts_under_load_is_not_stormed() {
    let mut home = RedisServer::start(&[]);
    let relay = Relay::start(&home.tcp());
    let strata = Strata::start(&relay.endpoint(), &[("server.workers", "2")]);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for n in 0..16 {
            let (strata, over) = (&strata, &over);
            scope.spawn(move || {
                let mut client = strata.connect();
                client.hello(2 + n % 2).unwrap();
                while !over.load(Ordering::Relaxed) {
                    client.call(&["INCR", &format!("k{n}")]).unwrap();
                    client.call(&["GET", "other"]).unwrap();
                }
            });
        }
        thread::sleep(Duration::from_millis(200));
        let before = relay.accepted();
        home.kill();
        thread::sleep(Duration::from_millis(1_500));
        let while_down = relay.accepted() - before;
        home.start_again();
        let mut client = strata.connect();
        let back = Instant::now();
        assert!(wait_until(LONG, || client.call(&["SET", "x", "y"]).unwrap() == ok()));
        assert!(back.elapsed() < Duration::from_secs(6), "{:?}", back.elapsed());
        thread::sleep(Duration::from_millis(300));
        over.store(true, Ordering::Relaxed);
        // Five connections (four lanes and the guard), and pauses that double from 0.1 s.
        let after = relay.accepted() - before - while_down;
        assert!(while_down <= 40, "{while_down} attempts in 1.5 s");
        assert!(after <= 20, "{after} connections for 5");
    });
}

#[test]
fn a_write_is_never_made_twice_whatever_is_cut() {
    let home = RedisServer::start(&[]);
    let relay = Relay::start(&home.tcp());
    let strata = Strata::start(&relay.endpoint(), &[("l2.backoff_max", "100ms")]);
    let over = AtomicBool::new(false);
    let (acknowledged, unknown): (i64, i64) = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = strata.connect();
                    let (mut sure, mut unsure) = (0, 0);
                    while !over.load(Ordering::Relaxed) {
                        match client.call(&["INCR", "n"]).unwrap() {
                            Value::Integer(_) => sure += 1,
                            Value::Error(text) if text.contains("may have been executed") => unsure += 1,
                            Value::Error(text) => assert!(text.contains("cannot be reached"), "{text}"),
                            other => panic!("{other:?}"),
                        }
                    }
                    (sure, unsure)
                })
            })
            .collect();
        for _ in 0..25 {
            thread::sleep(Duration::from_millis(60));
            relay.cut();
        }
        over.store(true, Ordering::Relaxed);
        let sums = clients.into_iter().map(|client| client.join().unwrap());
        sums.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    });
    let counted = home.connect().call(&["GET", "n"]).unwrap();
    let counted: i64 = String::from_utf8_lossy(counted.bytes().unwrap()).parse().unwrap();
    assert!(unknown > 0 && acknowledged > 100, "{acknowledged} acknowledged, {unknown} unknown");
    let possible = acknowledged..=acknowledged + unknown;
    assert!(
        possible.contains(&counted),
        "{counted} executed, {acknowledged} acknowledged, {unknown} unknown"
    );
}
