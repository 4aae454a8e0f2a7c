//! Scripts that run for long: home refuses everything else meanwhile, and what strata answers itself must not hide it.

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{LaneKey, Proxy, Ticket};
use crate::backend::lane::Lane;
use crate::clock;

/// A script that has been running for so long may be one by which home is busy.
const LONG: Duration = Duration::from_millis(40);

impl Proxy {
    /// Whether home may be busy with a script, as far as strata can know: it is to be asked what it says.
    pub fn may_be_busy(&self) -> bool {
        self.shared.long_scripts.load(Relaxed) > 0
    }

    pub(super) fn notice_long_scripts(&self, lanes: &[(LaneKey, Rc<Lane<Ticket>>)], now: u64) {
        let long =
            |lane: &Lane<Ticket>| lane.oldest().is_some_and(|at| now.saturating_sub(at) > clock::nanos(LONG));
        let any = lanes.iter().any(|(key, lane)| key.scripts && long(lane));
        if any != self.long_script.replace(any) {
            match any {
                true => self.shared.long_scripts.fetch_add(1, Relaxed),
                false => self.shared.long_scripts.fetch_sub(1, Relaxed),
            };
        }
    }
}
