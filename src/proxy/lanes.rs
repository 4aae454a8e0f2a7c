//! The lanes of a worker: to each node, of each kind.

use std::rc::Rc;
use std::task::Waker;

use super::cluster::Detour;
use super::{LaneKey, Proxy, Ticket, Way};
use crate::backend::cluster::NodeId;
use crate::backend::lane::Lane;

/// Lanes to one node.
pub(super) type Lanes = Vec<(LaneKey, Rc<Lane<Ticket>>)>;

impl Proxy {
    /// The lane of a protocol and a database to a node, made at first use.
    pub(super) fn lane(&self, way: Way) -> Rc<Lane<Ticket>> {
        let Way { lane: key, node, .. } = way;
        if let Some(lanes) = self.lanes.borrow().get(node.index())
            && let Some((_, lane)) = lanes.iter().find(|(k, _)| *k == key)
        {
            return lane.clone();
        }
        let counters = self.counters.clone();
        let lane = Rc::new(match &self.ways {
            None => {
                let db = u16::try_from(key.db).unwrap_or(u16::MAX);
                Lane::new(self.shared.node.clone(), key.proto, db, counters)
            }
            Some(_) => {
                let detour = Detour { proxy: self.this.clone(), lane: key, node };
                Lane::among(self.node(node), key.proto, counters, detour)
            }
        });
        let mut lanes = self.lanes.borrow_mut();
        if lanes.len() <= node.index() {
            lanes.resize_with(node.index() + 1, Vec::new);
        }
        lanes[node.index()].push((key, lane.clone()));
        lane
    }

    /// A session has lanes for itself (`keeps`: [`LaneKey::of`] is its number), or needs them no more.
    pub fn keep_lanes(&self, session: u64, keeps: bool) {
        let mut keepers = self.keepers.borrow_mut();
        if keeps {
            keepers.insert(session)
        } else {
            keepers.remove(&session)
        };
    }

    /// Ends the lanes of sessions that need them no more, once everything is answered.
    pub(super) fn end_left_lanes(&self) {
        let keepers = self.keepers.borrow();
        let left = |key: &LaneKey| key.of != 0 && !keepers.contains(&key.of);
        for lanes in self.lanes.borrow_mut().iter_mut() {
            lanes.retain(|(key, lane)| !left(key) || lane.depth() > 0);
        }
    }

    pub(super) fn lanes_of(&self, node: NodeId) -> Lanes {
        self.lanes.borrow().get(node.index()).cloned().unwrap_or_default()
    }

    /// Whether the ways home of this kind are so full that clients should stop asking; `waker` is woken when they are
    /// not any more.
    pub fn is_congested(&self, key: LaneKey, waker: &Waker) -> bool {
        let lanes = self.lanes.borrow();
        let full = lanes.iter().flatten().find(|(k, lane)| *k == key && lane.congested());
        full.inspect(|(_, lane)| lane.on_drain(waker.clone())).is_some()
    }
}
