//! The process from start to end, with the redis-server it brings along.

#![allow(clippy::unwrap_used, reason = "what is not as expected fails the test, in helpers too")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::{Client, Direction, Endpoint, RedisServer, Relay, Strata, Value, wait_until};

const LONG: Duration = Duration::from_secs(20);

fn ok() -> Value {
    Value::Simple("OK".into())
}

fn embedded() -> Strata {
    Strata::start_with("embedded", "", &[("l2.max_size", "20MB")])
}

/// The redis-server children of a process, with the directories they work in.
fn children(parent: u32) -> Vec<(u32, PathBuf)> {
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    let ids = list.split_whitespace().filter_map(|id| id.parse().ok());
    ids.filter_map(|id: u32| Some((id, fs::read_link(format!("/proc/{id}/cwd")).ok()?))).collect()
}

fn runs(process: u32) -> bool {
    // A zombie runs no more, though nobody has waited for it.
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

fn signal(process: u32, signal: Signal) {
    let id = Pid::from_raw(process as i32).expect("a process id");
    kill_process(id, signal).expect("the process is there");
}

#[test]
fn the_embedded_redis_is_private_bounded_and_gone_after_the_end() {
    let mut strata = embedded();
    let mut client = strata.connect();
    assert_eq!(client.call(&["SET", "k", "v"]).unwrap(), ok());
    assert_eq!(client.call(&["GET", "k"]).unwrap(), Value::Bulk(b"v".to_vec()));
    for (name, value) in [("maxmemory", "20000000"), ("maxmemory-policy", "allkeys-lru"), ("save", "")] {
        let said = client.call(&["CONFIG", "GET", name]).unwrap().elements().unwrap();
        assert_eq!(said[1], Value::Bulk(value.as_bytes().to_vec()), "{name}");
    }
    let home = children(strata.process_id());
    let [(child, directory)] = &home[..] else { panic!("{home:?}") };
    let said = Client::connect(&Endpoint::Unix(directory.join("redis.sock")))
        .unwrap()
        .call(&["CONFIG", "GET", "port"]);
    assert_eq!(said.unwrap().elements().unwrap()[1], Value::Bulk(b"0".to_vec()));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(directory).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(strata.stop(LONG).code(), Some(0), "{}", strata.output());
    assert!(!runs(*child) && !directory.exists());
}

#[test]
fn an_embedded_redis_that_dies_is_started_again() {
    let strata = embedded();
    let mut client = strata.connect();
    for round in 0..2 {
        assert!(wait_until(LONG, || client.call(&["SET", "k", "v"]).unwrap() == ok()), "round {round}");
        assert_eq!(client.call(&["GET", "k"]).unwrap(), Value::Bulk(b"v".to_vec()));
        let before = children(strata.process_id());
        signal(before[0].0, Signal::KILL);
        assert!(wait_until(LONG, || children(strata.process_id()).iter().any(|c| c.0 != before[0].0)));
        // It comes back empty, and no copy says otherwise.
        let empty = || client.call(&["GET", "k"]).unwrap() == Value::Nil;
        assert!(wait_until(LONG, empty), "round {round}");
    }
    assert!(strata.output().contains("starting it again"), "{}", strata.output());
}

#[test]
fn an_embedded_redis_does_not_outlive_a_strata_that_is_killed() {
    let mut strata = embedded();
    let (child, directory) = children(strata.process_id()).remove(0);
    strata.kill();
    let killed = Instant::now();
    assert!(wait_until(LONG, || !runs(child)));
    assert!(killed.elapsed() < Duration::from_secs(2), "{:?}", killed.elapsed());
    // The next one removes what this one could not.
    drop(embedded());
    assert!(!directory.exists());
}

/// Runs the program to its end in an empty directory.
fn run(words: &[&str]) -> Output {
    let directory = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_strata"));
    command.args(words).current_dir(directory.path()).stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("STRATA_")) {
        command.env_remove(name);
    }
    command.output().unwrap()
}

#[test]
fn a_missing_redis_server_is_named_with_its_package_and_setting() {
    for words in [&["run"][..], &["check"]] {
        let output =
            run(&[words, &["--set", "l2.binary=no-such-redis", "--set", "server.listen=127.0.0.1:0"]]
                .concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        for word in ["no-such-redis", "package redis-server", "l2.binary", "l2.url"] {
            assert!(said.contains(word), "{word}: {said}");
        }
    }
}

#[test]
fn check_says_what_is_right_and_what_is_wrong() {
    let home = RedisServer::start(&[]);
    let url = format!("l2.url={}", home.unix().url());
    let output = run(&["check", "--set", &url]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("ok      configuration") && said.contains("Redis 7"), "{said}");

    let output = run(&["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));

    let output = run(&["check", "--set", "l2.url=unix:///no/such/socket"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("failed  l2 unix:///no/such/socket"), "{said}");

    let output = run(&["check", "--set", "l1.max_sise=5MB", "--set", "l2.lease=soon"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("l1.max_size") && said.contains("l2.lease"), "{said}");
}

#[test]
fn the_banner_says_where_everything_is() {
    let home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), &[("server.workers", "2")]);
    let said = strata.output();
    let (endpoint, process) = (strata.endpoint().url(), strata.process_id().to_string());
    for part in
        [endpoint.trim_start_matches("redis://"), &process, "2 workers", "L1", "5000000", "L2", "redis.sock"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn what_is_in_flight_is_finished_before_the_end() {
    let home = RedisServer::start(&[]);
    let relay = Relay::start(&home.tcp());
    let mut strata = Strata::start(&relay.endpoint(), &[]);
    let (mut client, mut idle) = (strata.connect(), strata.connect());
    client.call(&["SET", "lane", "up"]).unwrap();
    idle.call(&["PING"]).unwrap();
    relay.stall(Direction::Replies, true);
    client.send_raw(b"INCR n\r\nINCR n\r\n").unwrap();
    assert!(wait_until(LONG, || home.calls("incr") == 2));
    let id = strata.process_id();
    signal(id, Signal::TERM);
    // Nobody is let in any more, and who has nothing to wait for goes.
    assert!(wait_until(LONG, || Client::connect(&strata.endpoint()).is_err()));
    idle.set_patience(LONG);
    assert!(idle.read_raw().is_err());
    assert!(runs(id));
    relay.stall(Direction::Replies, false);
    assert_eq!((client.read().unwrap(), client.read().unwrap()), (Value::Integer(1), Value::Integer(2)));
    assert_eq!(strata.stop(LONG).code(), Some(0), "{}", strata.output());
}

#[test]
fn an_end_does_not_wait_for_ever() {
    let home = RedisServer::start(&[]);
    let relay = Relay::start(&home.tcp());
    let mut strata = Strata::start(&relay.endpoint(), &[("server.shutdown_timeout", "300ms")]);
    let mut client = strata.connect();
    client.call(&["SET", "lane", "up"]).unwrap();
    relay.stall(Direction::Replies, true);
    client.send_raw(b"INCR n\r\n").unwrap();
    assert!(wait_until(LONG, || home.calls("incr") == 1));
    let asked = Instant::now();
    assert_eq!(strata.stop(LONG).code(), Some(0), "{}", strata.output());
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}
