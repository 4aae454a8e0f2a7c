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
            Ok(Element {
                size: pairs.size,
                children: pairs.children + 1,
            })
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
                return Ok(Element {
                    size: cr + 2,
                    children: 0,
                });
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
        Some(b"\r\n") => Ok(Element {
            size: end + 2,
            children: 0,
        }),
        Some(_) => Err(Stop::Fail(ReplyError::MissingTerminator)),
        None => Err(Stop::Need(end + 2 - rest.len())),
    }
}

fn aggregate(rest: &[u8], per_entry: u64, nullable: bool) -> Result<Element, Stop> {
    let (length, header) = read_length(rest)?;
    match u64::try_from(length) {
        Ok(entries) => Ok(Element {
            size: header,
            children: entries * per_entry,
        }),
        Err(_) => null(header, nullable),
    }
}

/// RESP2 writes the absent string and the absent array with a length of -1.
fn null(size: usize, nullable: bool) -> Result<Element, Stop> {
    if nullable {
        Ok(Element { size, children: 0 })
    } else {
        Err(Stop::Fail(ReplyError::InvalidLength))
    }
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
