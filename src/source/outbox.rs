//! Changes on their way to their consumer: none is lost, and they take a bounded space.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Change;

/// Keys that wait. More: their sources count as changed as a whole.
const MAX_KEYS: usize = 200_000;

pub(super) struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
}

struct Queue {
    changes: VecDeque<Change>,
    keys: usize,
    /// The sources whose [`Change::All`] waits: what else changes of them until it is taken is part of it.
    all: Vec<bool>,
}

impl Outbox {
    pub(super) fn new(sources: usize) -> Self {
        let queue = Queue { changes: VecDeque::new(), keys: 0, all: vec![false; sources] };
        Self { queue: Mutex::new(queue), filled: Notify::new() }
    }

    pub(super) fn all(&self, source: usize) {
        self.queue.lock().push_all(source);
        self.filled.notify_one();
    }

    pub(super) fn keys(&self, source: usize, keys: Vec<Bytes>) {
        let mut queue = self.queue.lock();
        if queue.all[source] || keys.is_empty() {
            return;
        }
        queue.keys += keys.len();
        queue.changes.push_back(Change::Keys { source, keys });
        if queue.keys > MAX_KEYS {
            queue.collapse();
        }
        drop(queue);
        self.filled.notify_one();
    }
}

impl Queue {
    fn push_all(&mut self, source: usize) {
        if !self.all[source] {
            self.all[source] = true;
            self.changes.push_back(Change::All { source });
        }
    }

    fn collapse(&mut self) {
        self.keys = 0;
        for change in std::mem::take(&mut self.changes) {
            match change {
                Change::Keys { source, .. } => self.push_all(source),
                all @ Change::All { .. } => self.changes.push_back(all),
            }
        }
    }

    fn pop(&mut self) -> Option<Change> {
        let change = self.changes.pop_front()?;
        match &change {
            Change::Keys { keys, .. } => self.keys -= keys.len(),
            Change::All { source } => self.all[*source] = false,
        }
        Some(change)
    }
}

/// Every change, in the order of its announcement.
pub struct Changes {
    outbox: Arc<Outbox>,
}

impl Changes {
    pub(super) fn new(outbox: Arc<Outbox>) -> Self {
        Self { outbox }
    }

    /// Waits for the next one. Nothing is lost if it is not waited for to the end. There is always a next one.
    pub async fn recv(&mut self) -> Option<Change> {
        loop {
            let next = self.try_recv();
            if next.is_some() {
                return next;
            }
            // What was put there since then left its mark.
            self.outbox.filled.notified().await;
        }
    }

    /// The next one, if it is there.
    pub fn try_recv(&mut self) -> Option<Change> {
        self.outbox.queue.lock().pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(source: usize, count: usize) -> Change {
        Change::Keys { source, keys: vec![Bytes::from_static(b"k"); count] }
    }

    fn send(outbox: &Outbox, change: Change) {
        match change {
            Change::Keys { source, keys } => outbox.keys(source, keys),
            Change::All { source } => outbox.all(source),
        }
    }

    fn taken(outbox: &Arc<Outbox>) -> Vec<Change> {
        let mut changes = Changes::new(outbox.clone());
        std::iter::from_fn(|| changes.try_recv()).collect()
    }

    #[test]
    fn what_waits_to_be_told_as_a_whole_is_told_once() {
        let outbox = Arc::new(Outbox::new(2));
        let all = |source| Change::All { source };
        for change in [keys(0, 2), all(0), keys(0, 1), keys(1, 1), all(0), keys(1, 0)] {
            send(&outbox, change);
        }
        assert_eq!(taken(&outbox), [keys(0, 2), all(0), keys(1, 1)]);
        send(&outbox, keys(0, 1));
        assert_eq!(taken(&outbox), [keys(0, 1)]);
    }

    #[test]
    fn too_many_keys_become_all_of_their_sources() {
        let outbox = Arc::new(Outbox::new(3));
        for _ in 0..3 {
            send(&outbox, keys(0, MAX_KEYS / 3));
            send(&outbox, keys(2, 1));
        }
        let told = taken(&outbox);
        assert_eq!(told, [Change::All { source: 0 }, Change::All { source: 2 }]);
        assert_eq!(outbox.queue.lock().keys, 0);
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let outbox = Arc::new(Outbox::new(1));
        let mut changes = Changes::new(outbox.clone());
        let send = async {
            tokio::task::yield_now().await;
            outbox.all(0);
        };
        let (change, ()) = tokio::join!(changes.recv(), send);
        assert_eq!(change, Some(Change::All { source: 0 }));
    }
}
