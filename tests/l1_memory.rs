//! An L1 of 5 MB grows the process by at most 5 MB and a quarter, whatever the values' sizes, and at no time by more.
//!
//! Each load runs in a process of its own: memory that an earlier load left behind would hide what this one takes.

use std::process::Command;

use rand::{Rng, SeedableRng, rngs::SmallRng};
use strata::tier::l1::{Fill, L1, L1Options, Policy};

const MAX: usize = 5_000_000;
const SIZES: [&str; 9] = ["10", "100", "1000", "4000", "10000", "50000", "100000", "200000", "500000"];
const MIXES: [&str; 2] = ["mixed", "mixed-lru"];
/// Where one size gives way to another, and where threads have heaps of their own, malloc keeps holes that are of no use to the
/// L1. And threads that do nothing but fill hold more garbage.
const SHIFTS: [&str; 3] = ["mostly-small", "phases", "mixed-threads"];
/// The variable that names the load to the child process.
const LOAD: &str = "STRATA_TEST_L1_LOAD";
const CHURN: usize = 5;
/// Read-only data of the binary: what fills the L1 is not itself growth.
static VALUES: [u8; 512_000] = [b'v'; 512_000];

/// Resident bytes of this process.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4096
}

/// A length of 10 B to 500 KB, each order of magnitude as likely as any other.
fn any_length(rng: &mut SmallRng) -> usize {
    10_f64.powf(rng.random_range(1.0..5.7)) as usize
}

fn length(load: &str, rng: &mut SmallRng, step: usize) -> usize {
    match load {
        "mixed" | "mixed-threads" | "mixed-lru" => any_length(rng),
        "mostly-small" if rng.random_bool(0.99) => rng.random_range(10..300),
        "mostly-small" => any_length(rng),
        // From small to large and back, each filling the whole of it.
        "phases" => [10, 500_000, 100, 20_000, 50, 3_000][step * 6 / (CHURN * MAX) % 6],
        fixed => fixed.parse().expect("a length"),
    }
}

/// Fills `CHURN` times the budget; returns the most the process grew by.
fn churn(l1: &L1, load: &str, seed: u64, before: usize) -> usize {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut most = 0;
    let (mut written, mut looked) = (0, 0);
    while written < CHURN * MAX {
        let length = length(load, &mut rng, written);
        let key = rng.random::<u64>().to_le_bytes();
        let hash = l1.hash(&key);
        let reply = &VALUES[..length];
        let lives = (u64::MAX, u32::MAX);
        let fill = Fill {
            hash,
            key: &key,
            kind: 0,
            tail: b"",
            reply,
            fresh_until: lives.0,
            stale_until: lives.1,
            absent: false,
            filled_at: 1,
            ahead: 0,
        };
        if !l1.insert(&fill) {
            std::thread::yield_now();
            continue;
        }
        written += length + 150;
        if written - looked > 100_000 {
            looked = written;
            most = most.max(resident().saturating_sub(before));
        }
    }
    most
}

/// The child's part: prints growth and what the L1 says of itself.
fn fill(load: &str) {
    let policy = if load == "mixed-lru" { Policy::Lru } else { Policy::S3Fifo };
    let threads = if load == "mixed-threads" { 3 } else { 1 };
    // What the measurement itself needs is there before it begins.
    let warm = L1::new(L1Options { max_bytes: 100_000, policy, shards: None });
    churn(&warm, "100", 1, 0);
    drop(warm);
    // Its pages count as resident once they are read.
    assert_eq!(VALUES.iter().filter(|&&byte| byte == b'v').count(), VALUES.len());
    let before = resident();
    let l1 = L1::new(L1Options { max_bytes: MAX, policy, shards: None });
    let most = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|seed| {
                let l1 = &l1;
                scope.spawn(move || churn(l1, load, seed, before))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread")).max()
    });
    let stats = l1.stats();
    println!(
        "growth={} bytes={} entries={} refused={}",
        most.unwrap_or(0),
        stats.bytes,
        stats.entries,
        stats.refused
    );
}

#[test]
fn growth_is_bounded_at_any_size() {
    if let Ok(load) = std::env::var(LOAD) {
        fill(&load);
        return;
    }
    let loads = SIZES.iter().chain(&MIXES).map(|&load| (load, MAX + MAX / 4));
    let loads = loads.chain(SHIFTS.iter().map(|&load| (load, 2 * MAX)));
    let mut over = Vec::new();
    for (load, bound) in loads {
        let test = std::env::current_exe().expect("this test");
        let child = Command::new(test)
            .args(["growth_is_bounded_at_any_size", "--exact", "--nocapture"])
            .env(LOAD, load)
            .output()
            .expect("the test again");
        let output = String::from_utf8_lossy(&child.stdout).into_owned();
        let line =
            output.lines().find_map(|line| line.find("growth=").map(|at| &line[at..])).expect("a figure");
        println!("{load:14} {line}");
        let growth: usize = line["growth=".len()..]
            .split(' ')
            .next()
            .and_then(|growth| growth.parse().ok())
            .expect("a number");
        if growth > bound {
            over.push(format!("{load}: {growth} > {bound}"));
        }
    }
    assert!(over.is_empty(), "grew too much: {over:?}");
}
