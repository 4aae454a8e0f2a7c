//! Scripts that clients have shown, for nodes of home that have not seen them, or not since their start.
//!
//! A script is loaded where it is about to be run, ahead of its run and by the same connection. That a node has it is
//! believed as long as the connection lasts that it was loaded by.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::{Ask, Proxy, Ticket, Way};
use crate::backend::cluster::NodeId;
use crate::command::{Command, id};
use crate::resp::encode;

/// What is remembered of all scripts together. Beyond it the oldest are forgotten.
const MOST: usize = 4096;
const MOST_BYTES: usize = 32 << 20;

/// The digest by which a script is called: 40 digits, small letters.
type Digest = [u8; 40];

/// The scripts of a process.
#[derive(Default)]
pub struct KnownScripts(Mutex<Known>);

#[derive(Default)]
struct Known {
    bodies: HashMap<Digest, Arc<[u8]>>,
    /// Oldest first.
    order: VecDeque<Digest>,
    bytes: usize,
    /// Moved on when all are forgotten.
    epoch: u64,
}

impl KnownScripts {
    /// Remembers a script.
    pub(super) fn learn(&self, body: &[u8]) {
        let name = name_of(body);
        let mut known = self.0.lock();
        if body.len() > MOST_BYTES || known.bodies.contains_key(&name) {
            return;
        }
        known.bytes += body.len();
        known.order.push_back(name);
        known.bodies.insert(name, body.into());
        while known.order.len() > MOST || known.bytes > MOST_BYTES {
            let oldest = known.order.pop_front().and_then(|oldest| known.bodies.remove(&oldest));
            known.bytes -= oldest.map_or(known.bytes, |body| body.len());
        }
    }

    /// Forgets all scripts: they were flushed.
    pub(super) fn forget(&self) {
        let mut known = self.0.lock();
        *known = Known { epoch: known.epoch + 1, ..Known::default() };
    }

    fn epoch(&self) -> u64 {
        self.0.lock().epoch
    }

    fn body(&self, name: &Digest) -> Option<Arc<[u8]>> {
        self.0.lock().bodies.get(name).cloned()
    }
}

fn name_of(body: &[u8]) -> Digest {
    let mut name = [0; 40];
    for (pair, byte) in name.chunks_exact_mut(2).zip(digest(&SHA1_FOR_LEGACY_USE_ONLY, body).as_ref()) {
        let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble & 15)];
        (pair[0], pair[1]) = (digit(byte >> 4), digit(*byte));
    }
    name
}

/// What is on a node, as far as one worker knows.
#[derive(Default)]
pub(super) struct Loaded {
    /// The connection by which these were loaded, and the state of [`KnownScripts`].
    since: (u64, u64),
    names: HashSet<Digest>,
}

/// By node.
pub(super) type LoadedScripts = RefCell<HashMap<NodeId, Loaded>>;

impl Proxy {
    /// Sees to it that the script which a request runs is where it goes. What it shows is remembered.
    pub(super) fn provide_script(&self, ask: &Ask<'_>, way: Way) {
        let runs = |command: &&Command| self.is_cluster() && command.runs_script() && ask.own.is_none();
        let Some(command) = ask.command.filter(runs) else { return };
        let word = ask.request.arg(1).unwrap_or_default();
        match command.id {
            id::EVAL | id::EVAL_RO => self.shared.scripts.learn(word),
            _ => {
                if let Some(name) = named(command, word) {
                    self.load_script(way, name, ask.now);
                }
            }
        }
    }

    fn load_script(&self, way: Way, name: Digest, now: u64) {
        let Some(body) = self.shared.scripts.body(&name) else { return };
        let since = (self.lane(way).connection(), self.shared.scripts.epoch());
        let mut loaded = self.loaded.borrow_mut();
        let loaded = loaded.entry(way.node).or_default();
        if loaded.since != since {
            *loaded = Loaded { since, names: HashSet::new() };
        }
        if loaded.names.insert(name) {
            let mut request = Vec::with_capacity(body.len() + 64);
            encode::command(&mut request, &[b"SCRIPT", b"LOAD", &body]);
            self.send(way, &request, Ticket::Nobody, now);
        }
    }
}

/// The script that a command calls by its digest.
fn named(command: &Command, word: &[u8]) -> Option<Digest> {
    let by_name = [id::EVALSHA, id::EVALSHA_RO].contains(&command.id);
    let name: Digest = word.to_ascii_lowercase().try_into().ok()?;
    by_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_called_by_their_digests() {
        assert_eq!(&name_of(b"return 1"), b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        let known = KnownScripts::default();
        known.learn(b"return 1");
        let name = named(crate::command::by_id(id::EVALSHA), b"E0E1F9fabfc9d4800c877a703b823ac0578ff8db");
        assert_eq!(name.and_then(|name| known.body(&name)).as_deref(), Some(&b"return 1"[..]));
        assert_eq!(named(crate::command::by_id(id::EVALSHA), b"e0e1"), None);
        known.forget();
        assert_eq!((known.body(&name_of(b"return 1")), known.epoch()), (None, 1));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let known = KnownScripts::default();
        let body = |n: usize| format!("return {n}").into_bytes();
        (0..MOST + 10).for_each(|n| known.learn(&body(n)));
        assert_eq!((known.body(&name_of(&body(9))), known.0.lock().order.len()), (None, MOST));
        assert!(known.body(&name_of(&body(10))).is_some());
        known.learn(&vec![b' '; MOST_BYTES]);
        assert_eq!((known.0.lock().order.len(), known.0.lock().bytes), (1, MOST_BYTES));
        known.learn(b"return 1");
        assert_eq!((known.0.lock().order.len(), known.0.lock().bytes), (1, 8));
        known.learn(&vec![b' '; MOST_BYTES + 1]);
        assert_eq!(known.0.lock().bytes, 8);
    }
}
