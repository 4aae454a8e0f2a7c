//! The subscriptions of a worker's clients: who hears what, and commands about it that wait for home.
//!
//! A client has at most one such command under way ([`Proxy::subscribe`], [`Proxy::unsubscribe`], [`Proxy::reset`]);
//! its session sees to that. The command is done at a moment of the stream of messages, see
//! [`crate::backend::subscriptions`]: what was published before a subscription began is not heard, what was published
//! before one ended is, and before its confirmation.

mod commands;

pub use commands::Order;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use foldhash::quality::RandomState;

use super::{Client, Message, Proxy, Shared, failure_text};
use crate::backend::lane::{Failure, Reply};
use crate::backend::subscriptions::{Batch, Event, Post, Space};
use crate::breaker::Unreachable;
use crate::clock;
use crate::resp::{Proto, encode};

/// Somebody who hears a topic.
struct Member {
    session: u64,
    proto: Proto,
    client: Rc<dyn Client>,
}

/// A client with subscriptions, or about to have some.
struct Subscriber {
    client: Rc<dyn Client>,
    proto: Proto,
    topics: [HashSet<Bytes, RandomState>; 3],
    under_way: Option<Pending>,
}

/// A command under way.
struct Pending {
    slot: u64,
    what: What,
}

enum What {
    /// `fresh` are those of the names that the client does not have yet, each once.
    Subscribe { space: Space, names: Vec<Bytes>, fresh: Vec<Bytes> },
    /// Names may be unknown to the client; none at all: it had nothing to give up.
    Unsubscribe { space: Space, names: Vec<Bytes> },
    /// RESET.
    All,
}

/// Who waits for a number.
struct Waiting {
    number: u64,
    since: u64,
    who: Waiter,
}

enum Waiter {
    /// A client's command, and the slot of its reply.
    Session(u64, u64),
    /// A reply that is not to overtake the message it is about.
    Reply(Rc<dyn Client>, u64, Bytes),
}

type Members = HashMap<Bytes, Vec<Member>, RandomState>;

/// See the module's text.
#[derive(Default)]
pub(super) struct Subscribers {
    members: RefCell<[Members; 3]>,
    clients: RefCell<HashMap<u64, Subscriber, RandomState>>,
    /// In the order of their numbers.
    waiting: RefCell<VecDeque<Waiting>>,
}

impl Post for Shared {
    fn post(&self, worker: u16, batch: Batch) {
        if let Some(inbox) = self.inboxes.read().get(worker as usize) {
            // A worker that is gone has no clients.
            let _ = inbox.send(Message::Heard(batch));
        }
    }
}

impl Subscriber {
    fn new(client: &Rc<dyn Client>, proto: Proto) -> Self {
        Subscriber { client: client.clone(), proto, topics: Default::default(), under_way: None }
    }

    fn counts(&self) -> [usize; 3] {
        Space::ALL.map(|space| self.topics[space as usize].len())
    }

    /// What a confirmation counts: shards on their own, channels and patterns together.
    fn count(&self, space: Space) -> i64 {
        let [channels, patterns, shards] = self.counts();
        if space == Space::Shards { shards as i64 } else { (channels + patterns) as i64 }
    }

    fn all(&self) -> Vec<(Space, Bytes)> {
        let of = |space: Space| self.topics[space as usize].iter().map(move |name| (space, name.clone()));
        Space::ALL.into_iter().flat_map(of).collect()
    }

    fn confirm(&self, out: &mut Vec<u8>, word: &str, space: Space, name: Option<&[u8]>) {
        encode::push(out, self.proto, 3);
        encode::bulk(out, word.as_bytes());
        match name {
            Some(name) => encode::bulk(out, name),
            None => encode::null(out, self.proto),
        }
        encode::integer(out, self.count(space));
    }
}

impl Proxy {
    /// The client speaks another protocol from now on.
    pub fn speaks(&self, session: u64, proto: Proto) {
        let mut clients = self.subscribers.clients.borrow_mut();
        let Some(subscriber) = clients.get_mut(&session) else { return };
        subscriber.proto = proto;
        let mut members = self.subscribers.members.borrow_mut();
        for (space, name) in subscriber.all() {
            let of = members[space as usize].get_mut(&name);
            if let Some(member) = of.and_then(|of| of.iter_mut().find(|m| m.session == session)) {
                member.proto = proto;
            }
        }
    }

    /// Whether a client hears a topic, or is about to, that it may not hear.
    pub fn hears_other_than(&self, session: u64, may: impl Fn(Space, &[u8]) -> bool) -> bool {
        let clients = self.subscribers.clients.borrow();
        let Some(subscriber) = clients.get(&session) else { return false };
        let coming = match subscriber.under_way.as_ref().map(|pending| &pending.what) {
            Some(What::Subscribe { space, fresh, .. }) => fresh.iter().any(|name| !may(*space, name)),
            _ => false,
        };
        coming || subscriber.all().iter().any(|(space, name)| !may(*space, name))
    }

    /// The client is gone.
    pub(super) fn unsubscribe_gone(&self, session: u64) {
        let gone = self.subscribers.clients.borrow_mut().remove(&session);
        let Some(mut gone) = gone else { return };
        let mut kept = gone.topics.clone();
        match gone.under_way.take().map(|pending| pending.what) {
            Some(What::Subscribe { space, fresh, .. }) => self.abandon(space, &fresh),
            Some(What::Unsubscribe { space, names }) => names.iter().for_each(|name| {
                kept[space as usize].remove(name);
            }),
            Some(What::All) => kept = Default::default(),
            None => {}
        }
        for (space, name) in gone.all() {
            if kept[space as usize].contains(&name) {
                self.shared.subscriptions.give_up(space, &name);
            }
            self.part(session, space, &name);
        }
    }

    /// Holds a reply back until every message published before now has been heard.
    /// `shard`: of those, what was published to this shard channel.
    pub fn after_messages(&self, client: Rc<dyn Client>, slot: u64, reply: Bytes, shard: Option<&[u8]>) {
        self.wait(Waiter::Reply(client, slot, reply), shard);
    }

    fn wait(&self, who: Waiter, shard: Option<&[u8]>) {
        let number = self.shared.subscriptions.mark(self.worker, shard);
        self.subscribers.waiting.borrow_mut().push_back(Waiting { number, since: clock::now(), who });
    }

    /// What the connection at home has brought; returns to how many clients it was passed on.
    pub fn hear(&self, event: Event) -> usize {
        match event {
            Event::Message { space, name, resp2, resp3 } => {
                let members = self.subscribers.members.borrow();
                let members = members[space as usize].get(&name).map_or(&[][..], |members| members);
                for member in members {
                    member.client.push(if member.proto == Proto::Resp3 { &resp3 } else { &resp2 });
                }
                return members.len();
            }
            Event::Refused { space, name, error } => self.refuse(space, &name, &error),
            Event::Reached(number) => self.reached(number),
            Event::Lost => self.let_go(None),
            Event::Failed { reason, retry_in } => {
                let failure = Failure::Unreachable(Unreachable { reason, retry_in });
                self.let_go(Some(&failure_text(&self.shared.node, &failure)));
            }
        }
        0
    }

    fn reached(&self, number: u64) {
        loop {
            let next = {
                let mut waiting = self.subscribers.waiting.borrow_mut();
                if waiting.front().is_some_and(|w| w.number <= number) { waiting.pop_front() } else { None }
            };
            match next {
                Some(waiting) => self.let_through(waiting.who),
                None => return,
            }
        }
    }

    fn let_through(&self, who: Waiter) {
        match who {
            Waiter::Session(session, slot) => self.finish_command(session, slot),
            Waiter::Reply(client, slot, reply) => client.deliver(slot, Reply::Owned(reply), clock::now()),
        }
    }

    /// No answer will come on the connection that was: nothing is heard of it any more. Who subscribes waits for the
    /// next one, unless that is said to fail.
    fn let_go(&self, failure: Option<&str>) {
        let all = std::mem::take(&mut *self.subscribers.waiting.borrow_mut());
        for waiting in all {
            match waiting.who {
                Waiter::Session(session, slot) if self.is_subscribing(session, slot) => match failure {
                    Some(text) => self.fail_command(session, text),
                    None => self.subscribers.waiting.borrow_mut().push_back(waiting),
                },
                who => self.let_through(who),
            }
        }
    }

    /// Ends what has waited for too long.
    pub(super) fn expire_subscriptions(&self, now: u64) {
        let bound = self.shared.node.request_timeout;
        loop {
            let next = {
                let mut waiting = self.subscribers.waiting.borrow_mut();
                let late = |w: &Waiting| w.since.saturating_add(clock::nanos(bound)) <= now;
                if waiting.front().is_some_and(late) { waiting.pop_front() } else { None }
            };
            match next.map(|waiting| waiting.who) {
                None => return,
                Some(Waiter::Session(session, slot)) if self.is_subscribing(session, slot) => {
                    let text = failure_text(&self.shared.node, &Failure::Timeout(bound));
                    self.fail_command(session, &text);
                }
                Some(who) => self.let_through(who),
            }
        }
    }

    fn join(&self, session: u64, subscriber: &Subscriber, space: Space, name: &Bytes) {
        self.shared.subscriptions.begin(space, name);
        let mut members = self.subscribers.members.borrow_mut();
        let of = members[space as usize].entry(name.clone()).or_default();
        if let Err(place) = of.binary_search_by_key(&session, |m| m.session) {
            of.insert(place, Member { session, proto: subscriber.proto, client: subscriber.client.clone() });
        }
    }

    fn part(&self, session: u64, space: Space, name: &Bytes) {
        self.shared.subscriptions.forget(self.worker, space, name, true);
        let mut members = self.subscribers.members.borrow_mut();
        let Some(of) = members[space as usize].get_mut(name) else { return };
        if let Ok(place) = of.binary_search_by_key(&session, |m| m.session) {
            of.remove(place);
        }
        if of.is_empty() {
            members[space as usize].remove(name);
        }
    }
}
