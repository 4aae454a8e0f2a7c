//! Flights: reads under way to home, one for each (key, request), shared by all workers.
//!
//! A flight goes through three states. *Waiting*: its request is under way and readers of the same join it.
//! *Landed*: its reply has been read, but the guard has not yet confirmed that no invalidation from before is
//! still on its way; readers who cannot have seen anything newer may have it. *Done*: stored as a copy, or not.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::fence::Token;
use crate::backend::cluster::NodeId;

const SHARDS: usize = 64;

/// A client that waits for a reply: its worker, its session there, and its place in the order of replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter {
    /// Index of the worker.
    pub worker: u16,
    /// Session number, unique in the process.
    pub session: u64,
    /// Place among the session's replies.
    pub slot: u64,
}

/// What names a copy: a key and a request.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// Hash of the key by [`super::l1::L1::hash`].
    pub hash: u64,
    /// The (first) key.
    pub key: &'a [u8],
    /// Command, protocol and database: see [`super::copies::kind`].
    pub kind: u32,
    /// Raw bytes of the other arguments.
    pub tail: &'a [u8],
}

/// How long a reply may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Served as current until then (nanoseconds, [`crate::clock::now`]).
    pub fresh_until: u64,
    /// Served under `stale_if_error` until then (seconds).
    pub stale_until: u32,
    /// The reply says "absent".
    pub absent: bool,
    /// Nanoseconds after `fresh_until` for which it is served while it is renewed.
    pub ahead: u64,
}

#[derive(Debug)]
enum Stage {
    Waiting(Vec<Waiter>),
    Landed(Bytes, Life),
    Done,
}

/// One read under way.
#[derive(Debug)]
pub struct Flight {
    /// Hash of the key.
    pub hash: u64,
    /// The key.
    pub key: Box<[u8]>,
    /// Command, protocol, database.
    pub kind: u32,
    /// Other arguments.
    pub tail: Box<[u8]>,
    /// Taken before the request was sent.
    pub token: Token,
    /// When the request was sent.
    pub begun: u64,
    /// The worker whose lane carries it.
    pub worker: u16,
    /// The node that is asked.
    pub node: NodeId,
    /// Whether a reply is wanted as a copy.
    pub admitted: bool,
    stage: Mutex<Stage>,
}

impl Flight {
    /// A flight that nobody has joined.
    pub fn new(
        id: &Identity<'_>,
        token: Token,
        begun: u64,
        (worker, node): (u16, NodeId),
        admitted: bool,
    ) -> Self {
        Flight {
            hash: id.hash,
            key: id.key.into(),
            kind: id.kind,
            tail: id.tail.into(),
            token,
            begun,
            worker,
            node,
            admitted,
            stage: Mutex::new(Stage::Waiting(Vec::new())),
        }
    }

    fn is(&self, id: &Identity<'_>) -> bool {
        self.kind == id.kind && *self.key == *id.key && *self.tail == *id.tail
    }

    /// Ends the waiting: the reply stays for later readers as `landed` says, and those who waited are returned.
    pub fn land(&self, landed: Option<(Bytes, Life)>) -> Vec<Waiter> {
        let stage = landed.map_or(Stage::Done, |(reply, life)| Stage::Landed(reply, life));
        match std::mem::replace(&mut *self.stage.lock(), stage) {
            Stage::Waiting(waiters) => waiters,
            Stage::Landed(..) | Stage::Done => Vec::new(),
        }
    }

    /// The landed reply, if it is one.
    pub fn landed(&self) -> Option<(Bytes, Life)> {
        match &*self.stage.lock() {
            Stage::Landed(reply, life) => Some((reply.clone(), *life)),
            Stage::Waiting(_) | Stage::Done => None,
        }
    }
}

/// Who reads, and when.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    /// Where the reply goes if it comes by another's flight.
    pub waiter: Waiter,
    /// When the reader last had a reply from home.
    pub seen: u64,
    /// Since when it uses its worker's lane of this protocol and database.
    pub lane_since: u64,
    /// Now.
    pub now: u64,
    /// The node that is to be asked.
    pub node: NodeId,
    /// Other requests of the reader about these keys are on their way home: only what is asked now is new enough.
    pub follows: bool,
    /// Whether a copy is wanted.
    pub admitted: bool,
}

/// What a reader meets.
#[derive(Debug)]
pub enum Meeting {
    /// It waits now.
    Joined,
    /// Here is the reply.
    Landed(Bytes),
    /// There is a flight, but the reader may have seen something newer than what it brings: go home alone.
    Apart,
    /// Nobody reads this now.
    None,
}

/// Maps whose keys are hashes already.
pub(super) type Hashed = BuildHasherDefault<Ready>;

/// Takes a hash as it is.
#[derive(Default)]
pub(super) struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

/// Flights are found by the hash of their identity; the bytes decide.
type Shard = Mutex<HashMap<u64, Arc<Flight>, Hashed>>;

/// All flights of the process.
pub struct Flights {
    shards: Box<[Shard]>,
    hasher: foldhash::quality::RandomState,
}

impl Default for Flights {
    fn default() -> Self {
        Flights { shards: (0..SHARDS).map(|_| Shard::default()).collect(), hasher: Default::default() }
    }
}

impl Flights {
    fn place(&self, hash: u64, kind: u32, tail: &[u8]) -> (u64, &Shard) {
        use std::hash::BuildHasher;
        let name =
            if tail.is_empty() { hash ^ u64::from(kind) } else { self.hasher.hash_one((hash, kind, tail)) };
        (name, &self.shards[(name >> 40) as usize % SHARDS])
    }

    /// Joins the flight of this identity, if `usable` says so of it and the reader may.
    ///
    /// A reader must not get what is older than what it has seen. A waiting flight on the reader's own lane is
    /// answered after everything that the reader had from that lane; one on another lane, or one that has
    /// landed, is safe only if it began after the reader's last reply from home.
    pub fn meet(&self, id: &Identity<'_>, asker: &Asker, usable: impl Fn(&Token) -> bool) -> Meeting {
        let Asker { waiter, seen, lane_since, now, .. } = *asker;
        let (name, shard) = self.place(id.hash, id.kind, id.tail);
        let Some(flight) = shard.lock().get(&name).cloned() else {
            return Meeting::None;
        };
        if !flight.is(id) {
            return Meeting::Apart;
        }
        if !usable(&flight.token) {
            return Meeting::None;
        }
        match &mut *flight.stage.lock() {
            Stage::Waiting(_) | Stage::Landed(..) if asker.follows => Meeting::Apart,
            Stage::Waiting(waiters)
                if seen <= flight.begun || flight.worker == waiter.worker && lane_since <= flight.begun =>
            {
                waiters.push(waiter);
                Meeting::Joined
            }
            Stage::Landed(reply, life) if seen <= flight.begun && now < life.fresh_until => {
                Meeting::Landed(reply.clone())
            }
            Stage::Waiting(_) | Stage::Landed(..) => Meeting::Apart,
            Stage::Done => Meeting::None,
        }
    }

    /// Makes a flight known, in place of a fenced one.
    pub fn begin(&self, flight: &Arc<Flight>) {
        let (name, shard) = self.place(flight.hash, flight.kind, &flight.tail);
        shard.lock().insert(name, flight.clone());
    }

    /// Makes a flight known, unless a `usable` one of the same is under way; false if there is.
    pub fn begin_alone(&self, flight: &Arc<Flight>, usable: impl Fn(&Token) -> bool) -> bool {
        let (name, shard) = self.place(flight.hash, flight.kind, &flight.tail);
        let mut flights = shard.lock();
        let free = flights.get(&name).is_none_or(|known| !usable(&known.token));
        if free {
            flights.insert(name, flight.clone());
        }
        free
    }

    /// Forgets a flight, unless another has taken its place.
    pub fn end(&self, flight: &Arc<Flight>) {
        let (name, shard) = self.place(flight.hash, flight.kind, &flight.tail);
        let mut flights = shard.lock();
        if flights.get(&name).is_some_and(|f| Arc::ptr_eq(f, flight)) {
            flights.remove(&name);
        }
    }

    /// Flights known now.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| s.lock().len()).sum()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
