//! A Redis Cluster as home: its nodes, and which of them owns which slot.
//!
//! [`Cluster`] is what all threads share. It is changed by [`Keeper`] alone, a task that asks the nodes whenever a
//! redirection shows that something moved, and at intervals. A node has a number that is never given to another; what
//! is kept by number (lanes, copies, confirmations) cannot be taken for another node's.

mod keeper;
mod layout;
mod redirect;
mod slot;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::connection::{Address, Tls};
use super::node::Node;
use crate::config::{HostPort, Tls as TlsSettings, Upstream};

use keeper::Hint;
pub use keeper::{Keeper, Tenure};
pub use layout::{Range, from_shards, from_slots, replicas_from_slots};
pub use redirect::Redirect;
pub use slot::{SLOTS, SlotSet, slot};

/// The number of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    /// The only node of a home that is no cluster; in one the first that was named.
    pub const FIRST: NodeId = NodeId(0);
    /// No node.
    pub const NONE: NodeId = NodeId(u32::MAX);

    /// As a place in a list of nodes; not of [`NodeId::NONE`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A node of the cluster.
#[derive(Debug)]
struct Member {
    at: HostPort,
    node: Arc<Node>,
}

#[derive(Debug, Default)]
struct Members {
    /// By number.
    all: Vec<Member>,
    numbers: HashMap<HostPort, NodeId>,
    /// Those that own slots, rising.
    masters: Vec<NodeId>,
}

/// See the module's text.
#[derive(Debug)]
pub struct Cluster {
    upstream: Upstream,
    tls: Option<TlsSettings>,
    members: RwLock<Members>,
    owners: Box<[AtomicU32]>,
    /// Moved on whenever an owner changes.
    version: AtomicU64,
    /// What redirections said since the keeper last looked.
    hints: Mutex<Vec<Hint>>,
    /// Somebody was redirected, or met a node that is dead.
    wanted: Notify,
}

impl Cluster {
    /// Of nodes that nobody has asked yet.
    ///
    /// # Errors
    /// What the settings of TLS name is of no use.
    pub fn new(upstream: &Upstream, seeds: &[HostPort], tls: Option<TlsSettings>) -> anyhow::Result<Self> {
        let cluster = Cluster {
            upstream: upstream.clone(),
            tls,
            members: RwLock::default(),
            owners: (0..SLOTS).map(|_| AtomicU32::new(NodeId::NONE.0)).collect(),
            version: AtomicU64::new(0),
            hints: Mutex::default(),
            wanted: Notify::new(),
        };
        for seed in seeds {
            cluster.meet(seed)?;
        }
        anyhow::ensure!(!cluster.members.read().all.is_empty(), "a cluster needs at least one node");
        Ok(cluster)
    }

    /// The number of the node at an address, which is a new one if it was never heard of.
    ///
    /// # Errors
    /// TLS cannot be had toward it.
    pub fn meet(&self, at: &HostPort) -> anyhow::Result<NodeId> {
        if let Some(known) = self.members.read().numbers.get(at) {
            return Ok(*known);
        }
        let tls = self.tls.as_ref().map(|tls| Tls::new(self.upstream.section, tls, &at.host)).transpose()?;
        let address = Address::Tcp { host: at.host.clone(), port: at.port, tls };
        let node = Arc::new(Node::new(&self.upstream, address));
        let mut members = self.members.write();
        if let Some(known) = members.numbers.get(at) {
            return Ok(*known);
        }
        let number = NodeId(u32::try_from(members.all.len())?);
        members.numbers.insert(at.clone(), number);
        members.all.push(Member { at: at.clone(), node });
        Ok(number)
    }

    /// The number of the node at an address, if it was ever heard of.
    pub fn number(&self, at: &HostPort) -> Option<NodeId> {
        self.members.read().numbers.get(at).copied()
    }

    /// A node by its number; [`NodeId::NONE`] gives the first.
    pub fn node(&self, number: NodeId) -> Arc<Node> {
        let members = self.members.read();
        members.all.get(number.0 as usize).unwrap_or(&members.all[0]).node.clone()
    }

    /// Where a node is.
    pub fn place(&self, number: NodeId) -> HostPort {
        let members = self.members.read();
        members.all.get(number.0 as usize).unwrap_or(&members.all[0]).at.clone()
    }

    /// Nodes that own slots, as far as is known, rising.
    pub fn masters(&self) -> Vec<NodeId> {
        self.members.read().masters.clone()
    }

    /// Every node that was ever heard of.
    pub fn everybody(&self) -> Vec<NodeId> {
        (0..self.members.read().all.len() as u32).map(NodeId).collect()
    }

    /// The node for what has no keys: always the same one, unless it cannot be reached.
    pub fn any(&self) -> NodeId {
        let members = self.members.read();
        let well = |number: &&NodeId| members.all[number.index()].node.breaker.check().is_ok();
        let seeds = || (0..members.all.len() as u32).map(NodeId).find(|number| well(&number));
        members
            .masters
            .iter()
            .find(well)
            .or(members.masters.first())
            .copied()
            .or_else(seeds)
            .unwrap_or(NodeId::FIRST)
    }

    /// Who owns a slot; [`NodeId::NONE`]: not known.
    #[inline]
    pub fn owner(&self, slot: u16) -> NodeId {
        self.owners.get(usize::from(slot)).map_or(NodeId::NONE, |owner| NodeId(owner.load(SeqCst)))
    }

    /// Who owns which slot.
    pub fn owners(&self) -> Box<[NodeId]> {
        self.owners.iter().map(|owner| NodeId(owner.load(SeqCst))).collect()
    }

    /// A number that moves on whenever an owner changes.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(SeqCst)
    }

    /// Something moved: the nodes are to be asked soon.
    pub fn ask_around(&self) {
        self.wanted.notify_one();
    }

    /// A node that was thought to own a slot named another.
    pub fn moved(&self, slot: u16, from: NodeId, to: NodeId) {
        self.hints.lock().push(Hint { slot, from, to });
        self.wanted.notify_one();
    }

    /// Slots whose owner is known.
    pub fn covered(&self) -> usize {
        self.owners.iter().filter(|owner| owner.load(SeqCst) != NodeId::NONE.0).count()
    }
}

/// Numbers for tests.
#[cfg(test)]
pub(crate) fn two_nodes() -> [NodeId; 2] {
    [NodeId(0), NodeId(1)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Topology;

    pub(super) fn cluster(seeds: &[u16]) -> Cluster {
        let seeds: Vec<_> = seeds.iter().map(|port| at(*port)).collect();
        let mut upstream = crate::config::L3::default().upstream;
        upstream.topology = Topology::Cluster { seeds: seeds.clone(), tls: None };
        Cluster::new(&upstream, &seeds, None).expect("a cluster")
    }

    pub(super) fn at(port: u16) -> HostPort {
        HostPort { host: "127.0.0.1".to_owned(), port }
    }

    #[test]
    fn a_node_keeps_its_number() {
        let cluster = cluster(&[1, 2]);
        assert_eq!(cluster.meet(&at(2)).expect("known"), NodeId(1));
        assert_eq!(cluster.meet(&at(3)).expect("new"), NodeId(2));
        assert_eq!(cluster.meet(&at(3)).expect("known"), NodeId(2));
        assert_eq!(cluster.place(NodeId(2)), at(3));
        assert_eq!(cluster.everybody(), [NodeId(0), NodeId(1), NodeId(2)]);
        assert_eq!((cluster.any(), cluster.owner(0), cluster.covered()), (NodeId(0), NodeId::NONE, 0));
        cluster.node(NodeId(0)).breaker.failed("dead");
        assert_eq!(cluster.any(), NodeId(1));
    }
}
