//! One client's way to the registers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::model::{Clock, Nanos};
use crate::support::{Arguments, Client, Endpoint, Value};

/// A reply takes longer only where something is broken for good.
pub(super) const PATIENCE: Duration = Duration::from_secs(6);

/// What became of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Said(Value),
    /// Sent, and perhaps executed some time.
    Unsure,
    /// Surely never executed.
    NotSent,
}

/// A connection that is made anew when it breaks.
pub(super) trait Link: Send {
    /// Sends all in one write. Each outcome comes with the time it was known.
    fn exchange(&mut self, commands: &[Arguments]) -> Vec<(Outcome, Nanos)>;

    /// The same, but only on the connection that the last exchange went by: what it said of that connection holds.
    fn continue_with(&mut self, commands: &[Arguments]) -> Vec<(Outcome, Nanos)>;
}

/// A RESP connection to a server.
pub(super) struct Direct {
    endpoint: Endpoint,
    protocol: u8,
    clock: Clock,
    patience: Duration,
    client: Option<Client>,
}

impl Direct {
    pub(super) fn new(endpoint: Endpoint, protocol: u8, clock: Clock) -> Direct {
        Direct { endpoint, protocol, clock, patience: PATIENCE, client: None }
    }

    /// How long a reply may take.
    pub(super) fn with_patience(self, patience: Duration) -> Direct {
        Direct { patience, ..self }
    }

    fn connected(&mut self) -> Option<&mut Client> {
        if self.client.is_none() {
            let mut client = Client::connect(&self.endpoint).ok()?;
            client.set_patience(self.patience);
            client.hello(self.protocol).ok()?;
            self.client = Some(client);
        }
        self.client.as_mut()
    }
}

impl Link for Direct {
    fn exchange(&mut self, commands: &[Arguments]) -> Vec<(Outcome, Nanos)> {
        let _ = self.connected();
        self.continue_with(commands)
    }

    fn continue_with(&mut self, commands: &[Arguments]) -> Vec<(Outcome, Nanos)> {
        let clock = self.clock;
        let Some(client) = &mut self.client else {
            return vec![(Outcome::NotSent, clock.now()); commands.len()];
        };
        let mut alive = client.send_all(commands).is_ok();
        let mut outcomes = Vec::with_capacity(commands.len());
        for _ in commands {
            let reply = if alive { client.read().ok() } else { None };
            alive = reply.is_some();
            outcomes.push((reply.map_or(Outcome::Unsure, Outcome::Said), clock.now()));
        }
        if !alive {
            self.client = None;
        }
        outcomes
    }
}

pub(super) type Copies = HashMap<Arguments, (Value, Nanos)>;

/// A cache as it should not be: it keeps replies for a fixed time and hears of no writes. The checker has to find it out.
pub(super) struct Forgetful {
    inner: Box<dyn Link>,
    clock: Clock,
    copies: Arc<Mutex<Copies>>,
    lifetime: Nanos,
}

impl Forgetful {
    pub(super) fn new(
        inner: Box<dyn Link>,
        clock: Clock,
        copies: &Arc<Mutex<Copies>>,
        lifetime: Nanos,
    ) -> Forgetful {
        Forgetful { inner, clock, copies: Arc::clone(copies), lifetime }
    }

    fn copy(&self, command: &Arguments, now: Nanos) -> Option<Value> {
        let copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        copies.get(command).filter(|(_, kept)| now - kept < self.lifetime).map(|(value, _)| value.clone())
    }
}

impl Link for Forgetful {
    fn continue_with(&mut self, commands: &[Arguments]) -> Vec<(Outcome, Nanos)> {
        self.inner.continue_with(commands)
    }

    fn exchange(&mut self, commands: &[Arguments]) -> Vec<(Outcome, Nanos)> {
        let [command] = commands else {
            return self.inner.exchange(commands);
        };
        if !super::commands::is_read(command) {
            return self.inner.exchange(commands);
        }
        let now = self.clock.now();
        if let Some(copy) = self.copy(command, now) {
            return vec![(Outcome::Said(copy), now)];
        }
        let outcomes = self.inner.exchange(commands);
        if let [(Outcome::Said(value), _)] = &outcomes[..] {
            let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
            copies.insert(command.clone(), (value.clone(), now));
        }
        outcomes
    }
}
