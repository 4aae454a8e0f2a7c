//! What the parser finds: ranges of a read buffer, and the command they make up.

use std::fmt;

/// The protocol version a connection speaks. Connections begin with RESP2 and change by `HELLO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Proto {
    #[default]
    Resp2,
    Resp3,
}

/// Half-open byte range into a read buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// The range moved `by` bytes toward the end of the buffer.
    pub(super) fn later(self, by: u32) -> Self {
        Self { start: self.start + by, end: self.end + by }
    }

    /// The range moved `by` bytes toward the start of the buffer.
    pub(super) fn earlier(self, by: u32) -> Self {
        Self { start: self.start - by, end: self.end - by }
    }
}

/// One complete command in multibulk form, borrowed from a read buffer. It has at least one argument, its name.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    buf: &'a [u8],
    spans: &'a [Span],
    start: usize,
    end: usize,
}

impl<'a> Request<'a> {
    /// `start..end` is the whole command in `buf`, from `*` to the last CRLF; `spans` are its arguments, absolute in
    /// `buf`, as [`RequestParser`](super::RequestParser) delivered them.
    ///
    /// # Panics
    /// The accessors panic if a range lies outside `buf`.
    #[must_use]
    pub fn new(buf: &'a [u8], start: usize, end: usize, spans: &'a [Span]) -> Self {
        debug_assert!(!spans.is_empty(), "a command has a name");
        Self { buf, spans, start, end }
    }

    /// Number of arguments, the name included.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Argument 0, as the client spelt it.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        self.arg(0).unwrap_or_default()
    }

    /// Argument `i`, counted from the name at 0.
    #[must_use]
    pub fn arg(&self, i: usize) -> Option<&'a [u8]> {
        self.spans.get(i).map(|&span| slice(self.buf, span))
    }

    /// All arguments in order, the name first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + DoubleEndedIterator + Clone + use<'a> {
        let buf = self.buf;
        self.spans.iter().map(move |&span| slice(buf, span))
    }

    /// The bytes to forward: the whole command, its header and terminators included.
    #[must_use]
    pub fn raw(&self) -> &'a [u8] {
        &self.buf[self.start..self.end]
    }

    /// The encoded arguments that follow argument `i`: `$1\r\nx\r\n...`, empty after the last one and beyond.
    #[must_use]
    pub fn tail(&self, i: usize) -> &'a [u8] {
        self.spans.get(i).map_or(&[], |span| &self.buf[span.end as usize + 2..self.end])
    }
}

/// Shows the name only: arguments may be secrets.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({}, {} arguments)", self.name().escape_ascii(), self.len())
    }
}

fn slice(buf: &[u8], span: Span) -> &[u8] {
    &buf[span.start as usize..span.end as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_gives_its_arguments_and_what_follows_them() {
        let buf = b"junk*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\nmore";
        let spans = [Span { start: 12, end: 15 }, Span { start: 21, end: 22 }, Span { start: 28, end: 28 }];
        let request = Request::new(buf, 4, 30, &spans);
        assert_eq!(request.len(), 3);
        assert_eq!(request.name(), b"SET");
        assert_eq!(request.arg(1), Some(&b"k"[..]));
        assert_eq!(request.arg(2), Some(&b""[..]));
        assert_eq!(request.arg(3), None);
        assert_eq!(request.iter().collect::<Vec<_>>(), [&b"SET"[..], b"k", b""]);
        assert_eq!(request.raw(), b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n");
        assert_eq!(request.tail(0), b"$1\r\nk\r\n$0\r\n\r\n");
        assert_eq!(request.tail(1), b"$0\r\n\r\n");
        assert_eq!(request.tail(2), b"");
        assert_eq!(request.tail(9), b"");
    }

    #[test]
    fn debug_output_keeps_arguments_secret() {
        let buf = b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n";
        let spans = [Span { start: 8, end: 12 }, Span { start: 18, end: 24 }];
        let text = format!("{:?}", Request::new(buf, 0, buf.len(), &spans));
        assert_eq!(text, "Request(AUTH, 2 arguments)");
    }
}
