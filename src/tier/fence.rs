//! Fences: what makes a flight unable to store its reply.
//!
//! A table of version numbers, indexed by key hash, and one epoch for all keys. Whoever changes a key, or hears
//! that it changed, moves its number on; a flight compares the numbers it saw before its request was sent with
//! those at the moment of storing. Two keys that share a number fence each other: a needless refusal, never a
//! stale copy.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

const SLOTS: usize = 1 << 16;

/// The version table of a process.
#[derive(Debug)]
pub struct Fences {
    epoch: AtomicU64,
    slots: Box<[AtomicU32]>,
}

/// A key's number at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    slot: u32,
    version: u32,
}

/// What a flight saw before its request was sent: taken before sending, checked before storing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    epoch: u64,
    first: Mark,
    others: Box<[Mark]>,
}

impl Default for Fences {
    fn default() -> Self {
        Fences { epoch: AtomicU64::new(0), slots: (0..SLOTS).map(|_| AtomicU32::new(0)).collect() }
    }
}

fn slot_of(hash: u64) -> usize {
    (hash >> 24) as usize % SLOTS
}

impl Fences {
    fn mark(&self, hash: u64) -> Mark {
        let slot = slot_of(hash);
        Mark { slot: slot as u32, version: self.slots[slot].load(SeqCst) }
    }

    /// A token for a reply over these keys (at least one).
    pub fn token(&self, first: u64, others: impl Iterator<Item = u64>) -> Token {
        let epoch = self.epoch.load(SeqCst);
        Token { epoch, first: self.mark(first), others: others.map(|h| self.mark(h)).collect() }
    }

    /// Refuses every flight over this key that is under way.
    pub fn raise(&self, hash: u64) {
        self.slots[slot_of(hash)].fetch_add(1, SeqCst);
    }

    /// Refuses every flight that is under way.
    pub fn raise_all(&self) {
        self.epoch.fetch_add(1, SeqCst);
    }

    /// Whether nothing has fenced the token's flight.
    pub fn current(&self, token: &Token) -> bool {
        self.epoch.load(SeqCst) == token.epoch
            && self.holds(token.first)
            && token.others.iter().all(|m| self.holds(*m))
    }

    fn holds(&self, mark: Mark) -> bool {
        self.slots.get(mark.slot as usize).is_some_and(|s| s.load(SeqCst) == mark.version)
    }

    /// Whether a reply stored with these marks in front (see [`Token::prefix`]) still stands; its own bytes.
    pub fn strip<'a>(&self, stored: &'a [u8]) -> Option<&'a [u8]> {
        let (count, mut rest) = stored.split_first_chunk::<4>()?;
        for _ in 0..u32::from_le_bytes(*count) {
            let (slot, after) = rest.split_first_chunk::<4>()?;
            let (version, after) = after.split_first_chunk::<4>()?;
            if !self.holds(Mark { slot: u32::from_le_bytes(*slot), version: u32::from_le_bytes(*version) }) {
                return None;
            }
            rest = after;
        }
        Some(rest)
    }
}

impl Token {
    /// Whether the reply spans several keys.
    pub fn spans(&self) -> bool {
        !self.others.is_empty()
    }

    /// A reply over several keys is stored under the first; the marks of the others go in front of it, so that
    /// a change of any of them is seen when the copy is read.
    pub fn prefix(&self, reply: &[u8]) -> Vec<u8> {
        let mut stored = Vec::with_capacity(4 + 8 * self.others.len() + reply.len());
        stored.extend_from_slice(&(self.others.len() as u32).to_le_bytes());
        for mark in &self.others {
            stored.extend_from_slice(&mark.slot.to_le_bytes());
            stored.extend_from_slice(&mark.version.to_le_bytes());
        }
        stored.extend_from_slice(reply);
        stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raise_of_any_key_or_of_all_refuses() {
        let fences = Fences::default();
        let (a, b, c) = (1 << 24, 2 << 24, 3 << 24);
        let token = fences.token(a, [b].into_iter());
        assert!(fences.current(&token));
        fences.raise(c);
        assert!(fences.current(&token));
        fences.raise(b);
        assert!(!fences.current(&token));
        let token = fences.token(a, std::iter::empty());
        assert!(fences.current(&token) && !token.spans());
        fences.raise_all();
        assert!(!fences.current(&token));
    }

    #[test]
    fn a_stored_reply_stands_until_one_of_its_other_keys_changes() {
        let fences = Fences::default();
        let token = fences.token(1 << 24, [2 << 24, 3 << 24].into_iter());
        let stored = token.prefix(b":2\r\n");
        assert_eq!(fences.strip(&stored), Some(&b":2\r\n"[..]));
        fences.raise(3 << 24);
        assert_eq!(fences.strip(&stored), None);
        assert_eq!(fences.strip(b"\x01\x00"), None);
        assert_eq!(fences.strip(b"\x01\x00\x00\x00abc"), None);
    }
}
