//! MONITOR shows what strata serves, as Redis shows it.

use super::{LONG, Pair, call, connect, frames, raw, resp3, words};
use crate::support::{Client, Endpoint, encode, wait_until};

/// A line without its time and the client's address.
fn bare(line: &str) -> String {
    let (time, rest) = line.split_once(' ').expect("a time");
    let digits = time.strip_prefix('+').and_then(|t| t.split_once('.')).expect("seconds and microseconds");
    assert!(digits.0.parse::<u64>().is_ok() && digits.1.len() == 6, "{line}");
    let (place, command) = rest.split_once("] ").expect("a place");
    let (db, address) = place.trim_start_matches('[').split_once(' ').expect("a database and an address");
    assert!(address.starts_with("127.0.0.1:") || address == "lua", "{line}");
    let by = if address == "lua" { " lua" } else { "" };
    format!("[{db}{by}] {command}")
}

fn monitor(endpoint: &Endpoint) -> Client {
    let mut client = connect(endpoint);
    assert_eq!(frames(&mut client, "MONITOR", 1), ["+OK\r\n"]);
    client
}

/// The lines up to that of `ECHO end`.
fn lines(monitor: &mut Client) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let line = bare(&raw(monitor));
        if line.contains("\"the end\"") {
            return lines;
        }
        lines.push(line);
    }
}

#[test]
fn lines_are_those_of_redis() {
    let pair = Pair::start();
    pair.same(|endpoint| {
        let mut watcher = monitor(endpoint);
        let mut client = connect(endpoint);
        let commands = [
            "SET k v",
            "get k",
            "GeT k",
            "SELECT 2",
            "GET k",
            "GET",
            "NOSUCH a",
            "SET k",
            "PING",
            "ECHO x",
            "CLIENT ID",
            "CLIENT SETNAME me",
            "CONFIG GET maxmemory",
            "SLOWLOG LEN",
            "AUTH pw",
            "AUTH user pw",
            "AUTH a b c",
            "HELLO 3 AUTH default x SETNAME n",
            "HELLO 2",
            "EVAL_RO x 0",
            "FLUSHALL",
            "INFO server",
            "CLIENT KILL ID 99999",
            "CLIENT LIST ID 99999",
            "ACL WHOAMI",
            "LATENCY RESET",
            "MGET a b",
            "XREAD STREAMS a 0",
        ];
        for command in commands {
            call(&mut client, command);
        }
        let odd: [&[u8]; 3] = [b"SET", b"a \"b\"\\ \n\r\t\x07\x08\x00", b"\xff\xfe~"];
        client.send_raw(&encode(&odd)).unwrap();
        client.read_raw().unwrap();
        client.send_raw(b"get inline\r\n").unwrap();
        client.read_raw().unwrap();
        client.call(&["ECHO", "the end"]).unwrap();
        lines(&mut watcher)
    });
}

#[test]
fn transactions_are_shown_when_they_are_run() {
    let pair = Pair::start();
    pair.same(|endpoint| {
        let mut watcher = monitor(endpoint);
        let mut client = connect(endpoint);
        for command in
            ["MULTI", "SET k v", "PING", "GET k", "EXEC", "MULTI", "GET k", "DISCARD", "MULTI", "GET", "EXEC"]
        {
            call(&mut client, command);
        }
        client.call(&["ECHO", "the end"]).unwrap();
        lines(&mut watcher)
    });
}

#[test]
fn what_scripts_run_is_shown() {
    let pair = Pair::start_with(&[("server.workers", "2")]);
    pair.same(|endpoint| {
        let (mut watcher, mut other) = (monitor(endpoint), monitor(endpoint));
        let mut client = connect(endpoint);
        let run = "redis.call('SET',KEYS[1],ARGV[1]);return(redis.call('GET',KEYS[1]))";
        let mut seen = Vec::new();
        for command in
            [&["EVAL", run, "1", "k", "v \"w\""][..], &["SELECT", "3"], &["EVAL", run, "1", "k", "x"]]
        {
            client.call(command).unwrap();
            let lines = if command[0] == "EVAL" { 3 } else { 1 };
            seen.extend((0..lines).map(|_| bare(&raw(&mut watcher))));
            seen.extend((0..lines).map(|_| bare(&raw(&mut other))));
        }
        call(&mut client, "MULTI");
        client.call(&["EVAL", run, "1", "k", "y"]).unwrap();
        call(&mut client, "EXEC");
        // Where EXEC and the script's commands come among each other is the server's own affair.
        let mut lines: Vec<String> = (0..5).map(|_| bare(&raw(&mut watcher))).collect();
        lines.sort();
        seen.extend(lines);
        seen
    });
    // Nobody monitors any more, and so strata does not.
    let monitors = || frames(&mut pair.home.connect(), "CLIENT LIST", 1)[0].matches(" flags=O ").count();
    assert!(wait_until(LONG, || monitors() == 0));
}

#[test]
fn hits_are_shown_to_monitors_of_every_worker() {
    let pair = Pair::start_with(&[("server.workers", "3")]);
    let endpoint = pair.strata.endpoint();
    let mut client = connect(&endpoint);
    call(&mut client, "SET k v");
    let copied = |client: &mut Client| {
        let before = pair.home.calls("get");
        call(client, "GET k");
        pair.home.calls("get") == before
    };
    assert!(wait_until(LONG, || copied(&mut client)));
    let mut watchers: Vec<_> = (0..5).map(|_| monitor(&endpoint)).collect();
    assert!(wait_until(LONG, || copied(&mut client)), "a copy answers while somebody watches");
    let before = pair.home.calls("get");
    let pipeline: Vec<_> = (0..200).map(|_| crate::support::arguments(&words("GET k"))).collect();
    client.pipeline(&pipeline).unwrap();
    assert_eq!(pair.home.calls("get"), before);
    client.call(&["ECHO", "the end"]).unwrap();
    for watcher in &mut watchers {
        let shown = lines(watcher);
        assert!(shown.len() >= 201, "{}", shown.len());
        assert!(shown[shown.len() - 200..].iter().all(|line| line == "[0] \"GET\" \"k\"\r\n"), "{shown:?}");
    }
}

#[test]
fn who_watches_may_do_little_else_until_reset() {
    let pair = Pair::start();
    pair.same(|endpoint| {
        let mut watcher = resp3(endpoint);
        let mut seen = frames(&mut watcher, "MONITOR", 1);
        // A second one is not answered.
        for command in ["MONITOR", "GET k", "SET k v", "PUBLISH c m", "MGET a b"] {
            seen.extend(frames(&mut watcher, command, usize::from(command != "MONITOR")));
        }
        seen.extend(frames(&mut watcher, "RESET", 1));
        seen.extend(frames(&mut watcher, "SET k v", 1));
        call(&mut connect(endpoint), "GET k");
        seen.extend(frames(&mut watcher, "GET k", 1));
        seen
    });
}

#[test]
fn who_does_not_read_what_it_watches_is_cut_off() {
    let pair = Pair::start_with(&[("server.output_buffer_limit", "2MB")]);
    let endpoint = pair.strata.endpoint();
    let watcher = monitor(&endpoint);
    let mut client = connect(&endpoint);
    let value = "x".repeat(100_000);
    let cut = wait_until(LONG, || {
        client.call(&["SET", "k", &value]).unwrap();
        let list = call(&mut client, "CLIENT LIST");
        !String::from_utf8_lossy(list.bytes().unwrap()).contains("flags=O")
    });
    assert!(cut, "{}", pair.strata.output());
    drop(watcher);
}
