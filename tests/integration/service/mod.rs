//! The endpoint as clients meet it: order, limits, crowds, and a home that comes and goes.

#![allow(clippy::unwrap_used, reason = "what is not as expected fails the test, in helpers too")]

mod crowd;
mod home;
mod limits;
mod order;
mod security;

use std::time::Duration;

use crate::support::{RedisServer, Strata, Value};

/// For what has to happen, however loaded the machine is.
const LONG: Duration = Duration::from_secs(20);

fn pair(settings: &[(&str, &str)]) -> (RedisServer, Strata) {
    let home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), settings);
    (home, strata)
}

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

fn ok() -> Value {
    Value::Simple("OK".into())
}
