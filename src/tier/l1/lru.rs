//! Exact LRU, by the `lru` crate. Copies are known by their record's address, which stays when slots move.

use lru::LruCache;

use super::eviction::Eviction;
use super::memory::footprint;
use super::slab::Slab;

/// What the crate allocates for an entry: address, slot, two links.
const NODE: usize = footprint(32);
/// A bucket of its hash map: two pointers and a control byte.
const BUCKET: usize = 17;

#[derive(Debug)]
pub(super) struct Lru {
    order: LruCache<usize, u32>,
    /// Most entries since the map was made: it never shrinks by itself.
    peak: usize,
}

impl Lru {
    pub(super) fn new() -> Lru {
        Lru { order: LruCache::unbounded(), peak: 0 }
    }

    /// Makes the map anew when it has become far larger than its use.
    fn fit(&mut self) {
        if self.peak < 64 || self.order.len() >= self.peak / 4 {
            return;
        }
        let old = std::mem::replace(self, Lru::new());
        for (&address, &slot) in old.order.iter().rev() {
            self.put(address, slot);
        }
    }

    fn put(&mut self, address: usize, slot: u32) {
        self.order.put(address, slot);
        self.peak = self.peak.max(self.order.len());
    }
}

impl Eviction for Lru {
    fn on_insert(&mut self, slab: &mut Slab, slot: u32) {
        self.put(slab.view(slot).address(), slot);
    }

    /// The address may be of a copy that went meanwhile: then nothing happens. It cannot be of another copy, because the
    /// reader's pin keeps the record's memory from being used again.
    fn on_hit(&mut self, address: usize) {
        self.order.promote(&address);
    }

    fn on_refill(&mut self, slab: &mut Slab, slot: u32, before: (usize, usize)) {
        self.order.pop(&before.0);
        self.on_insert(slab, slot);
    }

    fn victim(&mut self, _slab: &mut Slab, _now_s: u32) -> Option<u32> {
        self.order.peek_lru().map(|(_, &slot)| slot)
    }

    fn on_remove(&mut self, slab: &mut Slab, slot: u32) {
        self.order.pop(&slab.view(slot).address());
        self.fit();
    }

    fn on_move(&mut self, slab: &Slab, _from: u32, to: u32) {
        if let Some(slot) = self.order.peek_mut(&slab.view(to).address()) {
            *slot = to;
        }
    }

    fn clear(&mut self) {
        *self = Lru::new();
    }

    fn bytes(&self) -> usize {
        let buckets = match self.peak {
            0 => 0,
            peak => (peak * 8 / 7 + 1).next_power_of_two().max(4),
        };
        self.order.len() * NODE + buckets * BUCKET
    }
}
