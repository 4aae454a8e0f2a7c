//! Keys of which a source has said that it has no row.

use std::hash::BuildHasher;
use std::num::NonZeroUsize;

use foldhash::quality::RandomState;
use lru::LruCache;
use parking_lot::Mutex;

/// So many keys are remembered; beyond them those that nobody asked for longest are forgotten.
const MOST: NonZeroUsize = NonZeroUsize::new(100_000).expect("it is not zero");
/// Longer keys are not remembered.
const LONGEST: usize = 1024;
/// Changes are told apart by so many parts of the keys.
const PARTS: usize = 4096;

/// Since when nothing must have changed, for "no row" to be remembered: taken before the source is asked. A change that
/// the query did not see is announced after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Since {
    part: usize,
    number: u64,
    all: u64,
}

/// See the module's text.
pub(super) struct Nothing(Mutex<Known>, RandomState);

struct Known {
    /// Its source, and until when ([`crate::clock::now`]).
    keys: LruCache<Box<[u8]>, (usize, u64)>,
    changes: Box<[u64]>,
    /// Changes of everything.
    all: u64,
}

impl Default for Nothing {
    fn default() -> Self {
        let known = Known { keys: LruCache::new(MOST), changes: vec![0; PARTS].into(), all: 0 };
        Nothing(Mutex::new(known), RandomState::default())
    }
}

impl Nothing {
    fn part(&self, key: &[u8]) -> usize {
        self.1.hash_one(key) as usize % PARTS
    }

    pub(super) fn since(&self, key: &[u8]) -> Since {
        let part = self.part(key);
        let known = self.0.lock();
        Since { part, number: known.changes[part], all: known.all }
    }

    /// Remembers that there is no row, unless something changed meanwhile.
    pub(super) fn remember(&self, key: &[u8], source: usize, until: u64, since: Since) {
        let mut known = self.0.lock();
        if key.len() <= LONGEST && known.changes[since.part] == since.number && known.all == since.all {
            known.keys.put(key.into(), (source, until));
        }
    }

    /// Whether there was no row a short while ago.
    pub(super) fn knows(&self, key: &[u8], now: u64) -> bool {
        let mut known = self.0.lock();
        match known.keys.get(key) {
            Some((_, until)) if now < *until => true,
            Some(_) => {
                known.keys.pop(key);
                false
            }
            None => false,
        }
    }

    /// The row of a key has changed.
    pub(super) fn changed(&self, key: &[u8]) {
        let part = self.part(key);
        let mut known = self.0.lock();
        known.changes[part] += 1;
        known.keys.pop(key);
    }

    /// Any row of a source may have changed.
    pub(super) fn all_changed(&self, source: usize) {
        let mut known = self.0.lock();
        known.all += 1;
        let gone: Vec<Box<[u8]>> =
            known.keys.iter().filter(|(_, (of, _))| *of == source).map(|(key, _)| key.clone()).collect();
        gone.iter().for_each(|key| _ = known.keys.pop(key));
    }

    /// How many keys are remembered.
    pub(super) fn len(&self) -> usize {
        self.0.lock().keys.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_is_remembered_for_a_while() {
        let nothing = Nothing::default();
        nothing.remember(b"k", 0, 100, nothing.since(b"k"));
        assert!(nothing.knows(b"k", 99) && !nothing.knows(b"other", 99));
        assert!(!nothing.knows(b"k", 100));
        assert_eq!(nothing.len(), 0);
    }

    #[test]
    fn a_change_ends_it() {
        let nothing = Nothing::default();
        for key in [&b"a"[..], b"b"] {
            nothing.remember(key, usize::from(key == b"b"), 100, nothing.since(key));
        }
        nothing.changed(b"a");
        assert!(!nothing.knows(b"a", 1) && nothing.knows(b"b", 1));
        nothing.all_changed(0);
        assert!(nothing.knows(b"b", 1));
        nothing.all_changed(1);
        assert!(!nothing.knows(b"b", 1));
    }

    #[test]
    fn what_changed_while_the_source_was_asked_is_not_remembered() {
        let nothing = Nothing::default();
        let since = nothing.since(b"k");
        nothing.changed(b"k");
        nothing.remember(b"k", 0, 100, since);
        assert!(!nothing.knows(b"k", 1));
        let since = nothing.since(b"k");
        nothing.all_changed(7);
        nothing.remember(b"k", 0, 100, since);
        assert!(!nothing.knows(b"k", 1));
        nothing.remember(&[0; LONGEST + 1], 0, 100, nothing.since(&[0; LONGEST + 1]));
        assert_eq!(nothing.len(), 0);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let nothing = Nothing::default();
        for n in 0..MOST.get() as u64 + 10 {
            let key = n.to_be_bytes();
            nothing.remember(&key, 0, 100, nothing.since(&key));
        }
        assert_eq!(nothing.len(), MOST.get());
        assert!(!nothing.knows(&9_u64.to_be_bytes(), 1) && nothing.knows(&10_u64.to_be_bytes(), 1));
    }
}
