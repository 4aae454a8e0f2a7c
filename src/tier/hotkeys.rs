//! The keys that are read most: a space-saving sketch fed by a sample of the hits.
//!
//! A sketch of `K` entries names every key that has more than one of `K` samples, and overestimates no count by
//! more than that share. Counts are halved at intervals, so they tell of the last minutes. Entries are kept in
//! descending order: a count that grows by one changes places with the first of its equals, and the last entry
//! makes room for a new key.

use std::cell::Cell;
use std::collections::HashMap;

use super::flight::Hashed;

/// Entries of the sketch.
pub const ENTRIES: usize = 256;
/// One hit in so many is sampled, on the average.
pub const SAMPLE: u32 = 64;
/// Longer keys are not noted, so that the sketch is bounded in bytes (256 KB).
const LONGEST: usize = 1024;
/// Counts are halved this often, in nanoseconds.
const HALF_LIFE: u64 = 60_000_000_000;

/// Chooses hits at random intervals: clients that read their keys in turn would fool a fixed one.
#[derive(Debug)]
pub struct Sampler {
    left: Cell<u32>,
    random: Cell<u32>,
}

impl Default for Sampler {
    fn default() -> Self {
        Sampler { left: Cell::new(SAMPLE), random: Cell::new(0x9E37_79B9) }
    }
}

impl Sampler {
    /// Whether this hit is one of the sample.
    #[inline]
    pub fn due(&self) -> bool {
        match self.left.get().checked_sub(1) {
            Some(left) => {
                self.left.set(left);
                false
            }
            None => {
                self.draw();
                true
            }
        }
    }

    /// The next interval, uniform in 1 to 2 * SAMPLE - 1 (xorshift32).
    fn draw(&self) {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.random.set(x);
        self.left.set(x % (2 * SAMPLE - 1));
    }
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    key: Box<[u8]>,
    count: u64,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct HotKeys {
    /// By count, descending.
    entries: Vec<Entry>,
    /// Place of each hash in `entries`.
    places: HashMap<u64, usize, Hashed>,
    halved: u64,
}

impl HotKeys {
    /// Notes one sampled hit. `hash` is the key's; of two keys with one hash only the first is counted.
    pub fn note(&mut self, hash: u64, key: &[u8], now: u64) {
        if key.len() > LONGEST {
            return;
        }
        self.decay(now);
        match self.places.get(&hash) {
            Some(&place) if *self.entries[place].key == *key => self.grow(place),
            Some(_) => {}
            None if self.entries.len() < ENTRIES => {
                self.places.insert(hash, self.entries.len());
                self.entries.push(Entry { hash, key: key.into(), count: 0 });
                self.grow(self.entries.len() - 1);
            }
            None => {
                let last = self.entries.len() - 1;
                let entry = &mut self.entries[last];
                self.places.remove(&entry.hash);
                self.places.insert(hash, last);
                (entry.hash, entry.key) = (hash, key.into());
                self.grow(last);
            }
        }
    }

    fn grow(&mut self, place: usize) {
        let count = self.entries[place].count;
        let first = self.entries.partition_point(|e| e.count > count);
        self.entries.swap(first, place);
        self.entries[first].count += 1;
        for place in [first, place] {
            self.places.insert(self.entries[place].hash, place);
        }
    }

    fn decay(&mut self, now: u64) {
        let halvings = now.saturating_sub(self.halved) / HALF_LIFE;
        if halvings == 0 {
            return;
        }
        let shift = u32::try_from(halvings).unwrap_or(u32::MAX).min(u64::BITS - 1);
        self.halved = now;
        for entry in &mut self.entries {
            entry.count >>= shift;
        }
        let kept = self.entries.partition_point(|e| e.count > 0);
        for gone in self.entries.drain(kept..) {
            self.places.remove(&gone.hash);
        }
    }

    /// The `n` keys with the most hits, and an estimate of their hits in the last minutes.
    pub fn top(&mut self, n: usize, now: u64) -> Vec<(Box<[u8]>, u64)> {
        self.decay(now);
        let top = self.entries.iter().take(n);
        top.map(|e| (e.key.clone(), e.count * u64::from(SAMPLE))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64) -> u64 {
        n.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn note(hot: &mut HotKeys, n: u64, now: u64) {
        hot.note(hash(n), n.to_string().as_bytes(), now);
    }

    #[test]
    fn frequent_keys_are_found_among_many() {
        let mut hot = HotKeys::default();
        for turn in 0..20_000_u64 {
            // Key n (1 to 5) takes n of 32 samples, the rest goes to 10,000 others.
            let key = match turn % 32 {
                0 => 1,
                1..=2 => 2,
                3..=5 => 3,
                6..=9 => 4,
                10..=14 => 5,
                _ => 100 + turn * 7919 % 10_000,
            };
            note(&mut hot, key, 1);
        }
        let top: Vec<String> =
            hot.top(5, 1).into_iter().map(|(key, _)| String::from_utf8_lossy(&key).into_owned()).collect();
        assert_eq!(top, ["5", "4", "3", "2", "1"]);
        let (_, hits) = hot.top(1, 1).remove(0);
        let real = 20_000 * 5 / 32 * u64::from(SAMPLE);
        let bound = 20_000 / ENTRIES as u64 * u64::from(SAMPLE);
        assert!((real..=real + bound).contains(&hits), "{hits} is not within {bound} above {real}");
        assert!(hot.entries.is_sorted_by(|a, b| a.count >= b.count));
        assert!(hot.places.iter().all(|(hash, place)| hot.entries[*place].hash == *hash));
        assert_eq!((hot.entries.len(), hot.places.len()), (ENTRIES, ENTRIES));
    }

    #[test]
    fn what_was_hot_cools_down() {
        let mut hot = HotKeys::default();
        let start = 10 * HALF_LIFE;
        (0..8).for_each(|_| note(&mut hot, 1, start));
        assert_eq!(hot.top(9, start + HALF_LIFE - 1)[0].1, 8 * u64::from(SAMPLE));
        assert_eq!(hot.top(9, start + HALF_LIFE)[0].1, 4 * u64::from(SAMPLE));
        assert!(hot.top(9, start + 100 * HALF_LIFE).is_empty());
        assert!(hot.places.is_empty());
    }

    #[test]
    fn long_keys_and_equal_hashes_are_left_out() {
        let mut hot = HotKeys::default();
        hot.note(1, &[b'x'; LONGEST + 1], 1);
        hot.note(2, b"a", 1);
        hot.note(2, b"b", 1);
        assert_eq!(hot.top(9, 1), [(Box::from(&b"a"[..]), u64::from(SAMPLE))]);
    }

    #[test]
    fn one_hit_in_64_is_sampled() {
        let sampler = Sampler::default();
        let sampled = (0..640_000).filter(|_| sampler.due()).count();
        assert!((9_500..10_500).contains(&sampled), "{sampled} of 640000");
    }
}
