//! The copies of this process, and the rules that keep them true.
//!
//! - What L1 holds is the state of home at the guard's position in its stream: replies land here, and only the
//!   guard's task moves them into L1, between the pushes, once a confirmation has come (`backend::tracking`).
//! - Whoever writes a key through this process calls [`Copies::fence`] before the write is sent and again before
//!   its reply is released.
//! - A reply that does not come by way of L1 may be newer than L1. If its key has copies, it is released only
//!   after a confirmation ([`Copies::holds`]).
//! - Copies are served while the lease runs ([`Copies::vouched`]).

mod ward;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::fence::{Fences, Token};
use super::flight::{Asker, Flight, Flights, Hashed, Identity, Life, Meeting, Waiter};
use super::l1::{Fill, L1, L1Options, Reader};
use super::policy::Policies;
use super::wards::Wards;
use crate::backend::cluster::NodeId;
use crate::backend::guards::Guards;
use crate::clock;
use crate::command::CommandId;
use crate::metrics::Counters;
use crate::resp::Proto;

/// Command, protocol and database of a request in one number: with key and tail it names a copy. None: a
/// database beyond what it can hold; such requests are not cached.
pub fn kind(command: CommandId, proto: Proto, db: u32) -> Option<u32> {
    let db = u32::from(u16::try_from(db).ok()?);
    Some((command.index() as u32) << 17 | u32::from(proto == Proto::Resp3) << 16 | db)
}

/// The database of a kind.
pub fn kind_database(kind: u32) -> u16 {
    kind as u16
}

/// The protocol of a kind.
pub fn kind_proto(kind: u32) -> Proto {
    if kind >> 16 & 1 == 1 { Proto::Resp3 } else { Proto::Resp2 }
}

/// The place of a kind's command in the table.
pub fn kind_command(kind: u32) -> usize {
    (kind >> 17) as usize
}

/// How a read begins.
#[derive(Debug)]
pub enum Start {
    /// Another flight brings the reply to the waiter.
    Joined,
    /// A flight has just brought it; it may be newer than the key's other copies.
    Landed(Bytes),
    /// A copy was stored meanwhile.
    Copy(Bytes),
    /// Go home alone: the reply of the flight under way may be too old for this reader, or none is worth it.
    Apart,
    /// The reader's own flight: its request is to be sent now.
    Begun(Arc<Flight>),
}

type Gathered = HashMap<u64, Vec<Arc<Flight>>, Hashed>;

/// Replies that wait for the guard.
#[derive(Default)]
struct Landing {
    open: Vec<Arc<Flight>>,
    /// What has been gathered for a confirmation, by the hash of the key.
    rounds: VecDeque<(u64, Gathered)>,
}

impl Landing {
    /// Whether a reply about this key may become a copy with a confirmation that has been asked. What is gathered
    /// later is confirmed after all that was announced by now.
    fn holds(&self, hash: u64, fences: &Fences) -> bool {
        let asked = self.rounds.iter().filter_map(|(_, gathered)| gathered.get(&hash)).flatten();
        asked.into_iter().any(|f| fences.current(&f.token))
    }
}

/// See the module's text.
pub struct Copies {
    l1: L1,
    fences: Fences,
    flights: Flights,
    policies: Policies,
    guards: Arc<Guards>,
    /// By node.
    landing: Mutex<HashMap<NodeId, Landing>>,
    /// Of the only guard; in a cluster the longest of all.
    lease_until: AtomicU64,
    /// None: home is no cluster.
    wards: Option<Wards>,
    /// Odd while the guard changes L1, moved on by every change: readers of several keys compare it.
    position: AtomicU64,
    keeps_stale: bool,
    counters: Arc<Counters>,
}

impl Copies {
    /// Empty, unvouched.
    pub fn new(l1: L1Options, policies: Policies, guards: Arc<Guards>, counters: Arc<Counters>) -> Self {
        Copies {
            wards: None,
            l1: L1::new(l1),
            fences: Fences::default(),
            flights: Flights::default(),
            keeps_stale: policies.any_stale(),
            policies,
            guards,
            landing: Mutex::default(),
            lease_until: AtomicU64::new(0),
            position: AtomicU64::new(0),
            counters,
        }
    }

    /// The same of a cluster, whose nodes have a guard each.
    #[must_use]
    pub fn of_cluster(self) -> Self {
        Copies { wards: Some(Wards::new()), ..self }
    }

    /// The store, for looking things up.
    pub fn l1(&self) -> &L1 {
        &self.l1
    }

    /// The rules for keys.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Whether copies may be served as current.
    pub fn vouched(&self, now: u64) -> bool {
        now < self.lease_until.load(SeqCst)
    }

    /// Whether those of this key may, given that any may.
    #[inline]
    pub fn vouches_for(&self, key: &[u8], now: u64) -> bool {
        self.wards.as_ref().is_none_or(|wards| wards.vouched(key, now))
    }

    /// Whether those that the guard of this node vouches for may be served as current.
    pub fn vouched_by(&self, node: NodeId, now: u64) -> bool {
        match &self.wards {
            None => self.vouched(now),
            Some(wards) => now < wards.until(node),
        }
    }

    /// Nanoseconds left of the lease.
    pub fn lease_left(&self, now: u64) -> u64 {
        self.lease_until.load(SeqCst).saturating_sub(now)
    }

    /// Flights under way.
    pub fn flights(&self) -> usize {
        self.flights.len()
    }

    /// Whether `gather` succeeded, and the guard changed nothing meanwhile: what was gathered is of one moment.
    pub fn at_one_moment(&self, gather: impl FnOnce() -> bool) -> bool {
        let before = self.position();
        before.is_some() && gather() && self.position() == before
    }

    /// The guard's position in its stream; None while it is moving.
    fn position(&self) -> Option<u64> {
        let position = self.position.load(SeqCst);
        position.is_multiple_of(2).then_some(position)
    }

    /// Whether the key has copies, or will have by replies that wait for the guard, which might be older than a
    /// reply that did not come from them.
    pub fn holds(&self, hash: u64) -> bool {
        // While the guard moves replies from there to here, a key may be in neither.
        self.l1.contains(hash)
            || self.landing.lock().values().any(|landing| landing.holds(hash, &self.fences))
            || self.position().is_none()
            || self.l1.contains(hash)
    }

    /// A copy over several keys, if none of them changed.
    pub fn spanning<'r>(&self, reader: &'r Reader<'_>, id: &Identity<'_>, now: u64) -> Option<&'r [u8]> {
        let stored = reader.get(id.hash, id.key, id.kind, id.tail, now)?.reply();
        if !self.vouches_for(id.key, now) {
            return None;
        }
        self.fences.strip(stored)
    }

    /// The unvouched copy that `stale_if_error` allows to serve, read less than `cap` ago (in whole seconds).
    pub fn stale(&self, flight: &Flight, cap: Duration, now: u64) -> Option<Bytes> {
        let now = clock::seconds(now);
        let reader = self.l1.reader();
        let hit = reader.get_stale(flight.hash, &flight.key, flight.kind, &flight.tail, now)?;
        if u64::from(now.saturating_sub(hit.filled_at())) >= cap.as_secs() {
            return None;
        }
        match flight.token.spans() {
            false => Some(Bytes::copy_from_slice(hit.reply())),
            true => self.fences.strip(hit.reply()).map(Bytes::copy_from_slice),
        }
    }

    /// A token for a reply over these keys.
    pub fn token(&self, first: u64, others: &[u64]) -> Token {
        self.fences.token(first, others.iter().copied())
    }

    /// Begins a read that no copy answered, or finds it under way.
    pub fn begin(&self, id: &Identity<'_>, others: &[u64], asker: &Asker) -> Start {
        let usable = |token: &Token| self.fences.current(token);
        match self.flights.meet(id, asker, usable) {
            Meeting::Joined => return Start::Joined,
            Meeting::Landed(reply) if self.vouched_by(asker.node, asker.now) => return Start::Landed(reply),
            Meeting::Landed(_) | Meeting::Apart => return Start::Apart,
            // A reply that is not kept is worth a flight only if home's failure may have a copy answer.
            Meeting::None if !asker.admitted && !self.keeps_stale => return Start::Apart,
            Meeting::None => {}
        }
        let token = self.token(id.hash, others);
        // A flight that landed between the reader's look into L1 and now has left its copy there.
        if others.is_empty() && !asker.follows && self.vouched_by(asker.node, asker.now) {
            let reader = self.l1.reader();
            if let Some(hit) = reader.get(id.hash, id.key, id.kind, id.tail, asker.now)
                && self.vouches_for(id.key, asker.now)
            {
                return Start::Copy(Bytes::copy_from_slice(hit.reply()));
            }
        }
        let from = (asker.waiter.worker, asker.node);
        let flight = Arc::new(Flight::new(id, token, asker.now, from, asker.admitted));
        self.flights.begin(&flight);
        Start::Begun(flight)
    }

    /// A flight that is not known to others: the caller alone waits for it (one key of an MGET; a read while
    /// nothing is guarded).
    pub fn lone_flight(
        &self,
        id: &Identity<'_>,
        token: Token,
        now: u64,
        from: (u16, NodeId),
        admitted: bool,
    ) -> Arc<Flight> {
        Arc::new(Flight::new(id, token, now, from, admitted))
    }

    /// A flight's reply was read. With a life it becomes a copy once confirmed. Returns who joined.
    pub fn land(&self, flight: &Arc<Flight>, reply: Option<(Bytes, Life)>) -> Vec<Waiter> {
        if reply.is_none() || !self.guards.guarded(flight.node) || !self.fences.current(&flight.token) {
            let refused = if reply.is_some() { &self.counters.l1_fenced } else { &self.counters.l1_refused };
            if flight.admitted {
                refused.bump();
            }
            self.flights.end(flight);
            return flight.land(None);
        }
        let waiters = flight.land(reply);
        self.landing.lock().entry(flight.node).or_default().open.push(flight.clone());
        self.guards.ask_soon(flight.node);
        waiters
    }

    /// Drops the copies of a key and refuses the flights over it: it is about to change, or it changed.
    pub fn fence(&self, hash: u64) -> usize {
        self.fences.raise(hash);
        self.l1.remove(hash)
    }

    /// Another node of a cluster answered about these keys than the one whose guard vouches for copies of them.
    pub fn disown(&self, hashes: impl IntoIterator<Item = u64>) {
        hashes.into_iter().for_each(|hash| _ = self.fence(hash));
    }

    /// Refuses all flights: copies are about to be dropped by a walk over L1, and none may come after it.
    pub fn refuse_flights(&self) {
        self.fences.raise_all();
    }

    /// Drops all copies and refuses all flights.
    pub fn fence_all(&self) {
        self.fences.raise_all();
        self.l1.clear();
        self.counters.l1_flushes.bump();
    }

    /// A landed reply becomes a copy, unless something fenced it.
    fn store(&self, flight: &Arc<Flight>) {
        let Some((reply, life)) = flight.landed() else {
            return;
        };
        let prefixed = flight.token.spans().then(|| flight.token.prefix(&reply));
        let stored: &[u8] = prefixed.as_deref().unwrap_or(&reply);
        let fill = Fill {
            hash: flight.hash,
            key: &flight.key,
            kind: flight.kind,
            tail: &flight.tail,
            reply: stored,
            fresh_until: life.fresh_until,
            stale_until: life.stale_until,
            absent: life.absent,
            filled_at: clock::seconds(flight.begun),
            ahead: life.ahead,
        };
        let began = clock::now();
        let vouched = || self.wards.as_ref().is_none_or(|wards| wards.is_of(flight.node, &flight.key));
        let outcome = match self.l1.insert_if(&fill, || self.fences.current(&flight.token) && vouched()) {
            Some(true) => &self.counters.l1_fills,
            Some(false) => &self.counters.l1_refused,
            None => &self.counters.l1_fenced,
        };
        self.counters.l1_set.record(clock::now() - began, 1);
        outcome.bump();
        self.flights.end(flight);
        flight.land(None);
    }

    fn moving(&self, change: impl FnOnce()) {
        self.position.fetch_add(1, SeqCst);
        change();
        self.position.fetch_add(1, SeqCst);
    }
}

mod ahead;
#[cfg(test)]
mod tests;
