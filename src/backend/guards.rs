//! The confirmations of all guards: of the one there is, or of one for each master of a cluster.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::Notify;

use super::cluster::NodeId;
use super::confirmations::{Common, Confirmations, Guarding};

/// See the module's text.
#[derive(Debug, Default)]
pub struct Guards {
    common: Arc<Common>,
    /// Of the only node, or the first.
    first: Arc<Confirmations>,
    others: RwLock<HashMap<NodeId, Arc<Confirmations>>>,
}

impl Guards {
    /// Of no node yet.
    pub fn new() -> Self {
        let common = Arc::new(Common::default());
        let first = Arc::new(Confirmations::among(common.clone()));
        Guards { common, first, others: RwLock::default() }
    }

    /// Those of the guard of one node.
    pub fn of(&self, node: NodeId) -> Arc<Confirmations> {
        if node == NodeId::FIRST {
            return self.first.clone();
        }
        if let Some(known) = self.others.read().get(&node) {
            return known.clone();
        }
        let new = || Arc::new(Confirmations::among(self.common.clone()));
        self.others.write().entry(node).or_insert_with(new).clone()
    }

    fn with<R>(&self, node: NodeId, ask: impl FnOnce(&Confirmations) -> R) -> Option<R> {
        match node {
            NodeId::FIRST => Some(ask(&self.first)),
            _ => self.others.read().get(&node).map(|found| ask(found)),
        }
    }

    /// Whether any guard hears changes.
    pub fn any(&self) -> bool {
        self.common.any_awake()
    }

    /// Whether the guard of this node does.
    pub fn guarded(&self, node: NodeId) -> bool {
        self.with(node, Confirmations::guarded).unwrap_or(false)
    }

    /// What the guard of a node does.
    pub fn guarding(&self, node: NodeId) -> Guarding {
        self.with(node, Confirmations::guarding).unwrap_or(Guarding::Down)
    }

    /// See [`Confirmations::ask`].
    pub fn ask(&self, node: NodeId) -> Option<u64> {
        self.with(node, Confirmations::ask).flatten()
    }

    /// See [`Confirmations::ask_soon`].
    pub fn ask_soon(&self, node: NodeId) {
        self.with(node, Confirmations::ask_soon);
    }

    /// See [`Confirmations::reached`].
    pub fn reached(&self, node: NodeId, number: u64) -> bool {
        self.with(node, |confirmations| confirmations.reached(number)).unwrap_or(true)
    }

    /// Notified whenever [`Guards::reached`] may have changed.
    pub fn listen(&self) -> Arc<Notify> {
        self.common.listen()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_its_own() {
        let cluster = crate::backend::cluster::two_nodes();
        let (a, b) = (cluster[0], cluster[1]);
        let guards = Guards::new();
        assert_eq!((guards.any(), guards.ask(b), guards.reached(b, 1)), (false, None, true));
        guards.of(b).set_guarding(Guarding::Awake);
        assert!(guards.any() && guards.guarded(b) && !guards.guarded(a));
        let number = guards.ask(b).expect("guarded");
        assert!(!guards.reached(b, number));
        guards.of(a).set_guarding(Guarding::Awake);
        guards.of(a).advance(100);
        assert!(!guards.reached(b, number));
        guards.of(b).advance(number);
        assert!(guards.reached(b, number));
        guards.of(a).set_guarding(Guarding::Down);
        guards.of(b).set_guarding(Guarding::Resting);
        assert_eq!((guards.any(), guards.guarding(b)), (false, Guarding::Resting));
    }
}
