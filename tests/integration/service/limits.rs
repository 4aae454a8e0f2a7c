//! Bounds of memory and of time.

use std::io::ErrorKind;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{LONG, bulk, ok, pair};
use crate::support::{Client, Direction, RedisServer, Relay, Strata, Value, wait_until};

const VALUE: usize = 1 << 20;

/// Whether the connection ends though its client only reads now.
fn is_cut(client: &mut Client) -> bool {
    client.set_patience(LONG);
    loop {
        match client.read_raw() {
            Ok(_) => {}
            Err(error) => {
                return matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset);
            }
        }
    }
}

#[test]
fn a_client_that_does_not_read_is_cut_at_its_limit_and_others_do_not_feel_it() {
    let (_home, strata) = pair(&[("server.output_buffer_limit", "20MB"), ("server.workers", "1")]);
    let (mut slow, mut neighbour) = (strata.connect(), strata.connect());
    slow.call(&[&b"SET"[..], b"big", &vec![b'x'; VALUE]]).unwrap();
    // OBJECT and the like would do too: these replies come from home.
    let requests = b"GETRANGE big 0 -1\r\n".repeat(200);
    slow.send_raw(&requests).unwrap();
    let cut = wait_until(LONG, || {
        let asked = Instant::now();
        assert_eq!(neighbour.call(&["SET", "k", "v"]).unwrap(), ok());
        assert_eq!(neighbour.call(&["GET", "k"]).unwrap(), bulk("v"));
        assert!(asked.elapsed() < Duration::from_secs(5));
        strata.output().contains("server.output_buffer_limit")
    });
    assert!(cut, "{}", strata.output());
    assert!(is_cut(&mut slow));
}

#[test]
fn a_client_that_asks_for_more_and_reads_nothing_is_cut_and_one_that_is_slow_is_not() {
    let settings = [
        ("server.output_buffer_limit", "20MB"),
        ("server.output_buffer_patience", "1s"),
        ("server.workers", "1"),
        ("l1.max_size", "64MB"),
    ];
    let (home, strata) = pair(&settings);
    let (mut idle, mut slow, mut quiet) = (strata.connect(), strata.connect(), strata.connect());
    slow.set_patience(LONG);
    idle.call(&[&b"SET"[..], b"big", &vec![b'x'; VALUE]]).unwrap();
    // From a copy, so that no reply is on its way when the client is held up.
    assert!(wait_until(LONG, || {
        let before = home.calls("get");
        slow.call(&["GET", "big"]).unwrap();
        home.calls("get") == before
    }));
    for client in [&mut idle, &mut slow] {
        client.send_raw(&b"GET big\r\n".repeat(100)).unwrap();
    }
    // As much as it may leave unread, and no more.
    quiet.send_raw(&b"GET big\r\n".repeat(15)).unwrap();
    for _ in 0..50 {
        assert_eq!(slow.read_raw().unwrap().len(), VALUE + 12);
        sleep(Duration::from_millis(60));
    }
    assert_eq!(strata.output().matches("server.output_buffer_limit").count(), 1, "{}", strata.output());
    assert!(is_cut(&mut idle));
    for _ in 0..50 {
        assert_eq!(slow.read_raw().unwrap().len(), VALUE + 12);
    }
    for _ in 0..15 {
        assert_eq!(quiet.read_raw().unwrap().len(), VALUE + 12);
    }
    assert_eq!(quiet.call(&["PING"]).unwrap(), Value::Simple("PONG".into()));
}

#[test]
fn a_pipeline_of_large_hits_takes_bounded_memory_and_is_answered() {
    let (home, strata) = pair(&[("l1.max_size", "64MB"), ("server.workers", "1")]);
    let mut client = strata.connect();
    client.call(&[&b"SET"[..], b"big", &vec![b'x'; VALUE]]).unwrap();
    assert!(wait_until(LONG, || {
        let before = home.calls("get");
        client.call(&["GET", "big"]).unwrap();
        home.calls("get") == before
    }));
    // 2,000 replies of 1 MB to one read of a few kilobytes.
    client.send_raw(&b"GET big\r\n".repeat(2_000)).unwrap();
    sleep(Duration::from_millis(300));
    let peak = std::fs::read_to_string(format!("/proc/{}/status", strata.process_id())).unwrap();
    let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
    let kilobytes: u64 = peak.trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 600_000, "{kilobytes} kB");
    for _ in 0..2_000 {
        assert_eq!(client.read_raw().unwrap().len(), VALUE + 12);
    }
}

#[test]
fn a_home_that_does_not_answer_costs_an_error_in_time_and_hits_nothing() {
    let home = RedisServer::start(&[]);
    let relay = Relay::start(&home.tcp());
    let strata = Strata::start(&relay.endpoint(), &[("l2.request_timeout", "500ms"), ("l2.lease", "1m")]);
    let (mut client, mut reader) = (strata.connect(), strata.connect());
    client.call(&["SET", "k", "v"]).unwrap();
    assert!(wait_until(LONG, || {
        let before = home.calls("get");
        reader.call(&["GET", "k"]).unwrap();
        home.calls("get") == before
    }));
    relay.stall(Direction::Replies, true);
    let asked = Instant::now();
    client.send_raw(b"INCR n\r\n").unwrap();
    for _ in 0..1_000 {
        assert_eq!(reader.call(&["GET", "k"]).unwrap(), bulk("v"));
    }
    let reply = client.read().unwrap();
    let late = matches!(&reply, Value::Error(text) if text.contains("did not answer within 500ms"));
    assert!(late, "{reply:?}");
    assert!(asked.elapsed() >= Duration::from_millis(500) && asked.elapsed() < Duration::from_secs(5));
    relay.stall(Direction::Replies, false);
    // It was executed once, and is not sent again.
    assert!(wait_until(LONG, || client.call(&["GET", "n"]).is_ok_and(|reply| reply == bulk("1"))));
}
