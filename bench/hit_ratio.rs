//! Hit ratios of L1's policies: `cargo bench --bench hit-ratio -- [FILE[.gz]:ENTRIES ...]`.
//!
//! Replays request sequences, built-in ones or traces of one key a line (lines that are not numbers are skipped; `.gz` is read
//! through `zcat`), through each policy and through plain implementations of what they should be. All entries are of one
//! size; L1's bytes are chosen so that it holds ENTRIES of them with one shard. Exits with 1 if S3-FIFO with one shard falls
//! more than a point below the published algorithm.

#[path = "hit_ratio/reference.rs"]
mod reference;

use std::error::Error;
use std::io::Read;
use std::process::{Command, ExitCode, Stdio};

use reference::{Cache, ExactLru, S3Fifo, Zipf, hit_ratio, with_scans};
use strata::tier::l1::{Fill, L1, L1Options, Policy};

const REPLY: &[u8] = &[b'v'; 200];
/// What S3-FIFO may lose against the published algorithm.
const TOLERANCE: f64 = 0.01;

struct Replay(L1);

impl Replay {
    fn new(policy: Policy, max_bytes: usize, shards: Option<usize>) -> Replay {
        Replay(L1::new(L1Options { max_bytes, policy, shards }))
    }

    /// Holds `entries`: the bytes follow from how many it holds after a scan of new keys, tried anew until it fits.
    fn holding(policy: Policy, entries: usize, shards: Option<usize>) -> Replay {
        let mut max_bytes = entries * 400;
        for _ in 0..8 {
            let mut trial = Replay::new(policy, max_bytes, Some(1));
            (0..4 * entries as u64).for_each(|key| {
                trial.access(key);
            });
            let held = trial.0.stats().entries;
            if held == entries {
                break;
            }
            max_bytes = max_bytes * entries / held.max(1);
        }
        Replay::new(policy, max_bytes, shards)
    }
}

impl Cache for Replay {
    fn access(&mut self, key: u64) -> bool {
        let Replay(l1) = self;
        let key = format!("key:{key:016}");
        let key = key.as_bytes();
        let hash = l1.hash(key);
        let hit = l1.reader().get(hash, key, 0, b"", 0).is_some();
        if !hit {
            let until = (u64::MAX, u32::MAX);
            l1.insert(&Fill {
                hash,
                key,
                kind: 0,
                tail: b"",
                reply: REPLY,
                fresh_until: until.0,
                stale_until: until.1,
                absent: false,
                filled_at: 0,
                ahead: 0,
            });
        }
        hit
    }
}

struct Sequence {
    name: String,
    entries: usize,
    requests: Vec<u64>,
}

fn built_in() -> Vec<Sequence> {
    let zipf = |skew| Zipf::new(20_000, skew, 1);
    let sequence = |name: &str, entries, requests| Sequence { name: name.to_owned(), entries, requests };
    vec![
        sequence("zipf 0.8", 2_000, zipf(0.8).take(200_000).collect()),
        sequence("zipf 1.0", 2_000, zipf(1.0).take(200_000).collect()),
        sequence("zipf 1.0", 10_000, zipf(1.0).take(200_000).collect()),
        sequence("zipf 1.0 + scans", 2_000, with_scans(zipf(1.0), 200_000, 5_000, 3_000)),
        sequence("loop", 2_000, (0..2_500).cycle().take(100_000).collect()),
    ]
}

/// Reads `FILE:ENTRIES`.
fn trace(argument: &str) -> Result<Sequence, Box<dyn Error>> {
    let (file, entries) = argument.rsplit_once(':').ok_or("FILE:ENTRIES expected")?;
    let mut text = String::new();
    if file.ends_with(".gz") {
        let mut zcat = Command::new("zcat").arg(file).stdout(Stdio::piped()).spawn()?;
        zcat.stdout.take().ok_or("zcat has no output")?.read_to_string(&mut text)?;
        if !zcat.wait()?.success() {
            return Err("zcat failed".into());
        }
    } else {
        text = std::fs::read_to_string(file)?;
    }
    let requests = text.lines().filter_map(|line| line.trim().parse().ok()).collect();
    let name = file.rsplit('/').next().unwrap_or(file).to_owned();
    Ok(Sequence { name, entries: entries.parse()?, requests })
}

/// Prints one line; false if S3-FIFO falls behind.
fn compare(sequence: &Sequence) -> bool {
    let Sequence { name, entries, requests } = sequence;
    let l1 = |policy, shards| hit_ratio(&mut Replay::holding(policy, *entries, shards), requests);
    let s3fifo = [
        hit_ratio(&mut S3Fifo::new(*entries), requests),
        l1(Policy::S3Fifo, Some(1)),
        l1(Policy::S3Fifo, None),
    ];
    let lru =
        [hit_ratio(&mut ExactLru::new(*entries), requests), l1(Policy::Lru, Some(1)), l1(Policy::Lru, None)];
    let percent = |ratio: &f64| format!("{:9.2}", ratio * 100.0);
    let columns: Vec<String> = s3fifo.iter().chain(&lru).map(percent).collect();
    println!("{name:20} {entries:7} {:8} {}", requests.len(), columns.join(""));
    s3fifo[1] >= s3fifo[0] - TOLERANCE
}

fn main() -> ExitCode {
    let mut sequences = built_in();
    // Cargo itself passes `--bench`.
    for argument in std::env::args().skip(1).filter(|argument| !argument.starts_with("--")) {
        match trace(&argument) {
            Ok(sequence) => sequences.push(sequence),
            Err(error) => {
                eprintln!("{argument}: {error}");
                return ExitCode::from(2);
            }
        }
    }
    println!("{:37} {:>27}{:>27}", "hit ratio in %", "s3-fifo", "lru");
    let columns = ["published", "1 shard", "default"].map(|column| format!("{column:>9}")).join("");
    println!("{:20} {:>7} {:>8} {columns}{columns}", "requests", "entries", "length");
    let kept_up = sequences.iter().filter(|sequence| compare(sequence)).count();
    if kept_up == sequences.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
