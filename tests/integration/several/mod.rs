//! Commands over several nodes of a cluster: clients see one Redis.

mod parts;
mod same;
mod scan;
mod scripts;
mod server;

use crate::support::{Client, Value};

fn call(client: &mut Client, command: &str) -> Value {
    let words: Vec<&str> = command.split(' ').collect();
    client.call(&words).unwrap_or_else(|e| panic!("{command}: {e}"))
}

/// The same, which is no error.
fn good(client: &mut Client, command: &str) -> Value {
    let reply = call(client, command);
    assert!(!reply.is_error(), "{command}: {reply:?}");
    reply
}

fn error(reply: &Value) -> &str {
    match reply {
        Value::Error(text) => text,
        other => panic!("{other:?} is no error"),
    }
}

fn text(reply: &Value) -> String {
    String::from_utf8_lossy(reply.bytes().unwrap_or_else(|| panic!("{reply:?} is no text"))).into_owned()
}

/// The texts of an array, in order.
fn sorted(reply: &Value) -> Vec<String> {
    let mut all: Vec<_> = reply.elements().expect("an array").iter().map(text).collect();
    all.sort();
    all
}
