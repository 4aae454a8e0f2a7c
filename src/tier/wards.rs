//! Which guard vouches for copies of which slots of a cluster, and until when.
//!
//! A slot is vouched for by the node that owns it: in the eyes of this process, and in its own, as it says with each
//! answered probe. When a slot changes hands its copies are dropped before the next owner may vouch.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use parking_lot::RwLock;

use crate::backend::cluster::{NodeId, SLOTS, SlotSet, slot};

/// See the module's text. Written by one task.
pub(super) struct Wards {
    /// By slot.
    leases: Box<[AtomicU64]>,
    tenants: RwLock<HashMap<NodeId, Tenant>>,
}

struct Tenant {
    slots: SlotSet,
    until: u64,
}

impl Wards {
    pub(super) fn new() -> Self {
        let leases = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Wards { leases, tenants: RwLock::default() }
    }

    /// Whether copies of the key may be served as current.
    pub(super) fn vouched(&self, key: &[u8], now: u64) -> bool {
        self.leases.get(usize::from(slot(key))).is_some_and(|until| now < until.load(SeqCst))
    }

    /// Until when a node vouches.
    pub(super) fn until(&self, node: NodeId) -> u64 {
        self.tenants.read().get(&node).map_or(0, |tenant| tenant.until)
    }

    /// Whether it is this node that vouches for the key.
    pub(super) fn is_of(&self, node: NodeId, key: &[u8]) -> bool {
        self.tenants.read().get(&node).is_some_and(|tenant| tenant.slots.contains(slot(key)))
    }

    /// A node vouches for these slots.
    pub(super) fn renew(&self, node: NodeId, slots: &SlotSet, until: u64) {
        let mut tenants = self.tenants.write();
        let tenant = tenants.entry(node).or_insert_with(|| Tenant { slots: SlotSet::default(), until: 0 });
        if tenant.slots != *slots {
            tenant.slots = slots.clone();
        }
        tenant.until = until;
        for slot in slots.iter() {
            self.leases[usize::from(slot)].store(until, SeqCst);
        }
    }

    /// A node vouches for nothing any more. Returns for what it did.
    pub(super) fn end(&self, node: NodeId) -> SlotSet {
        let slots = self.tenants.write().remove(&node).map(|tenant| tenant.slots).unwrap_or_default();
        self.end_leases(&slots);
        slots
    }

    /// Nobody vouches for these slots.
    pub(super) fn vacate(&self, slots: &SlotSet) {
        for tenant in self.tenants.write().values_mut() {
            tenant.slots.remove_all(slots);
        }
        self.end_leases(slots);
    }

    fn end_leases(&self, slots: &SlotSet) {
        for slot in slots.iter() {
            self.leases[usize::from(slot)].store(0, SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cluster::two_nodes;

    #[test]
    fn a_slot_is_vouched_for_by_one_node_at_a_time() {
        let [a, b] = two_nodes();
        let wards = Wards::new();
        let of = |keys: &[&str]| keys.iter().map(|key| slot(key.as_bytes())).collect::<SlotSet>();
        wards.renew(a, &of(&["x", "y"]), 10);
        wards.renew(b, &of(&["z"]), 20);
        let vouched = |now| ["x", "y", "z"].map(|key| wards.vouched(key.as_bytes(), now));
        assert_eq!((vouched(9), vouched(10)), ([true; 3], [false, false, true]));
        wards.vacate(&of(&["x", "z"]));
        assert_eq!(vouched(9), [false, true, false]);
        assert!(!wards.is_of(a, b"x") && wards.is_of(a, b"y") && !wards.is_of(b, b"y"));
        wards.renew(b, &of(&["x"]), 30);
        assert_eq!((vouched(9), wards.until(a), wards.until(b)), ([true, true, false], 10, 30));
        assert_eq!(wards.end(b), of(&["x"]));
        assert_eq!((vouched(9), wards.until(b)), ([false, true, false], 0));
    }
}
