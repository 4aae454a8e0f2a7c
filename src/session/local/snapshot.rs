//! What strata knows of itself and of home at one moment: INFO, CACHE STATS, HEALTH and TARGETS read it.

use std::sync::Arc;
use std::time::Duration;

use crate::backend::confirmations::Guarding;
use crate::backend::health::{Checkup, State};
use crate::clock;
use crate::metrics::Totals;
use crate::proxy::Shared;
use crate::tier::l1::L1Stats;

/// See the module's text.
pub(super) struct Snapshot {
    pub(super) now: u64,
    pub(super) totals: Totals,
    /// The tier that is home.
    pub(super) home: &'static str,
    /// None: `l1.enabled = false`.
    pub(super) l1: Option<L1Stats>,
    /// Flights under way.
    pub(super) flights: usize,
    /// What is left of the serving lease.
    pub(super) lease_left: Duration,
    /// Whether home announces its changes.
    pub(super) guarding: Guarding,
    /// Why home cannot be reached.
    pub(super) trouble: Option<String>,
    /// The last look at home.
    pub(super) checkup: Option<Arc<Checkup>>,
}

/// A verdict and its reasons.
pub(super) type Verdict = (State, Vec<String>);

impl Snapshot {
    pub(super) fn of(shared: &Shared) -> Self {
        let now = clock::now();
        let copies = shared.copies.as_ref();
        Snapshot {
            now,
            home: shared.node.section,
            totals: shared.metrics.totals(),
            l1: copies.map(|c| c.l1().stats()),
            flights: copies.map_or(0, |c| c.flights()),
            lease_left: Duration::from_nanos(copies.map_or(0, |c| c.lease_left(now))),
            guarding: shared.guarding(),
            trouble: shared.trouble(),
            checkup: shared.health.latest(),
        }
    }

    /// What the guard does, in a word.
    pub(super) fn guard(&self) -> &'static str {
        match self.guarding {
            Guarding::Down => "down",
            Guarding::Resting => "resting",
            Guarding::Awake => "up",
        }
    }

    /// Share of cacheable reads that copies answered.
    pub(super) fn l1_hit_rate(&self) -> Option<f64> {
        share(self.totals.l1_hits, self.totals.l1_misses)
    }

    /// Share of the reads sent home that found something.
    pub(super) fn home_hit_rate(&self) -> Option<f64> {
        share(self.totals.home_hits, self.totals.home_misses)
    }

    /// Share of all reads that found something in any tier.
    pub(super) fn overall_hit_rate(&self) -> Option<f64> {
        share(self.totals.l1_hits + self.totals.home_hits, self.totals.home_misses)
    }

    /// None: there is no L1.
    pub(super) fn l1_verdict(&self) -> Option<Verdict> {
        self.l1?;
        let reason = if self.guarding == Guarding::Resting {
            let reason = "resting (l1.rest): writes at home far outnumber the reads that copies could answer";
            return Some((State::Healthy, vec![reason.to_owned()]));
        } else if self.guarding == Guarding::Down {
            "copies are not served: no connection on which home announces changes"
        } else if self.lease_left.is_zero() {
            "copies are not served: home answers no probes, so the serving lease ran out"
        } else {
            return Some((State::Healthy, Vec::new()));
        };
        Some((State::Unhealthy, vec![reason.to_owned()]))
    }

    pub(super) fn home_verdict(&self) -> Verdict {
        match (&self.trouble, &self.checkup) {
            (Some(reason), _) => (State::Unhealthy, vec![format!("home cannot be reached: {reason}")]),
            (None, Some(checkup)) => (checkup.state, checkup.reasons.clone()),
            (None, None) => (State::Degraded, vec!["home was not looked at yet".to_owned()]),
        }
    }
}

fn share(of: u64, others: u64) -> Option<f64> {
    let all = of + others;
    (all > 0).then(|| of as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn a_share_of_nothing_is_no_figure() {
        assert_eq!(share(0, 0), None);
        assert_eq!(share(3, 1), Some(0.75));
    }
}
