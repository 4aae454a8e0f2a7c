//! The changes of the last while, to be compared with the snapshots of what was loaded meanwhile.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::snapshot::Snapshot;

/// Changed keys that are remembered.
const MAX_KEYS: usize = 100_000;

/// A key of a source; None: all of them.
type Place = (usize, Option<Bytes>);

/// What changed since some moment.
pub(super) struct Recent {
    /// All changes that are not visible here, and are visible to the last poll, are remembered.
    floor: Snapshot,
    polls: VecDeque<(Snapshot, Vec<Place>)>,
    /// The transactions that changed it, oldest first.
    changes: HashMap<Place, VecDeque<u64>>,
    keys: usize,
    most: usize,
}

impl Recent {
    /// Nothing is known of what happened before.
    pub(super) fn since(floor: Snapshot) -> Self {
        Self { floor, polls: VecDeque::new(), changes: HashMap::new(), keys: 0, most: MAX_KEYS }
    }

    /// What became visible up to `snapshot` since the last call.
    pub(super) fn add(&mut self, snapshot: Snapshot, changes: impl Iterator<Item = (u64, Place)>) {
        let mut places = Vec::new();
        for (xid, place) in changes {
            self.changes.entry(place.clone()).or_default().push_back(xid);
            places.push(place);
        }
        if places.is_empty() {
            return;
        }
        self.keys += places.len();
        self.polls.push_back((snapshot, places));
        while self.keys > self.most {
            self.forget();
        }
    }

    fn forget(&mut self) {
        let Some((snapshot, places)) = self.polls.pop_front() else { return };
        self.keys -= places.len();
        for place in places {
            let empty = self.changes.get_mut(&place).is_some_and(|xids| {
                xids.pop_front();
                xids.is_empty()
            });
            if empty {
                self.changes.remove(&place);
            }
        }
        self.floor = snapshot;
    }

    /// Whether a change of this key is known that `snapshot` does not see, or cannot be excluded.
    pub(super) fn missing_from(&self, snapshot: &Snapshot, source: usize, key: &Bytes) -> bool {
        let changed = |place: Place| {
            self.changes.get(&place).is_some_and(|xids| xids.iter().any(|xid| !snapshot.sees(*xid)))
        };
        !snapshot.covers(&self.floor) || changed((source, None)) || changed((source, Some(key.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(text: &str) -> Snapshot {
        Snapshot::parse(1, text).unwrap()
    }

    fn place(source: usize, key: &'static str) -> Place {
        (source, Some(Bytes::from_static(key.as_bytes())))
    }

    #[test]
    fn a_change_is_missing_from_who_does_not_see_it() {
        let mut recent = Recent::since(snapshot("10:10:"));
        recent.add(snapshot("12:13:12"), [(10, place(0, "a")), (11, place(1, "b"))].into_iter());
        recent.add(snapshot("13:14:13"), [(12, (0, None))].into_iter());
        let missing = |text: &str, source, key: &'static str| {
            recent.missing_from(&snapshot(text), source, &Bytes::from_static(key.as_bytes()))
        };
        // From before all that is known.
        assert!(missing("9:10:9", 1, "x"));
        assert!(missing("10:12:10", 0, "a"));
        assert!(!missing("11:12:11", 1, "a"));
        assert!(missing("11:12:11", 1, "b"));
        // All of the source changed in 12.
        assert!(missing("12:13:12", 0, "x"));
        assert!(!missing("12:13:12", 1, "b"));
        assert!(!missing("13:13:", 0, "a"));
        let other = Snapshot::parse(2, "13:13:").unwrap();
        assert!(recent.missing_from(&other, 0, &Bytes::from_static(b"x")));
    }

    #[test]
    fn what_is_forgotten_counts_as_changed() {
        let mut recent = Recent { most: 2, ..Recent::since(snapshot("10:10:")) };
        for (xid, key) in [(10, "a"), (11, "b"), (12, "a"), (13, "c")] {
            recent.add(snapshot(&format!("{0}:{0}:", xid + 1)), [(xid, place(0, key))].into_iter());
        }
        assert_eq!((recent.keys, recent.changes.len(), recent.polls.len()), (2, 2, 2));
        let missing = |text: &str, key: &'static str| {
            recent.missing_from(&snapshot(text), 0, &Bytes::from_static(key.as_bytes()))
        };
        assert!(missing("11:11:", "x"), "it cannot be known");
        assert!(!missing("12:12:", "x"));
        assert!(missing("12:12:", "a"));
        assert!(!missing("13:13:", "a"));
    }
}
