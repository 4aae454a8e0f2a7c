//! A cacheable read that no copy answered: the flight, its landing, and who gets the reply.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;

use super::compressed::Shown;
use super::courier::Courier;
use super::l2::Claim;
use super::source::Manner;
use super::{Ask, Client, Proxy, Receiver, Shows, Ticket, Way, error_reply, failure_text, is_outage};
use crate::backend::lane::{Failure, Outcome, Reply};
use crate::clock;
use crate::command::{Command, KeyRef};
use crate::resp::{encode, reply};
use crate::router::Effect;
use crate::tier::copies::{Copies, Start};
use crate::tier::flight::{Asker, Flight, Identity, Waiter};
use crate::tier::l1::Reader;
use crate::tier::policy::Expiry;

/// Recent hits of a copy that is worth renewing.
const OFTEN: u8 = 2;

/// One flight of this worker: the read, and PTTL for each of its keys, sent in one piece.
pub struct Read {
    proxy: Rc<Proxy>,
    copies: Arc<Copies>,
    flight: Arc<Flight>,
    /// Hashes of the keys besides the flight's first.
    others: Box<[u64]>,
    /// The shortest `stale_if_error` of all keys.
    stale_cap: Duration,
    client: Rc<dyn Client>,
    slot: u64,
    way: Way,
    request: Box<[u8]>,
    /// The permission to fill L2.
    claim: Cell<Option<Claim>>,
    shown: Option<Box<Shown>>,
    /// Another node of a cluster answered than the guard of its keys.
    strayed: Cell<bool>,
    /// An absent key may have a row in a source.
    sourced: bool,
    state: RefCell<State>,
}

struct State {
    /// Replies still to come.
    outstanding: usize,
    reply: Option<Bytes>,
    /// The first end among the keys; None: some PTTL gave no answer to rely on.
    expiry: Option<Expiry>,
    failure: Option<Failure>,
    retried: bool,
}

impl Proxy {
    /// Reads what has no copy. `keys` are the request's keys, the first names the copy.
    pub fn read(self: &Rc<Self>, ask: &Ask<'_>, command: &Command, keys: &[KeyRef]) {
        if self.through(ask, Manner::Copied, keys) {
            return;
        }
        let Ok(way) = self.way(ask, keys) else {
            return self.cross(ask, Effect::Reads, keys);
        };
        let guarded = self.shared.guards.guarded(way.node);
        let direct = |proxy: &Rc<Self>| proxy.direct_by(ask, way, Effect::Reads, keys);
        let Some(copies) = self.shared.copies.clone().filter(|c| guarded || c.policies().any_stale()) else {
            return direct(self);
        };
        let arg = |k: &KeyRef| ask.request.arg(k.index as usize).unwrap_or_default();
        let Some(first) = keys.first() else {
            return direct(self);
        };
        let fleeting = command.sees_hash_fields() && self.shared.facts.hash_fields_expire.load(Relaxed);
        if fleeting || !keys.iter().all(|k| copies.policies().cacheable(arg(k))) {
            return direct(self);
        }
        let Some(identity) = self.identity(ask, command, arg(first)) else {
            return direct(self);
        };
        if !guarded {
            // Nothing becomes a copy now, but if home fails a copy from before may answer.
            let others = others(ask, &copies, keys);
            let token = copies.token(identity.hash, &others);
            let flight = copies.lone_flight(&identity, token, ask.now, (self.worker, way.node), false);
            return self.fly(ask, way, copies, flight, keys, None);
        }
        let admitted = self.admit(identity.hash);
        if let [key] = keys
            && self.ask_l2(ask, way.node, &copies, &identity, *key, admitted)
        {
            return;
        }
        self.read_at_home(ask, &copies, &identity, keys, admitted, None);
    }

    /// Reads at home, or joins who does; what comes back may become a copy in L1 if that is `admitted`, and in L2 if
    /// there is a claim.
    pub(super) fn read_at_home(
        self: &Rc<Self>,
        ask: &Ask<'_>,
        copies: &Arc<Copies>,
        identity: &Identity<'_>,
        keys: &[KeyRef],
        admitted: bool,
        claim: Option<Claim>,
    ) {
        let Ok(way) = self.way(ask, keys) else {
            return self.refuse_crossing(ask);
        };
        let others = others(ask, copies, keys);
        let asker = Asker {
            waiter: self.waiter(ask),
            seen: ask.seen,
            lane_since: ask.lane_since,
            now: ask.now,
            node: way.node,
            follows: ask.follows,
            admitted,
            claimed: claim.is_some(),
        };
        let start = copies.begin(identity, &others, &asker);
        if let Start::Begun(flight) = start {
            return self.fly(ask, way, copies.clone(), flight, keys, claim);
        }
        if let Some(claim) = claim {
            self.abandon_l2(&claim);
        }
        match start {
            Start::Joined => {
                self.counters.flight_joins.add(1);
                unsettle(ask, identity.hash, &others);
            }
            Start::Landed(reply) if !holds_any(copies, identity.hash, &others) => {
                ask.client.deliver(ask.slot, Reply::Owned(reply), ask.now);
            }
            Start::Copy(reply) => ask.client.deliver(ask.slot, Reply::Owned(reply), ask.now),
            Start::Landed(_) | Start::Apart | Start::Begun(_) => self.direct(ask, Effect::Reads, keys),
        }
    }

    /// Answers a read of one key from a copy that is about to end. If it is read often one reader has it renewed.
    pub fn read_ahead<'r>(
        self: &Rc<Self>,
        reader: &'r Reader<'_>,
        ask: &Ask<'_>,
        command: &Command,
        keys: &[KeyRef],
    ) -> Option<&'r [u8]> {
        let (copies, [key]) = (self.vouched(ask.now)?, keys) else { return None };
        let id = self.identity(ask, command, ask.request.arg(key.index as usize)?)?;
        let hit = reader.get_ahead(id.hash, id.key, id.kind, id.tail, ask.now)?;
        if !copies.vouches_for(id.key, ask.now) {
            return None;
        }
        if hit.freq() >= OFTEN
            && let Ok(way) = self.way(ask, keys)
            && let Some(flight) = copies.begin_ahead(&id, ask.now, (self.worker, way.node))
        {
            self.counters.l1_renewed.add(1);
            let ask = Ask { client: &Courier::nowhere(), own: None, ..*ask };
            self.fly(&ask, way, copies.clone(), flight, keys, None);
        }
        Some(hit.reply())
    }

    /// Sends a flight's read, and what asks for the lifetimes of its keys if it may become a copy.
    fn fly(
        self: &Rc<Self>,
        ask: &Ask<'_>,
        way: Way,
        copies: Arc<Copies>,
        flight: Arc<Flight>,
        keys: &[KeyRef],
        claim: Option<Claim>,
    ) {
        self.counters.home_reads.add(1);
        let others = others(ask, &copies, keys);
        unsettle(ask, flight.hash, &others);
        let lives = flight.admitted || claim.is_some();
        let arg = |k: &KeyRef| ask.request.arg(k.index as usize).unwrap_or_default();
        let policies = copies.policies();
        let stale_cap = match policies.any_stale() {
            true => keys.iter().map(|k| policies.stale_cap(arg(k))).min().unwrap_or_default(),
            false => Duration::ZERO,
        };
        let outgoing = self.outgoing(ask.command, ask.request, &[]);
        let read = Rc::new(Read {
            proxy: self.clone(),
            copies,
            flight,
            others,
            stale_cap,
            client: ask.client.clone(),
            slot: ask.slot,
            way,
            request: outgoing.raw.into(),
            claim: Cell::new(claim),
            strayed: Cell::new(false),
            sourced: keys.iter().any(|k| self.may_have_row(ask.lane.db, arg(k))),
            shown: outgoing.shown,
            state: RefCell::new(State {
                outstanding: 1 + if lives { keys.len() } else { 0 },
                reply: None,
                expiry: lives.then_some(Expiry::Never),
                failure: None,
                retried: false,
            }),
        });
        self.send(way, &read.request, Ticket::Read(read.clone()), ask.now);
        if lives {
            for key in keys {
                self.send_pttl(way, arg(key), Ticket::ReadExpiry(read.clone()), ask.now);
            }
        }
    }

    pub(super) fn send_pttl(&self, way: Way, key: &[u8], ticket: Ticket, now: u64) {
        let mut request = Vec::with_capacity(key.len() + 32);
        encode::command(&mut request, &[b"PTTL", key]);
        self.send(way, &request, ticket, now);
    }
}

/// Hashes of the keys besides the first.
fn others(ask: &Ask<'_>, copies: &Copies, keys: &[KeyRef]) -> Box<[u64]> {
    let arg = |k: &KeyRef| ask.request.arg(k.index as usize).unwrap_or_default();
    keys.iter().skip(1).map(|k| copies.l1().hash(arg(k))).collect()
}

fn unsettle(ask: &Ask<'_>, first: u64, others: &[u64]) {
    ask.client.unsettle(ask.slot, Some(&[first]));
    if !others.is_empty() {
        ask.client.unsettle(ask.slot, Some(others));
    }
}

/// Whether there are copies that might be older than a reply over these keys.
fn holds_any(copies: &Copies, first: u64, others: &[u64]) -> bool {
    copies.holds(first) || others.iter().any(|hash| copies.holds(*hash))
}

/// What one PTTL says; None if it says nothing to rely on.
pub(super) fn expiry_of(outcome: &Outcome<'_>) -> Option<Expiry> {
    match outcome {
        Outcome::Reply(reply) => reply::parse_integer(reply.bytes()).and_then(Expiry::from_pttl),
        Outcome::Failed(_) => None,
    }
}

impl Read {
    pub(super) fn strayed(&self) {
        self.strayed.set(true);
    }

    pub(super) fn replied(self: Rc<Self>, outcome: Outcome<'_>, now: u64) {
        {
            let mut state = self.state.borrow_mut();
            match self.proxy.shown(self.shown.as_deref(), outcome) {
                Outcome::Reply(reply) => state.reply = Some(reply.into_bytes()),
                Outcome::Failed(failure) => state.failure = Some(failure),
            }
        }
        self.count_down(now);
    }

    pub(super) fn expiry(self: Rc<Self>, outcome: Outcome<'_>, now: u64) {
        {
            let mut state = self.state.borrow_mut();
            // That a row came to be is announced by nobody: no copy may say that there is none.
            let expiry = expiry_of(&outcome).filter(|e| !self.sourced || *e != Expiry::Absent);
            state.expiry = match (state.expiry, expiry) {
                (Some(a), Some(b)) => Some(a.first(b)),
                _ => None,
            };
        }
        self.count_down(now);
    }

    fn count_down(self: Rc<Self>, now: u64) {
        let (reply, failure) = {
            let mut state = self.state.borrow_mut();
            state.outstanding -= 1;
            if state.outstanding > 0 {
                return;
            }
            (state.reply.take(), state.failure.take())
        };
        match (reply, failure) {
            (Some(reply), _) if is_outage(&reply) => self.stale_or(reply, now),
            (Some(reply), _) => self.land(reply, now),
            (None, Some(Failure::Lost(_))) if self.may_retry(now) => self.retry(now),
            (None, failure) => {
                let failure = failure.unwrap_or_else(|| Failure::Lost("no reply".into()));
                self.proxy.counters.errors.add(1);
                self.stale_or(error_reply(&failure_text(&self.proxy.node(self.way.node), &failure)), now);
            }
        }
    }

    /// A read is idempotent: after a lost connection it is sent once more, within its bound.
    fn may_retry(&self, now: u64) -> bool {
        let bound = clock::nanos(self.proxy.shared.node.request_timeout);
        !self.state.borrow().retried && now < self.flight.begun.saturating_add(bound)
    }

    fn retry(self: Rc<Self>, now: u64) {
        {
            let mut state = self.state.borrow_mut();
            (state.retried, state.outstanding, state.expiry) = (true, 1, None);
        }
        self.proxy.counters.home_retries.add(1);
        self.proxy.send(self.way, &self.request, Ticket::Read(self.clone()), now);
    }

    fn land(&self, reply: Bytes, now: u64) {
        let absent = reply::is_absent(&reply);
        let counters = &self.proxy.counters;
        counters.home_hits.add(u64::from(!absent));
        counters.home_misses.add(u64::from(absent));
        counters.home_get.record(now.saturating_sub(self.flight.begun), 1);
        let expiry = self.state.borrow().expiry;
        let expiry = expiry.filter(|_| !reply::is_error(&reply) && !self.strayed.get());
        let life = expiry.filter(|_| self.flight.admitted).and_then(|expiry| {
            let took = self.others.is_empty().then(|| now.saturating_sub(self.flight.begun));
            self.copies.policies().life(&self.flight.key, absent, expiry, self.flight.begun, took)
        });
        self.offer(&reply, absent, expiry);
        let keys = || std::iter::once(self.flight.hash).chain(self.others.iter().copied());
        self.copies.show(keys());
        if self.strayed.get() {
            self.copies.disown(keys());
        }
        // The copy that this reply becomes is as new as the reply itself.
        let held = holds_any(&self.copies, self.flight.hash, &self.others);
        let waiters = self.copies.land(&self.flight, life.map(|life| (reply.clone(), life)));
        self.release(waiters, reply, held, now);
    }

    /// Offers the reply to L2, if it was to be filled.
    fn offer(&self, reply: &[u8], absent: bool, expiry: Option<Expiry>) {
        let Some(claim) = self.claim.take() else { return };
        let expiry = expiry.filter(|_| claim.node == self.way.node);
        let life = expiry.and_then(|e| self.copies.policies().l2_life(&self.flight.key, absent, e));
        match life.filter(|_| self.copies.current(&self.flight.token)) {
            Some(life) => self.proxy.fill_l2(claim, reply, life),
            None => self.proxy.abandon_l2(&claim),
        }
    }

    /// Home failed: what `stale_if_error` allows, else the error.
    fn stale_or(&self, error: Bytes, now: u64) {
        self.offer(&error, false, None);
        let stale = match self.stale_cap {
            Duration::ZERO => None,
            cap => self.copies.stale(&self.flight, cap, now),
        };
        self.proxy.counters.l1_stale.add(u64::from(stale.is_some()));
        let waiters = self.copies.land(&self.flight, None);
        let reply = stale.unwrap_or(error);
        self.client.deliver(self.slot, Reply::Owned(reply.clone()), now);
        self.proxy.answer(waiters, &reply, now);
    }

    fn release(&self, waiters: Vec<Waiter>, reply: Bytes, held: bool, now: u64) {
        let own = Receiver::Client(self.client.clone(), self.slot);
        let receivers = if waiters.is_empty() { vec![own] } else { vec![own, Receiver::Waiters(waiters)] };
        if held {
            let hashes = std::iter::once(self.flight.hash).chain(self.others.iter().copied());
            self.proxy.after_confirmation(
                self.way.node,
                receivers,
                reply,
                Shows::Keys(hashes.collect()),
                now,
            );
        } else {
            receivers.into_iter().for_each(|r| self.proxy.hand(r, &reply, now));
        }
    }
}
