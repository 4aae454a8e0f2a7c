//! What makes every session of the process attentive: somebody monitors, clients are paused, every command is logged.
//!
//! Sessions look at one number for all of it, once a group of commands.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::SeqCst};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Message, Proxy, Shared};

/// A reason to be attentive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    /// Somebody monitors.
    Monitor = 1,
    /// Clients are paused.
    Pause = 2,
    /// The slow log keeps commands however fast they are.
    EveryCommand = 4,
}

/// Which commands a pause holds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// Those that may write.
    Writes,
    /// All.
    All,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    held: Held,
    /// [`crate::clock::now`]
    until: u64,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Watch {
    reasons: AtomicU32,
    /// Worker and session of each monitor.
    monitors: Mutex<Vec<(u16, u64)>>,
    pause: Mutex<Option<Pause>>,
}

impl Watch {
    /// Whether sessions have to be attentive.
    pub fn any(&self) -> bool {
        self.reasons.load(Relaxed) != 0
    }

    /// Whether this is a reason now.
    pub fn has(&self, reason: Reason) -> bool {
        self.reasons.load(Relaxed) & reason as u32 != 0
    }

    /// A reason begins or ends.
    pub fn set(&self, reason: Reason, on: bool) {
        match on {
            true => self.reasons.fetch_or(reason as u32, SeqCst),
            false => self.reasons.fetch_and(!(reason as u32), SeqCst),
        };
    }

    /// A session monitors from now on.
    pub fn enter(&self, worker: u16, session: u64) {
        let mut monitors = self.monitors.lock();
        monitors.push((worker, session));
        self.set(Reason::Monitor, true);
    }

    /// It does so no more.
    pub fn leave(&self, session: u64) {
        let mut monitors = self.monitors.lock();
        monitors.retain(|(_, s)| *s != session);
        self.set(Reason::Monitor, !monitors.is_empty());
    }

    /// Holds clients back until `until`. As in Redis a pause that runs is only made longer and wider.
    pub fn pause(&self, held: Held, until: u64) {
        let mut pause = self.pause.lock();
        let before = pause.unwrap_or(Pause { held, until });
        *pause = Some(Pause { held: before.held.max(held), until: before.until.max(until) });
        self.set(Reason::Pause, true);
    }

    /// Ends a pause; false if there was none.
    pub fn unpause(&self) -> bool {
        let mut pause = self.pause.lock();
        self.set(Reason::Pause, false);
        pause.take().is_some()
    }

    /// Ends a pause whose time is over; true if one was.
    pub fn end_pause(&self, now: u64) -> bool {
        if !self.has(Reason::Pause) {
            return false;
        }
        let mut pause = self.pause.lock();
        let over = pause.is_some_and(|p| p.until <= now);
        if over {
            *pause = None;
            self.set(Reason::Pause, false);
        }
        over
    }

    /// What is held back at `now`.
    pub fn held(&self, now: u64) -> Option<Held> {
        self.pause.lock().filter(|p| now < p.until).map(|p| p.held)
    }
}

impl Proxy {
    /// Shows a line to all who monitor.
    pub fn show(&self, line: &Bytes) {
        for (worker, session) in self.shared.watch.monitors.lock().iter() {
            if *worker != self.worker {
                self.shared.post(*worker, Message::Push(*session, line.clone()));
            } else if let Some(client) = self.session(*session) {
                client.push(line);
            }
        }
    }
}

impl Shared {
    /// Has every session look again at what held it back.
    pub fn wake_all(&self) {
        for inbox in self.inboxes.read().iter() {
            // A worker that is gone has no clients.
            let _ = inbox.send(Message::Wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_grows_and_ends() {
        let watch = Watch::default();
        assert_eq!((watch.any(), watch.held(1), watch.unpause()), (false, None, false));
        watch.pause(Held::All, 10);
        watch.pause(Held::Writes, 5);
        assert_eq!((watch.any(), watch.held(9), watch.held(10)), (true, Some(Held::All), None));
        assert_eq!((watch.end_pause(9), watch.end_pause(10), watch.end_pause(10)), (false, true, false));
        watch.pause(Held::Writes, 20);
        assert_eq!(watch.held(11), Some(Held::Writes));
        assert_eq!((watch.unpause(), watch.held(11), watch.any()), (true, None, false));
    }

    #[test]
    fn reasons_are_kept_apart() {
        let watch = Watch::default();
        watch.enter(0, 1);
        watch.enter(1, 2);
        watch.set(Reason::EveryCommand, true);
        watch.leave(1);
        assert!(watch.has(Reason::Monitor));
        watch.leave(2);
        assert!(!watch.has(Reason::Monitor) && watch.any());
        watch.set(Reason::EveryCommand, false);
        assert!(!watch.any());
    }
}
