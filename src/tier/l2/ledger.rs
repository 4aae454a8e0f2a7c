//! What makes a copy read from L2 believable. See "Why L2 copies are true" in src/README.md.
//!
//! L2 is *vouched for* while everything announced to this process is deleted there, in an epoch that began after
//! announcements did. Then a copy may be used if, when L2 was asked, no delete of its key was outstanding
//! ([`Ledger::pass`]), if no fence of the key was raised until the answer came, and if the guard has confirmed since
//! whatever had been released about the key before ([`Ledger::trails`]).
//!
//! Each master of a cluster has a guard of its own: what is confirmed, and what is newer than that, is said of one.
//! When one begins to announce, everything begins anew.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::record::Epoch;
use crate::backend::cluster::NodeId;
use crate::clock;

const SLOTS: usize = 1 << 16;
/// Epochs whose copies are believed, the latest ones.
const EPOCHS: usize = 8;
/// Deletes that may wait for L2, in keys and in bytes: beyond it another epoch is cheaper.
const MAX_DELETES: usize = 100_000;
const MAX_DELETE_BYTES: usize = 16 << 20;

/// What is outstanding about the keys of one slot.
#[derive(Debug, Default)]
struct Slot {
    /// Deletes that L2 has not confirmed.
    deletes: AtomicU32,
    /// When something was last released that the guard may not have announced yet.
    shown: AtomicU64,
}

/// An epoch whose copies are believed.
#[derive(Debug)]
struct Known {
    epoch: Epoch,
    /// Fills up to this number of what a node has are not newer than what its guard has announced.
    settled: HashMap<NodeId, u64>,
    /// L2 said that it was the current one, by the connection that this is asked on.
    polled: bool,
}

/// What waits for the guard's confirmation: which round, when it was asked, and what L2 had by then.
#[derive(Debug)]
struct Round {
    number: u64,
    asked: u64,
    polled: Option<(Epoch, u64)>,
}

/// A guard that announces changes.
#[derive(Debug, Default)]
struct Guard {
    /// When its last answered confirmation was asked.
    confirmed: u64,
    rounds: VecDeque<Round>,
}

#[derive(Debug, Default)]
struct Outgoing {
    /// What is announced is to be deleted.
    open: bool,
    keys: Vec<(u32, Box<[u8]>)>,
    bytes: usize,
}

/// See the module's text.
#[derive(Debug)]
pub struct Ledger {
    /// Twice the number of the vouching, and one while it lasts.
    state: AtomicU64,
    /// Those that announce changes: none, and there is nothing to vouch by.
    guards: Mutex<HashMap<NodeId, Guard>>,
    /// L2 was slow to answer since then, and has answered nothing that was asked later. 0: it is not.
    slow_since: AtomicU64,
    slots: Box<[Slot]>,
    /// Deletes of all keys that L2 has not confirmed.
    outstanding: AtomicU64,
    epochs: Mutex<Vec<Known>>,
    polled: Mutex<Option<(Epoch, u64)>>,
    outgoing: Mutex<Outgoing>,
    poll_wanted: AtomicBool,
    wake: Notify,
}

impl Default for Ledger {
    fn default() -> Self {
        Ledger {
            state: AtomicU64::new(0),
            guards: Mutex::default(),
            slow_since: AtomicU64::new(0),
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
            outstanding: AtomicU64::new(0),
            epochs: Mutex::default(),
            polled: Mutex::default(),
            outgoing: Mutex::default(),
            poll_wanted: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }
}

/// The permission to ask L2 for a copy of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// The vouching under which it was given.
    state: u64,
    /// When something about the key had last been released.
    shown: u64,
}

/// What is thought of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is of an epoch that may have begun before this process was told of changes.
    Unknown,
    /// It may be newer than what the guard has announced.
    Fresh,
    /// It is what the guard has announced.
    Settled,
}

fn slot_of(hash: u64) -> usize {
    (hash >> 24) as usize % SLOTS
}

/// What readers ask.
impl Ledger {
    /// The permission to ask L2 for a copy of this key; to be taken after the token of its fences.
    pub fn pass(&self, hash: u64) -> Option<Pass> {
        let state = self.state.load(SeqCst);
        let slot = &self.slots[slot_of(hash)];
        let may = state % 2 == 1 && self.slow_since.load(SeqCst) == 0 && slot.deletes.load(SeqCst) == 0;
        may.then(|| Pass { state, shown: slot.shown.load(SeqCst) })
    }

    /// Whether what was released about the key before the pass was given may be newer than what L2 says: the guard
    /// of the key's node has not confirmed it yet.
    pub fn trails(&self, pass: Pass, node: NodeId) -> bool {
        pass.shown >= self.guards.lock().get(&node).map_or(0, |guard| guard.confirmed)
    }

    /// Whether the vouching of this pass still lasts.
    pub fn holds(&self, pass: Pass) -> bool {
        self.state.load(SeqCst) == pass.state
    }

    /// Whether L2 is vouched for.
    pub fn vouched(&self) -> bool {
        self.state.load(SeqCst) % 2 == 1
    }

    /// Keys that changed and that L2 has not deleted yet.
    pub fn outstanding(&self) -> u64 {
        self.outstanding.load(SeqCst)
    }

    /// Whether L2 has been too slow to be asked.
    pub fn is_slow(&self) -> bool {
        self.slow_since.load(SeqCst) != 0
    }

    /// Takes note of an epoch that L2 said to be the current one, asked under `pass`.
    pub fn adopt(&self, pass: Pass, epoch: Epoch) {
        let mut epochs = self.epochs.lock();
        if self.holds(pass) && !epochs.iter().any(|known| known.epoch == epoch) {
            add(&mut epochs, Known::new(epoch, false));
        }
    }

    /// What a copy of this epoch and number is worth, whose key is of this node.
    pub fn standing(&self, epoch: &Epoch, number: u64, node: NodeId) -> Standing {
        match self.epochs.lock().iter().find(|known| known.epoch == *epoch) {
            None => Standing::Unknown,
            Some(known) if known.settled.get(&node).is_some_and(|last| number <= *last) => Standing::Settled,
            Some(_) => Standing::Fresh,
        }
    }

    /// Whether copies of this epoch are used.
    pub fn believes(&self, epoch: &Epoch) -> bool {
        self.vouched() && self.epochs.lock().iter().any(|known| known.epoch == *epoch)
    }

    /// Something about a key is released that the guard may not have announced yet: until it has confirmed, L2 may be
    /// older.
    pub fn show(&self, hash: u64) {
        self.slots[slot_of(hash)].shown.fetch_max(clock::now(), SeqCst);
    }

    /// A copy turned out to be newer than what is known to be announced: the next ones may not have to.
    pub fn want_poll(&self) {
        if !self.poll_wanted.swap(true, SeqCst) {
            self.wake.notify_one();
        }
    }

    /// L2 did not answer in time. It is not asked until it has answered its connection of deletes.
    pub fn shun(&self) {
        self.slow_since.fetch_max(clock::now(), SeqCst);
        self.wake.notify_one();
    }

    /// Nothing that is in L2 now is to be believed.
    pub fn renew(&self) {
        self.end();
        self.wake.notify_one();
    }

    fn end(&self) {
        let next = |state: u64| Some((state | 1) + 1);
        // Never refused.
        let _ = self.state.fetch_update(SeqCst, SeqCst, next);
        self.epochs.lock().clear();
    }
}

impl Known {
    fn new(epoch: Epoch, polled: bool) -> Self {
        Known { epoch, settled: HashMap::new(), polled }
    }
}

fn add(epochs: &mut Vec<Known>, known: Known) {
    if epochs.len() == EPOCHS {
        epochs.remove(0);
    }
    epochs.push(known);
}

/// What the guards tell.
impl Ledger {
    /// A node's changes are announced from now on: what is in L2 from before is not to be believed.
    pub fn covered(&self, node: NodeId) {
        self.guards.lock().insert(node, Guard::default());
        self.renew();
    }

    /// A node's changes are not announced any more. Without them nobody vouches for copies of its keys, in whatever
    /// tier.
    pub fn uncovered(&self, node: NodeId) {
        let mut guards = self.guards.lock();
        guards.remove(&node);
        if guards.is_empty() {
            self.end();
        }
    }

    /// A key changed: it is to be deleted. To be called before its fence is raised.
    pub fn announced(&self, hash: u64, key: &[u8]) {
        let mut outgoing = self.outgoing.lock();
        if !outgoing.open {
            return;
        }
        let slot = slot_of(hash);
        self.slots[slot].deletes.fetch_add(1, SeqCst);
        self.outstanding.fetch_add(1, SeqCst);
        outgoing.bytes += key.len();
        outgoing.keys.push((slot as u32, key.into()));
        let first = outgoing.keys.len() == 1;
        if outgoing.keys.len() > MAX_DELETES || outgoing.bytes > MAX_DELETE_BYTES {
            // In the next epoch none of them is needed.
            self.end();
            self.forget(&mut outgoing);
        }
        drop(outgoing);
        if first {
            self.wake.notify_one();
        }
    }

    /// A confirmation is about to be asked of a guard.
    pub fn gather(&self, node: NodeId, number: u64) {
        let round = Round { number, asked: clock::now(), polled: *self.polled.lock() };
        if let Some(guard) = self.guards.lock().get_mut(&node) {
            guard.rounds.push_back(round);
        }
    }

    /// It has come: all changes from before it was asked have been announced.
    pub fn confirm(&self, node: NodeId, number: u64) {
        let mut guards = self.guards.lock();
        let Some(guard) = guards.get_mut(&node) else { return };
        while guard.rounds.front().is_some_and(|round| round.number <= number) {
            let Some(round) = guard.rounds.pop_front() else { return };
            guard.confirmed = guard.confirmed.max(round.asked);
            if let Some((epoch, number)) = round.polled {
                self.settle(node, epoch, number);
            }
        }
    }

    /// Fills up to this one are announced, and with them all fills of the epochs that L2 had before.
    fn settle(&self, node: NodeId, epoch: Epoch, number: u64) {
        let mut epochs = self.epochs.lock();
        for known in epochs.iter_mut() {
            let settled = known.settled.entry(node).or_default();
            if known.epoch == epoch {
                *settled = number.max(*settled);
                known.polled = true;
            } else if known.polled {
                *settled = u64::MAX;
            }
        }
    }

    fn forget(&self, outgoing: &mut Outgoing) {
        self.deleted(outgoing.keys.drain(..).map(|(slot, _)| slot));
        outgoing.bytes = 0;
    }
}

/// What the connection of deletes asks and tells.
impl Ledger {
    /// Waits until there is something to do.
    pub async fn work(&self) {
        self.wake.notified().await;
    }

    /// The number of the vouching that waits for a new epoch. From now on what is announced is kept for
    /// [`Ledger::deletes`], so that it is deleted behind the setting of that epoch.
    pub fn wants_epoch(&self) -> Option<u64> {
        if self.guards.lock().is_empty() {
            return None;
        }
        let mut outgoing = self.outgoing.lock();
        let state = self.state.load(SeqCst);
        if state % 2 == 1 {
            return None;
        }
        outgoing.open = true;
        Some(state)
    }

    /// L2 has taken the epoch that was made for this vouching.
    pub fn vouch(&self, number: u64, epoch: Epoch) {
        let mut epochs = self.epochs.lock();
        *self.polled.lock() = None;
        if self.state.compare_exchange(number, number + 1, SeqCst, SeqCst).is_ok() {
            epochs.clear();
            add(&mut epochs, Known::new(epoch, true));
        }
    }

    /// What is to be deleted: slots, to be given back once L2 has confirmed it, and keys.
    pub fn deletes(&self, most: usize) -> Vec<(u32, Box<[u8]>)> {
        let mut outgoing = self.outgoing.lock();
        let count = outgoing.keys.len().min(most);
        let taken: Vec<_> = outgoing.keys.drain(..count).collect();
        outgoing.bytes -= taken.iter().map(|(_, key)| key.len()).sum::<usize>();
        taken
    }

    /// L2 has deleted the keys of these slots, or will never be asked for them under the same vouching.
    pub fn deleted(&self, slots: impl IntoIterator<Item = u32>) {
        for slot in slots {
            self.slots[slot as usize].deletes.fetch_sub(1, SeqCst);
            self.outstanding.fetch_sub(1, SeqCst);
        }
    }

    /// Whether somebody wants to know how far L2 has come.
    pub fn takes_poll(&self) -> bool {
        self.poll_wanted.swap(false, SeqCst)
    }

    /// L2 has this epoch, with so many fills.
    pub fn polled(&self, epoch: Epoch, fills: u64) {
        if self.vouched() {
            *self.polled.lock() = Some((epoch, fills));
        }
    }

    /// L2 has answered what was asked then.
    pub fn answered(&self, asked: u64) {
        let slow = self.slow_since.load(SeqCst);
        if slow != 0 && slow < asked {
            // If it was slow again meanwhile, that stays.
            let _ = self.slow_since.compare_exchange(slow, 0, SeqCst, SeqCst);
        }
    }

    /// The connection is lost, and with it what was under way: nothing in L2 is to be believed until there is another.
    pub fn lost(&self) {
        let mut outgoing = self.outgoing.lock();
        outgoing.open = false;
        self.end();
        self.forget(&mut outgoing);
    }
}

#[cfg(test)]
mod tests;
