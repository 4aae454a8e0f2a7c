//! Confirmations: how any thread learns that the guard has read everything that a reply may show.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// The way to ask the guard for confirmations, from any thread.
#[derive(Debug)]
pub struct Confirmations {
    wanted: AtomicU64,
    urgent: AtomicU64,
    done: AtomicU64,
    guarded: AtomicBool,
    asked: Notify,
    listeners: parking_lot::RwLock<Vec<Arc<Notify>>>,
}

impl Default for Confirmations {
    fn default() -> Self {
        Confirmations {
            wanted: AtomicU64::new(0),
            urgent: AtomicU64::new(0),
            done: AtomicU64::new(0),
            guarded: AtomicBool::new(false),
            asked: Notify::new(),
            listeners: parking_lot::RwLock::default(),
        }
    }
}

impl Confirmations {
    /// Asks for a confirmation somebody waits for; it has come once [`Confirmations::reached`] its number.
    /// None: nothing is guarded now, so there is nothing to wait for.
    pub fn ask(&self) -> Option<u64> {
        if !self.guarded.load(Ordering::SeqCst) {
            return None;
        }
        let number = self.wanted.fetch_add(1, Ordering::SeqCst) + 1;
        self.urgent.fetch_max(number, Ordering::SeqCst);
        self.asked.notify_one();
        Some(number)
    }

    /// Whether there is a guard to ask.
    pub fn guarded(&self) -> bool {
        self.guarded.load(Ordering::SeqCst)
    }

    /// Asks for one that nobody waits for.
    pub fn ask_soon(&self) {
        self.wanted.fetch_add(1, Ordering::SeqCst);
        self.asked.notify_one();
    }

    /// Whether the confirmation of this number has come, or the guard that owed it is gone.
    pub fn reached(&self, number: u64) -> bool {
        self.done.load(Ordering::SeqCst) >= number || !self.guarded.load(Ordering::SeqCst)
    }

    /// Notified whenever [`Confirmations::reached`] may have changed.
    pub fn listen(&self) -> Arc<Notify> {
        let notify = Arc::new(Notify::new());
        self.listeners.write().push(notify.clone());
        notify
    }

    pub(super) fn advance(&self, number: u64) {
        self.done.fetch_max(number, Ordering::SeqCst);
        self.listeners.read().iter().for_each(|l| l.notify_one());
    }

    pub(super) fn set_guarded(&self, on: bool) {
        self.guarded.store(on, Ordering::SeqCst);
        self.listeners.read().iter().for_each(|l| l.notify_one());
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
        c.set_guarded(true);
        let first = c.ask().expect("guarded");
        let second = c.ask().expect("guarded");
        assert!(!c.reached(first));
        c.advance(first);
        assert!(c.reached(first) && !c.reached(second));
        c.set_guarded(false);
        assert!(c.reached(second));
    }
}
