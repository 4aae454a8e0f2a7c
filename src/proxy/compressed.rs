//! Values that home keeps compressed: what is sent in place of a request, and what a client is shown of the reply.
//!
//! Commands that set whole values or reply with them are rewritten on their way, both ways ([`Proxy::outgoing`],
//! [`Proxy::shown`]). Those that work inside the bytes are run elsewhere ([`super::unpacked`]), once home has the bytes.

use std::borrow::Cow;
use std::sync::Arc;

use super::inside::Looks;
use super::{Effects, Proxy, error_reply};
use crate::backend::lane::{Outcome, Reply};
use crate::clock;
use crate::command::{Command, Values, id};
use crate::metrics::Counters;
use crate::resp::{Request, encode, parse_i64, reply};
use crate::tier::compress::{Codec, MARK, Packing, Unreadable, Value};
use crate::tier::packing::Packings;

/// One worker's share of compression.
pub(super) struct Compressed {
    pub(super) packings: Arc<Packings>,
    codec: Codec,
    counters: Arc<Counters>,
}

/// Where a reply shows values that may be compressed, and what a client is to see of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    /// It is one.
    Value,
    /// It is one, of which the length was asked.
    Length,
    /// It is one, of which a range was asked.
    Range(i64, i64),
    /// Its elements: whether each is one.
    Elements(Box<[bool]>),
    /// Its elements are of several kinds in turn: whether each kind is one.
    InTurn(Box<[bool]>),
}

/// What goes home for a request.
pub(super) struct Outgoing<'a> {
    pub(super) raw: Cow<'a, [u8]>,
    /// What is done to the reply. None: nothing.
    pub(super) shown: Option<Box<Shown>>,
}

impl Proxy {
    /// What goes home for a request. The keys of `plain` are left as they are.
    pub(super) fn outgoing<'a>(
        &self,
        command: Option<&Command>,
        request: &Request<'a>,
        plain: &[Box<[u8]>],
    ) -> Outgoing<'a> {
        match (&self.compressed, command) {
            (Some(compressed), Some(command)) if command.values != Values::Unseen => {
                compressed.outgoing(command, request, plain)
            }
            _ => Outgoing { raw: Cow::Borrowed(request.raw()), shown: None },
        }
    }

    /// What home keeps of a value that is set from elsewhere than a request. None: the value itself.
    pub(super) fn packed_value(&self, key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        let compressed = self.compressed.as_ref()?;
        compressed.encode(value, compressed.packings.of(key)?)
    }

    /// Whether there are keys whose values home keeps compressed.
    pub fn compresses(&self) -> bool {
        self.compressed.is_some()
    }

    /// Appends what goes home for a command of a transaction, the one at `place`, and notes what is to be done to its
    /// reply. The keys of `plain` are left as they are.
    pub fn pack(
        &self,
        command: Option<&Command>,
        request: &Request<'_>,
        plain: &[Box<[u8]>],
        place: usize,
        block: &mut Vec<u8>,
        effects: &mut Effects,
    ) {
        let outgoing = self.outgoing(command, request, plain);
        block.extend_from_slice(&outgoing.raw);
        if let Some(shown) = outgoing.shown {
            effects.show(place, shown);
        }
    }

    /// What a client is shown of a reply of home.
    pub(super) fn shown<'a>(&self, shown: Option<&Shown>, outcome: Outcome<'a>) -> Outcome<'a> {
        match (shown, &self.compressed, outcome) {
            (Some(shown), Some(compressed), Outcome::Reply(reply)) => {
                Outcome::Reply(compressed.shown(shown, reply))
            }
            (_, _, outcome) => outcome,
        }
    }

    /// The same of the elements of EXEC's reply that `shown` names; `before` of them are nobody's.
    pub(super) fn shown_of_many<'a>(
        &self,
        before: usize,
        shown: &[(usize, Box<Shown>)],
        reply: Reply<'a>,
    ) -> Reply<'a> {
        let Some(compressed) = self.compressed.as_ref().filter(|_| before > 0 || !shown.is_empty()) else {
            return reply;
        };
        if !reply.bytes().starts_with(b"*") || reply::elements(reply.bytes()).next().is_none() {
            return reply;
        }
        let elements = reply::elements(reply.bytes()).skip(before);
        let mut out = Vec::with_capacity(reply.bytes().len());
        encode::array(&mut out, elements.clone().count());
        let mut shown = shown.iter().peekable();
        for (index, element) in elements.enumerate() {
            match shown.next_if(|(at, _)| *at == index) {
                Some((_, how)) => {
                    out.extend_from_slice(compressed.shown(how, Reply::Borrowed(element)).bytes())
                }
                None => out.extend_from_slice(element),
            }
        }
        Reply::Owned(out.into())
    }
}

impl Compressed {
    pub(super) fn new(packings: Arc<Packings>, counters: Arc<Counters>) -> Self {
        Compressed { codec: packings.codec(), packings, counters }
    }

    fn outgoing<'a>(&self, command: &Command, request: &Request<'a>, plain: &[Box<[u8]>]) -> Outgoing<'a> {
        let kept = |key: &[u8]| self.packings.of(key).filter(|_| !plain.iter().any(|p| **p == *key));
        let packing = |index: usize| kept(request.arg(index)?);
        let untouched = || Outgoing { raw: Cow::Borrowed(request.raw()), shown: None };
        if !command.arity_ok(request.len()) {
            return untouched();
        }
        let raw = match command.id {
            id::SET | id::GETSET | id::SETNX => self.packed(request, |i| packing(1).filter(|_| i == 2)),
            id::SETEX | id::PSETEX => self.packed(request, |i| packing(1).filter(|_| i == 3)),
            id::MSET | id::MSETNX => {
                let key_before = |i: usize| i.checked_sub(1).filter(|key| key % 2 == 1);
                self.packed(request, |i| key_before(i).and_then(packing))
            }
            id::STRLEN | id::GETRANGE | id::SUBSTR => {
                return self.instead(command, request, packing(1).is_some());
            }
            _ => None,
        };
        let shows = match command.id {
            id::GET | id::GETDEL | id::GETEX | id::GETSET => packing(1).map(|_| Shown::Value),
            id::SET => packing(1).filter(|_| sets_and_gets(request)).map(|_| Shown::Value),
            id::MGET => Some(request.iter().skip(1).map(|key| kept(key).is_some()).collect::<Box<[bool]>>())
                .filter(|any| any.contains(&true))
                .map(Shown::Elements),
            id::SORT | id::SORT_RO => Some(Looks::of(request))
                .filter(Looks::at_values)
                .map(|looks| Shown::InTurn(looks.gets.into())),
            _ => None,
        };
        Outgoing { raw: raw.map_or(Cow::Borrowed(request.raw()), Cow::Owned), shown: shows.map(Box::new) }
    }

    /// The whole value is asked for, and what was wanted of it is made here.
    fn instead<'a>(&self, command: &Command, request: &Request<'a>, kept: bool) -> Outgoing<'a> {
        let number = |i: usize| request.arg(i).and_then(parse_i64);
        let shown = match command.values {
            _ if !kept => None,
            Values::Length => Some(Shown::Length),
            // Of what is no number home says so.
            _ => number(2).zip(number(3)).map(|(from, to)| Shown::Range(from, to)),
        };
        let Some(shown) = shown else {
            return Outgoing { raw: Cow::Borrowed(request.raw()), shown: None };
        };
        let mut raw = Vec::new();
        encode::command(&mut raw, &[b"GET", request.arg(1).unwrap_or_default()]);
        Outgoing { raw: Cow::Owned(raw), shown: Some(Box::new(shown)) }
    }

    /// The request with those of its values compressed that `packing` says so of, by the argument they are.
    fn packed(&self, request: &Request<'_>, packing: impl Fn(usize) -> Option<Packing>) -> Option<Vec<u8>> {
        let mut packed = Vec::new();
        for (index, value) in request.iter().enumerate() {
            if let Some(stored) = packing(index).and_then(|packing| self.encode(value, packing)) {
                packed.push((index, stored));
            }
        }
        if packed.is_empty() {
            return None;
        }
        let mut packed = packed.iter().peekable();
        let mut out = Vec::new();
        encode::array(&mut out, request.len());
        for (index, arg) in request.iter().enumerate() {
            encode::bulk(&mut out, packed.next_if(|(at, _)| *at == index).map_or(arg, |(_, stored)| stored));
        }
        Some(out)
    }

    pub(super) fn encode(&self, value: &[u8], packing: Packing) -> Option<Vec<u8>> {
        let began = clock::now();
        let stored = self.codec.encode(value, packing);
        if let Some(stored) = stored.as_ref().filter(|stored| stored.len() < value.len()) {
            self.counters.packed.add(1);
            self.counters.packed_from.add(value.len() as u64);
            self.counters.packed_to.add(stored.len() as u64);
        }
        self.counters.packing_nanos.add(clock::now() - began);
        stored
    }

    /// What a client is to see.
    fn shown<'a>(&self, shown: &Shown, reply: Reply<'a>) -> Reply<'a> {
        let made = match shown {
            Shown::Value => self.unpacked(reply.bytes(), &mut self.packings.max_size()),
            Shown::Length => self.part(reply.bytes(), |out, value| encode::integer(out, value.len() as i64)),
            Shown::Range(from, to) => {
                self.part(reply.bytes(), |out, value| encode::bulk(out, range(value, *from, *to)))
            }
            Shown::Elements(which) => self.elements(reply.bytes(), |index| which.get(index) == Some(&true)),
            Shown::InTurn(kinds) => {
                self.elements(reply.bytes(), |index| kinds.get(index % kinds.len()) == Some(&true))
            }
        };
        match made {
            Ok(None) => reply,
            Ok(Some(made)) => Reply::Owned(made.into()),
            Err(unreadable) => Reply::Owned(error_reply(&unreadable_text(&unreadable))),
        }
    }

    /// The reply with its value plain; none if it is. `left` bytes may come of it.
    fn unpacked(&self, reply: &[u8], left: &mut usize) -> Result<Option<Vec<u8>>, Unreadable> {
        let Some(stored) = stored(reply) else { return Ok(None) };
        let value = self.decode(stored)?;
        if let Value::Plain(_) = value {
            return Ok(None);
        }
        let length = value.bytes().len();
        *left = left.checked_sub(length).ok_or(Unreadable::TooLong(self.packings.max_size()))?;
        let mut out = Vec::with_capacity(length + 16);
        encode::bulk(&mut out, value.bytes());
        Ok(Some(out))
    }

    pub(super) fn decode<'s>(&self, stored: &'s [u8]) -> Result<Value<'s>, Unreadable> {
        let began = clock::now();
        let value = self.codec.decode(stored);
        self.counters.unpacked.add(u64::from(matches!(value, Ok(Value::Unpacked(_)))));
        self.counters.unpacking_nanos.add(clock::now() - began);
        value
    }

    /// What `make` makes of a value that was replied, absent ones being empty; none of what is no value.
    fn part(
        &self,
        reply: &[u8],
        make: impl FnOnce(&mut Vec<u8>, &[u8]),
    ) -> Result<Option<Vec<u8>>, Unreadable> {
        let mut out = Vec::new();
        match reply {
            b"$-1\r\n" | b"_\r\n" => make(&mut out, b""),
            reply if reply.starts_with(b"$") => {
                let stored = reply::bulk(reply).unwrap_or_default();
                make(&mut out, self.decode(stored)?.bytes());
            }
            _ => return Ok(None),
        }
        Ok(Some(out))
    }

    fn elements(&self, reply: &[u8], which: impl Fn(usize) -> bool) -> Result<Option<Vec<u8>>, Unreadable> {
        let packed = |(index, element): (usize, &[u8])| which(index) && stored(element).is_some();
        if !reply.starts_with(b"*") || !reply::elements(reply).enumerate().any(packed) {
            return Ok(None);
        }
        let mut left = self.packings.max_size();
        let mut out = Vec::with_capacity(reply.len());
        encode::array(&mut out, reply::elements(reply).count());
        for (index, element) in reply::elements(reply).enumerate() {
            let unpacked = if which(index) { self.unpacked(element, &mut left)? } else { None };
            out.extend_from_slice(unpacked.as_deref().unwrap_or(element));
        }
        Ok(Some(out))
    }
}

/// The stored value in a reply, if it is marked.
fn stored(reply: &[u8]) -> Option<&[u8]> {
    reply::bulk(reply).filter(|stored| reply.starts_with(b"$") && stored.starts_with(MARK))
}

/// What a client is told of a value that cannot be read.
pub(super) fn unreadable_text(unreadable: &Unreadable) -> String {
    format!("ERR strata: {unreadable}")
}

/// SET replies with the old value.
fn sets_and_gets(request: &Request<'_>) -> bool {
    request.iter().skip(3).any(|word| word.eq_ignore_ascii_case(b"get"))
}

/// What GETRANGE replies.
fn range(value: &[u8], from: i64, to: i64) -> &[u8] {
    let length = value.len() as i64;
    if from < 0 && to < 0 && from > to {
        return b"";
    }
    let place = |n: i64| if n < 0 { n.saturating_add(length).max(0) } else { n };
    let (from, to) = (place(from), place(to).min(length - 1));
    if from > to { b"" } else { &value[from as usize..=to as usize] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_redis() {
        let cases = [
            ((0, 3), "This"),
            ((-3, -1), "ing"),
            ((0, -1), "This is a string"),
            ((10, 100), "string"),
            ((-5000, 3), "This"),
            ((100, 200), ""),
            ((5, 4), ""),
            ((-1, -5), ""),
            ((-1, 2), ""),
            ((i64::MIN, i64::MAX), "This is a string"),
            ((i64::MIN, i64::MIN), "T"),
        ];
        for ((from, to), expected) in cases {
            assert_eq!(range(b"This is a string", from, to), expected.as_bytes(), "{from} {to}");
        }
        assert_eq!(range(b"", 0, -1), b"");
    }
}
