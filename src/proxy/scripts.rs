//! Scripts that run for long: home refuses everything else meanwhile, and what strata answers itself must not hide it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::Proxy;
use crate::clock;

/// A script that has been running for so long may be one by which home is busy.
const LONG: Duration = Duration::from_millis(40);
/// No script runs.
const NEVER: u64 = u64::MAX;

/// By worker: when the oldest of its scripts that home has not answered was sent ([`clock::now`]).
#[derive(Debug)]
pub struct Scripts {
    since: Box<[CachePadded<AtomicU64>]>,
}

impl Scripts {
    /// For so many workers.
    pub fn new(workers: usize) -> Self {
        Scripts { since: (0..workers).map(|_| CachePadded::new(AtomicU64::new(NEVER))).collect() }
    }

    fn note(&self, worker: u16, oldest: Option<u64>) {
        if let Some(since) = self.since.get(usize::from(worker)) {
            since.store(oldest.unwrap_or(NEVER), Relaxed);
        }
    }

    fn oldest(&self) -> Option<u64> {
        self.since.iter().map(|since| since.load(Relaxed)).min().filter(|oldest| *oldest != NEVER)
    }
}

impl Proxy {
    /// Whether home may be busy with a script, as far as strata can know: it is to be asked what it says. Who was
    /// told so once is told so until the script has ended.
    pub fn may_be_busy(&self) -> bool {
        let oldest = self.shared.scripts.oldest();
        oldest.is_some_and(|at| clock::now().saturating_sub(at) > clock::nanos(LONG))
    }

    /// Scripts of this worker were sent, or answered.
    pub(super) fn note_scripts(&self) {
        let lanes = self.lanes.borrow();
        let scripts = lanes.iter().flatten().filter(|(key, _)| key.scripts || key.of != 0);
        self.shared.scripts.note(self.worker, scripts.filter_map(|(_, lane)| lane.oldest()).min());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_script_of_all_workers_counts() {
        let scripts = Scripts::new(2);
        assert_eq!(scripts.oldest(), None);
        scripts.note(0, Some(7));
        scripts.note(1, Some(5));
        assert_eq!(scripts.oldest(), Some(5));
        scripts.note(1, None);
        assert_eq!(scripts.oldest(), Some(7));
        scripts.note(0, None);
        scripts.note(2, Some(1));
        assert_eq!(scripts.oldest(), None);
    }
}
