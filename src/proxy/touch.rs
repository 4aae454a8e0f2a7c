//! Hits, reported to a home that evicts by use: it sees none that L1 answers, and would evict what is hottest.

use super::{LaneKey, Proxy, Ticket};
use crate::backend::cluster::slot;
use crate::resp::{Proto, encode};

/// Keys of one TOUCH.
const TOUCH_BATCH: usize = 512;

impl Proxy {
    /// Tells a home that evicts by use which keys are in use here (rule 13).
    pub(super) fn report_hits(&self, now: u64) {
        let mut touched = std::mem::take(&mut *self.touched.borrow_mut());
        touched.truncate(TOUCH_BATCH);
        while let Some(&(db, _)) = touched.first() {
            let (here, rest): (Vec<_>, Vec<_>) = touched.into_iter().partition(|(d, _)| *d == db);
            touched = rest;
            let lane = LaneKey { proto: Proto::Resp2, db, scripts: false, of: 0 };
            let keys: Vec<&[u8]> = here.iter().map(|(_, key)| &**key).collect();
            // In a cluster keys of different slots cannot be named together.
            let together = if self.is_cluster() { 1 } else { keys.len() };
            for keys in keys.chunks(together) {
                let way = self.way_of_slot(lane, keys.first().map(|key| slot(key)));
                let mut words: Vec<&[u8]> = vec![b"TOUCH"];
                words.extend(keys);
                let mut request = Vec::new();
                encode::command(&mut request, &words);
                self.send(way, &request, Ticket::Nobody, now);
            }
        }
    }
}
