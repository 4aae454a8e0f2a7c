//! The rules of coherence, each with a test that fails when the rule is taken out of the program.
//!
//! A race is not left to luck: a relay between strata and home holds the connection that has to be late. What is
//! asserted is what a client may see, never how it is brought about.

#![allow(clippy::unwrap_used, reason = "what is not as expected fails the test, in helpers too")]

mod admission;
mod cacheable;
mod everything;
mod expiry;
mod fences;
mod guard;
mod home_lru;
mod lease;
mod mget;
mod outage;
mod rest;
mod unknown_keys;

use std::time::Duration;

use crate::support::{Client, Endpoint, Part, RedisServer, Relay, Strata, Value, wait_until};

/// For what has to happen, however loaded the machine is.
const LONG: Duration = Duration::from_secs(15);
/// How long a reply that must not come is waited for.
const SHORT: Duration = Duration::from_millis(150);

/// Home, a relay in front of it, and strata in front of that.
struct Scene {
    home: RedisServer,
    relay: Relay,
    strata: Strata,
}

impl Scene {
    fn start(settings: &[(&str, &str)]) -> Scene {
        Scene::start_with(&[], "", settings)
    }

    /// With options of home, and policies in a configuration file.
    fn start_with(home: &[(&str, &str)], file: &str, settings: &[(&str, &str)]) -> Scene {
        let home = RedisServer::start(home);
        let relay = Relay::start(&home.tcp());
        // A machine under load takes its time; what a test holds back is none of these.
        let mut all = vec![("l2.connect_timeout", "10s")];
        all.extend(settings);
        let strata = Strata::start_with(&relay.endpoint().url(), file, &all);
        let scene = Scene { home, relay, strata };
        scene.await_guard();
        scene
    }

    /// Copies can be made only once the guard listens.
    fn await_guard(&self) {
        assert!(wait_until(LONG, || self.guards() == 1), "the guard does not connect");
    }

    /// Connections at home that have tracking on.
    fn guards(&self) -> u64 {
        self.home.info("clients")["tracking_clients"].parse().expect("a number")
    }

    /// A client of strata.
    fn client(&self) -> Client {
        self.strata.connect()
    }

    /// Reads until a reply comes from a copy, and returns that reply.
    fn copied(&self, client: &mut Client, words: &[&str]) -> Value {
        let mut reply = Value::Nil;
        let copied = wait_until(LONG, || {
            let (value, asked) = self.read(client, words);
            reply = value;
            asked == 0
        });
        assert!(copied, "{words:?} is never answered from a copy");
        reply
    }

    /// Reads, and says how often home was asked for it.
    fn read(&self, client: &mut Client, words: &[&str]) -> (Value, u64) {
        let command = words[0].to_lowercase();
        let before = self.home.calls(&command);
        let reply = client.call(words).expect("a reply");
        (reply, self.home.calls(&command) - before)
    }

    /// The words of one client that never touch the proxy.
    fn at_home(&self, words: &[&str]) -> Value {
        let reply = self.home.connect().call(words).expect("home answers");
        assert!(!reply.is_error(), "{words:?}: {reply:?}");
        reply
    }

    /// Ends the guard connection and lets no connection be made, so that nobody guards the copies.
    fn lose_guard(&self) {
        self.relay.refuse(true);
        self.relay.cut_part(Part::Guard);
    }

    /// Home vanishes for strata: nothing is open and nothing can be opened.
    fn lose_home(&self) {
        self.relay.refuse(true);
        self.relay.cut();
    }
}

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

fn ok() -> Value {
    Value::Simple("OK".into())
}

/// Whether the next reply comes within `SHORT`; it is read if so.
fn prompt_reply(client: &mut Client) -> Option<Value> {
    client.set_patience(SHORT);
    let reply = client.read().ok();
    client.set_patience(LONG);
    reply
}

/// A client of `endpoint` that speaks RESP3.
fn resp3(endpoint: &Endpoint) -> Client {
    let mut client = Client::connect(endpoint).expect("a connection");
    client.hello(3).expect("RESP3");
    client
}
