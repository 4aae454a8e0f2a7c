//! Who may do what: strata against a bare redis-server with the same users, byte for byte.

#![allow(clippy::unwrap_used, reason = "what is not as expected fails the test, in helpers too")]

mod administration;
mod bounds;
mod changes;
mod copies;
mod rules;
mod verdicts;

use std::io::ErrorKind;
use std::time::Duration;

use crate::support::{Client, Endpoint, RedisServer, Strata, Value};

const LONG: Duration = Duration::from_secs(20);

/// A bare server, and strata before another one.
struct Stage {
    bare: RedisServer,
    home: RedisServer,
    strata: Strata,
}

impl Stage {
    /// Both know these users, by name and rules.
    fn new(users: &[(&str, &str)], settings: &[(&str, &str)]) -> Stage {
        let (bare, home) = (RedisServer::start(&[]), RedisServer::start(&[]));
        let section =
            |(name, rules): &(&str, &str)| format!("[[user]]\nname = '{name}'\nrules = '{rules}'\n");
        let file: String = users.iter().map(section).collect();
        let strata = Strata::start_with(&home.unix().url(), &file, settings);
        let mut admin = Client::connect(&bare.tcp()).unwrap();
        for (name, rules) in users {
            let words = ["ACL", "SETUSER", name, "reset"].into_iter().chain(rules.split(' '));
            assert_eq!(admin.call(&words.collect::<Vec<_>>()).unwrap(), ok(), "{name} {rules}");
        }
        Stage { bare, home, strata }
    }

    /// The replies of both to the same commands, each on a connection of its own.
    fn replies(&self, commands: &[&str]) -> [Vec<String>; 2] {
        [self.bare.tcp(), self.strata.endpoint()].map(|endpoint| replies(&endpoint, commands))
    }

    fn same(&self, commands: &[&str]) {
        let [bare, strata] = self.replies(commands);
        for ((command, bare), strata) in commands.iter().zip(bare).zip(strata) {
            assert_eq!(strata, bare, "{command}, of {commands:?}");
        }
    }
}

fn replies(endpoint: &Endpoint, commands: &[&str]) -> Vec<String> {
    let mut client = Client::connect(endpoint).unwrap();
    commands.iter().map(|command| raw(&mut client, command)).collect()
}

/// The bytes of a reply as text, or that the connection was closed.
fn raw(client: &mut Client, command: &str) -> String {
    let words: Vec<&str> = command.split(' ').collect();
    let reply = client.send_raw(&crate::support::encode(&words)).and_then(|()| client.read_raw());
    match reply {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) if e.kind() == ErrorKind::TimedOut => panic!("{command} is not answered"),
        Err(_) => "closed".to_owned(),
    }
}

fn call(client: &mut Client, command: &str) -> Value {
    let words: Vec<&str> = command.split(' ').collect();
    client.call(&words).unwrap_or_else(|e| panic!("{command}: {e}"))
}

fn ok() -> Value {
    Value::Simple("OK".into())
}

fn error(text: &str) -> Value {
    Value::Error(text.into())
}
