//! Which copy goes first: the contract of the policies, and the tests that all of them pass.

use super::lru::Lru;
use super::s3fifo::S3Fifo;
use super::slab::Slab;

/// How L1 chooses what to evict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Resists scans, and a hit takes no lock.
    #[default]
    S3Fifo,
    /// Exact, but a hit takes its shard's lock.
    Lru,
}

/// The order of one shard's copies. Called with the shard locked; slots are those of the shard's slab.
pub(super) trait Eviction: Send + std::fmt::Debug {
    /// A copy was added. Its slot is in no queue.
    fn on_insert(&mut self, slab: &mut Slab, slot: u32);

    /// A copy was read. Only called if the policy [needs it](Policy::Lru); the others look at the records' counts.
    fn on_hit(&mut self, address: usize);

    /// A copy was filled anew, which counts as a use. `before` are address and footprint of the former record.
    fn on_refill(&mut self, slab: &mut Slab, slot: u32, before: (usize, usize));

    /// The copy to evict next, which the caller removes. None if there is none.
    fn victim(&mut self, slab: &mut Slab, now_s: u32) -> Option<u32>;

    /// A copy goes: its slot must be in no queue afterwards.
    fn on_remove(&mut self, slab: &mut Slab, slot: u32);

    /// The copy at slot `from` is now at `to`.
    fn on_move(&mut self, slab: &Slab, from: u32, to: u32);

    /// All copies are gone.
    fn clear(&mut self);

    /// Bytes of the policy's own structures.
    fn bytes(&self) -> usize;
}

impl Policy {
    pub(super) fn order(self) -> Box<dyn Eviction> {
        match self {
            Policy::S3Fifo => Box::new(S3Fifo::new()),
            Policy::Lru => Box::new(Lru::new()),
        }
    }

    /// Whether a hit must reach the policy at once.
    pub(super) fn follows_hits(self) -> bool {
        self == Policy::Lru
    }
}
