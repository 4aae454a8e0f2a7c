//! What was denied lately, as ACL LOG tells it.

use std::collections::VecDeque;

/// Entries that are kept (Redis' acllog-max-len).
const MOST: usize = 128;
/// A denial is looked for among so many of the newest entries, and counted there if it is as young as this.
const ALIKE: (usize, u64) = (10, 60_000_000_000);
/// Bytes of a name that are kept: whoever was denied chose it.
const MAX_NAME: usize = 4096;

/// Why something was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The command.
    Command,
    /// A key.
    Key,
    /// A channel.
    Channel,
    /// The password, or the user.
    Auth,
}

impl Reason {
    /// Its name in ACL LOG.
    pub fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Key => "key",
            Self::Channel => "channel",
            Self::Auth => "auth",
        }
    }
}

/// Where it was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// As a command of its own.
    TopLevel,
    /// When it was queued, or at EXEC.
    Multi,
}

impl Stage {
    /// Its name in ACL LOG.
    pub fn name(self) -> &'static str {
        match self {
            Self::TopLevel => "toplevel",
            Self::Multi => "multi",
        }
    }
}

/// One denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Why.
    pub reason: Reason,
    /// Where.
    pub stage: Stage,
    /// The command, key or channel.
    pub object: Vec<u8>,
    /// Who it was, or wanted to be.
    pub user: Vec<u8>,
}

/// Denials that are alike.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What was denied.
    pub denial: Denial,
    /// How often.
    pub count: i64,
    /// When it was last ([`crate::clock::now`]).
    pub at: u64,
    /// The client then, as CLIENT LIST shows it.
    pub client: String,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Newest first.
    entries: VecDeque<Entry>,
}

impl Log {
    pub(super) fn note(&mut self, mut denial: Denial, client: String, now: u64) {
        denial.object.truncate(MAX_NAME);
        denial.user.truncate(MAX_NAME);
        let alike = |entry: &Entry| entry.denial == denial && now.saturating_sub(entry.at) <= ALIKE.1;
        let before = self.entries.iter().take(ALIKE.0).position(alike).and_then(|at| self.entries.remove(at));
        let count = before.map_or(0, |entry| entry.count) + 1;
        self.entries.push_front(Entry { denial, count, at: now, client });
        self.entries.truncate(MOST);
    }

    /// At most so many, newest first.
    pub(super) fn newest(&self, count: usize) -> Vec<Entry> {
        self.entries.iter().take(count).cloned().collect()
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(object: &str) -> Denial {
        let (object, user) = (object.as_bytes().to_vec(), b"u".to_vec());
        Denial { reason: Reason::Key, stage: Stage::TopLevel, object, user }
    }

    #[test]
    fn what_is_alike_is_counted_for_a_minute() {
        let mut log = Log::default();
        log.note(denial("a"), "1".into(), 1);
        log.note(denial("b"), "2".into(), 2);
        log.note(denial("a"), "3".into(), ALIKE.1);
        let seen = |log: &Log| {
            log.newest(9).into_iter().map(|e| (e.denial.object, e.count, e.client)).collect::<Vec<_>>()
        };
        let expected = [(b"a".to_vec(), 2, "3".to_owned()), (b"b".to_vec(), 1, "2".to_owned())];
        assert_eq!(seen(&log), expected);
        log.note(denial("b"), "4".into(), ALIKE.1 + 3);
        assert_eq!(seen(&log)[0], (b"b".to_vec(), 1, "4".to_owned()), "too old to be counted on");
        assert_eq!(log.newest(2).len(), 2);
        log.clear();
        assert!(log.newest(9).is_empty());
    }

    #[test]
    fn it_is_bounded() {
        let mut log = Log::default();
        for number in 0..1000 {
            log.note(denial(&format!("{number}{}", "x".repeat(5000))), String::new(), 0);
        }
        let kept = log.newest(usize::MAX);
        assert!(kept.len() == MOST && kept.iter().all(|entry| entry.denial.object.len() <= MAX_NAME));
    }
}
