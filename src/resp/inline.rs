//! Inline commands: what a person types into a bare connection, split by Redis' quoting rules.

use super::{Request, Span, encode};

/// Capacity kept between inline commands, in bytes; a larger one is given back.
const KEPT: usize = 4096;

/// An inline command in its canonical multibulk encoding.
#[derive(Debug, Default)]
pub(super) struct Inline {
    raw: Vec<u8>,
    spans: Vec<Span>,
}

impl Inline {
    /// Replaces what is held by the command in `line`. An empty line leaves no arguments. False: unbalanced quotes.
    pub(super) fn set(&mut self, line: &[u8]) -> bool {
        let Some(args) = split_args(line) else {
            return false;
        };
        self.clear();
        encode::array(&mut self.raw, args.len());
        for arg in &args {
            encode::bulk(&mut self.raw, arg);
            // An encoded line is at most some 8 times the line long: far below 2^32.
            let end = (self.raw.len() - 2) as u32;
            self.spans.push(Span { start: end - arg.len() as u32, end });
        }
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    pub(super) fn request(&self) -> Request<'_> {
        Request::new(&self.raw, 0, self.raw.len(), &self.spans)
    }

    fn clear(&mut self) {
        self.raw.clear();
        self.raw.shrink_to(KEPT);
        self.spans.clear();
        self.spans.shrink_to(KEPT / size_of::<Span>());
    }
}

/// Splits a line into arguments like Redis' `sdssplitargs`; none if a quote is not closed, or is closed in the middle
/// of a word. A line has no NUL: the parser, like Redis, never sees the end of one that has.
pub fn split_args(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut args = Vec::new();
    let mut rest = skip_blanks(line);
    while !rest.is_empty() {
        let (arg, after) = take_word(rest)?;
        args.push(arg);
        rest = skip_blanks(after);
    }
    Some(args)
}

/// One word, whose parts may be bare or quoted, and what follows it. After a closing quote the word must end.
fn take_word(line: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    let mut rest = line;
    loop {
        match *rest {
            [b'"', ref after @ ..] => return finish_quoted(word, after, double_quoted),
            [b'\'', ref after @ ..] => return finish_quoted(word, after, single_quoted),
            // Redis ends a bare word at these; vertical tab and form feed are blank only between words.
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Some((word, rest)),
            [byte, ref after @ ..] => {
                word.push(byte);
                rest = after;
            }
        }
    }
}

/// One character inside quotes: the byte it stands for (none: the closing quote) and how many it is written with.
type Unquote = fn(&[u8]) -> Option<(Option<u8>, usize)>;

fn finish_quoted(mut word: Vec<u8>, quoted: &[u8], unquote: Unquote) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = quoted;
    loop {
        let (byte, width) = unquote(rest)?;
        rest = &rest[width..];
        match byte {
            Some(byte) => word.push(byte),
            None if rest.first().is_none_or(|&next| is_blank(next)) => return Some((word, rest)),
            None => return None,
        }
    }
}

fn double_quoted(rest: &[u8]) -> Option<(Option<u8>, usize)> {
    match *rest {
        [] => None,
        [b'"', ..] => Some((None, 1)),
        [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            Some((Some(hex_value(high) << 4 | hex_value(low)), 4))
        }
        [b'\\', escaped, ..] => {
            let byte = match escaped {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'b' => 0x08,
                b'a' => 0x07,
                other => other,
            };
            Some((Some(byte), 2))
        }
        [byte, ..] => Some((Some(byte), 1)),
    }
}

fn single_quoted(rest: &[u8]) -> Option<(Option<u8>, usize)> {
    match *rest {
        [] => None,
        [b'\'', ..] => Some((None, 1)),
        [b'\\', b'\'', ..] => Some((Some(b'\''), 2)),
        [byte, ..] => Some((Some(byte), 1)),
    }
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

fn skip_blanks(line: &[u8]) -> &[u8] {
    let blanks = line.iter().take_while(|&&byte| is_blank(byte)).count();
    &line[blanks..]
}

/// C's `isspace` in the C locale.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &[u8]) -> Option<Vec<String>> {
        Some(split_args(line)?.iter().map(|arg| arg.escape_ascii().to_string()).collect())
    }

    // Every row was also answered so by Redis 7.0.15.
    #[test]
    fn words_are_split_by_redis_quoting_rules() {
        let table: &[(&[u8], &[&str])] = &[
            (b"", &[]),
            (b" \t\x0b\x0c ", &[]),
            (b"PING", &["PING"]),
            (b"  echo   hi\t", &["echo", "hi"]),
            (b"echo \"a b\"", &["echo", "a b"]),
            (b"echo 'a b'", &["echo", "a b"]),
            (b"echo a\"b c\"", &["echo", "ab c"]),
            (b"echo \"\"", &["echo", ""]),
            (b"echo \"\\x41\\xfF\"", &["echo", "A\\xff"]),
            (b"echo \"\\x4\"", &["echo", "x4"]),
            (b"echo \"\\n\\r\\t\\b\\a\\\\\\\"\\q\"", &["echo", "\\n\\r\\t\\x08\\x07\\\\\\\"q"]),
            (b"echo '\\n\\'\"'", &["echo", "\\\\n\\'\\\""]),
            (b"echo a\x0bb", &["echo", "a\\x0bb"]),
            (b"echo \x0ba", &["echo", "a"]),
            (b"echo \\x41", &["echo", "\\\\x41"]),
            (b"echo \"a\"\x0b", &["echo", "a"]),
            (b"echo a\rb", &["echo", "a", "b"]),
            (b"echo \xff\xfe", &["echo", "\\xff\\xfe"]),
        ];
        for (line, expected) in table {
            let got = args(line).unwrap_or_else(|| panic!("{} refused", line.escape_ascii()));
            assert_eq!(got, *expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        for line in
            ["echo \"a", "echo 'a", "echo \"a\"b", "echo 'a'b", "echo \"a\\", "echo \"a\\\"", "\"", "a'"]
        {
            assert_eq!(args(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn the_canonical_encoding_replaces_the_line() {
        let mut inline = Inline::default();
        assert!(inline.set(b"set k \"a b\""));
        assert_eq!(inline.request().raw(), b"*3\r\n$3\r\nset\r\n$1\r\nk\r\n$3\r\na b\r\n");
        assert!(inline.set(b"echo ''"));
        assert_eq!(inline.request().iter().collect::<Vec<_>>(), [&b"echo"[..], b""]);
        assert!(inline.set(b"  "));
        assert!(inline.is_empty());
    }

    #[test]
    fn a_long_line_does_not_stay_in_memory() {
        let mut inline = Inline::default();
        assert!(inline.set(&b"x ".repeat(30_000)));
        assert_eq!(inline.request().len(), 30_000);
        assert!(inline.set(b"PING"));
        assert!(inline.raw.capacity() <= KEPT && inline.spans.capacity() <= KEPT);
    }
}
