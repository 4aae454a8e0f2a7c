//! Who hears what a guard hears.

use crate::backend::cluster::SlotSet;

/// What the guard tells the copies. Calls come from one task, in the order of the guard's stream.
pub trait Sink: Send + Sync {
    /// Tracking is on: whatever was kept before is to be dropped.
    fn covered(&self);
    /// Coverage is lost: nothing kept may be served as current.
    fn lost(&self);
    /// These keys changed, in some database.
    fn invalidate(&self, keys: &mut dyn Iterator<Item = &[u8]>);
    /// Everything may have changed.
    fn invalidate_all(&self);
    /// A confirmation is about to be asked: what has landed by now belongs to `round`.
    fn gather(&self, round: u64);
    /// The confirmation of `round` (and of all before) arrived.
    fn confirm(&self, round: u64);
    /// Copies may be served until then ([`crate::clock::now`]); in a cluster those of these slots.
    fn lease(&self, until: u64, slots: Option<&SlotSet>);
    /// Nothing will be announced until it is covered again: what is kept is to be dropped.
    fn resting(&self);
    /// Whether announcements are needed even if no reads are answered from copies.
    fn must_hear(&self) -> bool;
}
