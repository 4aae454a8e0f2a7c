//! Home comes and goes.

use std::time::{Duration, Instant};

use super::{LONG, bulk, call, known_at, message, pair, subscribe};
use crate::support::{Direction, RedisServer, Relay, Strata, Value, wait_until};

#[test]
fn subscriptions_survive_a_restart_of_home() {
    let (mut home, strata) = pair(&[]);
    let (mut a, mut b) = (strata.connect(), strata.connect());
    subscribe(&mut a, "x");
    subscribe(&mut b, "x");
    call(&mut b, "PSUBSCRIBE y*");
    home.kill();
    home.start_again();
    assert!(wait_until(LONG, || known_at(&home, "x") == 1));
    assert!(wait_until(LONG, || call(&mut home.connect(), "PUBSUB NUMPAT") == Value::Integer(1)));
    call(&mut home.connect(), "PUBLISH x m");
    assert_eq!(a.read().unwrap(), message("x", "m"));
    assert_eq!(b.read().unwrap(), message("x", "m"));
    assert!(wait_until(LONG, || call(&mut strata.connect(), "PUBSUB NUMSUB x")
        == Value::Array(vec![bulk("x"), Value::Integer(2)])));
}

#[test]
fn who_subscribes_while_home_is_down_is_told_so_and_may_unsubscribe() {
    let (mut home, strata) = pair(&[("l2.request_timeout", "2s")]);
    let (mut a, mut b) = (strata.connect(), strata.connect());
    subscribe(&mut a, "x");
    home.kill();
    let asked = Instant::now();
    let reply = call(&mut b, "SUBSCRIBE x");
    let Value::Error(text) = &reply else { panic!("{reply:?}") };
    assert!(text.contains("cannot be reached"), "{text}");
    assert!(asked.elapsed() < Duration::from_secs(4));
    let gone = call(&mut a, "UNSUBSCRIBE x");
    assert_eq!(gone.elements().unwrap()[2], Value::Integer(0));
    home.start_again();
    assert!(wait_until(LONG, || !call(&mut b, "SUBSCRIBE x").is_error()));
    assert_eq!(known_at(&home, "x"), 1);
    assert_eq!(call(&mut a, "PUBLISH x m"), Value::Integer(1));
    assert_eq!(b.read().unwrap(), message("x", "m"));
}

#[test]
fn a_home_that_hangs_costs_an_error_in_time() {
    let home = RedisServer::start(&[]);
    let relay = Relay::start(&home.tcp());
    let strata = Strata::start(&relay.endpoint(), &[("l2.request_timeout", "500ms")]);
    let (mut a, mut b) = (strata.connect(), strata.connect());
    subscribe(&mut a, "x");
    relay.stall(Direction::Replies, true);
    let asked = Instant::now();
    let reply = call(&mut b, "SUBSCRIBE y");
    assert!(reply.is_error(), "{reply:?}");
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    relay.stall(Direction::Replies, false);
    assert!(wait_until(LONG, || !call(&mut b, "SUBSCRIBE y").is_error()));
    assert!(wait_until(LONG, || known_at(&home, "x") == 1));
    call(&mut home.connect(), "PUBLISH x m");
    assert_eq!(a.read().unwrap(), message("x", "m"));
}

#[test]
fn a_connection_that_hangs_in_silence_is_replaced() {
    let home = RedisServer::start(&[]);
    let relay = Relay::start(&home.tcp());
    let strata = Strata::start(&relay.endpoint(), &[("l2.request_timeout", "500ms")]);
    let mut a = strata.connect();
    subscribe(&mut a, "x");
    relay.stall(Direction::Replies, true);
    assert!(
        wait_until(LONG, || strata.output().contains("connection of subscriptions lost")),
        "{}",
        strata.output()
    );
    // What home knows of the old connection is no sign of the new one.
    relay.refuse(true);
    relay.cut();
    assert!(wait_until(LONG, || known_at(&home, "x") == 0));
    relay.stall(Direction::Replies, false);
    relay.refuse(false);
    assert!(wait_until(LONG, || known_at(&home, "x") == 1));
    call(&mut home.connect(), "PUBLISH x m");
    assert_eq!(a.read().unwrap(), message("x", "m"));
}

/// A wait that is shorter than the pause between two probes was once taken for an answer that did not come.
#[test]
fn a_connection_without_an_open_question_waits_for_nothing() {
    let home = RedisServer::start(&[]);
    let relay = Relay::start(&home.tcp());
    let strata = Strata::start(&relay.endpoint(), &[("l2.request_timeout", "900ms")]);
    let mut a = strata.connect();
    subscribe(&mut a, "x");
    let asked = home.calls("ping");
    assert!(wait_until(LONG, || home.calls("ping") > asked + 8), "probes go on");
    let output = strata.output();
    assert!(!output.contains("connection of subscriptions lost"), "{output}");
}

#[test]
fn subscribers_come_and_go_while_connections_are_cut() {
    let home = RedisServer::start(&[]);
    let strata = Strata::start(
        &home.tcp(),
        &[("server.workers", "2"), ("l2.backoff_min", "1ms"), ("l2.backoff_max", "5ms")],
    );
    let mut clients: Vec<_> = (0..10).map(|_| strata.connect()).collect();
    for round in 0..30 {
        for (n, client) in clients.iter_mut().enumerate() {
            let command = if (n + round) % 3 == 0 { "UNSUBSCRIBE" } else { "SUBSCRIBE a" };
            client.send_raw(format!("{command}\r\n").as_bytes()).unwrap();
        }
        if round % 3 == 1 {
            home.kill_tcp_clients();
        }
        for client in &mut clients {
            client.read().unwrap();
        }
    }
    assert!(wait_until(LONG, || clients.iter_mut().all(|client| !call(client, "SUBSCRIBE a").is_error())));
    assert_eq!(known_at(&home, "a"), 1);
    assert_eq!(call(&mut strata.connect(), "PUBLISH a x"), Value::Integer(10));
    for client in &mut clients {
        assert_eq!(client.read().unwrap(), message("a", "x"));
    }
    drop(clients);
    assert!(wait_until(LONG, || known_at(&home, "a") == 0));
}
