//! The subscriptions of a worker's clients: who hears what, and commands about it that wait for home.
//!
//! A client has at most one such command under way ([`Proxy::subscribe`], [`Proxy::unsubscribe`], [`Proxy::reset`]);
//! its session sees to that. The command is done at a moment of the stream of messages, see
//! [`crate::backend::subscriptions`]: what was published before a subscription began is not heard, what was published
//! before one ended is, and before its confirmation.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use foldhash::quality::RandomState;

use super::{Client, Proxy, error_reply, failure_text};
use crate::backend::breaker::Unreachable;
use crate::backend::lane::{Failure, Reply};
use crate::backend::subscriptions::{Batch, Event, Space};
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
    /// Subscribes a client to topics; the confirmations go to `slot`, all at once, or one error.
    pub fn subscribe<'a>(
        &self,
        session: u64,
        client: &Rc<dyn Client>,
        (proto, slot): (Proto, u64),
        space: Space,
        names: impl Iterator<Item = &'a [u8]>,
    ) {
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
        let wait = !fresh.is_empty();
        subscriber.under_way = Some(Pending { slot, what: What::Subscribe { space, names: all, fresh } });
        drop(clients);
        self.begin_command(session, slot, wait);
    }

    /// Ends subscriptions of a client, without names all of the space.
    pub fn unsubscribe<'a>(
        &self,
        session: u64,
        client: &Rc<dyn Client>,
        (proto, slot): (Proto, u64),
        space: Space,
        names: impl Iterator<Item = &'a [u8]>,
    ) {
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
        let wait = !given_up.is_empty();
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
    pub(super) fn after_messages(&self, client: Rc<dyn Client>, slot: u64, reply: Bytes) {
        self.wait(Waiter::Reply(client, slot, reply));
    }

    fn wait(&self, who: Waiter) {
        let number = self.shared.subscriptions.mark(self.worker);
        self.subscribers.waiting.borrow_mut().push_back(Waiting { number, since: clock::now(), who });
    }

    fn begin_command(&self, session: u64, slot: u64, wait: bool) {
        match wait {
            true => self.wait(Waiter::Session(session, slot)),
            false => self.finish_command(session, slot),
        }
    }

    /// What the connection at home has brought.
    pub fn hear(&self, mut batch: Batch) {
        for event in std::mem::take(&mut batch.events) {
            match event {
                Event::Message { space, name, resp2, resp3 } => {
                    let members = self.subscribers.members.borrow();
                    for member in members[space as usize].get(&name).into_iter().flatten() {
                        member.client.push(if member.proto == Proto::Resp3 { &resp3 } else { &resp2 });
                    }
                }
                Event::Refused { space, name, error } => self.refuse(space, &name, &error),
                Event::Reached(number) => self.reached(number),
                Event::Lost => self.let_go(None),
                Event::Failed { reason, retry_in } => {
                    let failure = Failure::Unreachable(Unreachable { reason, retry_in });
                    self.let_go(Some(&failure_text(&self.shared.node, &failure)));
                }
            }
        }
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

    fn is_subscribing(&self, session: u64, slot: u64) -> bool {
        let clients = self.subscribers.clients.borrow();
        let pending = clients.get(&session).and_then(|subscriber| subscriber.under_way.as_ref());
        pending.is_some_and(|p| p.slot == slot && matches!(p.what, What::Subscribe { .. }))
    }

    fn refuse(&self, space: Space, name: &Bytes, error: &str) {
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
    fn fail_command(&self, session: u64, error: &str) {
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

    fn abandon(&self, space: Space, names: &[Bytes]) {
        for name in names {
            self.shared.subscriptions.give_up(space, name);
            self.shared.subscriptions.forget(self.worker, space, name, false);
        }
    }

    /// The command's moment has come. It may have failed before.
    fn finish_command(&self, session: u64, slot: u64) {
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
