//! The keys of one client's requests that home has not answered yet.
//!
//! A pipelining client may ask for a key again before it has the reply to what it asked first. A copy answers at
//! once, and may be older than the reply that is still to come but will be read first; so such a request
//! follows the others home.

use std::collections::VecDeque;

/// Above this many entries every key counts as unsettled.
const LIMIT: usize = 128;

#[derive(Debug, Clone, Copy)]
struct Entry {
    slot: u64,
    /// None: keys that are not known.
    hash: Option<u64>,
    settled: bool,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    /// By rising slot.
    entries: VecDeque<Entry>,
    /// Entries that stand for every key.
    unnamed: usize,
}

impl Unsettled {
    /// The request at `slot` goes home; None: about keys that it does not name.
    pub(super) fn add(&mut self, slot: u64, keys: Option<&[u64]>) {
        if self.entries.back().is_some_and(|e| e.slot > slot) && self.names(slot, keys) {
            return;
        }
        match keys {
            Some(keys) => {
                self.entries.extend(keys.iter().map(|h| Entry { slot, hash: Some(*h), settled: false }));
            }
            None => {
                self.unnamed += 1;
                self.entries.push_back(Entry { slot, hash: None, settled: false });
            }
        }
    }

    /// Whether a request that had been noted when L2 was asked, and goes home now that others came after it, was noted
    /// with the same key.
    fn names(&self, slot: u64, keys: Option<&[u64]>) -> bool {
        let first = self.entries.partition_point(|e| e.slot < slot);
        let noted = self.entries.get(first).filter(|e| e.slot == slot).and_then(|e| e.hash);
        keys.is_some_and(|keys| keys.iter().all(|key| noted == Some(*key)))
    }

    /// The request at `slot` was answered.
    pub(super) fn settle(&mut self, slot: u64) {
        // Replies mostly come in order.
        let next = self.entries.front().is_none_or(|e| e.slot >= slot);
        let first = if next { 0 } else { self.entries.partition_point(|e| e.slot < slot) };
        for entry in self.entries.range_mut(first..).take_while(|e| e.slot == slot) {
            if !entry.settled && entry.hash.is_none() {
                self.unnamed -= 1;
            }
            entry.settled = true;
        }
        while self.entries.front().is_some_and(|e| e.settled) {
            self.entries.pop_front();
        }
        if self.entries.is_empty() && self.entries.capacity() > LIMIT {
            self.entries = VecDeque::new();
        }
    }

    /// Whether nothing is outstanding.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a request about this key may be outstanding.
    pub(super) fn contains(&self, hash: u64) -> bool {
        self.unnamed > 0
            || self.entries.len() > LIMIT
            || self.entries.iter().any(|e| !e.settled && e.hash == Some(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unsettled_until_their_own_reply() {
        let mut u = Unsettled::default();
        u.add(1, Some(&[10, 11]));
        u.add(2, Some(&[10]));
        u.add(4, None);
        assert!(u.contains(10) && u.contains(99));
        u.settle(4);
        assert!(u.contains(10) && u.contains(11) && !u.contains(99));
        u.settle(1);
        assert!(u.contains(10) && !u.contains(11));
        u.settle(3);
        u.settle(2);
        assert!(u.is_empty() && !u.contains(10));
    }

    #[test]
    fn a_long_pipeline_counts_as_everything() {
        let mut u = Unsettled::default();
        (0..=LIMIT as u64).for_each(|slot| u.add(slot, Some(&[slot])));
        assert!(u.contains(u64::MAX));
        (0..=LIMIT as u64).rev().for_each(|slot| u.settle(slot));
        assert!(u.is_empty());
    }
}
