//! The policies against plain implementations of what they should be; `bench/hit_ratio.rs` does the same at length.

#[path = "../../../../bench/hit_ratio/reference.rs"]
mod reference;

use reference::{Cache, ExactLru, S3Fifo, Zipf, hit_ratio, with_scans};

use super::*;

const ENTRIES: usize = 500;

struct Replay(L1);

impl Cache for Replay {
    fn access(&mut self, key: u64) -> bool {
        let Replay(l1) = self;
        let key = key.to_le_bytes();
        let hit = get(l1, &key).is_some();
        assert!(hit || put(l1, &key, &[0; 200]));
        hit
    }
}

/// Bytes in which a scan leaves `ENTRIES` copies.
fn bytes_for_entries(policy: Policy) -> usize {
    let mut max_bytes = ENTRIES * 400;
    for _ in 0..6 {
        let mut replay = Replay(l1(policy, max_bytes, 1));
        (0..3 * ENTRIES as u64).for_each(|key| assert!(!replay.access(key)));
        max_bytes = max_bytes * ENTRIES / replay.0.stats().entries;
    }
    max_bytes
}

#[test]
fn hits_as_often_as_the_published_algorithms() {
    let requests = [
        Zipf::new(5_000, 1.0, 7).take(40_000).collect(),
        with_scans(Zipf::new(5_000, 0.9, 8), 40_000, 1_000, 700),
    ];
    for requests in requests {
        let published = [
            hit_ratio(&mut S3Fifo::new(ENTRIES), &requests),
            hit_ratio(&mut ExactLru::new(ENTRIES), &requests),
        ];
        for (policy, published) in BOTH.into_iter().zip(published) {
            let ours = hit_ratio(&mut Replay(l1(policy, bytes_for_entries(policy), 1)), &requests);
            assert!((ours - published).abs() < 0.01, "{policy:?}: {ours:.4}, published {published:.4}");
        }
    }
}
