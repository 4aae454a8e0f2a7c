//! Confirmations: how any thread learns that the guard has read everything that a reply may show.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Whether the guard guards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Guarding {
    /// It has no connection.
    Down,
    /// Nothing is announced to it, by its own choice.
    Resting,
    /// Every change is announced to it.
    Awake,
}

/// What guards have in common.
#[derive(Debug, Default)]
pub(super) struct Common {
    /// Guards that hear changes.
    awake: AtomicUsize,
    listeners: parking_lot::RwLock<Vec<Arc<Notify>>>,
}

impl Common {
    pub(super) fn any_awake(&self) -> bool {
        self.awake.load(Ordering::SeqCst) > 0
    }

    pub(super) fn listen(&self) -> Arc<Notify> {
        let notify = Arc::new(Notify::new());
        self.listeners.write().push(notify.clone());
        notify
    }

    fn tell(&self) {
        self.listeners.read().iter().for_each(|l| l.notify_one());
    }
}

/// The way to ask a guard for confirmations, from any thread.
#[derive(Debug)]
pub struct Confirmations {
    wanted: AtomicU64,
    urgent: AtomicU64,
    done: AtomicU64,
    guarding: AtomicU8,
    asked: Notify,
    common: Arc<Common>,
}

impl Default for Confirmations {
    fn default() -> Self {
        Self::among(Arc::default())
    }
}

impl Confirmations {
    /// Of one guard among others.
    pub(super) fn among(common: Arc<Common>) -> Self {
        Confirmations {
            wanted: AtomicU64::new(0),
            urgent: AtomicU64::new(0),
            done: AtomicU64::new(0),
            guarding: AtomicU8::new(Guarding::Down as u8),
            asked: Notify::new(),
            common,
        }
    }
}

impl Confirmations {
    /// Asks for a confirmation somebody waits for; it has come once [`Confirmations::reached`] its number.
    /// None: nothing is guarded now, so there is nothing to wait for.
    pub fn ask(&self) -> Option<u64> {
        if !self.guarded() {
            return None;
        }
        let number = self.wanted.fetch_add(1, Ordering::SeqCst) + 1;
        self.urgent.fetch_max(number, Ordering::SeqCst);
        self.asked.notify_one();
        Some(number)
    }

    /// Whether there is a guard to ask.
    pub fn guarded(&self) -> bool {
        self.guarding.load(Ordering::SeqCst) == Guarding::Awake as u8
    }

    /// What the guard does.
    pub fn guarding(&self) -> Guarding {
        let state = self.guarding.load(Ordering::SeqCst);
        [Guarding::Awake, Guarding::Resting].into_iter().find(|g| *g as u8 == state).unwrap_or(Guarding::Down)
    }

    /// Asks for one that nobody waits for.
    pub fn ask_soon(&self) {
        self.wanted.fetch_add(1, Ordering::SeqCst);
        self.asked.notify_one();
    }

    /// Whether the confirmation of this number has come, or the guard that owed it is gone.
    pub fn reached(&self, number: u64) -> bool {
        self.done.load(Ordering::SeqCst) >= number || !self.guarded()
    }

    /// It has come.
    pub(super) fn advance(&self, number: u64) {
        self.done.fetch_max(number, Ordering::SeqCst);
        self.common.tell();
    }

    /// What the guard does from now on. Called from one task.
    pub fn set_guarding(&self, state: Guarding) {
        let before = self.guarding.swap(state as u8, Ordering::SeqCst);
        let (was, is) = (before == Guarding::Awake as u8, state == Guarding::Awake);
        if is && !was {
            self.common.awake.fetch_add(1, Ordering::SeqCst);
        } else if was && !is {
            self.common.awake.fetch_sub(1, Ordering::SeqCst);
        }
        self.common.tell();
    }
}

impl Confirmations {
    /// Asked for so far, by whomever.
    pub(super) fn wanted(&self) -> u64 {
        self.wanted.load(Ordering::SeqCst)
    }

    /// Whether somebody waits for one.
    pub(super) fn urgent(&self) -> bool {
        self.urgent.load(Ordering::SeqCst) > self.done.load(Ordering::SeqCst)
    }

    /// Waits until one is asked for.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confirmations_are_numbered_and_need_a_guard() {
        let c = Confirmations::default();
        assert_eq!(c.ask(), None);
        c.set_guarding(Guarding::Awake);
        assert_eq!(c.guarding(), Guarding::Awake);
        let first = c.ask().expect("guarded");
        let second = c.ask().expect("guarded");
        assert!(!c.reached(first));
        c.advance(first);
        assert!(c.reached(first) && !c.reached(second));
        c.set_guarding(Guarding::Resting);
        assert_eq!(c.guarding(), Guarding::Resting);
        assert!(c.reached(second));
    }
}
