//! Caches that only count: the published S3-FIFO and exact LRU, entries of one size, as plainly as they can be written.
//! And request sequences to try caches on. Shared by the benchmark and a unit test.

use std::collections::{HashMap, HashSet, VecDeque};

use lru::LruCache;
use rand::{Rng, SeedableRng, rngs::SmallRng};

/// A cache of `entries` keys; `access` says whether it was a hit, and afterwards the key is in.
pub(crate) trait Cache {
    fn access(&mut self, key: u64) -> bool;
}

/// Share of hits in a sequence of requests.
pub(crate) fn hit_ratio(cache: &mut dyn Cache, requests: &[u64]) -> f64 {
    let hits = requests.iter().filter(|&&key| cache.access(key)).count();
    hits as f64 / requests.len().max(1) as f64
}

pub(crate) struct ExactLru {
    entries: usize,
    order: LruCache<u64, ()>,
}

impl ExactLru {
    pub(crate) fn new(entries: usize) -> ExactLru {
        ExactLru { entries, order: LruCache::unbounded() }
    }
}

impl Cache for ExactLru {
    fn access(&mut self, key: u64) -> bool {
        let hit = self.order.put(key, ()).is_some();
        if self.order.len() > self.entries {
            self.order.pop_lru();
        }
        hit
    }
}

/// Algorithm 1 of "FIFO queues are all you need for cache eviction" (SOSP 2023).
#[derive(Default)]
pub(crate) struct S3Fifo {
    entries: usize,
    small: VecDeque<u64>,
    main: VecDeque<u64>,
    ghost: VecDeque<u64>,
    ghosts: HashSet<u64>,
    freq: HashMap<u64, u8>,
}

impl S3Fifo {
    pub(crate) fn new(entries: usize) -> S3Fifo {
        S3Fifo { entries, ..S3Fifo::default() }
    }

    fn evict(&mut self) {
        if self.small.len() * 10 >= self.entries { self.evict_small() } else { self.evict_main() }
    }

    fn evict_small(&mut self) {
        while let Some(key) = self.small.pop_back() {
            if self.freq[&key] > 1 {
                self.freq.insert(key, 0);
                self.main.push_front(key);
                if self.main.len() * 10 > self.entries * 9 {
                    return self.evict_main();
                }
            } else {
                self.freq.remove(&key);
                return self.remember(key);
            }
        }
    }

    fn evict_main(&mut self) {
        while let Some(key) = self.main.pop_back() {
            match self.freq[&key] {
                0 => {
                    self.freq.remove(&key);
                    return;
                }
                freq => {
                    self.freq.insert(key, freq - 1);
                    self.main.push_front(key);
                }
            }
        }
    }

    /// The ghost holds as many keys as the main queue may hold entries.
    fn remember(&mut self, key: u64) {
        if self.ghosts.insert(key) {
            self.ghost.push_front(key);
        }
        while self.ghosts.len() * 10 > self.entries * 9 {
            let Some(oldest) = self.ghost.pop_back() else {
                return;
            };
            self.ghosts.remove(&oldest);
        }
    }

    fn recall(&mut self, key: u64) -> bool {
        let known = self.ghosts.remove(&key);
        if known {
            self.ghost.retain(|&ghost| ghost != key);
        }
        known
    }
}

impl Cache for S3Fifo {
    fn access(&mut self, key: u64) -> bool {
        if let Some(freq) = self.freq.get_mut(&key) {
            *freq = (*freq + 1).min(3);
            return true;
        }
        while self.freq.len() >= self.entries {
            self.evict();
        }
        let known = self.recall(key);
        if known {
            self.main.push_front(key)
        } else {
            self.small.push_front(key)
        }
        self.freq.insert(key, 0);
        false
    }
}

/// Keys 0..n, the k-th most popular asked for in proportion to 1 / k^skew.
pub(crate) struct Zipf {
    cumulated: Vec<f64>,
    rng: SmallRng,
}

impl Zipf {
    pub(crate) fn new(keys: usize, skew: f64, seed: u64) -> Zipf {
        let mut sum = 0.0;
        let weight = |rank: usize| (rank as f64).powf(-skew);
        let cumulated = (1..=keys)
            .map(|rank| {
                sum += weight(rank);
                sum
            })
            .collect();
        Zipf { cumulated, rng: SmallRng::seed_from_u64(seed) }
    }
}

impl Iterator for Zipf {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let all = *self.cumulated.last()?;
        let at = self.rng.random_range(0.0..all);
        Some(self.cumulated.partition_point(|&sum| sum < at) as u64)
    }
}

/// Popular keys, and once in a while a long run of keys that are never asked for again.
pub(crate) fn with_scans(
    popular: impl Iterator<Item = u64>,
    requests: usize,
    every: usize,
    scan: u64,
) -> Vec<u64> {
    let mut fresh = 1 << 40;
    let mut sequence = Vec::with_capacity(requests);
    for (n, key) in popular.enumerate() {
        if sequence.len() >= requests {
            break;
        }
        if n % every == every - 1 {
            sequence.extend(fresh..fresh + scan);
            fresh += scan;
        }
        sequence.push(key);
    }
    sequence
}
