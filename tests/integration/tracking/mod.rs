//! Clients that keep caches of their own, MONITOR, CLIENT PAUSE and SLOWLOG: what one client turns on, beside a bare
//! redis-server where order is determined.

#![allow(clippy::unwrap_used, reason = "what is not as expected fails the test, in helpers too")]

mod coherence;
mod coverage;
mod invalidations;
mod monitor;
mod noloop;
mod pause;
mod slow;
mod words;

use std::time::Duration;

use crate::support::{Client, Endpoint, RedisServer, Strata, Value};

/// For what has to happen, however loaded the machine is.
const LONG: Duration = Duration::from_secs(15);
/// How long what must not come is waited for.
const SHORT: Duration = Duration::from_millis(150);

/// A bare server, and strata in front of another.
struct Pair {
    bare: RedisServer,
    home: RedisServer,
    strata: Strata,
}

impl Pair {
    fn start() -> Pair {
        Pair::start_with(&[("server.workers", "2"), ("server.admin_commands", "pass")])
    }

    fn start_with(settings: &[(&str, &str)]) -> Pair {
        let (bare, home) = (RedisServer::start(&[]), RedisServer::start(&[]));
        // On a machine under load a lease of a second may run out, of which clients are told.
        let mut all = vec![("l2.lease", "20s")];
        all.extend(settings);
        let strata = Strata::start(&home.unix(), &all);
        Pair { bare, home, strata }
    }

    /// The same conversation with both, one after the other; what came back has to be the same.
    fn same(&self, conversation: impl Fn(&Endpoint) -> Vec<String>) {
        let bare = conversation(&self.bare.tcp());
        let strata = conversation(&self.strata.endpoint());
        assert_eq!(strata, bare, "left: strata, right: redis-server");
    }
}

fn connect(endpoint: &Endpoint) -> Client {
    let mut client = Client::connect(endpoint).expect("a connection");
    client.set_patience(LONG);
    client
}

fn resp3(endpoint: &Endpoint) -> Client {
    let mut client = connect(endpoint);
    client.hello(3).expect("RESP3");
    client
}

fn words(command: &str) -> Vec<&str> {
    command.split(' ').collect()
}

fn call(client: &mut Client, command: &str) -> Value {
    client.call(&words(command)).unwrap_or_else(|e| panic!("{command}: {e}"))
}

/// The raw bytes of a reply, as text.
fn raw(client: &mut Client) -> String {
    String::from_utf8_lossy(&client.read_raw().expect("a reply")).into_owned()
}

/// Sends a command and reads as many frames.
fn frames(client: &mut Client, command: &str, count: usize) -> Vec<String> {
    client.send_raw(&crate::support::encode(&words(command))).expect("sent");
    (0..count).map(|_| raw(client)).collect()
}

/// Whatever comes within `SHORT`. The client is of no more use if nothing did.
fn surplus(client: &mut Client) -> Option<String> {
    client.set_patience(SHORT);
    client.read_raw().ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

/// The push that names keys.
fn invalidation(keys: &[&str]) -> Value {
    let keys = keys.iter().map(|key| bulk(key)).collect();
    Value::Push(vec![bulk("invalidate"), Value::Array(keys)])
}
