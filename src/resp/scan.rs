//! The reply scanner: finds where a reply of a backend ends, without decoding it.

use super::parse_i64;

/// The longest line that announces a length: a marker, 19 digits with a sign, CRLF.
const MAX_LENGTH_LINE: usize = 23;

/// Upper bound of an announced length or element count.
const MAX_LENGTH: i64 = u32::MAX as i64;

/// What a call of [`ReplyScanner::step`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// The reply is `buf[base..end]`.
    Complete { end: usize },
    /// At least `need` more bytes must come (1 or more, and up to 4 GB: what the backend announced).
    Incomplete { need: usize },
    /// The stream is not RESP: the connection is to be closed.
    Error(ReplyError),
}

/// Why a stream of replies cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    #[error("a reply begins with '{}'", .0.escape_ascii())]
    UnknownType(u8),
    #[error("a reply has an invalid length")]
    InvalidLength,
    #[error("a reply is longer than announced")]
    MissingTerminator,
}

/// Finds the end of one reply after the other in the stream of a backend, RESP2 and RESP3, with leading attributes
/// counted as part of the reply. Streamed strings and aggregates (`$?`, `*?`), which Redis never sends, are errors.
///
/// Nesting costs nothing: an element stands for itself, an aggregate adds its elements to those still to come, and
/// what is open around them need not be known to find the end. So a script that returns an array nested 10,000 deep
/// is a reply like any other, and no reply can exhaust a stack. State is constant in size, however long the reply.
///
/// A reply that arrives in pieces is not scanned again: `step` is called with the same start of the reply, at
/// whatever offset that is now.
#[derive(Clone, Debug, Default)]
pub struct ReplyScanner {
    /// Everything before it is scanned, relative to the start of the reply.
    at: usize,
    /// Bytes from `at` that hold no end of line.
    searched: usize,
    /// Elements still to come after the one expected next.
    more: u64,
}

/// Why scanning stops before the end of a reply.
enum Stop {
    Need(usize),
    Fail(ReplyError),
}

/// One element without its children.
struct Element {
    /// Bytes it takes.
    size: usize,
    /// Elements it announces.
    children: u64,
}

impl ReplyScanner {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Scans the reply that begins at `buf[base]`. After [`Scan::Incomplete`] the next call must offer the same reply,
    /// with more bytes behind it; after [`Scan::Error`] the scanner is not to be used again.
    #[inline]
    pub fn step(&mut self, buf: &[u8], base: usize) -> Scan {
        let reply = buf.get(base..).unwrap_or_default();
        loop {
            let rest = reply.get(self.at..).unwrap_or_default();
            let element = match read_element(rest, &mut self.searched) {
                Ok(element) => element,
                Err(Stop::Need(need)) => return Scan::Incomplete { need },
                Err(Stop::Fail(error)) => return Scan::Error(error),
            };
            self.at += element.size;
            let Some(left) = self.more.checked_add(element.children) else {
                return Scan::Error(ReplyError::InvalidLength);
            };
            if left == 0 {
                let end = base + self.at;
                *self = Self::default();
                return Scan::Complete { end };
            }
            self.more = left - 1;
        }
    }
}

#[inline]
fn read_element(rest: &[u8], searched: &mut usize) -> Result<Element, Stop> {
    let Some(&marker) = rest.first() else {
        return Err(Stop::Need(1));
    };
    match marker {
        b'$' => string(rest, true),
        b'+' | b':' | b'-' | b'_' | b',' | b'#' | b'(' => line(rest, searched),
        b'*' => aggregate(rest, 1, true),
        b'%' => aggregate(rest, 2, false),
        b'~' | b'>' => aggregate(rest, 1, false),
        b'=' | b'!' => string(rest, false),
        // An attribute stands before an element: after its pairs comes what would have come in its place.
        b'|' => {
            let pairs = aggregate(rest, 2, false)?;
            Ok(Element { size: pairs.size, children: pairs.children + 1 })
        }
        other => Err(Stop::Fail(ReplyError::UnknownType(other))),
    }
}

/// A line ends at the first CRLF; a CR or LF alone is part of it, as clients of Redis have it.
fn line(rest: &[u8], searched: &mut usize) -> Result<Element, Stop> {
    let mut from = *searched;
    while let Some(found) = rest[from..].iter().position(|&byte| byte == b'\r') {
        let cr = from + found;
        match rest.get(cr + 1) {
            Some(b'\n') => {
                *searched = 0;
                return Ok(Element { size: cr + 2, children: 0 });
            }
            Some(_) => from = cr + 1,
            None => {
                *searched = cr;
                return Err(Stop::Need(1));
            }
        }
    }
    *searched = rest.len();
    Err(Stop::Need(2))
}

#[inline]
fn string(rest: &[u8], nullable: bool) -> Result<Element, Stop> {
    let (length, header) = read_length(rest)?;
    let Ok(length) = usize::try_from(length) else {
        return null(header, nullable);
    };
    let end = header + length;
    match rest.get(end..end + 2) {
        Some(b"\r\n") => Ok(Element { size: end + 2, children: 0 }),
        Some(_) => Err(Stop::Fail(ReplyError::MissingTerminator)),
        None => Err(Stop::Need(end + 2 - rest.len())),
    }
}

fn aggregate(rest: &[u8], per_entry: u64, nullable: bool) -> Result<Element, Stop> {
    let (length, header) = read_length(rest)?;
    match u64::try_from(length) {
        Ok(entries) => Ok(Element { size: header, children: entries * per_entry }),
        Err(_) => null(header, nullable),
    }
}

/// RESP2 writes the absent string and the absent array with a length of -1.
fn null(size: usize, nullable: bool) -> Result<Element, Stop> {
    if nullable { Ok(Element { size, children: 0 }) } else { Err(Stop::Fail(ReplyError::InvalidLength)) }
}

/// The length after the marker, -1 at least, and the size of its line.
#[inline]
fn read_length(rest: &[u8]) -> Result<(i64, usize), Stop> {
    match *rest {
        [_, digit @ b'0'..=b'9', b'\r', b'\n', ..] => Ok((i64::from(digit - b'0'), 4)),
        [_, tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'\r', b'\n', ..] => {
            Ok((i64::from(tens - b'0') * 10 + i64::from(ones - b'0'), 5))
        }
        _ => read_long_length(rest),
    }
}

fn read_long_length(rest: &[u8]) -> Result<(i64, usize), Stop> {
    let window = &rest[..rest.len().min(MAX_LENGTH_LINE)];
    let Some(lf) = window.iter().position(|&byte| byte == b'\n') else {
        return Err(if rest.len() < MAX_LENGTH_LINE {
            Stop::Need(1)
        } else {
            Stop::Fail(ReplyError::InvalidLength)
        });
    };
    let length = window[1..lf].strip_suffix(b"\r").and_then(parse_i64);
    match length {
        Some(length @ -1..=MAX_LENGTH) => Ok((length, lf + 1)),
        _ => Err(Stop::Fail(ReplyError::InvalidLength)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(stream: &[u8]) -> Scan {
        ReplyScanner::new().step(stream, 0)
    }

    #[test]
    fn every_type_ends_where_it_ends() {
        let replies: &[&[u8]] = &[
            b"+OK\r\n",
            b"+\r\n",
            b"+a\rb\nc\r\r\n",
            b"-ERR no\r\n",
            b":-42\r\n",
            b"$0\r\n\r\n",
            b"$4\r\na\r\nb\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"*0\r\n",
            b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
            b"_\r\n",
            b",1.5\r\n",
            b"#t\r\n",
            b"(123456789012345678901234567890\r\n",
            b"!5\r\nERR x\r\n",
            b"=5\r\ntxt:a\r\n",
            b"%2\r\n+a\r\n:1\r\n+b\r\n~1\r\n:2\r\n",
            b">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n",
            b"|1\r\n+ttl\r\n:9\r\n$1\r\nv\r\n",
            b"*2\r\n|1\r\n+a\r\n|0\r\n+b\r\n:1\r\n|0\r\n:2\r\n",
        ];
        for reply in replies {
            let shown = reply.escape_ascii();
            let stream = [b"..", *reply, b"+next\r\n"].concat();
            let end = 2 + reply.len();
            assert_eq!(ReplyScanner::new().step(&stream, 2), Scan::Complete { end }, "{shown}");
            for cut in 0..reply.len() {
                assert!(
                    matches!(scan(&reply[..cut]), Scan::Incomplete { need: 1.. }),
                    "{shown} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_resp_is_an_error() {
        let table: &[(&[u8], ReplyError)] = &[
            (b"\r\n", ReplyError::UnknownType(b'\r')),
            (b"HELLO", ReplyError::UnknownType(b'H')),
            (b"*1\r\nx", ReplyError::UnknownType(b'x')),
            (b"$?\r\n", ReplyError::InvalidLength),
            (b"*?\r\n", ReplyError::InvalidLength),
            (b"$\r\n", ReplyError::InvalidLength),
            (b"$-2\r\n", ReplyError::InvalidLength),
            (b"$04\r\n", ReplyError::InvalidLength),
            (b"$4\n", ReplyError::InvalidLength),
            (b"%-1\r\n", ReplyError::InvalidLength),
            (b"=-1\r\n", ReplyError::InvalidLength),
            (b"$4294967296\r\n", ReplyError::InvalidLength),
            (b"*9223372036854775807\r\n", ReplyError::InvalidLength),
            (b"$1111111111111111111111", ReplyError::InvalidLength),
            (b"$1\r\nab\r\n", ReplyError::MissingTerminator),
        ];
        for (stream, error) in table {
            assert_eq!(scan(stream), Scan::Error(*error), "{}", stream.escape_ascii());
        }
        assert_eq!(ReplyError::UnknownType(b'\r').to_string(), "a reply begins with '\\r'");
    }

    #[test]
    fn what_is_needed_is_said() {
        assert_eq!(scan(b""), Scan::Incomplete { need: 1 });
        assert_eq!(scan(b"+OK"), Scan::Incomplete { need: 2 });
        assert_eq!(scan(b"+OK\r"), Scan::Incomplete { need: 1 });
        assert_eq!(scan(b"$1000\r\nabc"), Scan::Incomplete { need: 999 });
        assert_eq!(scan(b"*2\r\n:1\r\n$5\r\nabcde\r"), Scan::Incomplete { need: 1 });
    }

    // Redis sends arrays nested some 8,000 deep: EVAL "local t={} for i=1,9999 do t={t} end return t" 0
    #[test]
    fn nesting_is_not_limited() {
        let stream = [b"*1\r\n".repeat(1_000_000), b"$1\r\nx\r\n".to_vec()].concat();
        assert_eq!(scan(&stream), Scan::Complete { end: stream.len() });
    }

    #[test]
    fn counts_do_not_overflow() {
        let stream = b"%4294967295\r\n".repeat(100_000);
        assert_eq!(scan(&stream), Scan::Incomplete { need: 1 });
        let mut scanner = ReplyScanner { more: u64::MAX - 1, ..ReplyScanner::default() };
        assert_eq!(scanner.step(b"*3\r\n", 0), Scan::Error(ReplyError::InvalidLength));
    }

    #[test]
    fn a_reply_in_pieces_is_scanned_once() {
        let mut stream = b"*100000\r\n".to_vec();
        stream.extend(b"$1\r\nx\r\n".iter().cycle().take(700_000));
        let mut scanner = ReplyScanner::new();
        for read in (0..stream.len()).step_by(701).skip(1) {
            let before = scanner.at;
            assert!(matches!(scanner.step(&stream[..read], 0), Scan::Incomplete { .. }));
            assert!(scanner.at > before);
        }
        let moved = [b"....", &stream[..]].concat();
        assert_eq!(scanner.step(&moved, 4), Scan::Complete { end: moved.len() });
    }

    #[test]
    fn a_long_line_is_searched_once() {
        let mut scanner = ReplyScanner::new();
        let stream = [b'+'; 50_000];
        for read in [10, 20_000, 50_000] {
            assert_eq!(scanner.step(&stream[..read], 0), Scan::Incomplete { need: 2 });
            assert_eq!(scanner.searched, read);
        }
    }
}
