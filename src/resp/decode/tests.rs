use super::*;

/// The arguments of every command in `stream`, and why parsing ended if not for want of bytes.
fn parse(stream: &[u8], limits: &Limits) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
    let (mut parser, mut spans) = (RequestParser::new(), Vec::new());
    let (mut base, mut commands) = (0, Vec::new());
    let args = |request: Request<'_>| request.iter().map(<[u8]>::to_vec).collect();
    loop {
        spans.clear();
        base = match parser.step(stream, base, &mut spans, limits) {
            Step::Command { end } => {
                commands.push(args(Request::new(stream, base, end, &spans)));
                end
            }
            Step::Inline { end } => {
                commands.push(args(parser.inline()));
                end
            }
            Step::Nothing { end } => end,
            Step::Incomplete { .. } => return (commands, None),
            Step::Error(error) => return (commands, Some(error)),
        };
    }
}

fn error_reply(error: ProtocolError) -> Vec<u8> {
    let mut out = Vec::new();
    error.encode(&mut out);
    out
}

/// A row: what a client sends, how many commands are in it, and the error reply before Redis closes.
type Row<'a> = (&'a [u8], usize, Option<&'a [u8]>);

fn check(rows: &[Row<'_>], limits: &Limits) {
    for &(sent, commands, reply) in rows {
        let shown = sent[..sent.len().min(60)].escape_ascii();
        let (parsed, error) = parse(sent, limits);
        assert_eq!(parsed.len(), commands, "commands in {shown}");
        let got = error.map(error_reply);
        assert_eq!(got.as_deref(), reply, "reply to {shown}");
    }
}

const MULTIBULK: Option<&[u8]> = Some(b"-ERR Protocol error: invalid multibulk length\r\n");
const BULK: Option<&[u8]> = Some(b"-ERR Protocol error: invalid bulk length\r\n");

// Every reply in these tables was given by Redis 7.0.15, which closed the connection where there is one.

#[test]
fn counts_are_judged_like_redis_does() {
    let rows: &[Row<'_>] = &[
        (b"*1\r\n$4\r\nPING\r\n", 1, None),
        (b"*+1\r\n$4\r\nPING\r\n", 0, MULTIBULK),
        (b"*01\r\n$4\r\nPING\r\n", 0, MULTIBULK),
        (b"*-0\r\n", 0, MULTIBULK),
        (b"*00\r\n", 0, MULTIBULK),
        (b"*\r\n", 0, MULTIBULK),
        (b"* 1\r\n", 0, MULTIBULK),
        (b"*1 \r\n", 0, MULTIBULK),
        (b"*a\r\n", 0, MULTIBULK),
        (b"*1x\r", 0, None),
        (b"*1\n$4\r\nPING\r\n", 0, MULTIBULK),
        (b"*2147483648\r\n", 0, MULTIBULK),
        (b"*9223372036854775808\r\n", 0, MULTIBULK),
        (b"*-9223372036854775809\r\n", 0, MULTIBULK),
        (b"*1\0\r\n*1\r\n$4\r\nPING\r\n", 0, None),
    ];
    check(rows, &Limits::default());
}

#[test]
fn counts_of_nothing_get_no_reply() {
    for nothing in
        ["*0\r\n", "*-1\r\n", "*-5\r\n", "*-9223372036854775808\r\n", "\r\n", "\n", "  \r\n", "\r\r\n"]
    {
        let stream = [nothing.as_bytes(), b"*1\r\n$4\r\nPING\r\n"].concat();
        check(&[(&stream, 1, None)], &Limits::default());
        let step = RequestParser::new().step(&stream, 0, &mut Vec::new(), &Limits::default());
        assert_eq!(step, Step::Nothing { end: nothing.len() });
    }
}

#[test]
fn lengths_are_judged_like_redis_does() {
    let rows: &[Row<'_>] = &[
        (b"*1\r\n$0\r\n\r\n", 1, None),
        (b"*1\r\n$+4\r\nPING\r\n", 0, BULK),
        (b"*1\r\n$04\r\nPING\r\n", 0, BULK),
        (b"*1\r\n$-1\r\n", 0, BULK),
        (b"*1\r\n$\r\n", 0, BULK),
        (b"*1\r\n$4\nPING\r\n", 0, BULK),
        (b"*1\r\n$4x\r", 0, None),
        (b"*1\r\n$536870912\r\n", 0, None),
        (b"*1\r\n$536870913\r\n", 0, BULK),
        (b"*1\r\n$99999999999999999999\r\n", 0, BULK),
        (b"*1\r\n$4\0\r\nPING\r\n", 0, None),
        (b"*1\r\n$1\r\n\r\n", 0, None),
        (b"*1\r\nPING\r\n", 0, Some(b"-ERR Protocol error: expected '$', got 'P'\r\n")),
        (b"*1\r\n:4\r\n", 0, Some(b"-ERR Protocol error: expected '$', got ':'\r\n")),
        (b"*1\r\n\r\n", 0, Some(b"-ERR Protocol error: expected '$', got ' '\r\n")),
        (b"*1\r\n\r\r\n", 0, Some(b"-ERR Protocol error: expected '$', got ' '\r\n")),
        (b"*1\r\n\xff\r\n", 0, Some(b"-ERR Protocol error: expected '$', got '\xff'\r\n")),
        (b"*2\r\n$4\r\nECHO\r\nx", 0, None),
        (b"*2\r\n$4\r\nECHO\r\n+x\r\n", 0, Some(b"-ERR Protocol error: expected '$', got '+'\r\n")),
    ];
    check(rows, &Limits::default());
}

#[test]
fn lines_end_within_64_kilobytes() {
    let long = |prefix: &[u8], byte: u8, total: usize| {
        let mut stream = prefix.to_vec();
        stream.resize(total, byte);
        stream
    };
    let mbulk = Some(&b"-ERR Protocol error: too big mbulk count string\r\n"[..]);
    let bulk = Some(&b"-ERR Protocol error: too big bulk count string\r\n"[..]);
    let inline = Some(&b"-ERR Protocol error: too big inline request\r\n"[..]);
    let rows: &[Row<'_>] = &[
        (&long(b"*", b'1', 65_536), 0, None),
        (&long(b"*", b'1', 65_537), 0, mbulk),
        (&long(b"*", b'\0', 65_537), 0, mbulk),
        (&long(b"*1\r\n$", b'1', 65_540), 0, None),
        (&long(b"*1\r\n$", b'1', 65_541), 0, bulk),
        (&long(b"*1\r\n", b'x', 65_541), 0, bulk),
        (&long(b"", b'x', 65_536), 0, None),
        (&long(b"", b'x', 65_537), 0, inline),
    ];
    check(rows, &Limits::default());
}

#[test]
fn inline_commands_are_parsed_like_redis_does() {
    let unbalanced = Some(&b"-ERR Protocol error: unbalanced quotes in request\r\n"[..]);
    let rows: &[Row<'_>] = &[
        (b"PING\r\nPING\n", 2, None),
        (b"$4\r\nPING\r\n", 2, None),
        (b"PING\r\n*1\r\n$4\r\nPING\r\n", 2, None),
        (b"PI\0NG\r\nPING\r\n", 0, None),
        (b"echo \"a\r\n", 0, unbalanced),
        (b"PING\r\necho 'a'b\r\n", 1, unbalanced),
    ];
    check(rows, &Limits::default());
}

#[test]
fn clients_that_are_not_authenticated_get_little() {
    let limits = Limits { authenticated: false, ..Limits::default() };
    let count = Some(&b"-ERR Protocol error: unauthenticated multibulk length\r\n"[..]);
    let length = Some(&b"-ERR Protocol error: unauthenticated bulk length\r\n"[..]);
    let rows: &[Row<'_>] = &[
        (b"*10\r\n", 0, None),
        (b"*11\r\n", 0, count),
        (b"*1\r\n$16384\r\n", 0, None),
        (b"*1\r\n$16385\r\n", 0, length),
        (b"*1\r\n$536870913\r\n", 0, BULK),
        (b"*2147483648\r\n", 0, MULTIBULK),
    ];
    check(rows, &limits);
}

// Redis skips these bytes unread; a server that did not would lose step with the connection.
#[test]
fn terminators_must_be_crlf_unlike_in_redis() {
    let rows: &[Row<'_>] = &[
        (b"*1\rX$4\r\nPING\r\n", 0, MULTIBULK),
        (b"*1\r\n$4\rXPING\r\n", 0, BULK),
        (b"*1\r\n$4\r\nPINGXX*1\r\n$4\r\nPING\r\n", 0, BULK),
        (b"*1\r\n$3\r\nPING\r\n", 0, BULK),
        (b"*1\r\n$5\r\nPING\r\n*1\r\n$4\r\nPING\r\n", 0, BULK),
    ];
    check(rows, &Limits::default());
}

#[test]
fn configured_limits_hold_for_short_numbers_too() {
    let limits = Limits { max_bulk: 5, max_args: 2, max_inline: 8, authenticated: true };
    let rows: &[Row<'_>] = &[
        (b"*2\r\n$4\r\nECHO\r\n$5\r\nabcde\r\n", 1, None),
        (b"*3\r\n", 0, MULTIBULK),
        (b"*12\r\n", 0, MULTIBULK),
        (b"*1\r\n$6\r\n", 0, BULK),
        (b"ECHO abc\n", 1, None),
        (b"ECHO abcd\n", 0, Some(b"-ERR Protocol error: too big inline request\r\n")),
    ];
    check(rows, &limits);
}

#[test]
fn spans_are_appended_and_absolute() {
    let buf = b"........*2\r\n$3\r\nGET\r\n$12\r\nabcdefghijkl\r\n*1\r\n";
    let (mut parser, mut spans) = (RequestParser::new(), vec![Span { start: 1, end: 2 }]);
    let step = parser.step(buf, 8, &mut spans, &Limits::default());
    assert_eq!(step, Step::Command { end: 40 });
    assert_eq!(spans[1..], [Span { start: 16, end: 19 }, Span { start: 26, end: 38 }]);
    let step = parser.step(buf, 40, &mut spans, &Limits::default());
    assert_eq!(step, Step::Incomplete { need: 1 });
    assert_eq!(spans.len(), 3);
}

#[test]
fn a_command_resumes_at_another_place() {
    let command = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$200\r\n";
    let value = [b'v'; 200];
    let (mut parser, mut spans) = (RequestParser::new(), Vec::new());
    let first = [b"........", &command[..]].concat();
    let step = parser.step(&first, 8, &mut spans, &Limits::default());
    assert_eq!(step, Step::Incomplete { need: 202 });
    assert!(spans.is_empty(), "an unfinished command keeps its spans to itself");
    let whole = [b"..", &command[..], &value, b"\r\nrest"].concat();
    let step = parser.step(&whole, 2, &mut spans, &Limits::default());
    assert_eq!(step, Step::Command { end: whole.len() - 4 });
    let request = Request::new(&whole, 2, whole.len() - 4, &spans);
    assert_eq!(request.iter().collect::<Vec<_>>(), [&b"SET"[..], b"k", &value]);
}

#[test]
fn a_million_arguments_in_a_thousand_reads_are_scanned_once() {
    let args = 1_000_000;
    let mut stream = format!("*{args}\r\n").into_bytes();
    stream.extend(b"$1\r\nx\r\n".iter().cycle().take(7 * args));
    let (mut parser, mut spans) = (RequestParser::new(), Vec::new());
    for read in (0..stream.len()).step_by(7001).skip(1) {
        let before = parser.cursor.at;
        let step = parser.step(&stream[..read], 0, &mut spans, &Limits::default());
        assert!(matches!(step, Step::Incomplete { .. }));
        assert!(parser.cursor.at > before, "every read is left behind");
        assert!(parser.partial.capacity() <= 4 * read / 7 + 4, "memory follows what has arrived");
    }
    let step = parser.step(&stream, 0, &mut spans, &Limits::default());
    assert_eq!(step, Step::Command { end: stream.len() });
    assert_eq!(spans.len(), args);
    assert!(parser.partial.capacity() <= KEPT_SPANS, "a huge command leaves nothing behind");
}

// The first read leaves off within `$1`; what it searched must not be skipped in a later line.
#[test]
fn a_length_cut_in_two_does_not_hide_a_nul_later() {
    let (mut parser, mut spans) = (RequestParser::new(), Vec::new());
    let stream = b"*2\r\n$1\r\nx\r\n$\0\r\n";
    for read in [6, stream.len()] {
        let step = parser.step(&stream[..read], 0, &mut spans, &Limits::default());
        assert_eq!(step, Step::Incomplete { need: 1 });
    }
}

#[test]
fn a_long_line_is_searched_once() {
    let mut parser = RequestParser::new();
    let stream = vec![b'x'; 60_000];
    for read in [1_000, 30_000, 60_000] {
        let step = parser.step(&stream[..read], 0, &mut Vec::new(), &Limits::default());
        assert_eq!(step, Step::Incomplete { need: 1 });
        assert_eq!(parser.cursor.searched, read);
    }
}

#[test]
fn a_command_of_the_same_shape_is_a_repetition() {
    let stream = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nGET\r\n$1\r\nb\r\n*2\r\n$3\r\nGET\r\n$2\r\ncc\r\n*2\r\n$3\r\nTTL\r\n$1\r\na\r\n";
    let (mut parser, mut spans) = (RequestParser::new(), Vec::new());
    assert_eq!(parser.step(stream, 0, &mut spans, &Limits::default()), Step::Command { end: 20 });
    assert_eq!(parser.repeat(stream, 20, 0, 0..2, &mut spans), Some(40));
    assert_eq!(Request::new(stream, 20, 40, &spans[2..]).arg(1), Some(&b"b"[..]));
    // Another length, another name, the end of the buffer.
    for (base, until) in [(40, stream.len()), (61, stream.len()), (20, 39)] {
        assert_eq!(parser.repeat(&stream[..until], base, 0, 0..2, &mut spans), None);
        assert_eq!(spans.len(), 4);
    }
}
