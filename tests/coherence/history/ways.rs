//! A client's way to the servers of a cluster: as a client library that knows clusters goes it.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use super::commands::key_of;
use super::link::{Direct, Link, Outcome};
use super::model::{Clock, Nanos};
use crate::support::{Arguments, Endpoint, Value, arguments, slot_of};

/// Longer than any server needs that is well.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// How often one batch is sent where refusals say it belongs, and the pause before each time but the first.
const ATTEMPTS: u32 = 8;
const PAUSE: Duration = Duration::from_millis(8);

/// Connections to all nodes, and what is known of who has which slot.
pub(super) struct Ways {
    /// As the nodes announce themselves.
    addresses: Vec<String>,
    links: Vec<Direct>,
    owners: HashMap<u16, usize>,
    last: usize,
    clock: Clock,
}

/// Where a refusal sends the client.
enum Refusal {
    Moved(usize),
    Ask(usize),
    Wait,
}

impl Ways {
    /// `nodes` are what each announces, and where it is reached.
    pub(super) fn new(nodes: Vec<(String, Endpoint)>, protocol: u8, clock: Clock) -> Ways {
        let (addresses, endpoints): (Vec<_>, Vec<_>) = nodes.into_iter().unzip();
        let link = |endpoint| Direct::new(endpoint, protocol, clock).with_patience(PATIENCE);
        let links = endpoints.into_iter().map(link).collect();
        Ways { addresses, links, owners: HashMap::new(), last: 0, clock }
    }

    fn refusal(&self, outcome: &Outcome) -> Option<Refusal> {
        let Outcome::Said(Value::Error(text)) = outcome else {
            return None;
        };
        let node = || {
            let address = text.rsplit(' ').next()?;
            self.addresses.iter().position(|known| known == address)
        };
        match text.split(' ').next()? {
            "MOVED" => Some(node().map_or(Refusal::Wait, Refusal::Moved)),
            "ASK" => Some(node().map_or(Refusal::Wait, Refusal::Ask)),
            "TRYAGAIN" | "CLUSTERDOWN" | "EXECABORT" => Some(Refusal::Wait),
            _ => None,
        }
    }

    /// A batch whose keys are all in one slot.
    fn one_slot(&mut self, slot: u16, commands: &[Arguments]) -> Vec<(Outcome, Nanos)> {
        let mut outcomes = Vec::new();
        for attempt in 0..ATTEMPTS {
            thread::sleep(PAUSE * attempt);
            let node = self.owners.get(&slot).copied().unwrap_or(self.last);
            self.last = node;
            outcomes = self.links[node].exchange(commands);
            let any = |bad: Outcome| outcomes.iter().any(|(outcome, _)| *outcome == bad);
            if any(Outcome::Unsure) || any(Outcome::NotSent) {
                // The next is to say whose the slot is now.
                self.owners.remove(&slot);
                self.last = (node + 1) % self.links.len();
                if any(Outcome::Unsure) {
                    return outcomes;
                }
                continue;
            }
            let refusal = outcomes.iter().find_map(|(outcome, _)| self.refusal(outcome));
            if refusal.is_some() && !self.nothing_done(commands, &outcomes) {
                break;
            }
            match refusal {
                None => {
                    self.owners.insert(slot, node);
                    return outcomes;
                }
                Some(Refusal::Moved(to)) => drop(self.owners.insert(slot, to)),
                Some(Refusal::Ask(to)) if commands.len() == 1 => {
                    outcomes = self.links[to].exchange(&[arguments(&["ASKING"]), commands[0].clone()]);
                    outcomes.remove(0);
                    if outcomes.iter().all(|(outcome, _)| self.refusal(outcome).is_none()) {
                        return outcomes;
                    }
                }
                Some(Refusal::Ask(_) | Refusal::Wait) => {}
            }
        }
        self.refused(outcomes)
    }

    /// Whether no command of the batch was executed that changes anything.
    fn nothing_done(&self, commands: &[Arguments], outcomes: &[(Outcome, Nanos)]) -> bool {
        commands.iter().zip(outcomes).all(|(words, (outcome, _))| {
            let queued = matches!(outcome, Outcome::Said(Value::Simple(text)) if text == "QUEUED");
            let opens = [&b"MULTI"[..], b"WATCH"].contains(&words[0].as_slice());
            queued || opens || super::commands::is_read(words) || self.refusal(outcome).is_some()
        })
    }

    /// What a node refused, it has surely not executed.
    fn refused(&self, mut outcomes: Vec<(Outcome, Nanos)>) -> Vec<(Outcome, Nanos)> {
        for (outcome, _) in &mut outcomes {
            if self.refusal(outcome).is_some() {
                *outcome = Outcome::NotSent;
            }
        }
        outcomes
    }
}

impl Link for Ways {
    fn exchange(&mut self, commands: &[Arguments]) -> Vec<(Outcome, Nanos)> {
        let slots: Vec<u16> = commands.iter().filter_map(|words| key_of(words).map(slot_of)).collect();
        match slots[..] {
            [] => self.links[self.last].exchange(commands),
            [first, ..] if slots.iter().all(|&slot| slot == first) => self.one_slot(first, commands),
            _ => commands.iter().flat_map(|words| self.exchange(std::slice::from_ref(words))).collect(),
        }
    }

    fn continue_with(&mut self, commands: &[Arguments]) -> Vec<(Outcome, Nanos)> {
        let outcomes = self.links[self.last].continue_with(commands);
        let now = self.clock.now();
        if self.nothing_done(commands, &outcomes) {
            return commands.iter().map(|_| (Outcome::NotSent, now)).collect();
        }
        outcomes
    }
}
