//! What is known of the changes: shared by the task that follows them and those who ask about what they loaded.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::Confirmed;
use super::failure::Failure;
use super::mapping::Match;
use super::recent::Recent;
use super::snapshot::Snapshot;
use super::state::FollowerState;
use crate::clock;

/// What is known of the changes, shared with those who ask.
pub(super) struct Followed {
    pub(super) known: Mutex<Known>,
    /// Numbers of those who want a poll.
    pub(super) asked: AtomicU64,
    pub(super) asking: Notify,
    /// All up to this number were answered; an error while there is no connection.
    pub(super) answered: watch::Sender<Result<u64, String>>,
}

#[derive(Default)]
pub(super) struct Known {
    pub(super) recent: Option<Recent>,
    pub(super) position: Option<Snapshot>,
    /// When a poll was answered last.
    pub(super) last: Option<u64>,
    /// Why changes of a source are not told; in the order of the sources.
    pub(super) unwatched: Vec<Option<String>>,
    pub(super) changes: u64,
    pub(super) resets: u64,
}

impl Followed {
    pub(super) fn new(sources: usize) -> Self {
        let unwatched = vec![Some("nothing is known of it yet".to_owned()); sources];
        Self {
            known: Mutex::new(Known { unwatched, ..Known::default() }),
            asked: AtomicU64::new(0),
            asking: Notify::new(),
            answered: watch::Sender::new(Err("not connected yet".to_owned())),
        }
    }

    pub(super) async fn confirm(
        &self,
        wanted: &Match,
        snapshot: &Snapshot,
        limit: Duration,
    ) -> Result<Confirmed, Failure> {
        if let Some(why) = &self.known.lock().unwatched[wanted.source] {
            return Err(Failure::Behind(why.clone()));
        }
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.asking.notify_one();
        let mut answered = self.answered.subscribe();
        let reached = answered.wait_for(|done| done.as_ref().map_or(true, |done| *done >= number));
        match timeout(limit, reached).await {
            Err(_) => return Err(Failure::Behind(format!("no answer within {limit:?}"))),
            Ok(Err(_)) => return Err(Failure::Behind("strata ends".to_owned())),
            Ok(Ok(done)) => {
                if let Err(why) = &*done {
                    return Err(Failure::Behind(why.clone()));
                }
            }
        }
        let known = self.known.lock();
        if let Some(why) = &known.unwatched[wanted.source] {
            return Err(Failure::Behind(why.clone()));
        }
        let changed = |recent: &Recent| recent.missing_from(snapshot, wanted.source, &wanted.key);
        match known.recent.as_ref().is_none_or(changed) {
            true => Ok(Confirmed::Changed),
            false => Ok(Confirmed::Unchanged),
        }
    }

    pub(super) fn unwatched(&self) -> Vec<Option<String>> {
        self.known.lock().unwatched.clone()
    }

    pub(super) fn state(&self) -> FollowerState {
        let known = self.known.lock();
        FollowerState {
            trouble: self.answered.borrow().as_ref().err().cloned(),
            behind: known.last.map(|last| Duration::from_nanos(clock::now().saturating_sub(last))),
            changes: known.changes,
            resets: known.resets,
            position: known.position.as_ref().map_or_else(String::new, Snapshot::to_string),
        }
    }
}
