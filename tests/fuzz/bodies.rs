//! What each fuzz target asserts about its input: shared by the targets and by the test that replays their corpora.

use std::ops::Range;

use redis_protocol::resp2::{decode::decode as decode_resp2, types::OwnedFrame};
use redis_protocol::resp3::decode::complete::decode as decode_resp3;
use strata::command::{self, Access, Command, KeyRef, SessionNeed};
use strata::config;
use strata::resp::reply::{bulk, elements, is_absent, is_error, is_push, parse_integer};
use strata::resp::{
    Limits, ProtocolError, ReplyError, ReplyScanner, Request, RequestParser, Scan, Span, Step, encode,
};
use strata::router::{Route, route};
use strata::tier::compress::{Codec, MARK, Packing, seal};

/// The arguments of one command.
pub(crate) type Args = Vec<Vec<u8>>;

/// The oracle recurses: what is nested deeper is not shown to it.
const ORACLE_DEPTH: u32 = 32;

/// Bytes up to which streams are also fed one by one.
const SINGLE_BYTES: usize = 2048;

/// Commands of one stream that are held against every row of the table, and the arguments they may have for it.
const ALL_ROWS: (usize, usize) = (4, 64);

/// Limits small enough for a fuzzer to reach.
const TIGHT: Limits = Limits { max_bulk: 40, max_args: 12, max_inline: 32, authenticated: false };

/// The request parser finds the same commands however the stream is cut, and whatever it accepts means the same to
/// another decoder.
pub(crate) fn request(stream: &[u8]) {
    for limits in [Limits::default(), TIGHT] {
        let whole = commands(stream, &[stream.len()], &limits);
        repeats(stream, &limits);
        for pieces in cuts(stream) {
            assert_eq!(commands(stream, &pieces, &limits), whole, "in pieces of {pieces:?}");
        }
    }
}

/// Whatever stands at home is read or refused, within bounds; and whatever a client sets comes back.
pub(crate) fn stored(bytes: &[u8]) {
    const MOST: usize = 1 << 20;
    let codec = Codec::new(1, 32, MOST, [].into());
    let kinds = [bytes.to_vec(), [&MARK[..], bytes].concat(), seal(0, bytes), seal(1, bytes)];
    for stored in kinds.into_iter().chain([seal(1, &[&[0], bytes].concat())]) {
        if let Ok(value) = codec.decode(&stored) {
            assert!(value.bytes().len() <= MOST.max(stored.len()));
        }
        for compress in [false, true] {
            let kept = codec.encode(&stored, Packing { compress, dictionary: 0 });
            let read = codec.decode(kept.as_deref().unwrap_or(&stored)).expect("what was made here is read");
            assert_eq!(read.bytes(), stored);
        }
    }
}

/// Whatever is taken for a repetition of the command before it is what parsing says.
pub(crate) fn repeats(stream: &[u8], limits: &Limits) {
    let (mut parser, mut spans) = (RequestParser::new(), Vec::new());
    let (mut base, mut before) = (0, None);
    loop {
        let first = spans.len();
        let repeated = before.clone().and_then(|(start, known)| {
            let end = parser.repeat(stream, base, start, known, &mut spans)?;
            Some((end, spans.split_off(first)))
        });
        assert_eq!(spans.len(), first, "nothing is left of what is no repetition");
        match parser.step(stream, base, &mut spans, limits) {
            Step::Command { end } => {
                if let Some((same_end, same_spans)) = repeated {
                    assert_eq!((same_end, same_spans.as_slice()), (end, &spans[first..]));
                }
                before = Some((base, first..spans.len()));
                base = end;
            }
            other => {
                assert_eq!(repeated, None, "{other:?}");
                match other {
                    Step::Nothing { end } | Step::Inline { end } => (base, before) = (end, None),
                    _ => return,
                }
            }
        }
    }
}

/// The reply scanner finds the same ends however the stream is cut, agrees with another decoder, and the elements of
/// a reply add up to it.
pub(crate) fn reply(stream: &[u8]) {
    let whole = replies(stream, &[stream.len()]);
    for pieces in cuts(stream) {
        assert_eq!(replies(stream, &pieces), whole, "in pieces of {pieces:?}");
    }
    for range in whole.0 {
        check_reply(&stream[range]);
    }
    let _ = (is_error(stream), is_push(stream), is_absent(stream), parse_integer(stream), bulk(stream));
    assert!(elements(stream).count() <= stream.len() / 3);
}

/// Whatever the arguments of a command, and whichever command they are said to be of: keys are found among the
/// arguments, and the route fits what the table says of the command.
pub(crate) fn keys(stream: &[u8]) {
    let (commands, _) = commands(stream, &[stream.len()], &Limits::default());
    for (number, words) in commands.iter().enumerate() {
        match command::resolve(words.as_slice()) {
            Ok(row) => command_keys(std::slice::from_ref(row), words),
            Err(unknown) => {
                let text = unknown.message(words.as_slice());
                assert!(text.len() <= 400 && !text.contains(&b'\n') && !text.contains(&b'\r'));
            }
        }
        if number < ALL_ROWS.0 && words.len() <= ALL_ROWS.1 {
            command_keys(command::all(), words);
        }
    }
}

/// Asks everything that depends on arguments, as if `words` were a request for each of `rows`.
pub(crate) fn command_keys(rows: &[Command], words: &[Vec<u8>]) {
    let mut keys = vec![KeyRef { index: u32::MAX, access: Access::RO }];
    for row in rows {
        let found = command::extract(row, words, &mut keys);
        assert!(found.is_ok() || keys.is_empty());
        assert!(keys.iter().all(|key| key.index > 0 && (key.index as usize) < words.len()), "{}", row.name);
        assert!(keys.len() <= 2 * words.len());
        if let (Ok(()), Some(only)) = (found, row.only_key()) {
            assert_eq!(keys.iter().map(|key| key.index as usize).collect::<Vec<_>>(), [only]);
        }
        let need = command::session_need(row, words);
        assert!(!command::blocks(row, words) || need == SessionNeed::Wait, "{}", row.name);
        check_route(row, words, need, keys);
        keys = Vec::new();
    }
}

/// Nothing that may write is answered from copies, and nothing without keys.
fn check_route(row: &Command, words: &[Vec<u8>], need: SessionNeed, extracted: Vec<KeyRef>) {
    let mut keys = vec![KeyRef { index: u32::MAX, access: Access::RO }];
    let route = route(row, words, &mut keys);
    let expected = match need {
        SessionNeed::Local => Some(Route::Local),
        SessionNeed::Transaction => Some(Route::Transaction),
        SessionNeed::Stream => Some(Route::Stream),
        SessionNeed::Refused => Some(Route::Refused),
        SessionNeed::Wait | SessionNeed::Lease | SessionNeed::None => None,
    };
    match (expected, route) {
        (Some(expected), route) => assert!(route == expected && keys.is_empty(), "{}", row.name),
        (None, Route::Cached | Route::MultiGet) => {
            assert!(row.cacheable() && !row.may_write() && row.arity_ok(words.len()), "{}", row.name);
            assert!(!keys.is_empty() && keys == extracted, "{}", row.name);
        }
        (None, Route::Direct(_)) => assert_eq!((keys, need), (extracted, SessionNeed::None), "{}", row.name),
        (None, Route::Wait(_)) => assert_eq!((keys, need), (extracted, SessionNeed::Wait), "{}", row.name),
        (None, Route::Leased(_)) => assert_eq!((keys, need), (extracted, SessionNeed::Lease), "{}", row.name),
        (None, route) => panic!("{}: {route:?}", row.name),
    }
}

/// Any bytes are a configuration or are told what is wrong, briefly; a configuration can be shown, and what is
/// shown of it means the same again unless something in it is masked.
pub(crate) fn config(file: &[u8]) {
    match config::from_toml("f", file) {
        Ok(config) => {
            let shown = config.to_toml_masked();
            if !shown.contains(config::MASK) {
                assert_eq!(config::from_toml("f", shown.as_bytes()), Ok(config));
            }
        }
        Err(errors) => {
            assert!(errors.count() > 0);
            assert!(errors.to_string().len() < 100_000);
        }
    }
}

/// Feeds `stream` to a parser in pieces of these sizes, again and again, as a connection would: whole commands leave
/// the buffer, unfinished ones move to its start or stay. Returns the commands and the error after them.
pub(crate) fn commands(
    stream: &[u8],
    pieces: &[usize],
    limits: &Limits,
) -> (Vec<Args>, Option<ProtocolError>) {
    let (mut parser, mut spans, mut found) = (RequestParser::new(), Vec::new(), Vec::new());
    let mut buffer = Buffer::default();
    for piece in split(stream, pieces) {
        buffer.receive(piece);
        loop {
            spans.clear();
            match parser.step(&buffer.bytes, buffer.base, &mut spans, limits) {
                Step::Command { end } => {
                    check_request(&Request::new(&buffer.bytes, buffer.base, end, &spans));
                    found.push(args(&Request::new(&buffer.bytes, buffer.base, end, &spans)));
                    buffer.consume(end);
                }
                Step::Inline { end } => {
                    check_request(&parser.inline());
                    found.push(args(&parser.inline()));
                    buffer.consume(end);
                }
                Step::Nothing { end } => buffer.consume(end),
                Step::Incomplete { need } => {
                    buffer.expect(need);
                    break;
                }
                Step::Error(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

/// Feeds `stream` to a scanner like [`commands`] does to a parser. Returns where the replies are in the stream and the
/// error after them.
pub(crate) fn replies(stream: &[u8], pieces: &[usize]) -> (Vec<Range<usize>>, Option<ReplyError>) {
    let (mut scanner, mut found, mut at) = (ReplyScanner::new(), Vec::new(), 0);
    let mut buffer = Buffer::default();
    for piece in split(stream, pieces) {
        buffer.receive(piece);
        loop {
            match scanner.step(&buffer.bytes, buffer.base) {
                Scan::Complete { end } => {
                    let size = end - buffer.base;
                    found.push(at..at + size);
                    at += size;
                    buffer.consume(end);
                }
                Scan::Incomplete { need } => {
                    buffer.expect(need);
                    break;
                }
                Scan::Error(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

/// A read buffer that is compacted now and then.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    base: usize,
    expected: usize,
    reads: usize,
}

impl Buffer {
    fn receive(&mut self, piece: &[u8]) {
        self.reads += 1;
        if self.reads.is_multiple_of(2) {
            self.bytes.drain(..self.base);
            self.expected -= self.base;
            self.base = 0;
        }
        self.bytes.extend_from_slice(piece);
    }

    /// Nothing but a lack of bytes can be found before the bytes that were missing have come.
    fn consume(&mut self, end: usize) {
        assert!(end > self.base && end <= self.bytes.len() && end >= self.expected);
        self.base = end;
        self.expected = end;
    }

    fn expect(&mut self, need: usize) {
        assert!(need > 0);
        let expected = self.bytes.len() + need;
        assert!(expected >= self.expected, "the bound of what is missing never falls");
        self.expected = expected;
    }
}

/// The accessors of a request fit each other, and its bytes mean the same to this parser and to another.
fn check_request(request: &Request<'_>) {
    let args = args(request);
    assert!(!args.is_empty() && request.len() == args.len() && request.name() == args[0]);
    assert_eq!(request.arg(args.len()), None);
    let mut encoded = Vec::new();
    encode::command(&mut encoded, &args.iter().map(Vec::as_slice).collect::<Vec<_>>());
    assert_eq!(request.raw(), encoded, "there is one way only to encode a command");
    for (i, arg) in args.iter().enumerate().take(64) {
        assert_eq!(request.arg(i), Some(arg.as_slice()));
        encoded.clear();
        args[i + 1..].iter().for_each(|arg| encode::bulk(&mut encoded, arg));
        assert_eq!(request.tail(i), encoded);
    }
    let mut spans: Vec<Span> = Vec::new();
    let again = RequestParser::new().step(request.raw(), 0, &mut spans, &Limits::default());
    assert_eq!(again, Step::Command { end: request.raw().len() });
    assert!(Request::new(request.raw(), 0, request.raw().len(), &spans).iter().eq(request.iter()));

    let decoded = decode_resp2(request.raw()).expect("a valid command");
    let frames = args.into_iter().map(OwnedFrame::BulkString).collect();
    assert_eq!(decoded, Some((OwnedFrame::Array(frames), request.raw().len())));
}

fn check_reply(reply: &[u8]) {
    let size = reply.len();
    assert_eq!(ReplyScanner::new().step(reply, 0), Scan::Complete { end: size });
    let parts: usize = elements(reply).map(<[u8]>::len).sum();
    assert!(parts <= size);
    assert!(bulk(reply).is_none_or(|text| text.len() + 3 <= size));
    if nests_within(reply, ORACLE_DEPTH) {
        if let Ok(Some((_, end))) = decode_resp3(reply) {
            assert_eq!(end, size, "by the RESP3 decoder");
        }
        if let Ok(Some((_, end))) = decode_resp2(reply) {
            assert_eq!(end, size, "by the RESP2 decoder");
        }
    }
}

/// Whether a reply without attributes nests at most `depth` deep. This, too, recurses: at most `depth` times.
fn nests_within(reply: &[u8], depth: u32) -> bool {
    depth > 0 && !reply.starts_with(b"|") && elements(reply).all(|element| nests_within(element, depth - 1))
}

fn args(request: &Request<'_>) -> Args {
    request.iter().map(<[u8]>::to_vec).collect()
}

/// Several ways to cut a stream, the same for the same stream.
fn cuts(stream: &[u8]) -> Vec<Vec<usize>> {
    let mut state = stream.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut sizes = |below: u64| {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            1 + ((state >> 33) % below) as usize
        };
        (0..16).map(|_| next()).collect::<Vec<_>>()
    };
    let mut ways = vec![sizes(7), sizes(100), sizes(5000)];
    if stream.len() <= SINGLE_BYTES {
        ways.push(vec![1]);
    }
    ways
}

/// The stream in pieces of these sizes, which repeat; a size of 0 stands for 1.
fn split<'a>(mut stream: &'a [u8], pieces: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    pieces.iter().cycle().map_while(move |&size| {
        let (piece, rest) = stream.split_at_checked(size.max(1)).unwrap_or((stream, &[]));
        stream = rest;
        (!piece.is_empty()).then_some(piece)
    })
}
