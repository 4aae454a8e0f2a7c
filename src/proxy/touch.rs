//! Hits, reported to a home that evicts by use: it sees none that L1 answers, and would evict what is hottest.

use super::{LaneKey, Proxy, Ticket};
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
            let mut words: Vec<&[u8]> = vec![b"TOUCH"];
            words.extend(here.iter().map(|(_, key)| &**key));
            let mut request = Vec::new();
            encode::command(&mut request, &words);
            self.lane(LaneKey { proto: Proto::Resp2, db, scripts: false }).send(
                &request,
                Ticket::Nobody,
                now,
            );
        }
    }
}
