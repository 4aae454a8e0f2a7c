//! SUBSCRIBE, UNSUBSCRIBE and RESET of a client: begun, and finished or failed when home has answered.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use bytes::Bytes;
use foldhash::quality::RandomState;

use super::{Pending, Subscriber, Waiter, What};
use crate::backend::lane::{Failure, Reply};
use crate::backend::subscriptions::Space;
use crate::clock;
use crate::proxy::{Client, Proxy, error_reply, failure_text};
use crate::resp::{Proto, encode};

/// Who wants something about subscriptions.
pub struct Order<'a> {
    /// The session's number.
    pub session: u64,
    /// The session.
    pub client: &'a Rc<dyn Client>,
    /// Its protocol.
    pub proto: Proto,
    /// Where the confirmations go: all at once, or one error.
    pub slot: u64,
    /// They do not wait for home. Should it refuse, it is asked again and again.
    pub at_once: bool,
}

impl Proxy {
    /// Subscribes a client to topics.
    pub fn subscribe<'a>(&self, order: &Order<'_>, space: Space, names: impl Iterator<Item = &'a [u8]>) {
        let Order { session, client, proto, slot, at_once } = *order;
        let register = &self.shared.subscriptions;
        if !register.up()
            && let Err(down) = self.shared.node.breaker.check()
        {
            self.counters.errors.add(1);
            let text = failure_text(&self.shared.node, &Failure::Unreachable(down));
            return client.deliver(slot, Reply::Owned(error_reply(&text)), clock::now());
        }
        let mut clients = self.subscribers.clients.borrow_mut();
        let subscriber = clients.entry(session).or_insert_with(|| Subscriber::new(client, proto));
        let has = &subscriber.topics[space as usize];
        let mut new: HashMap<&[u8], Bytes, RandomState> = HashMap::default();
        let (mut all, mut fresh) = (Vec::new(), Vec::new());
        for name in names {
            let known = has.get(name).or_else(|| new.get(name)).cloned();
            all.push(known.unwrap_or_else(|| {
                let shared = register.want(self.worker, space, name);
                new.insert(name, shared.clone());
                fresh.push(shared.clone());
                shared
            }));
        }
        let wait = !fresh.is_empty() && !at_once;
        subscriber.under_way = Some(Pending { slot, what: What::Subscribe { space, names: all, fresh } });
        drop(clients);
        self.begin_command(session, slot, wait);
    }

    /// Ends subscriptions of a client, without names all of the space.
    pub fn unsubscribe<'a>(&self, order: &Order<'_>, space: Space, names: impl Iterator<Item = &'a [u8]>) {
        let Order { session, client, proto, slot, at_once } = *order;
        let mut clients = self.subscribers.clients.borrow_mut();
        let subscriber = clients.entry(session).or_insert_with(|| Subscriber::new(client, proto));
        let has = &subscriber.topics[space as usize];
        let mut all: Vec<Bytes> = names
            .map(|name| has.get(name).cloned().unwrap_or_else(|| Bytes::copy_from_slice(name)))
            .collect();
        if all.is_empty() {
            all.extend(has.iter().cloned());
        }
        let given_up: HashSet<&Bytes, RandomState> = all.iter().filter(|name| has.contains(*name)).collect();
        for name in &given_up {
            self.shared.subscriptions.give_up(space, name);
        }
        let wait = !given_up.is_empty() && !at_once;
        subscriber.under_way = Some(Pending { slot, what: What::Unsubscribe { space, names: all } });
        drop(clients);
        self.begin_command(session, slot, wait && self.shared.subscriptions.up());
    }

    /// Ends all subscriptions of a client and then answers its RESET. False: it has none, and nothing was done.
    pub fn reset(&self, session: u64, slot: impl FnOnce() -> u64) -> bool {
        let mut clients = self.subscribers.clients.borrow_mut();
        let Some(subscriber) = clients.get_mut(&session) else { return false };
        for (space, name) in subscriber.all() {
            self.shared.subscriptions.give_up(space, &name);
        }
        let slot = slot();
        subscriber.under_way = Some(Pending { slot, what: What::All });
        drop(clients);
        self.begin_command(session, slot, self.shared.subscriptions.up());
        true
    }

    fn begin_command(&self, session: u64, slot: u64, wait: bool) {
        match wait {
            true => self.wait(Waiter::Session(session, slot), None),
            false => self.finish_command(session, slot),
        }
    }

    pub(super) fn is_subscribing(&self, session: u64, slot: u64) -> bool {
        let clients = self.subscribers.clients.borrow();
        let pending = clients.get(&session).and_then(|subscriber| subscriber.under_way.as_ref());
        pending.is_some_and(|p| p.slot == slot && matches!(p.what, What::Subscribe { .. }))
    }

    pub(super) fn refuse(&self, space: Space, name: &Bytes, error: &str) {
        let concerned = |pending: &Pending| match &pending.what {
            What::Subscribe { space: of, fresh, .. } => *of == space && fresh.contains(name),
            _ => false,
        };
        let clients = self.subscribers.clients.borrow();
        let refused = clients.iter().filter(|(_, s)| s.under_way.as_ref().is_some_and(concerned));
        let refused: Vec<u64> = refused.map(|(session, _)| *session).collect();
        drop(clients);
        for session in refused {
            self.fail_command(session, error);
        }
    }

    /// The command has failed: nothing of it remains.
    pub(super) fn fail_command(&self, session: u64, error: &str) {
        let mut clients = self.subscribers.clients.borrow_mut();
        let Some(subscriber) = clients.get_mut(&session) else { return };
        let Some(Pending { slot, what }) = subscriber.under_way.take() else { return };
        let client = subscriber.client.clone();
        if subscriber.counts() == [0; 3] {
            clients.remove(&session);
        }
        drop(clients);
        if let What::Subscribe { space, fresh, .. } = what {
            self.abandon(space, &fresh);
        }
        self.counters.errors.add(1);
        client.deliver(slot, Reply::Owned(error_reply(error)), clock::now());
    }

    pub(super) fn abandon(&self, space: Space, names: &[Bytes]) {
        for name in names {
            self.shared.subscriptions.give_up(space, name);
            self.shared.subscriptions.forget(self.worker, space, name, false);
        }
    }

    /// The command's moment has come. It may have failed before.
    pub(super) fn finish_command(&self, session: u64, slot: u64) {
        let mut clients = self.subscribers.clients.borrow_mut();
        let Some(subscriber) = clients.get_mut(&session) else { return };
        let Some(Pending { what, .. }) = subscriber.under_way.take_if(|p| p.slot == slot) else { return };
        let mut out = Vec::new();
        match what {
            What::Subscribe { space, names, .. } => {
                for name in names {
                    if subscriber.topics[space as usize].insert(name.clone()) {
                        self.join(session, subscriber, space, &name);
                    }
                    subscriber.confirm(&mut out, space.subscribe(), space, Some(&name));
                }
            }
            What::Unsubscribe { space, names } => {
                for name in &names {
                    if subscriber.topics[space as usize].remove(name) {
                        self.part(session, space, name);
                    }
                    subscriber.confirm(&mut out, space.unsubscribe(), space, Some(name));
                }
                if names.is_empty() {
                    subscriber.confirm(&mut out, space.unsubscribe(), space, None);
                }
            }
            What::All => {
                for (space, name) in subscriber.all() {
                    self.part(session, space, &name);
                }
                subscriber.topics = Default::default();
                encode::simple(&mut out, "RESET");
            }
        }
        let (client, counts) = (subscriber.client.clone(), subscriber.counts());
        if counts == [0; 3] {
            clients.remove(&session);
        }
        drop(clients);
        client.subscribed(counts);
        client.deliver(slot, Reply::Owned(out.into()), clock::now());
    }
}
