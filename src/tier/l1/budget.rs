//! What L1 may hold, what it holds, and what it has dropped but could not free yet.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crossbeam_utils::CachePadded;

/// The byte budget that all shards share, with the counters an operator asks for.
///
/// Only fills, removals and evictions write here, never a hit.
#[derive(Debug)]
pub(super) struct Budget {
    max: usize,
    used: CachePadded<AtomicUsize>,
    garbage: CachePadded<AtomicUsize>,
    entries: AtomicUsize,
    pub(super) evictions: AtomicU64,
    pub(super) expired: AtomicU64,
    pub(super) refused: AtomicU64,
}

impl Budget {
    pub(super) fn new(max: usize) -> Budget {
        Budget {
            max,
            used: CachePadded::default(),
            garbage: CachePadded::default(),
            entries: AtomicUsize::new(0),
            evictions: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Bytes of live records and of the structures that lead to them.
    pub(super) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// Bytes by which an addition of `need` would exceed the budget.
    pub(super) fn excess(&self, need: usize) -> usize {
        (self.used() + need).saturating_sub(self.max)
    }

    /// Replaces a shard's former share of `used` by its present one.
    pub(super) fn restate(&self, before: usize, now: usize) {
        if now != before {
            // Wraps back: the sum of all shares is never negative.
            self.used.fetch_add(now.wrapping_sub(before), Relaxed);
        }
    }

    /// Copies in all shards.
    pub(super) fn entries(&self) -> usize {
        self.entries.load(Relaxed)
    }

    /// Replaces a shard's former share of `entries` by its present one.
    pub(super) fn restate_entries(&self, before: usize, now: usize) {
        if now != before {
            // Wraps back: the sum of all shares is never negative.
            self.entries.fetch_add(now.wrapping_sub(before), Relaxed);
        }
    }

    /// Bytes unlinked that a reader may still look at.
    pub(super) fn garbage(&self) -> usize {
        self.garbage.load(Relaxed)
    }

    pub(super) fn retired(&self, bytes: usize) {
        self.garbage.fetch_add(bytes, Relaxed);
    }

    pub(super) fn freed(&self, bytes: usize) {
        self.garbage.fetch_sub(bytes, Relaxed);
    }

    /// The largest entry that is kept: one that would push out an eighth of all others is not worth it.
    pub(super) fn largest_entry(&self) -> usize {
        self.max / 8
    }

    /// Garbage above this is worth a collection at once.
    pub(super) fn garbage_to_collect(&self) -> usize {
        (self.max / 32).max(16 * 1024)
    }

    /// Garbage above this stops fills: readers hold on to so much that memory would grow without bound.
    pub(super) fn garbage_to_refuse(&self) -> usize {
        (self.max / 8).max(64 * 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excess_is_what_must_go() {
        let budget = Budget::new(100);
        budget.restate(0, 90);
        assert_eq!(budget.excess(10), 0);
        assert_eq!(budget.excess(11), 1);
        budget.restate(90, 30);
        assert_eq!(budget.used(), 30);
    }
}
