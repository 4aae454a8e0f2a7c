//! From the guard to clients: what home announces goes to the copies first, then to the clients that listen.
//!
//! In this order: a client that is remembered with a key and then finds a copy of it has been remembered before the
//! copy was dropped, and so is told. What is told goes by the inbox of the client's worker, in the order of the guard's
//! stream.

use std::sync::Arc;

use super::{Message, Shared};
use crate::backend::tracking::Sink;
use crate::clock;
use crate::tier::listeners::{Listeners, Notice, Tell};

/// What the guard announces to.
pub struct Announcements {
    shared: Arc<Shared>,
}

impl Announcements {
    /// To the copies and the listeners of this process.
    pub fn new(shared: Arc<Shared>) -> Self {
        Announcements { shared }
    }

    fn copies(&self, act: impl FnOnce(&dyn Sink)) {
        if let Some(copies) = self.shared.copies.as_deref() {
            act(copies);
        }
    }
}

impl Shared {
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
        self.shared.tell(|listeners, tell| listeners.lost(tell));
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

    fn lease(&self, until: u64) {
        self.copies(|copies| copies.lease(until));
        self.shared.listeners.lease(until);
    }

    fn resting(&self) {
        self.copies(|copies| copies.resting());
        self.shared.tell(|listeners, tell| listeners.lost(tell));
    }

    fn must_hear(&self) -> bool {
        !self.shared.listeners.is_empty() || self.shared.copies.as_deref().is_some_and(Sink::must_hear)
    }
}
