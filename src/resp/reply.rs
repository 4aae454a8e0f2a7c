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
        Self { rest: &reply[header.len() + 2..], left: entries.unwrap_or(0).saturating_mul(per_entry) }
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
        (0, Some(usize::try_from(self.left).map_or(bound, |left| left.min(bound))))
    }
}

impl FusedIterator for Elements<'_> {}

/// The reply without the attributes before it.
#[inline]
fn body(reply: &[u8]) -> &[u8] {
    if reply.first() == Some(&b'|') { skip_attributes(reply) } else { reply }
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

#[cfg(test)]
mod tests {
    use super::*;

    const ATTRIBUTE: &[u8] = b"|1\r\n+a\r\n*2\r\n:1\r\n-x\r\n";

    /// The reply alone and behind one and two attributes.
    fn variants(reply: &[u8]) -> [Vec<u8>; 3] {
        [reply.to_vec(), [ATTRIBUTE, reply].concat(), [ATTRIBUTE, b"|0\r\n", reply].concat()]
    }

    #[test]
    fn kinds_are_told_apart() {
        for (reply, error, push, absent) in [
            ("+OK\r\n", false, false, false),
            ("-ERR no\r\n", true, false, false),
            ("!3\r\nERR\r\n", true, false, false),
            (">1\r\n+x\r\n", false, true, false),
            ("*1\r\n-ERR no\r\n", false, false, false),
            ("$-1\r\n", false, false, true),
            ("*-1\r\n", false, false, true),
            ("_\r\n", false, false, true),
            ("*0\r\n", false, false, true),
            ("%0\r\n", false, false, true),
            ("~0\r\n", false, false, true),
            (":0\r\n", false, false, true),
            ("+none\r\n", false, false, true),
            (":00\r\n", false, false, false),
            (":1\r\n", false, false, false),
            ("$4\r\nnone\r\n", false, false, false),
            ("$0\r\n\r\n", false, false, false),
            ("*1\r\n$-1\r\n", false, false, false),
        ] {
            for reply in variants(reply.as_bytes()) {
                let shown = reply.escape_ascii();
                assert_eq!(is_error(&reply), error, "{shown}");
                assert_eq!(is_push(&reply), push, "{shown}");
                assert_eq!(is_absent(&reply), absent, "{shown}");
            }
        }
    }

    #[test]
    fn integers_are_read() {
        for (reply, value) in [
            (":0\r\n", Some(0)),
            (":-2\r\n", Some(-2)),
            (":9223372036854775807\r\n", Some(i64::MAX)),
            (":\r\n", None),
            (":1", None),
            ("$1\r\n1\r\n", None),
            ("+1\r\n", None),
        ] {
            for reply in variants(reply.as_bytes()) {
                assert_eq!(parse_integer(&reply), value, "{}", reply.escape_ascii());
            }
        }
    }

    #[test]
    fn strings_are_read() {
        for (reply, text) in [
            ("+OK\r\n", Some("OK")),
            ("$0\r\n\r\n", Some("")),
            ("$4\r\na\r\nb\r\n", Some("a\r\nb")),
            ("=5\r\ntxt:a\r\n", Some("a")),
            ("=2\r\nab\r\n", None),
            ("$-1\r\n", None),
            ("$9\r\nshort\r\n", None),
            ("_\r\n", None),
            (":1\r\n", None),
            ("-ERR\r\n", None),
        ] {
            for reply in variants(reply.as_bytes()) {
                assert_eq!(bulk(&reply), text.map(str::as_bytes), "{}", reply.escape_ascii());
            }
        }
    }

    #[test]
    fn elements_come_as_they_are_encoded() {
        for (reply, expected) in [
            ("*3\r\n:1\r\n*1\r\n+x\r\n$1\r\na\r\n", &[":1\r\n", "*1\r\n+x\r\n", "$1\r\na\r\n"][..]),
            ("~1\r\n|1\r\n+k\r\n+v\r\n#t\r\n", &["|1\r\n+k\r\n+v\r\n#t\r\n"]),
            (">2\r\n+invalidate\r\n_\r\n", &["+invalidate\r\n", "_\r\n"]),
            ("%1\r\n+k\r\n:1\r\n", &["+k\r\n", ":1\r\n"]),
            ("*0\r\n", &[]),
            ("*-1\r\n", &[]),
            ("+OK\r\n", &[]),
            ("*2\r\n:1\r\n", &[":1\r\n"]),
            ("*9223372036854775807\r\n:1\r\nx", &[":1\r\n"]),
        ] {
            for reply in variants(reply.as_bytes()) {
                let got: Vec<_> = elements(&reply).collect();
                let expected: Vec<_> = expected.iter().map(|element| element.as_bytes()).collect();
                assert_eq!(got, expected, "{}", reply.escape_ascii());
                assert!(elements(&reply).size_hint().1 >= Some(expected.len()));
            }
        }
    }

    #[test]
    fn what_is_no_reply_gives_nothing() {
        for bytes in
            ["", "\r\n", "|", "|1\r\n", "|1\r\n+a\r\n", "|-1\r\n", "*", "$", "*x\r\n", "=3\r\n", "nonsense"]
        {
            let bytes = bytes.as_bytes();
            assert!(!is_error(bytes) && !is_push(bytes) && !is_absent(bytes));
            assert_eq!((parse_integer(bytes), bulk(bytes), elements(bytes).next()), (None, None, None));
        }
    }
}
