//! When memory is given back: not before all who could look at it are done (epochs, by crossbeam).

use std::sync::Arc;

use crossbeam_epoch::{self as epoch, Guard};

use super::budget::Budget;

/// Proof that this thread is pinned in the epoch that all records and tables are retired in.
#[derive(Debug)]
pub(super) struct Pinned(Guard);

impl Pinned {
    #[inline]
    pub(super) fn new() -> Pinned {
        Pinned(epoch::pin())
    }

    /// Runs `free`, of `bytes` bytes, when all who are pinned now are done.
    ///
    /// # Safety
    /// What it frees must not be reachable for anyone who pins from now on.
    pub(super) unsafe fn defer(
        &self,
        budget: &Arc<Budget>,
        bytes: usize,
        free: impl FnOnce() + Send + 'static,
    ) {
        budget.retired(bytes);
        let budget = Arc::clone(budget);
        // SAFETY: the closure owns or outlives all it refers to, and the caller vouches for what it frees.
        unsafe {
            self.0.defer_unchecked(move || {
                free();
                budget.freed(bytes);
            });
        }
    }
}

/// Hands this thread's garbage over and frees what is free of readers, until at most `limit` bytes are left or `rounds` are
/// over. It takes two rounds without pinned readers to free what was retired just now.
pub(super) fn collect(budget: &Budget, limit: usize, rounds: usize) {
    for _ in 0..rounds {
        if budget.garbage() <= limit {
            return;
        }
        epoch::pin().flush();
    }
}
