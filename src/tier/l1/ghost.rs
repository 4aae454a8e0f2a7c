//! S3-FIFO's memory of what it evicted: fingerprints without replies, oldest forgotten first.
//!
//! Eight fingerprints a cache line, each with the time it was remembered, counted in evictions. Nothing is ever taken out by
//! age: a fingerprint is forgotten when as many others as the capacity came after it, or when its line is full of newer ones.

use super::memory::footprint;

const WAYS: usize = 8;

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    fingerprint: u32,
    /// 0: empty.
    since: u32,
}

#[derive(Clone, Debug, Default)]
#[repr(align(64))]
struct Bucket([Entry; WAYS]);

#[derive(Debug, Default)]
pub(super) struct Ghost {
    /// A power of two of them, or none.
    buckets: Vec<Bucket>,
    now: u32,
}

impl Ghost {
    pub(super) fn bytes(&self) -> usize {
        match self.buckets.len() {
            0 => 0,
            len => footprint(len * size_of::<Bucket>() + align_of::<Bucket>()),
        }
    }

    /// Remembers a fingerprint, of which the last `capacity` are kept.
    pub(super) fn remember(&mut self, fingerprint: u32, capacity: usize) {
        self.fit(capacity);
        self.now = self.now.wrapping_add(1).max(1);
        let entry = Entry { fingerprint, since: self.now };
        self.place(entry);
    }

    /// Whether the fingerprint is one of the last `capacity` remembered; forgets it.
    pub(super) fn recall(&mut self, fingerprint: u32, capacity: usize) -> bool {
        let now = self.now;
        let Some(bucket) = self.bucket(fingerprint) else {
            return false;
        };
        let found = bucket.0.iter_mut().find(|entry| entry.since != 0 && entry.fingerprint == fingerprint);
        let Some(entry) = found else {
            return false;
        };
        let age = now.wrapping_sub(entry.since) as usize;
        *entry = Entry::default();
        age < capacity
    }

    pub(super) fn clear(&mut self) {
        *self = Ghost::default();
    }

    fn bucket(&mut self, fingerprint: u32) -> Option<&mut Bucket> {
        let mask = self.buckets.len().wrapping_sub(1);
        self.buckets.get_mut(fingerprint as usize & mask)
    }

    /// Into the fingerprint's own, an empty or the oldest entry of its line.
    fn place(&mut self, new: Entry) {
        let now = self.now;
        let Some(bucket) = self.bucket(new.fingerprint) else {
            return;
        };
        let worth = |old: &Entry| match old {
            old if old.since == 0 => u32::MAX,
            old if old.fingerprint == new.fingerprint => u32::MAX,
            old => now.wrapping_sub(old.since),
        };
        if let Some(entry) = bucket.0.iter_mut().max_by_key(|old| worth(old)) {
            *entry = new;
        }
    }

    /// Grows or shrinks so that a line holds 2.7 to 5.3 live entries of 8; shrinks late, so as not to swing.
    fn fit(&mut self, capacity: usize) {
        let want = (capacity + capacity / 2).div_ceil(WAYS).next_power_of_two();
        let have = self.buckets.len();
        if want > have || want * 4 <= have {
            let old = std::mem::replace(&mut self.buckets, vec![Bucket::default(); want]);
            let entries = old.iter().flat_map(|bucket| bucket.0);
            entries.filter(|entry| entry.since != 0).for_each(|entry| self.place(entry));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fingerprints as a hash would give them.
    fn fingerprint(n: u32) -> u32 {
        n.wrapping_mul(0x9e37_79b1) ^ (n >> 3)
    }

    #[test]
    fn keeps_the_last_and_forgets_the_rest() {
        let mut ghost = Ghost::default();
        (1..=3000).for_each(|n| ghost.remember(fingerprint(n), 1000));
        let recalled = |ghost: &mut Ghost, range: std::ops::RangeInclusive<u32>| {
            range.filter(|&n| ghost.recall(fingerprint(n), 1000)).count()
        };
        assert_eq!(recalled(&mut ghost, 1..=2000), 0);
        assert!(recalled(&mut ghost, 2001..=3000) > 900);
        assert_eq!(recalled(&mut ghost, 2001..=3000), 0);
    }

    #[test]
    fn follows_its_capacity() {
        let mut ghost = Ghost::default();
        assert_eq!(ghost.bytes(), 0);
        (1..=100).for_each(|n| ghost.remember(fingerprint(n), 100));
        ghost.remember(fingerprint(200), 10_000);
        assert!((0..=100).filter(|&n| ghost.recall(fingerprint(n), 10_000)).count() > 90);
        assert!(ghost.bytes() >= 10_000 * size_of::<Entry>());
        ghost.remember(fingerprint(300), 100);
        assert!(ghost.bytes() < 5_000);
        assert!(ghost.recall(fingerprint(300), 100));
    }
}
