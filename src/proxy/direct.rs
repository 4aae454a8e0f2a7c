//! Commands that go straight home, and what their replies mean for copies.

use std::rc::Rc;

use bytes::Bytes;

use super::compressed::Shown;
use super::known_scripts::{Called, Digest};
use super::source::Manner;
use super::{Ask, Client, Counted, Proxy, Receiver, Shows, Ticket, Way, error_reply, failure_text};
use crate::backend::cluster::Redirect;
use crate::backend::lane::{Outcome, Reply};
use crate::command::{Command, KeyRef, id};
use crate::resp::reply;
use crate::router::Effect;
use crate::tier::copies::Copies;

/// Hashes of keys; one is the rule.
enum Keys {
    None,
    One(u64),
    Many(Box<[u64]>),
    /// There were no copies when the request was sent; should there be any when its reply comes, all of them count.
    Unhashed,
}

impl Keys {
    fn as_slice(&self) -> &[u64] {
        match self {
            Keys::None | Keys::Unhashed => &[],
            Keys::One(hash) => std::slice::from_ref(hash),
            Keys::Many(hashes) => hashes,
        }
    }
}

/// The claim of one client to one reply.
pub struct Direct {
    proxy: Rc<Proxy>,
    client: Rc<dyn Client>,
    slot: u64,
    effect: Effect,
    keys: Keys,
    sent: u64,
    shown: Option<Box<Shown>>,
    way: Way,
    /// Another node of a cluster answered than the guard of its keys.
    strayed: bool,
    /// The script that it calls by its digest, where home is several nodes.
    called: Option<Box<Called>>,
}

impl Proxy {
    /// Sends a command home, fenced as its effect demands. `keys` are its keys.
    pub fn direct(self: &Rc<Self>, ask: &Ask<'_>, effect: Effect, keys: &[KeyRef]) {
        if effect == Effect::Reads && self.through(ask, Manner::Straight, keys) {
            return;
        }
        match self.way(ask, keys) {
            Ok(way) => self.direct_by(ask, way, effect, keys),
            Err(_) => self.cross(ask, effect, keys),
        }
    }

    /// The same by this way.
    pub fn direct_by(self: &Rc<Self>, ask: &Ask<'_>, way: Way, effect: Effect, keys: &[KeyRef]) {
        let replica = self.replica_for(ask, way, effect, keys);
        let copies = self.fenced_copies();
        let keys = match copies {
            Some(copies) if effect != Effect::None => {
                let hash =
                    |k: &KeyRef| copies.l1().hash(ask.request.arg(k.index as usize).unwrap_or_default());
                match keys {
                    [] => Keys::None,
                    [key] => Keys::One(hash(key)),
                    many => Keys::Many(many.iter().map(hash).collect()),
                }
            }
            Some(_) => Keys::None,
            None => Keys::Unhashed,
        };
        self.count(ask, effect);
        match effect {
            Effect::None => {}
            Effect::Reads | Effect::Writes if copies.is_some() => {
                ask.client.unsettle(ask.slot, Some(keys.as_slice()));
            }
            _ if self.shared.copies.is_none() => {}
            _ => ask.client.unsettle(ask.slot, None),
        }
        let outgoing = self.outgoing(ask.command, ask.request, &[]);
        let direct = Direct {
            proxy: self.clone(),
            client: ask.client.clone(),
            slot: ask.slot,
            effect,
            keys,
            sent: ask.now,
            shown: outgoing.shown,
            way,
            strayed: false,
            called: self.called(ask),
        };
        if let Some(called) = &direct.called {
            self.provide_script(way, ask.own.map(|own| &**own), called.name(), ask.now);
        }
        if let Some(copies) = copies {
            direct.fence_before(copies);
        }
        let counted = if effect == Effect::None { Counted::of(self, ask) } else { None };
        let ticket = counted.map_or(Ticket::Direct(direct), Ticket::Counted);
        match (ask.own, replica) {
            (Some(own), _) if own.takes(way) => own.send(&outgoing.raw, 0, ticket, ask.now),
            (_, Some(lane)) => self.send_to_replica(&lane, way, &outgoing.raw, ticket, ask.now),
            (_, None) => self.send(way, &outgoing.raw, ticket, ask.now),
        }
        if ask.lane.scripts {
            self.note_scripts();
        }
    }

    pub(super) fn send(&self, way: Way, request: &[u8], ticket: Ticket, now: u64) {
        self.send_parts(way, request, 0, ticket, now);
    }

    fn count(&self, ask: &Ask<'_>, effect: Effect) {
        match effect {
            Effect::Writes | Effect::WritesUnnamed | Effect::WritesAll => {
                self.counters.home_sets.add(1);
                self.counters.home_deletes.add(u64::from(ask.command.is_some_and(deletes)));
            }
            Effect::Reads | Effect::ReadsUnnamed => self.counters.home_reads.add(1),
            Effect::None => {}
        }
    }
}

/// Whether a command deletes and does nothing else.
pub(super) fn deletes(command: &Command) -> bool {
    [id::DEL, id::UNLINK, id::GETDEL, id::FLUSHALL, id::FLUSHDB].contains(&command.id)
}

impl Direct {
    /// Before the request is sent. What a write changes by name is fenced when its reply is here, and not before: until
    /// then copies of the old value are right for everybody but this client, whose requests follow it home.
    fn fence_before(&self, copies: &Copies) {
        match self.effect {
            Effect::WritesUnnamed if !self.proxy.shared.guards.guarded(self.way.node) => copies.fence_all(),
            Effect::WritesAll => copies.fence_all(),
            _ => {}
        }
    }

    /// When the reply of a write is about to be released.
    fn fence(&self, copies: &Copies) {
        match self.effect {
            Effect::Writes if matches!(self.keys, Keys::Unhashed) => copies.fence_all(),
            Effect::WritesUnnamed if !self.proxy.shared.guards.guarded(self.way.node) => copies.fence_all(),
            Effect::Writes | Effect::WritesUnnamed => {
                let dropped: usize = self.keys.as_slice().iter().map(|hash| copies.fence(*hash)).sum();
                self.proxy.counters.l1_deletes.add(dropped as u64);
            }
            Effect::WritesAll => copies.fence_all(),
            Effect::Reads => copies.show(self.keys.as_slice().iter().copied()),
            Effect::None | Effect::ReadsUnnamed => {}
        }
    }

    /// Whether the reply may be newer than copies that this client could read next.
    fn must_wait(&self, copies: &Copies) -> bool {
        match self.effect {
            Effect::None | Effect::Writes | Effect::WritesAll => false,
            Effect::Reads if matches!(self.keys, Keys::Unhashed) => true,
            Effect::Reads => self.keys.as_slice().iter().any(|hash| copies.holds(*hash)),
            Effect::ReadsUnnamed | Effect::WritesUnnamed => true,
        }
    }

    /// Whether home may be asked again.
    pub(super) fn repeatable(&self) -> bool {
        matches!(self.effect, Effect::Reads | Effect::ReadsUnnamed)
    }

    pub(super) fn goes_elsewhere(&self, redirect: &Redirect) -> bool {
        self.client.goes_elsewhere(self.slot, redirect)
    }

    /// It goes another way than was thought.
    pub(super) fn turn(&mut self, way: Way) {
        self.way = way;
    }

    pub(super) fn strayed(&mut self) {
        self.strayed = true;
    }

    /// DEBUG PROTOCOL PUSH shows one.
    pub(super) fn push(&self, push: &[u8]) {
        self.client.push(&Bytes::copy_from_slice(push));
    }

    /// Whether clients that keep caches of their own are to be told of the write before it is acknowledged, as they
    /// are by Redis.
    fn is_news(&self) -> bool {
        let writes = matches!(self.effect, Effect::Writes | Effect::WritesUnnamed | Effect::WritesAll);
        writes && !self.proxy.shared.listeners.is_empty()
    }

    /// The script that it calls by its digest.
    pub(super) fn script(&self) -> Option<&Digest> {
        self.called.as_deref().map(Called::name)
    }

    pub(super) fn complete(mut self, outcome: Outcome<'_>, now: u64) {
        let proxy = self.proxy.clone();
        if matches!(self.effect, Effect::WritesUnnamed | Effect::ReadsUnnamed) {
            proxy.note_scripts();
        }
        let unknown = |reply: &Reply<'_>| reply.bytes().starts_with(b"-NOSCRIPT");
        if let (Some(called), Outcome::Reply(reply)) = (self.called.take(), &outcome)
            && unknown(reply)
            && self.client.is_last(self.slot)
            && proxy.restore_script(self.way, called.name(), now)
        {
            // It was not run.
            return proxy.send(self.way, called.request(), Ticket::Direct(self), now);
        }
        let copies = proxy.fenced_copies();
        if let Some(copies) = copies {
            self.fence(copies);
            if self.strayed {
                copies.disown(self.keys.as_slice().iter().copied());
            }
        }
        match proxy.shown(self.shown.as_deref(), outcome) {
            Outcome::Reply(reply) => {
                self.note(&reply, now);
                if copies.is_some_and(|c| self.must_wait(c)) || self.is_news() {
                    let (node, receiver) = (self.way.node, Receiver::Client(self.client, self.slot));
                    let shows = match self.effect {
                        Effect::WritesUnnamed => Shows::UnnamedWrite,
                        // Fenced above.
                        Effect::Writes | Effect::WritesAll => Shows::Keys([].into()),
                        Effect::ReadsUnnamed => Shows::Unnamed,
                        _ if matches!(self.keys, Keys::Unhashed) => Shows::Unnamed,
                        _ => Shows::Keys(self.keys.as_slice().into()),
                    };
                    proxy.after_confirmation(node, vec![receiver], reply.into_bytes(), shows, now);
                } else {
                    self.client.deliver(self.slot, reply, now);
                }
            }
            Outcome::Failed(failure) => {
                proxy.counters.errors.add(1);
                let text = failure_text(&proxy.node(self.way.node), &failure);
                self.client.deliver(self.slot, Reply::Owned(error_reply(&text)), now);
            }
        }
    }

    fn note(&self, reply: &Reply<'_>, now: u64) {
        let counters = &self.proxy.counters;
        let took = now.saturating_sub(self.sent);
        match self.effect {
            Effect::Reads | Effect::ReadsUnnamed => {
                let absent = reply::is_absent(reply.bytes());
                counters.home_hits.add(u64::from(!absent));
                counters.home_misses.add(u64::from(absent));
                counters.home_get.record(took, 1);
            }
            Effect::Writes | Effect::WritesUnnamed | Effect::WritesAll => counters.home_set.record(took, 1),
            Effect::None => {}
        }
    }
}
