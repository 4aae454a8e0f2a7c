//! Questions about one complete reply, as [`ReplyScanner`] delimits it. Leading attributes are skipped. Bytes that are
//! no complete reply give `false`, `None` or an empty iterator, never a panic.

use std::iter::FusedIterator;

use super::{ReplyScanner, Scan, parse_i64};

/// Whether the reply is an error (`-` or `!`).
#[must_use]
#[inline]
pub fn is_error(reply: &[u8]) -> bool {
    matches!(body(reply).first(), Some(b'-' | b'!'))
}

/// Whether the reply is out of band (`>`): it answers no request.
#[must_use]
#[inline]
pub fn is_push(reply: &[u8]) -> bool {
    matches!(body(reply).first(), Some(b'>'))
}

/// Whether the reply is one of those Redis gives for a key that does not exist: a null of either protocol, an
/// empty array, map or set, zero, or the type `none`. A key that exists may be answered so, too.
#[must_use]
pub fn is_absent(reply: &[u8]) -> bool {
    matches!(
        body(reply),
        b"$-1\r\n" | b"*-1\r\n" | b"_\r\n" | b"*0\r\n" | b":0\r\n" | b"%0\r\n" | b"~0\r\n" | b"+none\r\n"
    )
}

/// The value of an integer reply (`:`).
#[must_use]
pub fn parse_integer(reply: &[u8]) -> Option<i64> {
    match line(body(reply))? {
        [b':', digits @ ..] => parse_i64(digits),
        _ => None,
    }
}

/// The text of a string reply: bulk (`$`), verbatim (`=`, without its format) or simple (`+`). None if it is null.
#[must_use]
pub fn bulk(reply: &[u8]) -> Option<&[u8]> {
    let reply = body(reply);
    let header = line(reply)?;
    match *header {
        [b'+', ref text @ ..] => Some(text),
        [b'$', ref digits @ ..] => payload(reply, header, digits),
        [b'=', ref digits @ ..] => payload(reply, header, digits)?.get(4..),
        _ => None,
    }
}

/// The elements of an array, push or set, each with its own encoding and attributes; of a map its keys and values in
/// turn. Empty if the reply is anything else.
#[must_use]
pub fn elements(reply: &[u8]) -> Elements<'_> {
    let reply = body(reply);
    match reply.first() {
        Some(b'*' | b'>' | b'~') => Elements::after_header(reply, 1),
        Some(b'%') => Elements::after_header(reply, 2),
        _ => Elements { rest: &[], left: 0 },
    }
}

/// Iterator over the raw elements of an aggregate, see [`elements`].
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
    left: u64,
}

impl<'a> Elements<'a> {
    fn after_header(reply: &'a [u8], per_entry: u64) -> Self {
        let Some(header) = line(reply) else {
            return Self { rest: &[], left: 0 };
        };
        let entries = parse_i64(&header[1..]).and_then(|entries| u64::try_from(entries).ok());
        Self {
            rest: &reply[header.len() + 2..],
            left: entries.unwrap_or(0).saturating_mul(per_entry),
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        if let Scan::Complete { end } = ReplyScanner::new().step(self.rest, 0) {
            let (element, rest) = self.rest.split_at(end);
            self.rest = rest;
            Some(element)
        } else {
            self.left = 0;
            None
        }
    }

    /// Every element takes three bytes at least: what is announced beyond that is not there.
    fn size_hint(&self) -> (usize, Option<usize>) {
        let bound = self.rest.len() / 3;
        (
            0,
            Some(usize::try_from(self.left).map_or(bound, |left| left.min(bound))),
        )
    }
}

impl FusedIterator for Elements<'_> {}

/// The reply without the attributes before it.
#[inline]
fn body(reply: &[u8]) -> &[u8] {
    if reply.first() == Some(&b'|') {
        skip_attributes(reply)
    } else {
        reply
    }
}

#[cold]
fn skip_attributes(mut reply: &[u8]) -> &[u8] {
    while reply.first() == Some(&b'|') {
        let mut pairs = Elements::after_header(reply, 2);
        pairs.by_ref().for_each(drop);
        reply = pairs.rest;
    }
    reply
}

/// The first line, its marker included, its CRLF not.
fn line(reply: &[u8]) -> Option<&[u8]> {
    let end = reply.windows(2).position(|pair| pair == b"\r\n")?;
    (end > 0).then(|| &reply[..end])
}

fn payload<'a>(reply: &'a [u8], header: &[u8], digits: &[u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(parse_i64(digits)?).ok()?;
    reply.get(header.len() + 2..)?.get(..length)
}
