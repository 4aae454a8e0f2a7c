//! Many clients at once.

use std::io::ErrorKind;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{LONG, bulk, ok, pair};
use crate::support::{Client, Direction, Part, RedisServer, Relay, Strata, Value, wait_until};

/// Raises the number of descriptors that this process and its children may have; says whether it is enough.
fn descriptors(wanted: u64) -> bool {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    if limit.current.is_some_and(|current| current < wanted) && most >= wanted {
        let raised = Rlimit { current: Some(most), maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).expect("a soft limit may be raised");
    }
    most >= wanted
}

#[test]
fn a_thousand_clients_that_miss_one_key_at_once_ask_home_once() {
    if !descriptors(8_000) {
        return println!("skipped: the hard limit of open files is below 8,000");
    }
    let home = RedisServer::start(&[]);
    let relay = Relay::start(&home.tcp());
    let strata = Strata::start(&relay.endpoint(), &[]);
    assert!(wait_until(LONG, || home.info("clients")["tracking_clients"] == "1"));
    home.connect().call(&["SET", "k", "v"]).unwrap();
    // The lanes of all workers are there before the crowd comes.
    for _ in 0..8 {
        strata.connect().call(&["STRLEN", "k"]).unwrap();
    }
    let mut crowd: Vec<Client> = (0..1_000).map(|_| strata.connect()).collect();
    relay.stall_part(Part::Lane2, Direction::Replies, true);
    crowd.iter_mut().for_each(|client| client.send_raw(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n").unwrap());
    assert!(wait_until(LONG, || home.calls("get") > 0));
    // Who comes when the reply has landed, and before it is a copy, asks home anew: all are to be there before.
    std::thread::sleep(std::time::Duration::from_secs(1));
    relay.stall_part(Part::Lane2, Direction::Replies, false);
    for client in &mut crowd {
        assert_eq!(client.read().unwrap(), bulk("v"));
    }
    assert_eq!(home.calls("get"), 1);
}

fn resident_kilobytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn ten_thousand_idle_clients_cost_at_most_100_megabytes() {
    const CLIENTS: usize = 10_000;
    if !descriptors(CLIENTS as u64 + 2_000) {
        return println!("skipped: the hard limit of open files is below {}", CLIENTS + 2_000);
    }
    let (_home, strata) = pair(&[("server.max_clients", "11000")]);
    let before = resident_kilobytes(strata.process_id());
    let mut clients = Vec::with_capacity(CLIENTS);
    for _ in 0..CLIENTS {
        clients.push(strata.connect());
    }
    for client in &mut clients {
        client.send_raw(b"SET k v\r\n").unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.read().unwrap(), ok());
    }
    let after = resident_kilobytes(strata.process_id());
    println!("{CLIENTS} idle clients: {} kB", after.saturating_sub(before));
    assert!(after - before <= 100_000_000 / 1_024, "{before} kB, then {after} kB");
}

#[test]
fn one_client_more_than_allowed_is_told_so() {
    let (_home, strata) = pair(&[("server.max_clients", "5")]);
    // The one that asked whether strata is there may not be gone yet.
    let mut inside = Vec::new();
    assert!(wait_until(LONG, || {
        let mut client = strata.connect();
        if client.call(&["PING"]).is_ok_and(|reply| !reply.is_error()) {
            inside.push(client);
        }
        inside.len() == 5
    }));
    let refused = |client: &mut Client| match client.read() {
        Ok(Value::Error(text)) => text == "ERR max number of clients reached",
        _ => false,
    };
    let mut crowd: Vec<Client> = (0..50).map(|_| strata.connect()).collect();
    assert!(crowd.iter_mut().all(refused));
    for client in &mut inside {
        assert_eq!(client.call(&["SET", "k", "v"]).unwrap(), ok());
    }
    inside.truncate(4);
    assert!(wait_until(LONG, || strata.connect().call(&["GET", "k"]).is_ok_and(|reply| reply == bulk("v"))));
}

#[test]
fn a_burst_of_clients_does_not_pass_the_limit() {
    let (_home, strata) = pair(&[("server.max_clients", "10")]);
    let mut crowd: Vec<Client> = thread::scope(|scope| {
        let starts: Vec<_> =
            (0..4).map(|_| scope.spawn(|| (0..50).map(|_| strata.connect()).collect::<Vec<_>>())).collect();
        starts.into_iter().flat_map(|start| start.join().unwrap()).collect()
    });
    let served = crowd.iter_mut().filter_map(|client| client.call(&["PING"]).ok()).filter(|r| !r.is_error());
    let served = served.count();
    assert!(served <= 10, "{served} of 200 were let in");
}

#[test]
fn who_is_silent_for_too_long_is_disconnected_and_nobody_else() {
    let (_home, strata) = pair(&[("server.timeout", "1s")]);
    let (mut idle, mut busy) = (strata.connect(), strata.connect());
    idle.call(&["PING"]).unwrap();
    let gone = wait_until(LONG, || {
        busy.call(&["PING"]).unwrap();
        idle.set_patience(Duration::from_millis(1));
        idle.read_raw().is_err_and(|error| error.kind() == ErrorKind::UnexpectedEof)
    });
    assert!(gone);
    assert_eq!(busy.call(&["SET", "k", "v"]).unwrap(), ok());
}
