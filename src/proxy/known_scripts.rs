//! Scripts that clients have shown, for nodes of home that have not seen them, or not since their start.
//!
//! A script is loaded where it is about to be run, ahead of its run and by the same connection. That a node has it is
//! believed as long as the connection lasts that it was loaded by.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::lease::Own;
use super::{Ask, Proxy, Ticket, Way};
use crate::backend::cluster::NodeId;
use crate::backend::lane::Course;
use crate::command::{Command, id};
use crate::resp::{Request, encode};

/// What is remembered of all scripts together. Beyond it the oldest are forgotten.
const MOST: usize = 4096;
const MOST_BYTES: usize = 32 << 20;

/// The digest by which a script is called: 40 digits, small letters.
pub(super) type Digest = [u8; 40];

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

    /// Which of these there are, by their digests as Redis takes them.
    pub(super) fn knows<'a>(&self, names: impl Iterator<Item = &'a [u8]>) -> Vec<bool> {
        let known = self.0.lock();
        let is_known =
            |name: &[u8]| name.try_into().is_ok_and(|name: Digest| known.bodies.contains_key(&name));
        names.map(|name| is_known(&name.to_ascii_lowercase())).collect()
    }

    fn epoch(&self) -> u64 {
        self.0.lock().epoch
    }

    fn body(&self, name: &Digest) -> Option<Arc<[u8]>> {
        self.0.lock().bodies.get(name).cloned()
    }
}

pub(super) fn name_of(body: &[u8]) -> Digest {
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

/// A request that calls a script by its digest, kept while its answer may be that nobody knows it.
pub(super) struct Called {
    name: Digest,
    request: Box<[u8]>,
}

impl Called {
    pub(super) fn name(&self) -> &Digest {
        &self.name
    }

    pub(super) fn request(&self) -> &[u8] {
        &self.request
    }
}

impl Proxy {
    /// The script that a request calls by its digest, if home is several nodes. What it shows is remembered.
    pub(super) fn script_of(&self, command: &Command, request: &Request<'_>) -> Option<Digest> {
        if !self.is_cluster() || !command.runs_script() {
            return None;
        }
        let word = request.arg(1)?;
        if [id::EVAL, id::EVAL_RO].contains(&command.id) {
            self.shared.known_scripts.learn(word);
        }
        named(command, word)
    }

    pub(super) fn called(&self, ask: &Ask<'_>) -> Option<Box<Called>> {
        let name = self.script_of(ask.command?, ask.request)?;
        Some(Box::new(Called { name, request: ask.request.raw().into() }))
    }

    /// Sends a script ahead to where it is about to be called, unless it is there.
    pub(super) fn provide_script(&self, way: Way, own: Option<&Own>, name: &Digest, now: u64) {
        let Some(body) = self.shared.known_scripts.body(name) else { return };
        if let Some(own) = own {
            return own.send_aside(&[b"SCRIPT", b"LOAD", &body], now);
        }
        let since = (self.lane(way).connection(), self.shared.known_scripts.epoch());
        let fresh = {
            let mut loaded = self.loaded.borrow_mut();
            let loaded = loaded.entry(way.node).or_default();
            if loaded.since != since {
                *loaded = Loaded { since, names: HashSet::new() };
            }
            loaded.names.insert(*name)
        };
        if fresh {
            let mut request = Vec::with_capacity(body.len() + 64);
            encode::command(&mut request, &[b"SCRIPT", b"LOAD", &body]);
            self.send(Way { slot: Course::HERE, ..way }, &request, Ticket::Nobody, now);
        }
    }

    /// Sends a script again to a node that has lost it. False: nobody knows it.
    pub(super) fn restore_script(&self, way: Way, name: &Digest, now: u64) -> bool {
        if let Some(loaded) = self.loaded.borrow_mut().get_mut(&way.node) {
            loaded.names.remove(name);
        }
        self.provide_script(way, None, name, now);
        self.shared.known_scripts.body(name).is_some()
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
        let held = || {
            let known = known.0.lock();
            (known.order.len(), known.bytes)
        };
        let body = |n: usize| format!("return {n}").into_bytes();
        (0..MOST + 10).for_each(|n| known.learn(&body(n)));
        assert_eq!((known.body(&name_of(&body(9))), held().0), (None, MOST));
        assert!(known.body(&name_of(&body(10))).is_some());
        known.learn(&vec![b' '; MOST_BYTES]);
        assert_eq!(held(), (1, MOST_BYTES));
        known.learn(b"return 1");
        assert_eq!(held(), (1, 8));
        known.learn(&vec![b' '; MOST_BYTES + 1]);
        assert_eq!(held().1, 8);
    }
}
