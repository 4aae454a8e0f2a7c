//! A Redis Cluster as home: clients see one Redis.

mod failover;
mod members;
mod moving;
mod places;
mod reshard;
mod words;

use crate::support::{Client, Value};

/// Calls, and panics on an error.
fn good(client: &mut Client, words: &[&str]) -> Value {
    let reply = client.call(words).expect("strata answers");
    assert!(!reply.is_error(), "{words:?}: {reply:?}");
    reply
}

fn text(words: &str) -> Value {
    Value::Bulk(words.as_bytes().to_vec())
}
