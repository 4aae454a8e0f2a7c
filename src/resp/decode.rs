//! The request parser: finds a client's commands in its read buffer, in place and resumable.

use std::ops::Range;

use super::inline::Inline;
use super::{MAX_BUFFER, ProtocolError, Request, Span, parse_i64};

/// Arguments and bulk bytes a client may send before it is authenticated, as in Redis 7.
const UNAUTHENTICATED_ARGS: i64 = 10;
const UNAUTHENTICATED_BULK: i64 = 16_384;

/// Capacity kept for the arguments of unfinished commands; a larger one is given back when its command is done.
const KEPT_SPANS: usize = 512;

/// What a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one argument (`proto-max-bulk-len`).
    pub max_bulk: usize,
    /// Arguments of one command.
    pub max_args: usize,
    /// Bytes of an inline command, and of a line that announces a length, without its terminator.
    pub max_inline: usize,
    /// Without authentication, where one is required: 10 arguments of 16 KB.
    pub authenticated: bool,
}

impl Limits {
    #[inline]
    fn allow_args(&self, count: i64) -> bool {
        count <= self.max_args as i64 && (self.authenticated || count <= UNAUTHENTICATED_ARGS)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_bulk: 512 << 20, max_args: 1 << 20, max_inline: 64 << 10, authenticated: true }
    }
}

/// What a call of [`RequestParser::step`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A whole multibulk command, `buf[base..end]`; its arguments were appended to `spans`, absolute in `buf`.
    Command { end: usize },
    /// A whole inline command, which ends at `end`: [`RequestParser::inline`] has its canonical encoding.
    Inline { end: usize },
    /// The bytes before `end` say nothing and get no reply: `*0`, `*-1`, an empty line.
    Nothing { end: usize },
    /// At least `need` more bytes must come (1 or more). A client can make this as large as `max_bulk`.
    Incomplete { need: usize },
    /// The connection is to be closed after the error reply.
    Error(ProtocolError),
}

/// Parses one client's commands.
///
/// What is accepted is what Redis accepts, with one exception: Redis skips two bytes where a line or an argument must
/// end, whatever they are, and this parser insists on CRLF, since the bytes are forwarded on shared connections.
/// Like Redis it sees no end of line behind a NUL, and judges a line only when it is whole.
///
/// A command that arrives in pieces is not scanned again: `step` is called with the same start of the command, at
/// whatever offset that is now. Memory held for an unfinished command: 8 bytes for each argument that has arrived.
#[derive(Debug, Default)]
pub struct RequestParser {
    cursor: Cursor,
    /// Arguments found so far of a command that is not complete, relative to its start.
    partial: Vec<Span>,
    inline: Inline,
}

/// How far an unfinished command is understood, relative to its start.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    /// Everything before it is done with.
    at: usize,
    /// Bytes from `at` that hold no end of line.
    searched: usize,
    /// Arguments still to come; 0 while the count has not been read.
    missing: usize,
}

/// Why parsing stops before the end of a command.
enum Stop {
    Need(usize),
    Fail(ProtocolError),
}

impl From<Stop> for Step {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Need(need) => Self::Incomplete { need },
            Stop::Fail(error) => Self::Error(error),
        }
    }
}

impl RequestParser {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The command that the last [`Step::Inline`] announced.
    ///
    /// # Panics
    /// The accessors of the request may panic if the last step was another.
    #[must_use]
    pub fn inline(&self) -> Request<'_> {
        self.inline.request()
    }

    /// Parses the command that begins at `buf[base]`. After [`Step::Incomplete`] the next call must offer the same
    /// command, with more bytes behind it; after [`Step::Error`] the parser is not to be used again.
    ///
    /// `buf` may hold up to [`MAX_BUFFER`] bytes; a command that needs more is refused.
    #[inline]
    pub fn step(&mut self, buf: &[u8], base: usize, spans: &mut Vec<Span>, limits: &Limits) -> Step {
        if buf.len() > MAX_BUFFER {
            return Step::Error(ProtocolError::InvalidBulkLength);
        }
        let command = buf.get(base..).unwrap_or_default();
        let step = match command.first() {
            None => return Step::Incomplete { need: 1 },
            Some(b'*') if self.cursor.missing == 0 => self.begin(command, base, spans, limits),
            Some(b'*') => self.resume(command, base, spans, limits),
            Some(_) => self.line(command, base, limits),
        };
        step.unwrap_or_else(Step::from)
    }

    /// The end of the command at `buf[base]`, if its name is spelt like that of the one at `before` and its arguments are as
    /// many and as long: pipelines mostly repeat themselves, and comparing is cheaper than parsing. `known` are the
    /// other's arguments among `spans`; its own are appended. Only between commands, never within one.
    #[inline]
    pub fn repeat(
        &self,
        buf: &[u8],
        base: usize,
        before: usize,
        known: Range<usize>,
        spans: &mut Vec<Span>,
    ) -> Option<usize> {
        debug_assert_eq!(self.cursor.missing, 0, "a command is unfinished");
        let shift = base - before;
        let first = spans.len();
        // What lies between arguments, and the name, which is compared with what lies before it.
        let mut between = before;
        for index in known.clone() {
            let span = spans[index];
            let (start, end) = (span.start as usize, span.end as usize);
            if index > known.start {
                if buf.get(between + shift..start + shift) != Some(&buf[between..start]) {
                    spans.truncate(first);
                    return None;
                }
                between = end;
            }
            spans.push(span.later(shift as u32));
        }
        let end = spans.last().map_or(0, |span| span.end as usize);
        if known.len() < 2 || buf.get(end..end + 2) != Some(b"\r\n") {
            spans.truncate(first);
            return None;
        }
        Some(end + 2)
    }

    /// The usual case: a command read from its count on. Its arguments go where the caller wants them at once.
    #[inline]
    fn begin(
        &mut self,
        command: &[u8],
        base: usize,
        spans: &mut Vec<Span>,
        limits: &Limits,
    ) -> Result<Step, Stop> {
        let mut cursor = match short_length(command, b'*') {
            Some((count, at)) if limits.allow_args(count) && count > 0 => {
                Cursor { at, searched: 0, missing: count as usize }
            }
            _ => match read_count(command, &mut self.cursor.searched, limits)? {
                (0, at) => {
                    self.cursor = Cursor::default();
                    return Ok(Step::Nothing { end: base + at });
                }
                (missing, at) => Cursor { at, searched: 0, missing },
            },
        };
        let (first, shift) = (spans.len(), base as u32);
        match read_arguments(command, &mut cursor, shift, spans, limits) {
            Ok(()) => {
                self.cursor = Cursor::default();
                Ok(Step::Command { end: base + cursor.at })
            }
            Err(stop) => {
                self.cursor = cursor;
                self.partial.extend(spans.drain(first..).map(|span| span.earlier(shift)));
                Err(stop)
            }
        }
    }

    #[cold]
    fn resume(
        &mut self,
        command: &[u8],
        base: usize,
        spans: &mut Vec<Span>,
        limits: &Limits,
    ) -> Result<Step, Stop> {
        read_arguments(command, &mut self.cursor, 0, &mut self.partial, limits)?;
        let end = base + self.cursor.at;
        self.cursor = Cursor::default();
        spans.extend(self.partial.drain(..).map(|span| span.later(base as u32)));
        self.partial.shrink_to(KEPT_SPANS);
        Ok(Step::Command { end })
    }

    #[cold]
    fn line(&mut self, command: &[u8], base: usize, limits: &Limits) -> Result<Step, Stop> {
        let searched = &mut self.cursor.searched;
        let newline = find_in_line(command, b'\n', searched, limits.max_inline, ProtocolError::TooBigInline)?;
        *searched = 0;
        let line = &command[..newline];
        let end = base + newline + 1;
        if !self.inline.set(line.strip_suffix(b"\r").unwrap_or(line)) {
            return Err(Stop::Fail(ProtocolError::UnbalancedQuotes));
        }
        Ok(if self.inline.is_empty() { Step::Nothing { end } } else { Step::Inline { end } })
    }
}

/// Reads arguments from `cursor` on until none is missing; their spans are counted from `shift`.
#[inline]
fn read_arguments(
    command: &[u8],
    cursor: &mut Cursor,
    shift: u32,
    spans: &mut Vec<Span>,
    limits: &Limits,
) -> Result<(), Stop> {
    while cursor.missing > 0 {
        let rest = &command[cursor.at..];
        let (length, header) = match short_length(rest, b'$') {
            Some((length, header)) if length as usize <= limits.max_bulk => (length as usize, header),
            _ => read_length(rest, &mut cursor.searched, limits)?,
        };
        let start = cursor.at + header;
        let end = start + length;
        if end + 2 > MAX_BUFFER {
            return Err(Stop::Fail(ProtocolError::InvalidBulkLength));
        }
        match command.get(end..end + 2) {
            Some(b"\r\n") => {}
            Some(_) => return Err(Stop::Fail(ProtocolError::InvalidBulkLength)),
            None => return Err(Stop::Need(end + 2 - command.len())),
        }
        spans.push(Span { start: shift + start as u32, end: shift + end as u32 });
        cursor.at = end + 2;
        cursor.searched = 0;
        cursor.missing -= 1;
    }
    Ok(())
}

/// A length of one or two digits and the size of its line, if that is what follows `marker`.
#[inline]
fn short_length(bytes: &[u8], marker: u8) -> Option<(i64, usize)> {
    match *bytes {
        [first, digit @ b'0'..=b'9', b'\r', b'\n', ..] if first == marker => {
            Some((i64::from(digit - b'0'), 4))
        }
        [first, tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'\r', b'\n', ..] if first == marker => {
            Some((i64::from(tens - b'0') * 10 + i64::from(ones - b'0'), 5))
        }
        _ => None,
    }
}

/// The argument count that `*` announces, 0 for none, and the size of its line.
#[cold]
fn read_count(command: &[u8], searched: &mut usize, limits: &Limits) -> Result<(usize, usize), Stop> {
    let line = whole_line(command, searched, limits.max_inline, ProtocolError::TooBigMultibulkCount)?;
    let invalid = Stop::Fail(ProtocolError::InvalidMultibulkLength);
    let Some(count) = length_in(line) else {
        return Err(invalid);
    };
    let missing = usize::try_from(count).unwrap_or(0); // negative: nothing to do
    if missing > limits.max_args {
        return Err(invalid);
    }
    if count > UNAUTHENTICATED_ARGS && !limits.authenticated {
        return Err(Stop::Fail(ProtocolError::UnauthenticatedMultibulkLength));
    }
    Ok((missing, line.len()))
}

/// The argument length that `$` announces and the size of its line.
fn read_length(rest: &[u8], searched: &mut usize, limits: &Limits) -> Result<(usize, usize), Stop> {
    let line = whole_line(rest, searched, limits.max_inline, ProtocolError::TooBigBulkCount)?;
    if line[0] != b'$' {
        return Err(Stop::Fail(ProtocolError::ExpectedBulk(line[0])));
    }
    let length = length_in(line).and_then(|length| usize::try_from(length).ok());
    let Some(length) = length.filter(|&length| length <= limits.max_bulk) else {
        return Err(Stop::Fail(ProtocolError::InvalidBulkLength));
    };
    if length as i64 > UNAUTHENTICATED_BULK && !limits.authenticated {
        return Err(Stop::Fail(ProtocolError::UnauthenticatedBulkLength));
    }
    Ok((length, line.len()))
}

/// The number between the first byte and the CRLF of a line.
fn length_in(line: &[u8]) -> Option<i64> {
    parse_i64(line.strip_suffix(b"\r\n")?.get(1..)?)
}

/// The first line, up to the byte that follows its CR.
fn whole_line<'a>(
    bytes: &'a [u8],
    searched: &mut usize,
    limit: usize,
    too_big: ProtocolError,
) -> Result<&'a [u8], Stop> {
    let cr = find_in_line(bytes, b'\r', searched, limit, too_big)?;
    let line = bytes.get(..cr + 2).ok_or(Stop::Need(1))?;
    *searched = 0;
    Ok(line)
}

/// Offset of the first `wanted`, which must be among the first `limit + 1` bytes and before any NUL. Remembers in
/// `searched` where the next search begins.
fn find_in_line(
    bytes: &[u8],
    wanted: u8,
    searched: &mut usize,
    limit: usize,
    too_big: ProtocolError,
) -> Result<usize, Stop> {
    let window = &bytes[..bytes.len().min(limit.saturating_add(1))];
    let fresh = window.get(*searched..).unwrap_or_default();
    let stop = fresh.iter().position(|&byte| byte == wanted || byte == 0);
    *searched += stop.unwrap_or(fresh.len());
    match window.get(*searched) {
        Some(&byte) if byte == wanted => Ok(*searched),
        _ if bytes.len() > limit => Err(Stop::Fail(too_big)),
        _ => Err(Stop::Need(1)),
    }
}

/// Runs the first request of bytes that were kept. None: they do not begin with a whole one.
pub fn with_request<R>(raw: &[u8], run: impl FnOnce(&Request<'_>) -> R) -> Option<R> {
    let mut spans = Vec::new();
    let limits = Limits { max_bulk: raw.len(), ..Limits::default() };
    match RequestParser::new().step(raw, 0, &mut spans, &limits) {
        Step::Command { end } => Some(run(&Request::new(raw, 0, end, &spans))),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
