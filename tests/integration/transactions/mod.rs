//! MULTI, EXEC, DISCARD, WATCH and UNWATCH, as on Redis.

#![allow(clippy::unwrap_used, reason = "what is not as expected fails the test, in helpers too")]

mod coherence;
mod counters;
mod leases;
mod outage;
mod scripts;
mod word_for_word;

use std::time::Duration;

use crate::support::{Client, RedisServer, Strata, Value};

/// For what has to happen, however loaded the machine is.
const LONG: Duration = Duration::from_secs(20);

fn pair(settings: &[(&str, &str)]) -> (RedisServer, Strata) {
    let home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), settings);
    (home, strata)
}

fn words(command: &str) -> Vec<&str> {
    command.split(' ').collect()
}

fn call(client: &mut Client, command: &str) -> Value {
    client.call(&words(command)).unwrap_or_else(|e| panic!("{command}: {e}"))
}

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

fn ok() -> Value {
    Value::Simple("OK".into())
}

fn is_error(reply: &Value, part: &str) -> bool {
    matches!(reply, Value::Error(text) if text.contains(part))
}
