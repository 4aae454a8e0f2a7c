//! Replies that are held back until the guard has confirmed everything that they may show.

use std::rc::Rc;

use bytes::Bytes;

use super::{Client, Proxy, Receiver};
use crate::backend::cluster::NodeId;
use crate::backend::lane::Reply;
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
    node: NodeId,
    number: u64,
    shows: Shows,
    receivers: Vec<Receiver>,
    reply: Bytes,
}

/// A reply that need not be held back any longer.
pub struct Confirmed {
    held: Held,
    by_guard: bool,
}

impl Proxy {
    /// Releases a reply of a node once its guard has confirmed everything that it may show.
    pub(super) fn after_confirmation(
        &self,
        node: NodeId,
        receivers: Vec<Receiver>,
        reply: Bytes,
        shows: Shows,
        now: u64,
    ) {
        let held = |number| Held { node, number, shows, receivers, reply };
        match self.shared.guards.ask(node) {
            Some(number) => self.held.borrow_mut().entry(node).or_default().push_back(held(number)),
            None => self.release(held(0), false, now),
        }
    }

    /// Gives a client a reply behind everything that the guards were announced before now.
    pub fn once_confirmed(&self, client: Rc<dyn Client>, slot: u64, reply: Bytes) {
        self.pass(self.masters(), client, slot, &reply, clock::now());
    }

    /// The same of the guards of these nodes, one after the other.
    pub(super) fn pass(
        &self,
        mut nodes: Vec<NodeId>,
        client: Rc<dyn Client>,
        slot: u64,
        reply: &Bytes,
        now: u64,
    ) {
        match nodes.pop() {
            None => client.deliver(slot, Reply::Owned(reply.clone()), now),
            Some(node) => {
                let next = vec![Receiver::Behind(nodes, client, slot)];
                self.after_confirmation(node, next, reply.clone(), Shows::Keys([].into()), now);
            }
        }
    }

    fn release(&self, held: Held, confirmed: bool, now: u64) {
        if let (false, Some(copies)) = (confirmed, &self.shared.copies) {
            // The lease may be renewed by a probe from before; without a guard all copies end with the next one.
            let guarded = self.shared.guards.guarded(held.node);
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

    /// Takes what has been confirmed; without a lease nothing needs to be.
    pub fn take_confirmed(&self, now: u64) -> Vec<Confirmed> {
        let mut confirmed = Vec::new();
        for (node, held) in self.held.borrow_mut().iter_mut() {
            let copies = self.shared.copies.as_ref();
            let vouched =
                copies.is_some_and(|c| c.vouched_by(*node, now)) || self.shared.listeners.covered(now);
            while let Some(first) = held.front() {
                let reached = self.shared.guards.reached(*node, first.number);
                if vouched && !reached {
                    break;
                }
                let by_guard = reached && self.shared.guards.guarded(*node);
                confirmed.extend(held.pop_front().map(|held| Confirmed { held, by_guard }));
            }
        }
        confirmed
    }

    /// Releases it.
    pub fn release_confirmed(&self, confirmed: Vec<Confirmed>, now: u64) {
        confirmed.into_iter().for_each(|Confirmed { held, by_guard }| self.release(held, by_guard, now));
    }
}
