//! What a shard's writer knows about its records, in dense slots, and the two lists that run through them.
//!
//! Slots are numbered 0..len without gaps: when one goes, the last moves into its place. So the memory follows the number
//! of records down as well as up, and a walk from the last slot to the first misses none that stays.

use super::memory::footprint;
use super::record::{Record, View};

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

/// The queue of the eviction policy that a slot is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    Out,
    Small,
    Main,
}

#[derive(Clone, Copy, Debug)]
struct Links {
    prev: u32,
    next: u32,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) record: Record,
    /// Neighbours in the policy's queue.
    queued: Links,
    /// Neighbours in the ring of all copies of one key; itself if it is the only one.
    ring: Links,
    /// 32 bits of the hash of the copy's identity.
    pub(super) fingerprint: u32,
    pub(super) queue: Queue,
}

#[derive(Debug, Default)]
pub(super) struct Slab {
    slots: Vec<Slot>,
}

impl Slab {
    pub(super) fn len(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Bytes of the slots, spare ones included.
    pub(super) fn bytes(&self) -> usize {
        match self.slots.capacity() {
            0 => 0,
            capacity => footprint(capacity * size_of::<Slot>()),
        }
    }

    pub(super) fn slot(&self, slot: u32) -> &Slot {
        &self.slots[slot as usize]
    }

    pub(super) fn slot_mut(&mut self, slot: u32) -> &mut Slot {
        &mut self.slots[slot as usize]
    }

    pub(super) fn view(&self, slot: u32) -> View<'_> {
        self.slot(slot).record.view()
    }

    /// Adds a record, which must have been made for slot `len()`.
    pub(super) fn push(&mut self, record: Record, fingerprint: u32) -> u32 {
        let slot = self.len();
        if self.slots.len() == self.slots.capacity() {
            // By a quarter, not by doubling: spare slots are bytes that hold no replies.
            self.slots.reserve_exact((self.slots.len() / 4).max(8));
        }
        let queued = Links { prev: NONE, next: NONE };
        let ring = Links { prev: slot, next: slot };
        self.slots.push(Slot { record, queued, ring, fingerprint, queue: Queue::Out });
        slot
    }

    /// Takes a slot out that is in no list any more. The second value is the slot that moved into its place, if one did.
    pub(super) fn swap_remove(&mut self, slot: u32) -> (Record, Option<u32>) {
        debug_assert_eq!(self.slot(slot).queue, Queue::Out);
        debug_assert_eq!(self.slot(slot).ring.next, slot);
        let record = self.slots.swap_remove(slot as usize).record;
        let last = self.len();
        let moved = (slot != last).then_some(last);
        if moved.is_some() {
            self.relink(last, slot);
        }
        if self.slots.capacity() > 32 && self.slots.len() < self.slots.capacity() / 2 {
            self.slots.shrink_to(self.slots.len() + self.slots.len() / 4);
        }
        (record, moved)
    }

    /// Forgets all slots; their records are the table's to free.
    pub(super) fn clear(&mut self) {
        self.slots = Vec::new();
    }

    /// Leads the neighbours of what was at `from` to where it is now.
    fn relink(&mut self, from: u32, to: u32) {
        let Slot { record, queued, ring, .. } = self.slot_mut(to);
        record.view().set_slot(to);
        let (queued, ring) = (*queued, *ring);
        if ring.next == from {
            self.slot_mut(to).ring = Links { prev: to, next: to };
        } else {
            self.slot_mut(ring.prev).ring.next = to;
            self.slot_mut(ring.next).ring.prev = to;
        }
        if queued.prev != NONE {
            self.slot_mut(queued.prev).queued.next = to;
        }
        if queued.next != NONE {
            self.slot_mut(queued.next).queued.prev = to;
        }
    }

    /// The next copy of the same key; the slot itself if there is no other.
    pub(super) fn ring_next(&self, slot: u32) -> u32 {
        self.slot(slot).ring.next
    }

    /// Puts a single slot into the ring of another.
    pub(super) fn ring_join(&mut self, slot: u32, member: u32) {
        let after = self.slot(member).ring.next;
        self.slot_mut(slot).ring = Links { prev: member, next: after };
        self.slot_mut(member).ring.next = slot;
        self.slot_mut(after).ring.prev = slot;
    }

    pub(super) fn ring_leave(&mut self, slot: u32) {
        let Links { prev, next } = self.slot(slot).ring;
        self.slot_mut(prev).ring.next = next;
        self.slot_mut(next).ring.prev = prev;
        self.slot_mut(slot).ring = Links { prev: slot, next: slot };
    }
}

/// A queue of slots, from the newest (head) to the oldest (tail), and the bytes of their records.
#[derive(Debug)]
pub(super) struct List {
    name: Queue,
    head: u32,
    tail: u32,
    len: usize,
    bytes: usize,
}

impl List {
    pub(super) fn new(name: Queue) -> List {
        List { name, head: NONE, tail: NONE, len: 0, bytes: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn tail(&self) -> Option<u32> {
        (self.tail != NONE).then_some(self.tail)
    }

    pub(super) fn push_head(&mut self, slab: &mut Slab, slot: u32) {
        self.len += 1;
        self.bytes += slab.view(slot).footprint();
        let entry = slab.slot_mut(slot);
        debug_assert_eq!(entry.queue, Queue::Out);
        entry.queue = self.name;
        entry.queued = Links { prev: NONE, next: self.head };
        match self.head {
            NONE => self.tail = slot,
            head => slab.slot_mut(head).queued.prev = slot,
        }
        self.head = slot;
    }

    pub(super) fn unlink(&mut self, slab: &mut Slab, slot: u32) {
        self.len -= 1;
        self.bytes -= slab.view(slot).footprint();
        let entry = slab.slot_mut(slot);
        debug_assert_eq!(entry.queue, self.name);
        entry.queue = Queue::Out;
        let Links { prev, next } = entry.queued;
        entry.queued = Links { prev: NONE, next: NONE };
        match prev {
            NONE => self.head = next,
            prev => slab.slot_mut(prev).queued.next = next,
        }
        match next {
            NONE => self.tail = prev,
            next => slab.slot_mut(next).queued.prev = prev,
        }
    }

    /// A member's record was replaced by one of another size.
    pub(super) fn resized(&mut self, before: usize, now: usize) {
        self.bytes = self.bytes - before + now;
    }

    /// A slot has a new number.
    pub(super) fn relocated(&mut self, from: u32, to: u32) {
        if self.head == from {
            self.head = to;
        }
        if self.tail == from {
            self.tail = to;
        }
    }
}
