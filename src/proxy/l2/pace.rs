//! Which of two answers sooner at the median: L2 or home.

use std::time::Duration;

use crate::metrics::{LatencySummary, Totals};

/// Hits of L2 and reads at home that are needed to compare the two.
const ENOUGH: u64 = 1000;

/// What was counted when they were compared last.
#[derive(Debug, Default)]
pub(super) struct Pace {
    l2: LatencySummary,
    home: LatencySummary,
}

impl Pace {
    /// From now on.
    pub(super) fn from(totals: &Totals) -> Self {
        Pace { l2: totals.l2_get.clone(), home: totals.home_get.clone() }
    }

    /// The medians of L2 and of home since the last comparison, if there is enough to compare.
    pub(super) fn compare(&mut self, totals: &Totals) -> Option<(Duration, Duration)> {
        let (l2, home) = (totals.l2_get.since(&self.l2), totals.home_get.since(&self.home));
        if l2.count < ENOUGH || home.count < ENOUGH {
            return None;
        }
        *self = Pace::from(totals);
        let median = |summary: LatencySummary| Duration::from_nanos(summary.quantile(0.5));
        Some((median(l2), median(home)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn what_was_compared_before_does_not_count_again() {
        let metrics = Metrics::default();
        let block = metrics.block();
        let mut pace = Pace::from(&metrics.totals());
        let mut note = |l2: u64, home: u64, times| {
            block.l2_get.record(l2 * 1_000, times);
            block.home_get.record(home * 1_000, times);
            pace.compare(&metrics.totals()).map(|(l2, home)| l2 < home)
        };
        assert_eq!(note(1, 100, ENOUGH - 1), None);
        assert_eq!(note(1, 100, 100_000), Some(true));
        assert_eq!(note(100, 1, ENOUGH), Some(false));
        assert_eq!(note(1, 100, ENOUGH), Some(true));
    }
}
