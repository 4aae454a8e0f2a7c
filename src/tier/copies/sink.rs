//! What the guard tells the copies, in the order of its stream.

use std::sync::atomic::Ordering::SeqCst;

use super::{Copies, Gathered, Landing};
use crate::backend::tracking::Sink;

impl Sink for Copies {
    fn covered(&self) {
        self.moving(|| {
            self.abandon_landed();
            self.fence_all();
        });
        if let Some(ledger) = &self.ledger {
            ledger.covered();
        }
    }

    fn lost(&self) {
        self.lease_until.store(0, SeqCst);
        if let Some(ledger) = &self.ledger {
            ledger.uncovered();
        }
        self.moving(|| {
            self.abandon_landed();
            self.fences.raise_all();
            if !self.keeps_stale {
                self.l1.clear();
            }
        });
    }

    fn invalidate(&self, keys: &mut dyn Iterator<Item = &[u8]>) {
        self.moving(|| {
            for key in keys {
                let hash = self.l1.hash(key);
                if let Some(ledger) = &self.ledger {
                    ledger.announced(hash, key);
                }
                self.drop_key(hash);
                self.counters.l1_invalidations.bump();
            }
        });
    }

    fn invalidate_all(&self) {
        self.moving(|| self.fence_all());
    }

    fn gather(&self, round: u64) {
        if let Some(ledger) = &self.ledger {
            ledger.gather(round);
        }
        let mut landing = self.landing.lock();
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
        if let Some(ledger) = &self.ledger {
            ledger.confirm(round);
        }
        let due = |landing: &Landing| landing.rounds.front().is_some_and(|(r, _)| *r <= round);
        if !due(&self.landing.lock()) {
            return;
        }
        self.moving(|| {
            let mut confirmed = Vec::new();
            {
                let mut landing = self.landing.lock();
                while due(&landing) {
                    let gathered = landing.rounds.pop_front().into_iter().flat_map(|(_, gathered)| gathered);
                    confirmed.extend(gathered.flat_map(|(_, flights)| flights));
                }
            }
            confirmed.iter().for_each(|flight| self.store(flight));
        });
    }

    fn lease(&self, until: u64) {
        self.lease_until.store(until, SeqCst);
    }

    fn resting(&self) {
        self.lease_until.store(0, SeqCst);
        if let Some(ledger) = &self.ledger {
            ledger.uncovered();
        }
        self.moving(|| {
            self.abandon_landed();
            self.fence_all();
        });
    }

    fn must_hear(&self) -> bool {
        self.keeps_stale
    }
}
