//! S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023), in bytes.
//!
//! New copies enter a small queue, a tenth of all bytes; what is not read twice until it leaves goes, and is remembered in
//! the ghost. What was read, or comes back while the ghost knows it, enters the main queue, a CLOCK of two bits.

use super::eviction::Eviction;
use super::ghost::Ghost;
use super::record::MAX_FREQ;
use super::slab::{List, Queue, Slab, Slot};

/// The small queue is evicted from when it holds at least one in this many bytes.
const SMALL_SHARE: usize = 10;
/// Reads in the small queue that lead to the main queue.
const PROMOTED_FROM: u8 = 2;
/// Copies looked at for one victim, at most: a main queue full of hot copies would hold the lock for long.
const MAX_STEPS: usize = 4096;

#[derive(Debug)]
pub(super) struct S3Fifo {
    small: List,
    main: List,
    ghost: Ghost,
}

impl S3Fifo {
    pub(super) fn new() -> S3Fifo {
        S3Fifo { small: List::new(Queue::Small), main: List::new(Queue::Main), ghost: Ghost::default() }
    }

    /// As many as the main queue can hold.
    fn ghosts(&self) -> usize {
        let entries = self.small.len() + self.main.len();
        entries - entries / SMALL_SHARE
    }

    fn list(&mut self, queue: Queue) -> Option<&mut List> {
        match queue {
            Queue::Out => None,
            Queue::Small => Some(&mut self.small),
            Queue::Main => Some(&mut self.main),
        }
    }

    fn move_to_main(&mut self, slab: &mut Slab, slot: u32, freq: u8) {
        self.on_remove(slab, slot);
        slab.view(slot).set_freq(freq);
        self.main.push_head(slab, slot);
    }

    /// The tail whose turn it is.
    fn oldest(&self) -> Option<u32> {
        let all = self.small.bytes() + self.main.bytes();
        if self.small.bytes() * SMALL_SHARE >= all { self.small.tail() } else { self.main.tail() }
    }
}

impl Eviction for S3Fifo {
    fn on_insert(&mut self, slab: &mut Slab, slot: u32) {
        let capacity = self.ghosts();
        if self.ghost.recall(slab.slot(slot).fingerprint, capacity) {
            self.main.push_head(slab, slot);
        } else {
            self.small.push_head(slab, slot);
        }
    }

    fn on_hit(&mut self, _address: usize) {}

    fn on_refill(&mut self, slab: &mut Slab, slot: u32, before: (usize, usize)) {
        let now = slab.view(slot).footprint();
        if let Some(list) = self.list(slab.slot(slot).queue) {
            list.resized(before.1, now);
        }
        slab.view(slot).mark();
    }

    fn victim(&mut self, slab: &mut Slab, now_s: u32) -> Option<u32> {
        for _ in 0..MAX_STEPS {
            let slot = self.oldest()?;
            let view = slab.view(slot);
            let freq = view.freq().min(MAX_FREQ);
            let expired = view.expired(now_s);
            let Slot { queue, fingerprint, .. } = *slab.slot(slot);
            match queue {
                _ if expired => return Some(slot),
                Queue::Small if freq >= PROMOTED_FROM => self.move_to_main(slab, slot, 0),
                Queue::Main if freq > 0 => self.move_to_main(slab, slot, freq - 1),
                Queue::Small => {
                    self.ghost.remember(fingerprint, self.ghosts());
                    return Some(slot);
                }
                Queue::Main | Queue::Out => return Some(slot),
            }
        }
        self.oldest()
    }

    fn on_remove(&mut self, slab: &mut Slab, slot: u32) {
        if let Some(list) = self.list(slab.slot(slot).queue) {
            list.unlink(slab, slot);
        }
    }

    fn on_move(&mut self, slab: &Slab, from: u32, to: u32) {
        if let Some(list) = self.list(slab.slot(to).queue) {
            list.relocated(from, to);
        }
    }

    fn clear(&mut self) {
        self.small = List::new(Queue::Small);
        self.main = List::new(Queue::Main);
        self.ghost.clear();
    }

    fn bytes(&self) -> usize {
        self.ghost.bytes()
    }
}
