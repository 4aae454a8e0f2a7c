//! Messages of one topic that came together, encoded once for all who hear them.

use bytes::Bytes;

use super::{Event, Space};
use crate::resp::reply;

/// A run is not grown beyond this, in bytes.
const FULL: usize = 32 * 1024;
/// What the channels begin with on which a node tells of its own keys.
const KEY_EVENTS: [&[u8]; 2] = [b"__keyspace@", b"__keyevent@"];

/// The topic of a pushed message: its namespace and its channel or pattern. None: it is something else.
pub(super) fn topic(frame: &[u8]) -> Option<(Space, &[u8])> {
    let mut parts = reply::elements(frame);
    let space = match parts.next().and_then(reply::bulk)? {
        b"message" => Space::Channels,
        b"pmessage" => Space::Patterns,
        b"smessage" => Space::Shards,
        _ => return None,
    };
    Some((space, parts.next().and_then(reply::bulk)?))
}

/// Whether a pushed message is what a node tells of its own keys, which others do not pass on.
pub(super) fn is_key_event(frame: &[u8]) -> bool {
    let mut parts = reply::elements(frame);
    let channel = match parts.next().and_then(reply::bulk) {
        Some(b"message") => parts.next(),
        Some(b"pmessage") => parts.nth(1),
        _ => None,
    };
    let channel = channel.and_then(reply::bulk).unwrap_or_default();
    KEY_EVENTS.iter().any(|prefix| channel.starts_with(prefix))
}

/// Whether messages of a topic may be such.
pub(super) fn may_be_key_event(space: Space, name: &[u8]) -> bool {
    let special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'\\');
    let (literal, open) = match (space, name.iter().position(special)) {
        (Space::Shards, _) => return false,
        (Space::Patterns, Some(at)) => (&name[..at], true),
        _ => (name, false),
    };
    KEY_EVENTS.iter().any(|prefix| literal.starts_with(prefix) || open && prefix.starts_with(literal))
}

/// Messages of one topic in a row.
pub(super) struct Run {
    space: Space,
    name: Bytes,
    resp3: Vec<u8>,
    /// Where each begins.
    starts: Vec<usize>,
}

impl Run {
    pub(super) fn new(space: Space, name: &[u8]) -> Self {
        Run { space, name: Bytes::copy_from_slice(name), resp3: Vec::new(), starts: Vec::new() }
    }

    /// Whether a message of this topic still belongs to the run.
    pub(super) fn takes(&self, space: Space, name: &[u8]) -> bool {
        self.space == space && self.name == name && self.resp3.len() < FULL
    }

    /// `frame` is a push of RESP3. RESP2 has arrays for it, which differ in the first byte.
    pub(super) fn add(&mut self, frame: &[u8]) {
        self.starts.push(self.resp3.len());
        self.resp3.extend_from_slice(frame);
    }

    pub(super) fn topic(&self) -> (Space, &[u8]) {
        (self.space, &self.name)
    }

    pub(super) fn finish(self) -> Finished {
        let mut resp2 = self.resp3.clone();
        for start in self.starts {
            resp2[start] = b'*';
        }
        Finished { space: self.space, name: self.name, resp2: resp2.into(), resp3: self.resp3.into() }
    }
}

/// A run in both protocols.
pub(super) struct Finished {
    space: Space,
    name: Bytes,
    resp2: Bytes,
    resp3: Bytes,
}

impl Finished {
    /// Bytes held.
    pub(super) fn weight(&self) -> usize {
        self.resp2.len() + self.resp3.len()
    }

    pub(super) fn event(&self) -> Event {
        Event::Message {
            space: self.space,
            name: self.name.clone(),
            resp2: self.resp2.clone(),
            resp3: self.resp3.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_by_their_topic() {
        assert_eq!(
            topic(b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nm\r\n"),
            Some((Space::Channels, &b"a"[..]))
        );
        let pattern = b">4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$1\r\na\r\n$1\r\nm\r\n";
        assert_eq!(topic(pattern), Some((Space::Patterns, &b"a*"[..])));
        assert_eq!(
            topic(b">3\r\n$8\r\nsmessage\r\n$1\r\na\r\n$1\r\nm\r\n"),
            Some((Space::Shards, &b"a"[..]))
        );
        assert_eq!(topic(b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"), None);
        assert_eq!(topic(b">1\r\n$7\r\nmessage\r\n"), None);
    }

    #[test]
    fn a_run_is_encoded_for_both_protocols() {
        let mut run = Run::new(Space::Channels, b"a");
        assert!(run.takes(Space::Channels, b"a"));
        assert!(!run.takes(Space::Channels, b"b") && !run.takes(Space::Shards, b"a"));
        run.add(b">1\r\n+x>\r\n");
        run.add(b">1\r\n+y\r\n");
        let done = run.finish();
        assert_eq!(done.resp3, ">1\r\n+x>\r\n>1\r\n+y\r\n");
        assert_eq!(done.resp2, "*1\r\n+x>\r\n*1\r\n+y\r\n");
        assert_eq!(done.weight(), 34);
    }
}
