//! A home that sentinels watch: found through any of them, followed through every kind of failover, and an old master
//! is never used again.

#![allow(clippy::unwrap_used, reason = "what is not as expected fails the test, in helpers too")]

mod discovery;
mod failover;
mod old_master;
mod secure;

use std::time::Duration;

use crate::support::{Client, Sentinels, Strata, Value, wait_until};

/// For what has to happen, however loaded the machine is: a sentinel that could not run for 2 s does nothing for 30 s.
const LONG: Duration = Duration::from_secs(180);

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

fn ok() -> Value {
    Value::Simple("OK".into())
}

/// How many connections of strata the server of this number has.
fn connections(group: &Sentinels, number: usize) -> usize {
    let list = group.server(number).connect().call(&["CLIENT", "LIST"]).unwrap();
    let list = String::from_utf8_lossy(list.bytes().unwrap()).into_owned();
    list.lines().filter(|line| line.contains(" name=strata-")).count()
}

/// Reads until the value is this one; who reads on one connection sees what was written there before.
fn reads(client: &mut Client, key: &str, value: &str) -> bool {
    wait_until(LONG, || client.call(&["GET", key]).unwrap() == bulk(value))
}

/// Writes until it is accepted.
fn writes(client: &mut Client, key: &str, value: &str) -> bool {
    wait_until(LONG, || client.call(&["SET", key, value]).unwrap() == ok())
}

/// Reads until the answer is an error with all of these words.
fn explains(strata: &Strata, words: &[&str]) {
    let mut client = strata.connect();
    let mut said = String::new();
    let explained = wait_until(LONG, || {
        let reply = client.call(&["GET", "k"]).unwrap();
        said = format!("{reply:?}");
        reply.is_error() && words.iter().all(|word| said.contains(word))
    });
    assert!(explained, "{said}");
}

/// What comes first of the last line of INFO or another text that begins with this.
fn field(client: &mut Client, name: &str) -> String {
    let info = client.call(&["INFO", "strata"]).unwrap();
    let info = String::from_utf8_lossy(info.bytes().unwrap()).into_owned();
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().to_owned()
}
