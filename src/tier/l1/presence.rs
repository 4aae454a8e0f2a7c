//! Which keys surely have no copies: told by one load, without the shard's lock.
//!
//! Every write through the process asks three times whether a key has copies, and most have none. A count of groups for
//! each slot of the hash answers that; it changes under the shard's lock only. A fill counts itself before it checks
//! whether it is still valid, and who invalidates asks after having said so: one of the two sees the other.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

const SLOTS: usize = 4096;

/// The counts of one shard.
#[derive(Debug)]
pub(super) struct Presence(Box<[AtomicU32]>);

impl Presence {
    pub(super) fn new() -> Presence {
        Presence((0..SLOTS).map(|_| AtomicU32::new(0)).collect())
    }

    fn slot(&self, hash: u64) -> &AtomicU32 {
        &self.0[(hash >> 20) as usize % SLOTS]
    }

    /// False: no key of this hash has a copy, nor is one being stored that was found valid.
    #[inline]
    pub(super) fn possible(&self, hash: u64) -> bool {
        self.slot(hash).load(SeqCst) > 0
    }

    /// A group is about to be there. Under the shard's lock.
    pub(super) fn up(&self, hash: u64) {
        self.slot(hash).fetch_add(1, SeqCst);
    }

    /// A group is gone. Under the shard's lock.
    pub(super) fn down(&self, hash: u64) {
        self.slot(hash).fetch_sub(1, SeqCst);
    }

    /// All are gone. Under the shard's lock.
    pub(super) fn clear(&self) {
        self.0.iter().for_each(|count| count.store(0, SeqCst));
    }
}
