//! Which misses are kept: the more, the more often kept replies are asked for again, and always what was asked for a
//! moment ago. A miss that is kept costs several times what it costs to be passed through (of 1,000,000 keys asked for
//! at random 2 % are hits; to keep a sixth of the misses, in proportion, doubled strata's CPU a read).

use std::cell::Cell;

/// The reads that the hit ratio is taken over, about.
const WINDOW: f64 = 8192.0;
/// At least this share of misses is kept, so that a change of habit is noticed.
const FLOOR: f64 = 1.0 / 32.0;
/// From this hit ratio on everything is kept.
const FULL: f64 = 0.125;

/// The last misses that are remembered, about.
const REMEMBERED: usize = 1024;

/// The judge of one worker. It begins with trust: a cold cache keeps everything.
#[derive(Debug)]
pub(super) struct Admission {
    hits: Cell<f64>,
    reads: Cell<f64>,
    random: Cell<u64>,
    /// Hashes of what was not kept, each in its place until another takes it.
    passed: Box<[Cell<u64>]>,
}

impl Default for Admission {
    fn default() -> Self {
        Admission {
            hits: Cell::new(WINDOW),
            reads: Cell::new(WINDOW),
            random: Cell::new(0x9E37_79B9_7F4A_7C15),
            passed: vec![Cell::new(0); REMEMBERED].into(),
        }
    }
}

impl Admission {
    /// Notes reads. Older ones fade as newer ones come.
    pub(super) fn tally(&self, hits: u64, misses: u64) {
        let reads = (hits + misses) as f64;
        let fade = 1.0 - (reads / WINDOW).min(1.0);
        self.hits.set(self.hits.get() * fade + hits as f64);
        self.reads.set(self.reads.get() * fade + reads);
    }

    /// Decides about one miss, of the key with this hash. A crowd that misses the same key sends one read that none
    /// of it can join, and then one that the rest of it joins.
    pub(super) fn admit(&self, hash: u64) -> bool {
        let share = self.share();
        share >= 1.0 || self.passed[hash as usize % REMEMBERED].replace(hash) == hash || self.draw() < share
    }

    fn share(&self) -> f64 {
        let ratio = self.hits.get() / self.reads.get().max(1.0);
        (ratio / FULL).powi(2).clamp(FLOOR, 1.0)
    }

    /// Uniform in 0..1 (xorshift64).
    fn draw(&self) -> f64 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        (x >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that has seen no hit for long.
    fn disappointed() -> Admission {
        let admission = Admission::default();
        for _ in 0..20_000 {
            admission.tally(0, 10);
        }
        admission
    }

    #[test]
    fn a_load_without_locality_is_kept_by_the_floor_only() {
        let admission = Admission::default();
        assert!((1..1000).all(|hash| admission.admit(hash)));
        let admission = disappointed();
        let kept = (1..=80_000).filter(|hash| admission.admit(*hash)).count();
        assert!((2_200..2_800).contains(&kept), "{kept} of 80000");
    }

    #[test]
    fn what_is_asked_for_again_at_once_is_kept() {
        let admission = disappointed();
        for hash in 1..=100 {
            admission.admit(hash);
        }
        assert!((1..=100).all(|hash| admission.admit(hash)));
    }

    #[test]
    fn hits_bring_trust_back() {
        let admission = disappointed();
        for _ in 0..20_000 {
            admission.tally(2, 8);
        }
        assert!((1..1000).all(|hash| admission.admit(hash)));
    }
}
