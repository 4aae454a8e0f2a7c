//! Channels: what subscribers and publishers see, against a bare redis-server, and what home sees of them.

#![allow(clippy::unwrap_used, reason = "what is not as expected fails the test, in helpers too")]

mod outage;
mod scripts;
mod sharing;
mod slow;
mod transactions;

use std::time::Duration;

use crate::support::{Client, RedisServer, Strata, Value};

/// For what has to happen, however loaded the machine is.
const LONG: Duration = Duration::from_secs(20);

fn pair(settings: &[(&str, &str)]) -> (RedisServer, Strata) {
    let home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), settings);
    (home, strata)
}

fn call(client: &mut Client, command: &str) -> Value {
    let words: Vec<&str> = command.split(' ').collect();
    client.call(&words).unwrap_or_else(|e| panic!("{command}: {e}"))
}

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

fn texts(words: &[&str]) -> Vec<Value> {
    words.iter().map(|word| bulk(word)).collect()
}

/// A message as RESP2 has it.
fn message(channel: &str, text: &str) -> Value {
    Value::Array(texts(&["message", channel, text]))
}

fn subscribe(client: &mut Client, channel: &str) {
    let reply = call(client, &format!("SUBSCRIBE {channel}"));
    assert_eq!(reply.elements().unwrap()[..2], texts(&["subscribe", channel]), "{reply:?}");
}

/// What home answers to PUBSUB NUMSUB of one channel.
fn known_at(home: &RedisServer, channel: &str) -> i64 {
    match call(&mut home.connect(), &format!("PUBSUB NUMSUB {channel}")).elements().unwrap()[1] {
        Value::Integer(n) => n,
        ref other => panic!("{other:?} is no number"),
    }
}
