//! From the guard to clients: what home announces goes to the copies first, then to the clients that listen.
//!
//! In this order: a client that is remembered with a key and then finds a copy of it has been remembered before the
//! copy was dropped, and so is told. What is told goes by the inbox of the client's worker, in the order of the guard's
//! stream.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Message, Shared};
use crate::backend::cluster::{NodeId, SlotSet};
use crate::backend::confirmations::Guarding;
use crate::backend::tracking::Sink;
use crate::clock;
use crate::tier::listeners::{Listeners, Notice, Tell};

/// What the guard of a node announces to.
pub struct Announcements {
    shared: Arc<Shared>,
    node: NodeId,
}

/// Until when the guard of each node of a cluster hears all changes. Clients that keep caches of their own are covered
/// while all of them do.
#[derive(Debug, Default)]
pub struct Coverage(Mutex<HashMap<NodeId, u64>>);

impl Coverage {
    /// The guard of a node hears until then; returns until when those of all masters do.
    fn renew(&self, node: NodeId, until: u64, masters: &[NodeId]) -> Option<u64> {
        let mut nodes = self.0.lock();
        nodes.insert(node, until);
        masters.iter().map(|master| nodes.get(master).copied()).min().flatten()
    }

    fn end(&self, node: NodeId) {
        self.0.lock().remove(&node);
    }
}

impl Announcements {
    /// To the copies and the listeners of this process.
    pub fn new(shared: Arc<Shared>, node: NodeId) -> Self {
        Announcements { shared, node }
    }

    fn copies(&self, act: impl FnOnce(&dyn Sink)) {
        if let Some(copies) = self.shared.copies.as_deref() {
            act(&copies.ward(self.node));
        }
    }

    fn uncovered(&self) {
        self.shared.coverage.end(self.node);
        self.shared.tell(|listeners, tell| listeners.lost(tell));
    }
}

impl Shared {
    /// These slots are about to have another owner.
    pub fn vacate(&self, slots: &SlotSet) {
        if let Some(copies) = &self.copies {
            copies.vacate(slots);
        }
        if !self.listeners.is_empty() {
            self.tell(|listeners, tell| listeners.lost(tell));
        }
    }

    /// What guards do; of several the one that does least.
    pub fn guarding(&self) -> Guarding {
        let Some(cluster) = &self.cluster else { return self.guards.guarding(NodeId::FIRST) };
        let all = cluster.masters().into_iter().map(|node| self.guards.guarding(node));
        all.min_by_key(|guarding| *guarding as u8).unwrap_or(Guarding::Down)
    }

    /// Why home, or a node of it, cannot be reached.
    pub fn trouble(&self) -> Option<String> {
        let Some(cluster) = &self.cluster else { return self.node.breaker.trouble() };
        cluster.masters().into_iter().find_map(|number| {
            let trouble = cluster.node(number).breaker.trouble()?;
            Some(format!("{}: {trouble}", cluster.place(number)))
        })
    }

    /// Lets `act` tell clients something, wherever they are.
    pub fn tell<R>(&self, act: impl FnOnce(&Listeners, &mut Tell<'_>) -> R) -> R {
        let mut letters: Vec<(u16, Vec<(u64, Notice)>)> = Vec::new();
        let result = act(&self.listeners, &mut |worker, session, notice| match letters
            .iter_mut()
            .find(|(w, _)| *w == worker)
        {
            Some((_, letter)) => letter.push((session, notice)),
            None => letters.push((worker, vec![(session, notice)])),
        });
        for (worker, letter) in letters {
            self.post(worker, Message::Notices(letter));
        }
        result
    }

    /// Puts a message into a worker's inbox. A worker that is gone has no clients.
    pub fn post(&self, worker: u16, message: Message) {
        if let Some(inbox) = self.inboxes.read().get(worker as usize) {
            let _ = inbox.send(message);
        }
    }

    /// Tells listeners that coverage ran out.
    pub fn expire_coverage(&self) {
        if !self.listeners.is_empty() {
            self.tell(|listeners, tell| listeners.expire(clock::now(), tell));
        }
    }
}

impl Sink for Announcements {
    fn covered(&self) {
        self.copies(|copies| copies.covered());
    }

    fn lost(&self) {
        self.copies(|copies| copies.lost());
        self.uncovered();
    }

    fn invalidate(&self, keys: &mut dyn Iterator<Item = &[u8]>) {
        if self.shared.listeners.is_empty() {
            return self.copies(|copies| copies.invalidate(keys));
        }
        let keys: Vec<&[u8]> = keys.collect();
        self.copies(|copies| copies.invalidate(&mut keys.iter().copied()));
        self.shared.tell(|listeners, tell| listeners.changed(&keys, tell));
    }

    fn invalidate_all(&self) {
        self.copies(|copies| copies.invalidate_all());
        self.shared.tell(|listeners, tell| listeners.flushed(tell));
    }

    fn gather(&self, round: u64) {
        self.copies(|copies| copies.gather(round));
    }

    fn confirm(&self, round: u64) {
        self.copies(|copies| copies.confirm(round));
    }

    fn lease(&self, until: u64, slots: Option<&SlotSet>) {
        self.copies(|copies| copies.lease(until, slots));
        let all = match &self.shared.cluster {
            None => Some(until),
            Some(cluster) => self.shared.coverage.renew(self.node, until, &cluster.masters()),
        };
        if let Some(until) = all {
            self.shared.listeners.lease(until);
        }
    }

    fn resting(&self) {
        self.copies(|copies| copies.resting());
        self.uncovered();
    }

    fn must_hear(&self) -> bool {
        let copies = self.shared.copies.as_deref();
        !self.shared.listeners.is_empty() || copies.is_some_and(|c| c.ward(self.node).must_hear())
    }
}
