//! CPU nanoseconds of an L1 hit, copy of the reply included: `cargo bench --bench l1-hit`.
//!
//! Keys of 16 bytes and values of 100 bytes, read at random in batches of 64, with and without the two prefetch stages, by
//! one thread and by two at once (of each). The median of five rounds.

use std::hint::black_box;

use rand::{Rng, SeedableRng, rngs::SmallRng};
use rustix::time::{ClockId, clock_gettime};
use strata::tier::l1::{Fill, L1, L1Options, Policy, Reader};

const BATCH: usize = 64;
const READS: usize = 1 << 21;
const ROUNDS: usize = 5;

type Key = [u8; 16];

fn key(n: u64) -> Key {
    let mut key = *b"key:000000000000";
    let digits = format!("{n:012}");
    key[4..].copy_from_slice(digits.as_bytes());
    key
}

fn filled(entries: u64, policy: Policy) -> L1 {
    let l1 = L1::new(L1Options { max_bytes: 1 << 30, policy, shards: None });
    let reply = [b"$100\r\n".as_slice(), &[b'v'; 100], b"\r\n"].concat();
    for n in 0..entries {
        let key = key(n);
        let hash = l1.hash(&key);
        let fill = Fill {
            hash,
            key: &key,
            kind: 1,
            tail: b"",
            reply: &reply,
            fresh_until: u64::MAX,
            stale_until: u32::MAX,
            absent: false,
            filled_at: 1,
            ahead: 0,
        };
        assert!(l1.insert(&fill));
    }
    l1
}

fn answer(reader: &Reader<'_>, hash: u64, key: &Key, out: &mut Vec<u8>) {
    if let Some(hit) = reader.get(hash, key, 1, b"", 1) {
        out.extend_from_slice(hit.reply());
    }
}

fn batch(l1: &L1, keys: &[Key], prefetch: bool, out: &mut Vec<u8>) {
    let reader = l1.reader();
    let mut hashes = [0; BATCH];
    for (hash, key) in hashes.iter_mut().zip(keys) {
        *hash = l1.hash(key);
        if prefetch {
            reader.prefetch_slot(*hash);
        }
    }
    if prefetch {
        hashes.iter().for_each(|&hash| reader.prefetch_record(hash));
    }
    for (&hash, key) in hashes.iter().zip(keys) {
        answer(&reader, hash, key, out);
    }
}

/// CPU time of this thread: the machine may have other work to do.
fn cpu_ns() -> i64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn read_all(l1: &L1, keys: &[Key], prefetch: bool) -> i64 {
    let mut out = Vec::with_capacity(1 << 16);
    let start = cpu_ns();
    for keys in keys.chunks_exact(BATCH) {
        out.clear();
        batch(l1, keys, prefetch, &mut out);
        assert_eq!(black_box(&out).len(), BATCH * 108);
    }
    cpu_ns() - start
}

fn ns(l1: &L1, keys: &[Vec<Key>], prefetch: bool) -> f64 {
    let round = || {
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                keys.iter().map(|keys| scope.spawn(|| read_all(l1, keys, prefetch))).collect();
            let times = threads.into_iter().map(|thread| thread.join().expect("a reader"));
            times.max().unwrap_or_default() as f64 / READS as f64
        })
    };
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn main() {
    println!("policy   entries    threads  prefetch  ns/hit");
    for policy in [Policy::S3Fifo, Policy::Lru] {
        for entries in [30_000, 100_000, 1_000_000] {
            let l1 = filled(entries, policy);
            for threads in [1, 2] {
                let sequence = |seed| {
                    let mut rng = SmallRng::seed_from_u64(seed);
                    (0..READS).map(|_| key(rng.random_range(0..entries))).collect()
                };
                let keys: Vec<Vec<Key>> = (0..threads).map(sequence).collect();
                for prefetch in [true, false] {
                    println!(
                        "{:8} {entries:<10} {threads:<8} {prefetch:<9} {:.1}",
                        format!("{policy:?}"),
                        ns(&l1, &keys, prefetch)
                    );
                }
            }
            let stats = l1.stats();
            println!("         bytes per entry: {}", stats.bytes / stats.entries);
        }
    }
}
