//! Loads under way: one for each key in the process, whoever else misses the key waits for it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch::{Receiver, Sender, channel};

use crate::clock;

/// For so long (in ns) who had asked home before a load had ended is told that it has: a reply that says "absent" may be
/// read late.
const REMEMBERED: u64 = 2_000_000_000;

/// What a load has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Brought {
    /// Home has the key now.
    Row,
    /// The source has no row.
    Nothing,
}

/// The same, or the error in words, code first.
pub(super) type Outcome = Result<Brought, Arc<str>>;

enum Entry {
    UnderWay(Receiver<Option<Outcome>>),
    /// A row was brought, at this time.
    Done(u64),
}

#[derive(Default)]
struct Table {
    entries: HashMap<Box<[u8]>, Entry>,
    /// Oldest first.
    done: VecDeque<(u64, Box<[u8]>)>,
}

/// See the module's text.
#[derive(Clone, Default)]
pub(super) struct Loads(Arc<Mutex<Table>>);

/// How a reader finds a key.
pub(super) enum Start {
    /// It is to load the key.
    Mine(Load),
    /// Somebody does.
    Others(Wait),
    /// Home was asked before the key came there.
    Done,
}

/// The duty to load a key. If it is dropped others may.
pub(super) struct Load {
    loads: Loads,
    key: Box<[u8]>,
    outcome: Sender<Option<Outcome>>,
    ended: bool,
}

/// Waits for somebody else's load.
pub(super) struct Wait(Receiver<Option<Outcome>>);

impl Loads {
    /// Begins to load a key that was absent at home in the reply to what was asked at `asked`.
    pub(super) fn begin(&self, key: &[u8], asked: u64) -> Start {
        let mut table = self.0.lock();
        match table.entries.get(key) {
            Some(Entry::UnderWay(outcome)) => return Start::Others(Wait(outcome.clone())),
            Some(Entry::Done(at)) if asked <= *at => return Start::Done,
            Some(Entry::Done(_)) | None => {}
        }
        let (sender, outcome) = channel(None);
        table.entries.insert(key.into(), Entry::UnderWay(outcome));
        Start::Mine(Load { loads: self.clone(), key: key.into(), outcome: sender, ended: false })
    }

    /// How many there are.
    pub(super) fn under_way(&self) -> usize {
        let table = self.0.lock();
        table.entries.values().filter(|entry| matches!(entry, Entry::UnderWay(_))).count()
    }
}

impl Load {
    /// Tells everybody.
    pub(super) fn end(mut self, outcome: Outcome) {
        self.ended = true;
        {
            let mut table = self.loads.0.lock();
            let now = clock::now();
            table.forget(now);
            if outcome == Ok(Brought::Row) {
                table.entries.insert(self.key.clone(), Entry::Done(now));
                table.done.push_back((now, self.key.clone()));
            } else {
                table.entries.remove(&self.key);
            }
        }
        // Perhaps nobody waits.
        let _ = self.outcome.send(Some(outcome));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if !self.ended {
            self.loads.0.lock().entries.remove(&self.key);
        }
    }
}

impl Table {
    fn forget(&mut self, now: u64) {
        while self.done.front().is_some_and(|(at, _)| at + REMEMBERED < now) {
            let Some((at, key)) = self.done.pop_front() else { return };
            if matches!(self.entries.get(&key), Some(Entry::Done(since)) if *since == at) {
                self.entries.remove(&key);
            }
        }
    }
}

impl Wait {
    /// What it brings; None: who loaded has given up.
    pub(super) async fn outcome(mut self) -> Option<Outcome> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mine(loads: &Loads, asked: u64) -> Load {
        match loads.begin(b"k", asked) {
            Start::Mine(load) => load,
            _ => panic!("nobody loads"),
        }
    }

    #[tokio::test]
    async fn one_loads_and_all_hear_of_it() {
        let loads = Loads::default();
        let asked = clock::now();
        let load = mine(&loads, asked);
        let Start::Others(wait) = loads.begin(b"k", asked) else { panic!("somebody loads") };
        assert_eq!(loads.under_way(), 1);
        load.end(Ok(Brought::Row));
        assert_eq!(wait.outcome().await, Some(Ok(Brought::Row)));
        // Who had asked home before has missed it, who asks later has not.
        assert!(matches!(loads.begin(b"k", asked), Start::Done));
        let load = mine(&loads, clock::now() + 1);
        load.end(Err("ERR no".into()));
        assert_eq!(loads.under_way(), 0);
        drop(mine(&loads, asked));
    }

    #[tokio::test]
    async fn who_gives_up_leaves_it_to_others() {
        let loads = Loads::default();
        let load = mine(&loads, 0);
        let Start::Others(wait) = loads.begin(b"k", 0) else { panic!("somebody loads") };
        drop(load);
        assert_eq!(wait.outcome().await, None);
        drop(mine(&loads, 0));
    }

    #[test]
    fn what_was_loaded_is_forgotten() {
        let loads = Loads::default();
        mine(&loads, 0).end(Ok(Brought::Row));
        let mut table = loads.0.lock();
        table.forget(clock::now() + REMEMBERED + 1);
        assert_eq!((table.entries.len(), table.done.len()), (0, 0));
    }
}
