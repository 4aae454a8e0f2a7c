//! The guards: one for home, or one for each master of a cluster, begun and ended as they come and go.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::{JoinHandle, spawn_local};

use super::monitor;
use crate::backend::cluster::{NodeId, SlotSet, Tenure};
use crate::backend::confirmations::Guarding;
use crate::backend::demand::Reads;
use crate::backend::tracking::{Guard, Sink};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::proxy::Shared;
use crate::proxy::announce::Announcements;

/// The guards of a cluster. Belongs to the local set it is used in.
pub(super) struct Watch {
    config: Arc<Config>,
    shared: Arc<Shared>,
    /// The guard and the monitor of each master.
    running: RefCell<HashMap<NodeId, [JoinHandle<()>; 2]>>,
}

impl Watch {
    pub(super) fn new(config: Arc<Config>, shared: Arc<Shared>) -> Self {
        Watch { config, shared, running: RefCell::default() }
    }
}

impl Tenure for Watch {
    fn vacate(&self, slots: &SlotSet) {
        self.shared.vacate(slots);
    }

    fn settle(&self, masters: &[NodeId]) {
        let mut running = self.running.borrow_mut();
        running.retain(|node, tasks| {
            let stays = masters.contains(node);
            if !stays {
                tasks.iter().for_each(JoinHandle::abort);
                self.shared.health.forget(*node);
                Announcements::new(self.shared.clone(), *node).lost();
                self.shared.guards.of(*node).set_guarding(Guarding::Down);
            }
            stays
        });
        for node in masters {
            let start = || {
                let guard = guard(self.config.clone(), self.shared.clone(), *node);
                [spawn_local(guard), spawn_local(monitor(&self.config, &self.shared, *node))]
            };
            running.entry(*node).or_insert_with(start);
        }
    }
}

/// Guards one node for as long as the task lives.
pub(super) async fn guard(config: Arc<Config>, shared: Arc<Shared>, node: NodeId) {
    // Without copies nobody needs announcements until a client does that keeps a cache of its own.
    if shared.copies.is_none() {
        shared.listeners.wanted().await;
    }
    let none: fn() -> Reads = Reads::default;
    let without_copies: Option<Box<dyn Fn() -> Reads + Send>> = Some(Box::new(none));
    let of_copies = config.l1.rest.then(|| reads(shared.metrics.clone()));
    let guard = Guard {
        node: shared.cluster.as_ref().map_or_else(|| shared.node.clone(), |cluster| cluster.node(node)),
        sink: Arc::new(Announcements::new(shared.clone(), node)),
        confirmations: shared.guards.of(node),
        facts: shared.facts.clone(),
        counters: shared.metrics.block(),
        lease: config.home().lease,
        ward: shared.cluster.clone().map(|cluster| (cluster, node)),
        reads: if shared.copies.is_some() { of_copies } else { without_copies },
    };
    guard.run().await;
}

fn reads(metrics: Metrics) -> Box<dyn Fn() -> Reads + Send> {
    Box::new(move || {
        let (hits, misses) = metrics.reads();
        Reads { hits, misses }
    })
}
