//! What home itself may lose or serve wrongly, and when: nobody in front of it can do better.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::model::{Nanos, Read, Route};

/// A time in which a server may answer that no longer knows what is true.
struct Window {
    begin: Nanos,
    end: Nanos,
    /// Whether what comes through a proxy is excused too, and not only what comes straight from home.
    proxies: bool,
}

/// Shared by the faults, which say when home may lose what, and the clients, which judge by it.
pub(super) struct Losses {
    /// Odd while a fault is on that may lose acknowledged writes.
    faults: AtomicU64,
    /// How many replicas have to hold a write before it is certain to stay.
    replicas: AtomicUsize,
    windows: Mutex<Vec<Window>>,
    /// Reads of home that witnesses made.
    looks: AtomicU64,
}

/// A moment among the faults that may lose writes.
#[derive(Clone, Copy)]
pub(super) struct Moment(u64);

impl Losses {
    pub(super) fn new(replicas: usize) -> Losses {
        let (faults, replicas) = (AtomicU64::new(0), AtomicUsize::new(replicas));
        Losses { faults, replicas, windows: Mutex::default(), looks: AtomicU64::new(0) }
    }

    pub(super) fn fault_begins(&self) {
        self.faults.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn fault_ends(&self) {
        self.faults.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn now(&self) -> Moment {
        Moment(self.faults.load(Ordering::SeqCst))
    }

    /// Whether home can have lost nothing since `moment`.
    pub(super) fn none_since(&self, moment: Moment) -> bool {
        moment.0.is_multiple_of(2) && self.now().0 == moment.0
    }

    pub(super) fn count_look(&self) {
        self.looks.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    pub(super) fn require_replicas(&self, count: usize) {
        self.replicas.store(count, Ordering::SeqCst);
    }

    pub(super) fn required_replicas(&self) -> usize {
        self.replicas.load(Ordering::SeqCst)
    }

    /// Between these times a server of home may have answered with what is no longer true.
    pub(super) fn home_was_wrong(&self, begin: Nanos, end: Nanos, proxies: bool) {
        self.lock().push(Window { begin, end, proxies });
    }

    /// Whether the read was answered in such a time.
    pub(super) fn excuse(&self, read: &Read) -> bool {
        let concerns = |window: &Window| window.proxies || read.by.route == Route::Home;
        let within = |window: &Window| read.end >= window.begin && read.begin <= window.end;
        self.lock().iter().any(|window| concerns(window) && within(window))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
