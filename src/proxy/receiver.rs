//! Who gets a reply, wherever they are.

use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;

use super::{Client, Message, Proxy};
use crate::backend::cluster::NodeId;
use crate::backend::lane::Reply;
use crate::tier::flight::Waiter;

/// Who gets a reply.
pub(super) enum Receiver {
    Client(Rc<dyn Client>, u64),
    /// The same, once all have heard what was published before.
    AfterMessages(Rc<dyn Client>, u64),
    Waiters(Vec<Waiter>),
    /// A client, behind the confirmations of these nodes' guards.
    Behind(Vec<NodeId>, Rc<dyn Client>, u64),
}

impl Proxy {
    pub(super) fn hand(&self, receiver: Receiver, reply: &Bytes, now: u64) {
        match receiver {
            Receiver::Client(client, slot) => client.deliver(slot, Reply::Owned(reply.clone()), now),
            Receiver::AfterMessages(client, slot) => self.after_messages(client, slot, reply.clone(), None),
            Receiver::Waiters(waiters) => self.answer(waiters, reply, now),
            Receiver::Behind(nodes, client, slot) => self.pass(nodes, client, slot, reply, now),
        }
    }

    /// Gives a reply to waiters, wherever they are.
    pub fn answer(&self, waiters: Vec<Waiter>, reply: &Bytes, now: u64) {
        let mut elsewhere: HashMap<u16, Vec<Waiter>> = HashMap::new();
        for waiter in waiters {
            if waiter.worker != self.worker {
                elsewhere.entry(waiter.worker).or_default().push(waiter);
            } else if let Some(client) = self.session(waiter.session) {
                client.deliver(waiter.slot, Reply::Owned(reply.clone()), now);
            }
        }
        let inboxes = self.shared.inboxes.read();
        for (worker, waiters) in elsewhere {
            if let Some(inbox) = inboxes.get(worker as usize) {
                // A worker that is gone has no clients.
                let _ = inbox.send(Message::Answer(waiters, reply.clone()));
            }
        }
    }
}
