//! Transactions and a home that goes away.

use super::{LONG, bulk, call, is_error, ok};
use crate::support::{RedisServer, Relay, Strata, Value, wait_until};

#[test]
fn a_watch_that_was_lost_makes_exec_answer_nil() {
    let mut home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), &[("l2.backoff_max", "300ms")]);
    let (mut client, mut other) = (strata.connect(), strata.connect());
    assert_eq!(call(&mut client, "WATCH k"), ok());
    home.kill();
    home.start_again();
    assert!(wait_until(LONG, || call(&mut other, "SET other 1") == ok()));
    assert!(wait_until(LONG, || call(&mut client, "GET other") == bulk("1")), "it goes on by other ways");
    assert_eq!(call(&mut client, "WATCH another"), ok(), "as for any client that has lost");
    assert_eq!(call(&mut client, "MULTI"), ok());
    assert_eq!(call(&mut client, "SET k 1"), Value::Simple("QUEUED".into()));
    assert_eq!(call(&mut client, "EXEC"), Value::Nil);
    assert_eq!(call(&mut client, "GET k"), Value::Nil);
    assert_eq!(call(&mut client, "WATCH k"), ok());
    call(&mut client, "MULTI");
    call(&mut client, "SET k 1");
    assert_eq!(call(&mut client, "EXEC"), Value::Array(vec![ok()]));
}

#[test]
fn without_a_home_exec_and_watch_are_errors_at_once() {
    let mut home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), &[]);
    let mut client = strata.connect();
    call(&mut client, "SET k 1");
    home.stop();
    assert!(wait_until(LONG, || is_error(&call(&mut client, "SET k 1"), "cannot be reached")));
    assert!(is_error(&call(&mut client, "WATCH k"), "cannot be reached"));
    assert_eq!(call(&mut client, "MULTI"), ok());
    assert_eq!(call(&mut client, "SET k 2"), Value::Simple("QUEUED".into()));
    let reply = call(&mut client, "EXEC");
    assert!(is_error(&reply, "cannot be reached"), "{reply:?}");
    assert!(is_error(&call(&mut client, "EXEC"), "EXEC without MULTI"));
    assert!(is_error(&call(&mut client, "BLPOP l 0"), "cannot be reached"));
    assert_eq!(call(&mut client, "MULTI"), ok());
    assert_eq!(call(&mut client, "PING"), Value::Simple("QUEUED".into()));
    assert_eq!(call(&mut client, "EXEC"), Value::Array(vec![Value::Simple("PONG".into())]));
}

#[test]
fn a_transaction_is_run_whole_or_not_at_all_while_connections_are_cut() {
    let home = RedisServer::start(&[]);
    let relay = Relay::start(&home.tcp());
    let strata = Strata::start(&relay.endpoint(), &[("l2.backoff_min", "1ms"), ("l2.backoff_max", "5ms")]);
    let mut client = strata.connect();
    let mut direct = home.connect();
    let padding = "x".repeat(3_000);
    for n in 0..300 {
        if n % 3 == 0 {
            home.kill_tcp_clients();
        }
        let mut bytes = b"MULTI\r\nINCR a\r\n".to_vec();
        for _ in 0..20 {
            bytes.extend(crate::support::encode(&["SET", "p", &padding]));
        }
        bytes.extend(b"INCR b\r\nEXEC\r\n");
        client.send_raw(&bytes).unwrap();
        let last = (0..24).map(|_| client.read().unwrap()).last().unwrap();
        let whole = matches!(&last, Value::Array(replies) if replies.len() == 22);
        assert!(whole || is_error(&last, "ERR strata:"), "{last:?}");
        let (a, b) = (call(&mut direct, "GET a"), call(&mut direct, "GET b"));
        assert_eq!(a, b, "after {n}");
    }
}
