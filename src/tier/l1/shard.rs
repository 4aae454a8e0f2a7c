//! The writer's side of a shard: every change of its copies, made under its lock.
//!
//! All copies of a key form one group, in one shard. Its *primary* sits in the table at the key's hash, the others at the
//! hash of their identity, and a ring in the slab joins them. A primary that is evicted before the others leaves a stub.
//! Groups are known by the 64-bit hash: two keys of the same hash share one, which costs them no more than a common removal.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::budget::Budget;
use super::eviction::{Eviction, Policy};
use super::presence::Presence;
use super::reclaim::Pinned;
use super::record::{Draft, MAX_FREQ, PRIMARY, STUB, Seat, Unseated, View};
use super::slab::Slab;
use super::table::{Limbo, Occupancy, Table};
use super::{CopyInfo, Fill};

/// What a shard's lock protects.
#[derive(Debug)]
pub(super) struct Writer {
    right: Occupancy,
    slab: Slab,
    order: Box<dyn Eviction>,
    /// Bytes of all records.
    records: usize,
    /// Records that are no stubs.
    copies: usize,
    /// This shard's part of the budget's `used`, and of its `entries`.
    stated: usize,
    stated_copies: usize,
}

impl Writer {
    pub(super) fn new(right: Occupancy, policy: Policy) -> Writer {
        Writer {
            right,
            slab: Slab::default(),
            order: policy.order(),
            records: 0,
            copies: 0,
            stated: 0,
            stated_copies: 0,
        }
    }

    /// Tells the policy about a hit on the record at this address.
    pub(super) fn promote(&mut self, address: usize) {
        self.order.on_hit(address);
    }
}

/// Where a copy belongs.
enum Target {
    /// The key has no copies.
    Fresh,
    /// The key's primary is a stub.
    Revive(u32),
    /// The key has other copies; the primary's slot.
    Join(u32),
    /// The very request has a copy.
    Refill(u32),
}

/// A locked shard.
#[derive(Debug)]
pub(super) struct Edit<'a> {
    table: &'a Table,
    pub(super) presence: &'a Presence,
    writer: &'a mut Writer,
    pub(super) pinned: &'a Pinned,
    budget: &'a Arc<Budget>,
}

impl Drop for Edit<'_> {
    fn drop(&mut self) {
        self.state();
    }
}

impl<'a> Edit<'a> {
    /// `table` and `writer` are of one shard.
    pub(super) fn new(
        table: &'a Table,
        presence: &'a Presence,
        writer: &'a mut Writer,
        pinned: &'a Pinned,
        budget: &'a Arc<Budget>,
    ) -> Edit<'a> {
        Edit { table, presence, writer, pinned, budget }
    }

    fn limbo(&self) -> Limbo<'a> {
        Limbo { pinned: self.pinned, budget: self.budget }
    }

    /// Brings the budget up to date with this shard.
    fn state(&mut self) {
        let writer = &mut *self.writer;
        let now = writer.records + writer.slab.bytes() + writer.order.bytes() + self.table.bytes();
        self.budget.restate(writer.stated, now);
        writer.stated = now;
        self.budget.restate_entries(writer.stated_copies, writer.copies);
        writer.stated_copies = writer.copies;
    }

    /// Stores a copy, made of this fill. `place` is the hash of its identity. Returns whether its key had none.
    pub(super) fn insert(&mut self, fill: &Fill<'_>, place: u64, copy: Unseated) -> bool {
        match self.target(fill, place) {
            Target::Refill(slot) => self.refill(slot, copy),
            Target::Revive(slot) => self.revive(slot, copy, place),
            Target::Fresh => {
                self.add(copy, fill.hash, PRIMARY, place);
                return true;
            }
            Target::Join(primary) => {
                let slot = self.add(copy, place, 0, place);
                self.writer.slab.ring_join(slot, primary);
            }
        }
        false
    }

    fn target(&self, fill: &Fill<'_>, place: u64) -> Target {
        let Some(primary) = self.primary(fill.hash) else {
            return Target::Fresh;
        };
        if primary.answers(fill.key, fill.kind, fill.tail) {
            return Target::Refill(primary.slot());
        }
        let mut others = self.table.locked(&self.writer.right, place);
        match others.find(|view| view.hash() == place && view.answers(fill.key, fill.kind, fill.tail)) {
            Some(copy) => Target::Refill(copy.slot()),
            None if primary.is(STUB) => Target::Revive(primary.slot()),
            None => Target::Join(primary.slot()),
        }
    }

    fn primary(&self, hash: u64) -> Option<View<'_>> {
        let mut candidates = self.table.locked(&self.writer.right, hash);
        candidates.find(|view| view.hash() == hash && view.is(PRIMARY))
    }

    fn add(&mut self, copy: Unseated, hash: u64, flags: u8, place: u64) -> u32 {
        let limbo = self.limbo();
        let writer = &mut *self.writer;
        let record = copy.seat(Seat { hash, slot: writer.slab.len(), freq: 0, flags });
        writer.records += record.view().footprint();
        let slot = writer.slab.push(record, fingerprint(place));
        writer.order.on_insert(&mut writer.slab, slot);
        self.table.publish(&mut writer.right, &writer.slab.slot(slot).record, limbo);
        writer.copies += 1;
        slot
    }

    /// A newer reply to a request whose copy is still here, expired perhaps: it keeps its rank.
    fn refill(&mut self, slot: u32, copy: Unseated) {
        let old = self.writer.slab.view(slot);
        let before = (old.address(), old.footprint());
        let flags = if old.is(PRIMARY) { PRIMARY } else { 0 };
        let seat = Seat { hash: old.hash(), slot, freq: old.freq().min(MAX_FREQ), flags };
        self.exchange(copy, seat);
        self.writer.order.on_refill(&mut self.writer.slab, slot, before);
    }

    /// A copy for a key whose primary is a stub: it becomes the primary.
    fn revive(&mut self, slot: u32, copy: Unseated, place: u64) {
        let hash = self.writer.slab.view(slot).hash();
        self.exchange(copy, Seat { hash, slot, freq: 0, flags: PRIMARY });
        self.writer.slab.slot_mut(slot).fingerprint = fingerprint(place);
        self.writer.order.on_insert(&mut self.writer.slab, slot);
        self.writer.copies += 1;
    }

    /// Puts another record into a slot, at the same hash.
    fn exchange(&mut self, copy: Unseated, seat: Seat) {
        let limbo = self.limbo();
        let writer = &mut *self.writer;
        let new = copy.seat(seat);
        writer.records += new.view().footprint();
        let old = std::mem::replace(&mut writer.slab.slot_mut(seat.slot).record, new);
        writer.records -= old.view().footprint();
        self.table.replace(&mut writer.right, old, &writer.slab.slot(seat.slot).record, limbo);
    }

    /// Removes one copy. A primary that others depend on becomes a stub; a stub that nobody depends on goes.
    fn drop_copy(&mut self, slot: u32) {
        self.writer.order.on_remove(&mut self.writer.slab, slot);
        self.writer.copies -= 1;
        let next = self.writer.slab.ring_next(slot);
        let view = self.writer.slab.view(slot);
        if next == slot {
            self.release(slot);
        } else if view.is(PRIMARY) {
            let seat = Seat { hash: view.hash(), slot, freq: 0, flags: PRIMARY | STUB };
            self.exchange(Unseated::new(&Draft::default()), seat);
        } else {
            let moved = self.release(slot);
            let next = if moved == Some(next) { slot } else { next };
            let slab = &self.writer.slab;
            if slab.ring_next(next) == next && slab.view(next).is(STUB) {
                self.release(next);
            }
        }
    }

    /// Takes a slot out of ring, table and slab; it is in no queue. Returns the slot that moved into its place.
    fn release(&mut self, slot: u32) -> Option<u32> {
        let limbo = self.limbo();
        let writer = &mut *self.writer;
        writer.slab.ring_leave(slot);
        let (record, moved) = writer.slab.swap_remove(slot);
        if let Some(from) = moved {
            writer.order.on_move(&writer.slab, from, slot);
        }
        writer.records -= record.view().footprint();
        if record.view().is(PRIMARY) {
            self.presence.down(record.view().hash());
        }
        self.table.unlink(&mut writer.right, record, limbo);
        moved
    }

    /// Whether keys of this hash have copies.
    pub(super) fn contains(&self, hash: u64) -> bool {
        self.primary(hash).is_some()
    }

    /// Removes all copies of a key and returns how many there were.
    pub(super) fn remove(&mut self, hash: u64) -> usize {
        let Some(mut primary) = self.primary(hash).map(View::slot) else {
            return 0;
        };
        let before = self.writer.copies;
        loop {
            let slot = self.writer.slab.ring_next(primary);
            if !self.writer.slab.view(slot).is(STUB) {
                self.writer.order.on_remove(&mut self.writer.slab, slot);
                self.writer.copies -= 1;
            }
            let moved = self.release(slot);
            if slot == primary {
                return before - self.writer.copies;
            }
            if moved == Some(primary) {
                primary = slot;
            }
        }
    }

    /// Evicts while the budget is exceeded by an addition of `need` bytes and this shard has more than `floor`.
    pub(super) fn evict(&mut self, need: usize, floor: usize, now_s: u32) {
        self.state();
        while self.budget.excess(need) > 0 && self.writer.stated > floor {
            let Some(slot) = self.writer.order.victim(&mut self.writer.slab, now_s) else {
                return;
            };
            self.drop_copy(slot);
            self.budget.evictions.fetch_add(1, Relaxed);
            self.state();
        }
    }

    /// Removes all copies and returns how many there were.
    pub(super) fn clear(&mut self) -> usize {
        let limbo = self.limbo();
        let writer = &mut *self.writer;
        writer.slab.clear();
        writer.order.clear();
        self.presence.clear();
        self.table.clear(&mut writer.right, std::mem::take(&mut writer.records), limbo);
        std::mem::take(&mut writer.copies)
    }

    /// Looks at up to `count` slots below `below`, downwards. Those whose record `goes` says so about are removed by
    /// `remove`. Returns where to go on; 0 is the end. What is added meanwhile may be missed, nothing else.
    fn walk(
        &mut self,
        below: u32,
        count: u32,
        mut goes: impl FnMut(View<'_>) -> bool,
        mut remove: impl FnMut(&mut Self, u32),
    ) -> u32 {
        let mut at = below.min(self.writer.slab.len());
        for _ in 0..count {
            if at == 0 {
                break;
            }
            at -= 1;
            let view = self.writer.slab.view(at);
            if !view.is(STUB) && goes(view) {
                remove(self, at);
                at = at.min(self.writer.slab.len());
            }
        }
        at
    }

    /// A [walk](Edit::walk) that removes what expired. Returns where to go on, and how many went.
    pub(super) fn sweep(&mut self, below: u32, count: u32, now_s: u32) -> (u32, usize) {
        let mut expired = 0;
        let next = self.walk(
            below,
            count,
            |view| view.expired(now_s),
            |edit, slot| {
                edit.drop_copy(slot);
                expired += 1;
            },
        );
        self.budget.expired.fetch_add(expired as u64, Relaxed);
        (next, expired)
    }

    /// A [walk](Edit::walk) that removes all copies of the keys that match.
    pub(super) fn visit(
        &mut self,
        below: u32,
        count: u32,
        hash: impl Fn(&[u8]) -> u64,
        mut matches: impl FnMut(&[u8]) -> bool,
    ) -> u32 {
        self.walk(
            below,
            count,
            |view| matches(view.key()),
            |edit, slot| {
                let key = hash(edit.writer.slab.view(slot).key());
                edit.remove(key);
            },
        )
    }

    /// All copies of a key.
    pub(super) fn copies(&self, hash: u64, key: &[u8]) -> Vec<CopyInfo> {
        let Some(primary) = self.primary(hash).map(View::slot) else {
            return Vec::new();
        };
        let slab = &self.writer.slab;
        let mut infos = Vec::new();
        let mut slot = primary;
        loop {
            let view = slab.view(slot);
            if !view.is(STUB) && view.key() == key {
                infos.push(CopyInfo::of(view));
            }
            slot = slab.ring_next(slot);
            if slot == primary {
                return infos;
            }
        }
    }
}

fn fingerprint(place: u64) -> u32 {
    (place >> 16) as u32
}

#[cfg(test)]
impl Edit<'_> {
    /// Checks that slab, table, rings and sums agree.
    pub(super) fn check(&self) {
        let Writer { right, slab, records, copies, .. } = &*self.writer;
        let views: Vec<View<'_>> = (0..slab.len()).map(|slot| slab.view(slot)).collect();
        for (slot, view) in views.iter().enumerate() {
            assert_eq!(view.slot() as usize, slot);
            let found =
                self.table.locked(right, view.hash()).filter(|other| other.address() == view.address());
            assert_eq!(found.count(), 1, "{view:?} is in the table once");
        }
        assert_eq!(views.iter().map(|view| view.footprint()).sum::<usize>(), *records);
        assert_eq!(views.iter().filter(|view| !view.is(STUB)).count(), *copies);
        let ring = |primary: u32| {
            let after = |&slot: &u32| Some(slab.ring_next(slot)).filter(|&next| next != primary);
            std::iter::successors(Some(primary), after).collect::<Vec<u32>>()
        };
        let primaries = views.iter().filter(|view| view.is(PRIMARY));
        let rings: Vec<Vec<u32>> = primaries.map(|view| ring(view.slot())).collect();
        for ring in &rings {
            assert_eq!(ring.iter().filter(|&&slot| slab.view(slot).is(PRIMARY)).count(), 1);
            assert!(ring.len() > 1 || !slab.view(ring[0]).is(STUB), "an idle stub");
        }
        assert_eq!(rings.iter().map(Vec::len).sum::<usize>(), views.len());
    }
}
