//! Properties of the protocol layer: what valid streams of any shape, cut anywhere, must give.

#[path = "fuzz/bodies.rs"]
#[allow(dead_code, reason = "only what concerns the protocol is used here")]
mod bodies;

use proptest::collection::vec;
use proptest::prelude::*;
use redis_protocol::resp2::decode::decode as decode_resp2;
use redis_protocol::resp3::decode::complete::decode as decode_resp3;
use strata::resp::reply::elements;
use strata::resp::{Limits, Proto, encode};

/// Sizes of the pieces a stream arrives in, single bytes among them.
fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![1]), vec(1_usize..20, 1..20), vec(1_usize..2000, 1..5)]
}

fn argument() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..20),
        2 => "[A-Za-z:*$\r\n]{0,12}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 95..105),
        1 => vec(any::<u8>(), 990..1010),
    ]
}

/// One command as a client may send it, and the arguments it has; none if it says nothing.
fn command() -> impl Strategy<Value = (Vec<u8>, Option<bodies::Args>)> {
    let multibulk = prop_oneof![9 => vec(argument(), 1..6), 1 => vec(argument(), 90..120)].prop_map(|args| {
        let mut stream = Vec::new();
        encode::command(&mut stream, &args.iter().map(Vec::as_slice).collect::<Vec<_>>());
        (stream, Some(args))
    });
    let inline = vec(vec(any::<u8>(), 0..12), 1..5).prop_map(|args| (quoted(&args), Some(args)));
    let nothing = prop::sample::select(vec!["*0\r\n", "*-1\r\n", "\r\n", "\n", " \t\r\n"])
        .prop_map(|s| (s.into(), None));
    prop_oneof![6 => multibulk, 2 => inline, 1 => nothing]
}

/// An inline command with every byte of its arguments in hexadecimal.
fn quoted(args: &[Vec<u8>]) -> Vec<u8> {
    let hex = |arg: &Vec<u8>| arg.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let words: Vec<_> = args.iter().map(|arg| format!("\"{}\"", hex(arg))).collect();
    format!("{}\r\n", words.join(" ")).into_bytes()
}

/// Writes an aggregate of this many entries with the elements that follow.
fn aggregate(header: impl Fn(&mut Vec<u8>, usize), per_entry: usize, elements: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    let entries = elements.len() / per_entry;
    header(&mut out, entries);
    elements[..entries * per_entry].iter().for_each(|element| out.extend_from_slice(element));
    out
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

/// Any RESP2 reply, nested up to six deep.
fn resp2() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        "[a-zA-Z ]{0,20}".prop_map(|text| written(|out| encode::simple(out, &text))),
        "[A-Z]{3} [a-z ]{0,20}".prop_map(|text| written(|out| encode::error(out, &text))),
        any::<i64>().prop_map(|value| written(|out| encode::integer(out, value))),
        vec(any::<u8>(), 0..150).prop_map(|data| written(|out| encode::bulk(out, &data))),
        Just(b"$-1\r\n".to_vec()),
        Just(b"*-1\r\n".to_vec()),
    ];
    leaf.prop_recursive(6, 60, 12, |inner| {
        vec(inner, 0..12).prop_map(|all| aggregate(encode::array, 1, &all))
    })
}

/// Any RESP3 reply without attributes, nested up to six deep.
fn resp3() -> impl Strategy<Value = Vec<u8>> {
    const P: Proto = Proto::Resp3;
    let leaf = prop_oneof![
        "[a-zA-Z ]{0,20}".prop_map(|text| written(|out| encode::simple(out, &text))),
        "[A-Z]{3} [a-z ]{0,20}".prop_map(|text| written(|out| encode::error(out, &text))),
        any::<i64>().prop_map(|value| written(|out| encode::integer(out, value))),
        any::<f64>().prop_map(|value| written(|out| encode::double(out, P, value))),
        any::<bool>().prop_map(|value| written(|out| encode::boolean(out, P, value))),
        vec(any::<u8>(), 0..150).prop_map(|data| written(|out| encode::bulk(out, &data))),
        "[a-z ]{0,20}".prop_map(|text| written(|out| encode::verbatim(out, P, "txt", text.as_bytes()))),
        "[0-9]{1,40}".prop_map(|digits| format!("({digits}\r\n").into_bytes()),
        "[a-z]{0,20}".prop_map(|text| format!("!{}\r\n{text}\r\n", text.len()).into_bytes()),
        Just(b"_\r\n".to_vec()),
    ];
    leaf.prop_recursive(6, 60, 12, |inner| {
        // The other decoder takes only scalars as keys and set members.
        let keys = vec(any::<u32>().prop_map(|key| format!(":{key}\r\n").into_bytes()), 0..6);
        prop_oneof![
            vec(inner.clone(), 0..12).prop_map(|all| aggregate(encode::array, 1, &all)),
            keys.clone().prop_map(|all| aggregate(|out, n| encode::set(out, P, n), 1, &all)),
            (keys, vec(inner, 0..6)).prop_map(|(keys, values)| {
                let all: Vec<_> =
                    keys.into_iter().zip(values).flat_map(|(key, value)| [key, value]).collect();
                aggregate(|out, n| encode::map(out, P, n), 2, &all)
            }),
        ]
    })
}

/// A RESP3 reply, or a push, or either behind attributes.
fn top_level() -> impl Strategy<Value = Vec<u8>> {
    let push = vec(resp3(), 1..4).prop_map(|all| {
        let all = [vec![b"+kind\r\n".to_vec()], all].concat();
        aggregate(|out, n| encode::push(out, Proto::Resp3, n), 1, &all)
    });
    let attributed =
        (resp3(), resp3()).prop_map(|(value, reply)| [b"|1\r\n+k\r\n", &value[..], &reply].concat());
    prop_oneof![6 => resp3(), 1 => push, 1 => attributed]
}

/// Where replies one after the other lie in their stream.
fn ranges(replies: &[Vec<u8>]) -> Vec<std::ops::Range<usize>> {
    let mut end = 0;
    replies
        .iter()
        .map(|reply| {
            let start = end;
            end += reply.len();
            start..end
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn commands_are_the_same_in_any_pieces(commands in vec(command(), 1..12), pieces in pieces()) {
        let stream: Vec<u8> = commands.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let expected: Vec<_> = commands.into_iter().filter_map(|(_, args)| args).collect();
        let (found, error) = bodies::commands(&stream, &pieces, &Limits::default());
        prop_assert_eq!(error, None);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn repetitions_are_what_parsing_says(lengths in vec(0_usize..12, 1..5), fills in vec(any::<u8>(), 2..6), flip in any::<(u16, u8)>()) {
        let commands = fills.iter().map(|fill| {
            let args: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(i, n)| vec![if i == 0 { b'x' } else { *fill }; *n]).collect();
            written(|out| encode::command(out, &args.iter().map(Vec::as_slice).collect::<Vec<_>>()))
        });
        let mut stream: Vec<u8> = commands.flatten().collect();
        bodies::repeats(&stream, &Limits::default());
        let at = usize::from(flip.0) % stream.len();
        stream[at] = flip.1;
        bodies::repeats(&stream, &Limits::default());
        bodies::repeats(&stream[..at], &Limits::default());
    }

    #[test]
    fn any_bytes_are_judged_the_same_in_any_pieces(stream in vec(any::<u8>(), 0..200)) {
        bodies::request(&stream);
        bodies::reply(&stream);
    }

    #[test]
    fn replies_end_where_they_end_in_any_pieces(replies in vec(top_level(), 1..8), pieces in pieces()) {
        let (found, error) = bodies::replies(&replies.concat(), &pieces);
        prop_assert_eq!(error, None);
        prop_assert_eq!(found, ranges(&replies));
    }

    #[test]
    fn another_decoder_finds_the_same_end_of_resp2(reply in resp2(), pieces in pieces()) {
        let (found, _) = bodies::replies(&reply, &pieces);
        let decoded = decode_resp2(&reply).expect("a valid reply").expect("a whole reply");
        prop_assert_eq!(found, vec![0..decoded.1]);
    }

    #[test]
    fn another_decoder_finds_the_same_end_of_resp3(reply in top_level(), pieces in pieces()) {
        let (found, _) = bodies::replies(&reply, &pieces);
        match decode_resp3(&reply) {
            Ok(decoded) => prop_assert_eq!(found, vec![0..decoded.expect("a whole reply").1]),
            // It knows no null with attributes.
            Err(error) => prop_assert!(reply.starts_with(b"|") && reply.ends_with(b"_\r\n"), "{error}"),
        }
    }

    #[test]
    fn elements_are_what_was_written(all in vec(top_level(), 0..12)) {
        let array = aggregate(encode::array, 1, &all);
        prop_assert!(elements(&array).eq(all.iter().map(Vec::as_slice)));
        let map = aggregate(|out, n| encode::map(out, Proto::Resp3, n), 2, &all);
        prop_assert!(elements(&map).eq(all[..all.len() / 2 * 2].iter().map(Vec::as_slice)));
    }
}
