//! How long something takes, as a distribution that one thread notes and any may read.

use super::Count;

/// Buckets of [`Latency`]: four a power of two, from 64 ns to about 70 s.
const BUCKETS: usize = 124;

/// A latency distribution with a relative error of at most 19 %.
#[derive(Debug)]
pub struct Latency {
    buckets: [Count; BUCKETS],
    sum: Count,
}

impl Default for Latency {
    fn default() -> Self {
        Latency { buckets: [const { Count::zero() }; BUCKETS], sum: Count::default() }
    }
}

fn bucket_of(nanos: u64) -> usize {
    let n = nanos.max(64);
    let log = 63 - n.leading_zeros() as usize;
    let quarter = (n >> (log - 2)) as usize & 3;
    ((log - 6) * 4 + quarter).min(BUCKETS - 1)
}

/// The largest duration that falls into a bucket, in nanoseconds.
fn upper_bound(bucket: usize) -> u64 {
    let (log, quarter) = (bucket / 4 + 6, (bucket % 4) as u64);
    (1u64 << log) + (quarter + 1) * (1u64 << (log - 2))
}

impl Latency {
    /// Notes `times` events of `nanos` each.
    pub fn record(&self, nanos: u64, times: u64) {
        self.buckets[bucket_of(nanos)].add(times);
        self.sum.add(nanos.saturating_mul(times));
    }

    /// What was noted so far.
    pub fn summary(&self) -> LatencySummary {
        let mut summary = LatencySummary::default();
        summary.absorb(self);
        summary
    }
}

/// A sum of [`Latency`] blocks: what an operator reads.
#[derive(Debug, Clone)]
pub struct LatencySummary {
    counts: [u64; BUCKETS],
    /// Events noted.
    pub count: u64,
    /// Sum of all durations in nanoseconds.
    pub sum: u64,
}

impl Default for LatencySummary {
    fn default() -> Self {
        LatencySummary { counts: [0; BUCKETS], count: 0, sum: 0 }
    }
}

impl LatencySummary {
    /// Adds what a block has noted.
    pub fn absorb(&mut self, latency: &Latency) {
        for (total, bucket) in self.counts.iter_mut().zip(&latency.buckets) {
            *total += bucket.get();
            self.count += bucket.get();
        }
        self.sum += latency.sum.get();
    }

    /// Adds the events of another.
    pub fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(total, count)| *total += count);
        self.count += other.count;
        self.sum += other.sum;
    }

    /// What was noted after `before` was taken of the same blocks.
    pub fn since(&self, before: &Self) -> Self {
        let mut since = self.clone();
        for (count, before) in since.counts.iter_mut().zip(&before.counts) {
            *count = count.saturating_sub(*before);
        }
        since.count = since.counts.iter().sum();
        since.sum = self.sum.saturating_sub(before.sum);
        since
    }

    /// Mean in nanoseconds, 0 without events.
    pub fn mean(&self) -> u64 {
        self.sum.checked_div(self.count).unwrap_or(0)
    }

    /// The duration in nanoseconds that a share `q` (0 to 1) of the events did not exceed.
    pub fn quantile(&self, q: f64) -> u64 {
        let wanted = (self.count as f64 * q).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return upper_bound(bucket);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_they_say() {
        for nanos in [0u64, 64, 79, 80, 1_000, 123_456, 1_000_000_000, 60_000_000_000] {
            let bound = upper_bound(bucket_of(nanos));
            assert!(bound > nanos, "{nanos} is above its bucket's bound {bound}");
            assert!(bound as f64 <= nanos.max(64) as f64 * 1.26, "{nanos} is far below {bound}");
        }
    }

    #[test]
    fn summaries_add_up() {
        let (a, b) = (Latency::default(), Latency::default());
        a.record(1_000, 9);
        b.record(1_000_000, 1);
        let mut sum = a.summary();
        sum.merge(&b.summary());
        assert_eq!((sum.count, sum.sum), (10, 1_009_000));
        assert!((1_000_000..1_300_000).contains(&sum.quantile(0.99)));
    }

    #[test]
    fn what_was_noted_before_is_taken_out() {
        let latency = Latency::default();
        let summary = || {
            let mut summary = LatencySummary::default();
            summary.absorb(&latency);
            summary
        };
        latency.record(1_000, 10);
        let before = summary();
        latency.record(1_000_000, 3);
        let since = summary().since(&before);
        assert_eq!((since.count, since.mean()), (3, 1_000_000));
        assert!(since.quantile(0.01) >= 1_000_000);
    }
}
