//! Replies that are held back until the guard has confirmed everything that they may show.

use std::rc::Rc;

use bytes::Bytes;

use super::{Client, Proxy, Receiver};
use crate::clock;

/// Of what a reply that is held back may be newer than copies.
pub(super) enum Shows {
    /// These keys.
    Keys(Box<[u64]>),
    /// Keys that are not known.
    Unnamed,
    /// The same, and it changed them.
    UnnamedWrite,
}

/// A reply held back until the guard's confirmation.
pub(super) struct Held {
    number: u64,
    shows: Shows,
    receivers: Vec<Receiver>,
    reply: Bytes,
}

impl Proxy {
    /// Releases a reply once the guard has confirmed everything that it may show.
    pub(super) fn after_confirmation(&self, receivers: Vec<Receiver>, reply: Bytes, shows: Shows, now: u64) {
        let held = |number| Held { number, shows, receivers, reply };
        match self.shared.confirmations.ask() {
            Some(number) => self.held.borrow_mut().push_back(held(number)),
            None => self.release(held(0), false, now),
        }
    }

    /// Gives a client a reply behind everything that the guard was announced before now.
    pub fn once_confirmed(&self, client: Rc<dyn Client>, slot: u64, reply: Bytes) {
        let receivers = vec![Receiver::Client(client, slot)];
        self.after_confirmation(receivers, reply, Shows::Keys([].into()), clock::now());
    }

    fn release(&self, held: Held, confirmed: bool, now: u64) {
        if let (false, Some(copies)) = (confirmed, &self.shared.copies) {
            // The lease may be renewed by a probe from before; without a guard all copies end with the next one.
            let guarded = self.shared.confirmations.guarded();
            match &held.shows {
                Shows::Keys(hashes) if guarded => {
                    for hash in hashes {
                        copies.fence(*hash);
                    }
                }
                Shows::Unnamed if guarded => copies.fence_all(),
                Shows::Keys(_) | Shows::Unnamed => {}
                // Nobody will say what was changed, so no copy may stay that `stale_if_error` could serve.
                Shows::UnnamedWrite => copies.fence_all(),
            }
        }
        for receiver in held.receivers {
            self.hand(receiver, &held.reply, now);
        }
    }

    /// Releases what has been confirmed; without a lease nothing needs to be.
    pub fn release_confirmed(&self, now: u64) {
        let vouched = self.vouched(now).is_some() || self.shared.listeners.covered(now);
        loop {
            let next = {
                let mut held = self.held.borrow_mut();
                let reached = held.front().is_some_and(|h| self.shared.confirmations.reached(h.number));
                if reached || !vouched { held.pop_front().map(|held| (held, reached)) } else { None }
            };
            let Some((held, reached)) = next else { return };
            let confirmed = reached && self.shared.confirmations.guarded();
            self.release(held, confirmed, now);
        }
    }
}
