//! What strata knows of itself and of home at one moment: INFO, CACHE STATS, HEALTH and TARGETS read it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::backend::confirmations::Guarding;
use crate::backend::health::{Checkup, State};
use crate::backend::load::LoadSummary;
use crate::backend::node::Node;
use crate::clock;
use crate::metrics::{LatencySummary, Totals};
use crate::proxy::Shared;
use crate::proxy::l2::L2;
use crate::source;
use crate::tier::l1::L1Stats;

/// See the module's text.
pub(super) struct Snapshot {
    pub(super) now: u64,
    pub(super) totals: Totals,
    /// The tier that is home.
    pub(super) home: &'static str,
    /// None: `l1.enabled = false`.
    pub(super) l1: Option<L1Stats>,
    /// L2 where it holds copies; None: it is home, or off.
    pub(super) l2: Option<L2Figures>,
    /// What is below home; None: nothing.
    pub(super) l4: Option<source::State>,
    /// The servers of home that were asked anything, by rising number, and the replicas that are read from.
    pub(super) nodes: Vec<NodeFigures>,
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

/// How L2 fares.
pub(super) struct L2Figures {
    /// Its copies are believed.
    pub(super) vouched: bool,
    /// It was too slow to be asked.
    pub(super) slow: bool,
    /// It takes longer than home at the median.
    pub(super) slower_than_home: bool,
    /// Why it cannot be reached.
    pub(super) trouble: Option<String>,
    pub(super) address: String,
    /// Bytes it uses, bytes it may use, keys it has evicted.
    pub(super) used_memory: u64,
    pub(super) max_memory: u64,
    pub(super) evicted: u64,
    /// Keys that changed and that it has not deleted yet.
    pub(super) outstanding: u64,
    /// Epochs that this process has begun.
    pub(super) epochs: u64,
    /// Which of its settings are not as the configuration says.
    pub(super) differs: Vec<String>,
}

impl L2Figures {
    fn of(l2: &L2) -> Self {
        let figures = &l2.figures;
        L2Figures {
            vouched: l2.ledger.vouched(),
            slow: l2.ledger.is_slow(),
            slower_than_home: figures.slower_than_home.load(Relaxed) == 1,
            trouble: l2.node.breaker.trouble(),
            address: l2.node.dial.address.to_string(),
            used_memory: figures.used_memory.load(Relaxed),
            max_memory: figures.max_memory.load(Relaxed),
            evicted: figures.evicted.load(Relaxed),
            outstanding: l2.ledger.outstanding(),
            epochs: figures.epochs.load(Relaxed),
            differs: l2.differs.all(),
        }
    }

    /// What it does, in a word.
    pub(super) fn state(&self) -> &'static str {
        match (self.vouched, self.slow) {
            (true, false) => "up",
            (true, true) => "slow",
            (false, _) => "down",
        }
    }

    fn verdict(&self, guarding: Guarding) -> Verdict {
        let reason = match (&self.trouble, guarding) {
            (Some(reason), _) => format!("L2 cannot be reached: {reason}"),
            (None, Guarding::Resting) => return (State::Healthy, vec!["resting with L1".to_owned()]),
            (None, Guarding::Down) => "L2 is passed by: nobody announces changes".to_owned(),
            (None, Guarding::Awake) if !self.vouched => {
                "L2 is passed by: it has not taken an epoch".to_owned()
            }
            (None, Guarding::Awake) if self.slow => "L2 is passed by: it did not answer in time".to_owned(),
            (None, Guarding::Awake) if self.slower_than_home => {
                "L2 is slower than home at the median".to_owned()
            }
            (None, Guarding::Awake) => return (State::Healthy, Vec::new()),
        };
        (State::Degraded, vec![reason])
    }
}

/// A server of home.
pub(super) struct NodeFigures {
    pub(super) address: String,
    /// `master`, `replica`, or `former`: it has no slots any more.
    pub(super) role: &'static str,
    pub(super) load: LoadSummary,
}

fn nodes_of(shared: &Shared) -> Vec<NodeFigures> {
    let figures = |node: &Node, role| NodeFigures {
        address: node.dial.address.to_string(),
        role,
        load: node.load.total(),
    };
    let mut nodes = match &shared.cluster {
        None => vec![figures(&shared.node, "master")],
        Some(cluster) => {
            let masters = cluster.masters();
            let role = |number| if masters.contains(number) { "master" } else { "former" };
            let all = cluster.everybody();
            all.iter().map(|number| figures(&cluster.node(*number), role(number))).collect()
        }
    };
    nodes.retain(|node| node.role == "master" || node.load.requests > 0);
    let replicas = shared.replicated.iter().flat_map(|replicated| replicated.replicas.all());
    nodes.extend(replicas.map(|replica| figures(&replica.node, "replica")));
    nodes
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
            l2: shared.l2.as_deref().map(L2Figures::of),
            l4: shared.l4.as_deref().map(|l4| l4.sources.state()),
            nodes: nodes_of(shared),
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

    /// Share of the reads that L2 was asked for that it answered from copies.
    pub(super) fn l2_hit_rate(&self) -> Option<f64> {
        share(self.totals.l2_hits, self.totals.l2_misses)
    }

    /// Share of the reads sent home that found something.
    pub(super) fn home_hit_rate(&self) -> Option<f64> {
        share(self.totals.home_hits, self.totals.home_misses)
    }

    /// Share of all reads that found something in any tier.
    pub(super) fn overall_hit_rate(&self) -> Option<f64> {
        let found = self.totals.l1_hits + self.totals.l2_hits + self.totals.home_hits;
        share(found, self.totals.home_misses)
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

    /// None: L2 holds no copies.
    pub(super) fn l2_verdict(&self) -> Option<Verdict> {
        self.l2.as_ref().map(|l2| l2.verdict(self.guarding))
    }

    /// None: nothing is below home.
    pub(super) fn l4_verdict(&self) -> Option<Verdict> {
        let l4 = self.l4.as_ref()?;
        if let Some(trouble) = &l4.trouble {
            return Some((State::Unhealthy, vec![format!("the database cannot be reached: {trouble}")]));
        }
        let follower =
            l4.follower.trouble.iter().map(|trouble| format!("changes are not followed: {trouble}"));
        let unwatched = l4.sources.iter().filter_map(|source| {
            let why = source.unwatched.as_ref()?;
            Some(format!("changes of source {} are not told: {why}", source.name))
        });
        let reasons: Vec<String> = follower.chain(unwatched).collect();
        Some((if reasons.is_empty() { State::Healthy } else { State::Degraded }, reasons))
    }

    /// Time of a load from any source.
    pub(super) fn l4_times(&self) -> LatencySummary {
        let mut times = LatencySummary::default();
        self.l4.iter().flat_map(|l4| &l4.sources).for_each(|source| times.merge(&source.latency));
        times
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
