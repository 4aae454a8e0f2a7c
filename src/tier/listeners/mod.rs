//! Clients that keep caches of their own: which key was read by whom, and who hears of which prefixes.
//!
//! The way of Redis' own CLIENT TRACKING, with the guard in the place of the server that executes: a key is
//! remembered *before* it is looked up or sent home, and whatever the guard hears of a key after that reaches all who
//! are remembered with it. As in Redis a key is forgotten once its change was told, names stand for all databases,
//! and who has gone is forgotten lazily.
//!
//! Coverage is the lease of the copies: while it does not run, nothing is remembered, since nobody would say what
//! changes; whoever reads then is told at once that what it read is no longer valid. When it ends everybody is told
//! to drop everything.

mod prefixes;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

use bytes::Bytes;
use foldhash::fast::RandomState;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::resp::encode;
use prefixes::Prefixes;

/// Parts of the table of keys, each with a lock of its own.
const SHARDS: usize = 64;
/// Longer names are not remembered: who reads such a key is told at once that its value is no longer valid.
const MAX_NAME: usize = 1024;
/// Readers of a key above which those that have gone are looked for.
const CROWD: usize = 8;
/// Readers remembered for each key that may be.
const READERS_A_KEY: usize = 8;

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Notice {
    /// These keys changed: an array of their names, encoded.
    Keys(Bytes),
    /// Everything may have changed.
    All,
}

impl Notice {
    /// About one key.
    pub fn key(key: &[u8]) -> Self {
        Self::keys(&[key])
    }

    /// About some keys.
    pub fn keys(keys: &[&[u8]]) -> Self {
        let mut names = Vec::with_capacity(keys.iter().map(|k| k.len() + 16).sum::<usize>() + 16);
        encode::command(&mut names, keys);
        Notice::Keys(names.into())
    }
}

/// Whom to tell what: the worker, the session, the notice.
pub type Tell<'a> = dyn FnMut(u16, u64, Notice) + 'a;

/// What became of a read that was to be remembered.
#[derive(Debug, PartialEq, Eq)]
pub enum Remembered {
    /// Its reader will be told of the next change.
    Yes,
    /// It will not: it has to be told behind the reply that the value is no longer valid.
    No,
}

/// One client that tracks.
#[derive(Debug)]
struct Listener {
    worker: u16,
    /// It hears of prefixes, whatever it read.
    broadcast: bool,
}

type Shard = HashMap<Box<[u8]>, Vec<u64>, RandomState>;

/// See the module's text.
#[derive(Debug)]
pub struct Listeners {
    count: AtomicUsize,
    listeners: RwLock<HashMap<u64, Listener>>,
    prefixes: RwLock<Prefixes>,
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    keys: AtomicUsize,
    readers: AtomicUsize,
    /// Keys remembered at most; 0: any number.
    max_keys: AtomicUsize,
    lease_until: AtomicU64,
    entered: Notify,
}

impl Listeners {
    /// Nobody listens. At most `max_keys` keys are remembered (0: any number), and eight times as many readers.
    pub fn new(max_keys: usize) -> Self {
        Listeners {
            count: AtomicUsize::new(0),
            listeners: RwLock::default(),
            prefixes: RwLock::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
            keys: AtomicUsize::new(0),
            readers: AtomicUsize::new(0),
            max_keys: AtomicUsize::new(max_keys),
            lease_until: AtomicU64::new(0),
            entered: Notify::new(),
        }
    }

    /// Whether nobody listens: then nothing needs to be announced for them.
    pub fn is_empty(&self) -> bool {
        self.count.load(SeqCst) == 0
    }

    /// Clients that listen.
    pub fn len(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// Keys remembered, readers remembered with them, and prefixes.
    pub fn figures(&self) -> (usize, usize, usize) {
        (self.keys.load(Relaxed), self.readers.load(Relaxed), self.prefixes.read().len())
    }

    /// Keys remembered at most; 0: any number.
    pub fn max_keys(&self) -> usize {
        self.max_keys.load(Relaxed)
    }

    /// Changes how many keys are remembered at most.
    pub fn set_max_keys(&self, max_keys: usize, tell: &mut Tell<'_>) {
        self.max_keys.store(max_keys, Relaxed);
        self.make_room(0, None, tell);
    }

    /// A session begins to listen, or changes how.
    pub fn enter(&self, session: u64, worker: u16, broadcast: bool) {
        let mut listeners = self.listeners.write();
        listeners.insert(session, Listener { worker, broadcast });
        self.count.store(listeners.len(), SeqCst);
        self.entered.notify_one();
    }

    /// Waits until somebody has come to listen. One task at a time may.
    pub async fn wanted(&self) {
        self.entered.notified().await;
    }

    /// A session listens no more. `prefixes` are those it was entered for.
    pub fn leave<'a>(&self, session: u64, prefixes: impl Iterator<Item = &'a [u8]>) {
        {
            let mut table = self.prefixes.write();
            prefixes.for_each(|prefix| table.remove(prefix, session));
        }
        let last = {
            let mut listeners = self.listeners.write();
            listeners.remove(&session);
            self.count.store(listeners.len(), SeqCst);
            listeners.is_empty()
        };
        if last {
            // Unless somebody has come in between, who may have read something already.
            self.forget_keys(|| self.is_empty());
        }
    }

    /// A session that broadcasts are for hears of this prefix, too.
    pub fn add_prefix(&self, session: u64, prefix: &[u8]) {
        self.prefixes.write().add(prefix, session);
    }

    /// Whether changes are announced.
    pub fn covered(&self, now: u64) -> bool {
        now < self.lease_until.load(SeqCst)
    }

    /// Coverage lasts until then, as far as is known.
    pub fn lease(&self, until: u64) {
        self.lease_until.store(until, SeqCst);
    }

    /// Coverage is over.
    pub fn lost(&self, tell: &mut Tell<'_>) {
        self.lease_until.store(0, SeqCst);
        self.flushed(tell);
    }

    /// Notices that coverage ran out.
    pub fn expire(&self, now: u64, tell: &mut Tell<'_>) {
        let until = self.lease_until.load(SeqCst);
        let over = until != 0 && until <= now;
        // Unless it was renewed in between.
        if over && self.lease_until.compare_exchange(until, 0, SeqCst, SeqCst).is_ok() {
            self.flushed(tell);
        }
    }

    /// Remembers that a session is about to read a key. What has to make room for it is told.
    pub fn remember(&self, session: u64, key: &[u8], now: u64, tell: &mut Tell<'_>) -> Remembered {
        if key.len() > MAX_NAME {
            return Remembered::No;
        }
        let place = self.place(key);
        let mut shard = self.shards[place].lock();
        match shard.get_mut(key) {
            Some(readers) if readers.contains(&session) => {}
            Some(readers) => {
                if readers.len() >= CROWD && readers.len() == readers.capacity() {
                    self.drop_gone(readers);
                }
                readers.push(session);
                self.readers.fetch_add(1, Relaxed);
            }
            None => {
                shard.insert(key.into(), vec![session]);
                self.keys.fetch_add(1, Relaxed);
                self.readers.fetch_add(1, Relaxed);
            }
        }
        drop(shard);
        self.make_room(place, Some(key), tell);
        // Asked last: if coverage ends after this, all are told.
        if self.covered(now) { Remembered::Yes } else { Remembered::No }
    }

    /// These keys changed.
    pub fn changed(&self, keys: &[&[u8]], tell: &mut Tell<'_>) {
        self.broadcast(keys, tell);
        for key in keys {
            let readers = self.take(&mut self.shards[self.place(key)].lock(), key);
            self.tell_readers(key, &readers, tell);
        }
    }

    /// Everything may have changed.
    pub fn flushed(&self, tell: &mut Tell<'_>) {
        self.forget_keys(|| true);
        let listeners = self.listeners.read();
        listeners.iter().for_each(|(session, l)| tell(l.worker, *session, Notice::All));
    }

    fn place(&self, key: &[u8]) -> usize {
        self.hasher.hash_one(key) as usize % SHARDS
    }

    /// Removes a key with its readers.
    fn take(&self, shard: &mut Shard, key: &[u8]) -> Vec<u64> {
        let Some(readers) = shard.remove(key) else {
            return Vec::new();
        };
        self.keys.fetch_sub(1, Relaxed);
        self.readers.fetch_sub(readers.len(), Relaxed);
        readers
    }

    fn drop_gone(&self, readers: &mut Vec<u64>) {
        let before = readers.len();
        let listeners = self.listeners.read();
        readers.retain(|session| listeners.contains_key(session));
        self.readers.fetch_sub(before - readers.len(), Relaxed);
    }

    /// Forgets keys, those next to a place first, while there are too many; their readers are told as if they had
    /// changed.
    fn make_room(&self, place: usize, kept: Option<&[u8]>, tell: &mut Tell<'_>) {
        let max = self.max_keys.load(Relaxed);
        let most = max.saturating_mul(READERS_A_KEY);
        let full = || self.keys.load(Relaxed) > max || self.readers.load(Relaxed) > most;
        if max == 0 || !full() {
            return;
        }
        for shard in self.shards.iter().cycle().skip(place).take(SHARDS) {
            let mut shard = shard.lock();
            while full() {
                let Some(key) = shard.keys().find(|key| Some(&***key) != kept).cloned() else { break };
                let readers = self.take(&mut shard, &key);
                self.tell_readers(&key, &readers, tell);
            }
        }
    }

    fn tell_readers(&self, key: &[u8], readers: &[u64], tell: &mut Tell<'_>) {
        if readers.is_empty() {
            return;
        }
        let notice = Notice::key(key);
        let listeners = self.listeners.read();
        for session in readers {
            // Who broadcasts are for may have read it before they were.
            if let Some(listener) = listeners.get(session).filter(|l| !l.broadcast) {
                tell(listener.worker, *session, notice.clone());
            }
        }
    }

    fn broadcast(&self, keys: &[&[u8]], tell: &mut Tell<'_>) {
        self.prefixes.read().matches(keys, |keys, sessions| {
            let notice = Notice::keys(keys);
            let listeners = self.listeners.read();
            for session in sessions {
                if let Some(listener) = listeners.get(session) {
                    tell(listener.worker, *session, notice.clone());
                }
            }
        });
    }

    fn forget_keys(&self, wanted: impl Fn() -> bool) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            if !wanted() {
                return;
            }
            let forgotten = std::mem::take(&mut *shard);
            self.keys.fetch_sub(forgotten.len(), Relaxed);
            self.readers.fetch_sub(forgotten.values().map(Vec::len).sum(), Relaxed);
        }
    }
}
