//! What is asked of one node, and how it answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use parking_lot::Mutex;

use crate::metrics::{Count, Latency, LatencySummary};

/// One thread's share, which it alone writes.
#[derive(Debug, Default)]
pub struct Load {
    /// Requests sent, or kept for the next connection.
    pub(super) sent: Count,
    /// Of these, those for which nothing more will come.
    pub(super) settled: Count,
    /// Of these, those that were answered with an error, or not at all.
    pub(super) errors: Count,
    /// From sending to reply, of what was answered.
    pub(super) latency: Latency,
}

/// All shares of a node.
#[derive(Debug, Default)]
pub struct Loads(Mutex<HashMap<ThreadId, Arc<Load>>>);

/// The sums.
#[derive(Debug, Clone, Default)]
pub struct LoadSummary {
    /// Requests sent.
    pub requests: u64,
    /// Requests answered with an error, or not at all. What sends a request to another node is none.
    pub errors: u64,
    /// Requests sent and not settled.
    pub in_flight: u64,
    /// From sending to reply; without what waits at the node, such as BLPOP.
    pub latency: LatencySummary,
}

impl Loads {
    /// The share of this thread.
    pub(super) fn mine(&self) -> Arc<Load> {
        self.0.lock().entry(thread::current().id()).or_default().clone()
    }

    /// The sums now.
    pub fn total(&self) -> LoadSummary {
        let mut total = LoadSummary::default();
        for load in self.0.lock().values() {
            // In this order: what is settled meanwhile was sent before.
            let settled = load.settled.get();
            let sent = load.sent.get();
            total.requests += sent;
            total.in_flight += sent.saturating_sub(settled);
            total.errors += load.errors.get();
            total.latency.absorb(&load.latency);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_threads_are_summed() {
        let loads = Arc::new(Loads::default());
        let note = |loads: &Loads, sent, settled, errors| {
            let mine = loads.mine();
            mine.sent.add(sent);
            mine.settled.add(settled);
            mine.errors.add(errors);
            mine.latency.record(1_000, settled);
        };
        note(&loads, 5, 3, 1);
        note(&loads, 1, 1, 0);
        let other = loads.clone();
        thread::spawn(move || note(&other, 10, 10, 2)).join().expect("it ends");
        let total = loads.total();
        assert_eq!((total.requests, total.errors, total.in_flight), (16, 3, 2));
        assert_eq!((total.latency.count, loads.0.lock().len()), (14, 2));
    }
}
