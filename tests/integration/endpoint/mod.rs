//! What strata answers itself: commands about the connection against a bare redis-server, byte for byte, and its own.

mod cache;
mod clients;
mod facade;
mod health;
mod info;
mod local;
mod settings;

use std::io;
use std::time::Duration;

use crate::support::{Client, Endpoint, Value};

/// Sends pipelines of words on a connection of their own and returns all that comes back, and whether the server closed
/// the connection after it.
fn converse(endpoint: &Endpoint, commands: &[&[&str]]) -> (Vec<Vec<u8>>, bool) {
    let mut client = Client::connect(endpoint).expect("the server accepts");
    client.set_patience(Duration::from_secs(5));
    let words = |command: &[&str]| command.iter().map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>();
    let mut all: Vec<_> = commands.iter().map(|command| words(command)).collect();
    // Its reply says that nothing else comes before it.
    all.push(words(&["ECHO", "the end"]));
    client.send_all(&all).expect("the server reads");
    let mut replies = Vec::new();
    loop {
        match client.read_raw() {
            Ok(reply) if reply == b"$7\r\nthe end\r\n" => return (replies, false),
            Ok(reply) if reply.starts_with(b"-NOAUTH Auth") && replies.len() >= commands.len() => {
                return (replies, false);
            }
            Ok(reply) => replies.push(reply),
            Err(e) => {
                let closed =
                    [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset].contains(&e.kind());
                assert!(closed, "{commands:?}: {e} after {replies:?}");
                return (replies, true);
            }
        }
    }
}

/// The value of a name in a reply that is a map, or in RESP2 a flat array.
fn field(reply: &Value, name: &str) -> Value {
    let elements = reply.elements().unwrap_or_else(|| panic!("{reply:?} is no map"));
    let mut pairs = elements.chunks(2);
    let pair = pairs.find(|pair| pair[0].bytes() == Some(name.as_bytes()));
    pair.unwrap_or_else(|| panic!("{reply:?} has no {name}"))[1].clone()
}

/// A text as a reply holds it.
fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

fn text(reply: &Value) -> String {
    let bytes = reply.bytes().unwrap_or_else(|| panic!("{reply:?} is no text"));
    String::from_utf8_lossy(bytes).into_owned()
}

fn call(client: &mut Client, command: &str) -> Value {
    let words: Vec<&str> = command.split(' ').collect();
    client.call(&words).unwrap_or_else(|e| panic!("{command}: {e}"))
}
