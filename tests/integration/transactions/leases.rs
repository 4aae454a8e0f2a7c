//! Connections of clients' own: bounded, in order, and clean when they are lent again.

use std::thread;
use std::time::{Duration, Instant};

use super::{LONG, bulk, call, is_error, ok, pair};
use crate::support::{RedisServer, Strata, Value, wait_until};

fn leases_at(home: &RedisServer) -> usize {
    let list = home.connect().call(&["CLIENT", "LIST"]).unwrap();
    let list = String::from_utf8_lossy(list.bytes().unwrap()).into_owned();
    list.lines().filter(|line| line.contains(" name=strata-lease ")).count()
}

#[test]
fn when_connections_run_out_the_client_waits_and_is_told_which_setting_to_raise() {
    let (home, strata) = pair(&[("l2.max_connections", "2"), ("l2.request_timeout", "500ms")]);
    let mut first: Vec<_> = (0..2).map(|_| strata.connect()).collect();
    for client in &mut first {
        assert_eq!(call(client, "WATCH k"), ok());
    }
    let mut late = strata.connect();
    let asked = Instant::now();
    let reply = call(&mut late, "WATCH k");
    assert!(is_error(&reply, "l2.max_connections"), "{reply:?}");
    assert!(asked.elapsed() >= Duration::from_millis(450) && asked.elapsed() < LONG);
    // What needs none goes on: transactions without WATCH, waiting for data, reading.
    assert_eq!(call(&mut late, "MULTI"), ok());
    call(&mut late, "SET a 1");
    assert_eq!(call(&mut late, "EXEC"), Value::Array(vec![ok()]));
    assert_eq!(call(&mut late, "BLPOP none 0.01"), Value::Nil);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| call(&mut late, "WATCH k"));
        thread::sleep(Duration::from_millis(100));
        assert_eq!(call(&mut first[0], "UNWATCH"), ok());
        assert_eq!(waiting.join().unwrap(), ok(), "the place that came free is given to who waits");
    });
    drop((first, late));
    let mut again = strata.connect();
    assert!(wait_until(LONG, || call(&mut again, "WATCH k") == ok()));
    assert!(leases_at(&home) <= 6, "connections are used again");
}

#[test]
fn a_connection_is_lent_again_and_as_clean_as_new() {
    let (home, strata) = pair(&[("server.workers", "1")]);
    for round in 0..50 {
        let mut client = strata.connect();
        client.hello(2 + round % 2).unwrap();
        call(&mut client, &format!("SELECT {}", round % 3));
        assert_eq!(call(&mut client, "WATCH k"), ok());
        match round % 5 {
            // The watch ends with its client, and so does its connection.
            0 => continue,
            1 => call(&mut client, "UNWATCH"),
            2 => call(&mut client, "SELECT 7"),
            _ => Value::Nil,
        };
        call(&mut client, "SET k 1");
        call(&mut client, "MULTI");
        call(&mut client, "GET k");
        let reply = call(&mut client, "EXEC");
        // In database 7 it is another key.
        let expected = if round % 5 < 3 { Value::Array(vec![bulk("1")]) } else { Value::Nil };
        assert_eq!(reply, expected, "{round}");
    }
    assert!(wait_until(LONG, || leases_at(&home) <= 2), "{}", leases_at(&home));
}

#[test]
fn a_client_that_goes_while_it_watches_leaves_nothing_at_home() {
    let (home, strata) = pair(&[]);
    let mut clients: Vec<_> = (0..20).map(|_| strata.connect()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(call(client, "WATCH k"), ok()));
    assert_eq!(leases_at(&home), 20);
    drop(clients);
    assert!(wait_until(Duration::from_secs(1), || leases_at(&home) == 0));
}

#[test]
fn home_is_busy_with_a_script_and_still_hears_who_ends_it() {
    let home = RedisServer::start(&[("busy-reply-threshold", "10")]);
    let strata = Strata::start(&home.unix(), &[("server.workers", "1")]);
    for (kill, run) in [
        ("SCRIPT KILL", vec!["EVAL", "while true do end", "0"]),
        ("FUNCTION KILL", vec!["FCALL", "forever", "0"]),
    ] {
        let library = "#!lua name=l\nredis.register_function('forever', function() while true do end end)";
        strata.connect().call(&["FUNCTION", "LOAD", "REPLACE", library]).unwrap();
        let mut runner = strata.connect();
        runner.send_raw(&crate::support::encode(&run)).unwrap();
        let mut other = strata.connect();
        call(&mut other, "SELECT 2");
        assert!(wait_until(LONG, || is_error(&home.connect().call(&["PING"]).unwrap(), "BUSY")));
        if kill == "FUNCTION KILL" {
            let stats = call(&mut other, "FUNCTION STATS");
            assert!(format!("{stats:?}").contains("forever") || !stats.elements().unwrap().is_empty());
        }
        let reply = call(&mut other, kill);
        assert_eq!(reply, ok(), "{kill}");
        assert!(is_error(&runner.read().unwrap(), "Script killed by user"));
        assert_eq!(call(&mut runner, "SET k 1"), ok());
    }
}

#[test]
fn shutdown_ends_home_and_the_connection_it_came_by() {
    let mut home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), &[("server.admin_commands", "pass")]);
    let mut client = strata.connect();
    assert!(is_error(&call(&mut client, "SHUTDOWN ABORT"), "ERR"));
    client.send_raw(b"SHUTDOWN NOSAVE\r\n").unwrap();
    assert_eq!(client.read_raw().unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    home.stop();
    home.start_again();
    let mut client = strata.connect();
    assert!(wait_until(LONG, || call(&mut client, "SET k 1") == ok()));
}

#[test]
fn a_user_without_multi_is_refused_before_anything_is_queued() {
    let home = RedisServer::start(&[]);
    home.connect()
        .call(&["ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", "-multi"])
        .unwrap();
    let settings = [("l2.username", "limited"), ("l2.password", "secret")];
    let strata = Strata::start(&home.unix(), &settings);
    let mut client = strata.connect();
    let reply = call(&mut client, "MULTI");
    assert!(is_error(&reply, "NOPERM"), "{reply:?}");
    assert_eq!(call(&mut client, "SET k 1"), ok());
    assert!(is_error(&call(&mut client, "EXEC"), "EXEC without MULTI"));
}

#[test]
fn what_home_refuses_to_queue_is_named_by_exec() {
    let home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), &[]);
    let mut client = strata.connect();
    call(&mut client, "SET k old");
    home.connect().call(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    for watching in [false, true] {
        if watching {
            assert_eq!(call(&mut client, "WATCH k"), ok());
        }
        assert_eq!(call(&mut client, "MULTI"), ok());
        assert_eq!(call(&mut client, "SET k new"), Value::Simple("QUEUED".into()));
        let expected = "EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.";
        assert_eq!(call(&mut client, "EXEC"), Value::Error(expected.into()));
        assert_eq!(call(&mut client, "GET k"), bulk("old"));
    }
}

#[test]
fn a_transaction_is_bounded() {
    let (_home, strata) = pair(&[("server.max_query_buffer", "1MiB"), ("server.max_bulk", "1MiB")]);
    let mut client = strata.connect();
    call(&mut client, "MULTI");
    let large = "x".repeat(100_000);
    let ended = (0..20).any(|_| client.call(&["SET", "k", &large]).is_err());
    assert!(ended, "20 x 100 KB were queued by a client that may leave 1 MiB unexecuted");
    assert_eq!(call(&mut strata.connect(), "PING"), Value::Simple("PONG".into()));
}

#[test]
fn client_list_tells_of_transactions() {
    let (_home, strata) = pair(&[]);
    let (mut client, mut other) = (strata.connect(), strata.connect());
    let id = call(&mut client, "CLIENT ID").integer().unwrap();
    let mut line = || {
        let list = call(&mut other, &format!("CLIENT LIST ID {id}"));
        String::from_utf8_lossy(list.bytes().unwrap()).into_owned()
    };
    assert!(line().contains(" flags=N ") && line().contains(" multi=-1 "));
    call(&mut client, "MULTI");
    assert!(line().contains(" flags=x ") && line().contains(" multi=0 "));
    call(&mut client, "SET a 1");
    call(&mut client, "PING");
    assert!(line().contains(" multi=2 ") && !line().contains(" multi-mem=0 "));
    call(&mut client, "EXEC");
    assert!(
        line().contains(" flags=N ") && line().contains(" multi=-1 ") && line().contains(" multi-mem=0 ")
    );
}
