//! Which misses are kept: in proportion to how often kept replies are asked for again.

use std::cell::Cell;

/// The reads that the hit ratio is taken over, about.
const WINDOW: f64 = 8192.0;
/// At least this share of misses is kept, so that a change of habit is noticed.
const FLOOR: f64 = 0.125;
/// From this hit ratio on everything is kept.
const FULL: f64 = 0.125;

/// The judge of one worker. It begins with trust: a cold cache keeps everything.
#[derive(Debug)]
pub(super) struct Admission {
    window: f64,
    hits: Cell<f64>,
    reads: Cell<f64>,
    random: Cell<u64>,
}

impl Default for Admission {
    fn default() -> Self {
        Admission::over(WINDOW)
    }
}

impl Admission {
    /// The ratio is taken over so many reads, about.
    pub(super) fn over(window: f64) -> Self {
        Admission {
            window,
            hits: Cell::new(window),
            reads: Cell::new(window),
            random: Cell::new(0x9E37_79B9_7F4A_7C15),
        }
    }

    /// Notes reads. Older ones fade as newer ones come.
    pub(super) fn tally(&self, hits: u64, misses: u64) {
        let reads = (hits + misses) as f64;
        let fade = 1.0 - (reads / self.window).min(1.0);
        self.hits.set(self.hits.get() * fade + hits as f64);
        self.reads.set(self.reads.get() * fade + reads);
    }

    /// Decides about one miss.
    pub(super) fn admit(&self) -> bool {
        let share = self.share();
        share >= 1.0 || self.draw() < share
    }

    fn share(&self) -> f64 {
        let ratio = self.hits.get() / self.reads.get().max(1.0);
        (ratio / FULL).clamp(FLOOR, 1.0)
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

    #[test]
    fn a_load_without_locality_is_kept_by_the_floor_only() {
        let admission = Admission::default();
        assert!((0..1000).all(|_| admission.admit()));
        for _ in 0..20_000 {
            admission.tally(0, 10);
        }
        let kept = (0..80_000).filter(|_| admission.admit()).count();
        assert!((9_000..11_000).contains(&kept), "{kept} of 80000");
    }

    #[test]
    fn hits_bring_trust_back() {
        let admission = Admission::default();
        for _ in 0..20_000 {
            admission.tally(0, 10);
        }
        for _ in 0..20_000 {
            admission.tally(2, 8);
        }
        assert!((0..1000).all(|_| admission.admit()));
    }
}
