//! What a guard tells the copies that it vouches for: all there are, or in a cluster those of one node's slots.

use std::sync::atomic::Ordering::SeqCst;

use super::{Copies, Gathered, Landing};
use crate::backend::cluster::{NodeId, SlotSet, slot};
use crate::backend::tracking::Sink;
use crate::tier::l1::Cursor;

/// Copies of a slot that has a new owner are looked for among so many at a time.
const SLICE: usize = 4096;

/// The copies, as the guard of one node sees them.
pub struct Ward<'a> {
    copies: &'a Copies,
    node: NodeId,
}

impl Copies {
    /// See [`Ward`].
    pub fn ward(&self, node: NodeId) -> Ward<'_> {
        Ward { copies: self, node }
    }

    /// These slots are about to have another owner: nobody vouches for copies of them, and none is left.
    pub fn vacate(&self, slots: &SlotSet) {
        let Some(wards) = &self.wards else { return };
        wards.vacate(slots);
        self.moving(|| self.drop_slots(slots));
    }

    /// Refuses all flights, and drops the copies of these slots.
    fn drop_slots(&self, slots: &SlotSet) {
        self.fences.raise_all();
        if slots.is_empty() {
            return;
        }
        let mut next = Some(Cursor::START);
        while let Some(from) = next {
            next = self.l1.visit(from, SLICE, |key| slots.contains(slot(key)));
        }
    }
}

impl Ward<'_> {
    fn abandon_landed(&self) {
        let landing = self.copies.landing.lock().remove(&self.node).unwrap_or_default();
        let gathered = landing.rounds.iter().flat_map(|(_, gathered)| gathered.values().flatten());
        for flight in gathered.chain(&landing.open) {
            self.copies.flights.end(flight);
            flight.land(None);
        }
    }

    /// The guard vouches for nothing any more. Its copies go, unless they are kept for when home fails.
    fn end(&self, keep: bool) {
        let copies = self.copies;
        let slots = match &copies.wards {
            Some(wards) => Some(wards.end(self.node)),
            None => {
                copies.lease_until.store(0, SeqCst);
                None
            }
        };
        copies.moving(|| {
            self.abandon_landed();
            match slots {
                Some(slots) if !keep => copies.drop_slots(&slots),
                None if !keep => copies.fence_all(),
                _ => copies.fences.raise_all(),
            }
        });
    }
}

impl Sink for Ward<'_> {
    fn covered(&self) {
        // Of copies that are kept for when home fails nobody knows what changed since.
        match &self.copies.wards {
            Some(_) if self.copies.keeps_stale => {
                self.end(true);
                self.copies.moving(|| self.copies.fence_all());
            }
            _ => self.end(false),
        }
    }

    fn lost(&self) {
        self.end(self.copies.keeps_stale);
    }

    fn invalidate(&self, keys: &mut dyn Iterator<Item = &[u8]>) {
        let copies = self.copies;
        copies.moving(|| {
            for key in keys {
                copies.fence(copies.l1.hash(key));
                copies.counters.l1_invalidations.bump();
            }
        });
    }

    fn invalidate_all(&self) {
        self.copies.moving(|| self.copies.fence_all());
    }

    fn gather(&self, round: u64) {
        let mut landing = self.copies.landing.lock();
        let Some(landing) = landing.get_mut(&self.node) else { return };
        let open = std::mem::take(&mut landing.open);
        if !open.is_empty() {
            let mut gathered = Gathered::default();
            for flight in open {
                gathered.entry(flight.hash).or_default().push(flight);
            }
            landing.rounds.push_back((round, gathered));
        }
    }

    fn confirm(&self, round: u64) {
        let copies = self.copies;
        let due = |landing: &Landing| landing.rounds.front().is_some_and(|(r, _)| *r <= round);
        if !copies.landing.lock().get(&self.node).is_some_and(due) {
            return;
        }
        copies.moving(|| {
            let mut confirmed = Vec::new();
            if let Some(landing) = copies.landing.lock().get_mut(&self.node) {
                while due(landing) {
                    let gathered = landing.rounds.pop_front().into_iter().flat_map(|(_, gathered)| gathered);
                    confirmed.extend(gathered.flat_map(|(_, flights)| flights));
                }
            }
            confirmed.iter().for_each(|flight| copies.store(flight));
        });
    }

    fn lease(&self, until: u64, slots: Option<&SlotSet>) {
        match (&self.copies.wards, slots) {
            (Some(wards), Some(slots)) => {
                wards.renew(self.node, slots, until);
                self.copies.lease_until.fetch_max(until, SeqCst);
            }
            _ => self.copies.lease_until.store(until, SeqCst),
        }
    }

    fn resting(&self) {
        self.end(false);
    }

    fn must_hear(&self) -> bool {
        self.copies.keeps_stale
    }
}
