//! Replays the corpora of the fuzz targets, and mutations of them that are the same in every run.

#[path = "fuzz/bodies.rs"]
mod bodies;

use std::fs;
use std::path::Path;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Mutations of the whole corpus of a target.
const MUTATIONS: usize = 6_000;

/// Upper bound of an input, in bytes.
const MAX_INPUT: usize = 16_384;

/// Pieces that mutations insert: what values begin with that are not plain, and pieces of frames.
const STORED: &[&[u8]] =
    &[b"\xffsz", b"\0", b"\x01", b"\x7f", b"\x80", b"\xff\xff\xff\x7f", b"\x28\xb5\x2f\xfd", b"abcabcabc"];

/// Pieces that mutations insert: what delimits RESP, and numbers at its limits.
const RESP: &[&[u8]] = &[
    b"\r\n",
    b"\r",
    b"\n",
    b"*",
    b"$",
    b"+",
    b"-",
    b":",
    b"_\r\n",
    b",",
    b"#t\r\n",
    b"(",
    b"!",
    b"=",
    b"%",
    b"~",
    b">",
    b"|",
    b"?",
    b"\0",
    b"\"",
    b"'",
    b"\\x41",
    b" ",
    b"*0\r\n",
    b"*-1\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"*1\r\n",
    b"|1\r\n",
    b"0",
    b"1",
    b"9",
    b"10",
    b"16384",
    b"65536",
    b"1048577",
    b"2147483648",
    b"4294967296",
    b"9223372036854775807",
    b"18446744073709551616",
];

/// Pieces of commands: words that decide where keys are, and numbers of keys.
const COMMANDS: &[&[u8]] = &[
    b" get ",
    b" mget ",
    b" set ",
    b" eval ",
    b" xread ",
    b" xreadgroup ",
    b" group ",
    b" streams ",
    b" block ",
    b" count ",
    b" noack ",
    b" sort ",
    b" by ",
    b" limit ",
    b" get ",
    b" store ",
    b" storedist ",
    b" migrate ",
    b" keys ",
    b" auth ",
    b" auth2 ",
    b" georadius ",
    b" bitfield ",
    b" overflow ",
    b" incrby ",
    b" zunion ",
    b" client ",
    b" object ",
    b"\r\n",
    b" ",
    b"\"\"",
    b" 0 ",
    b" 1 ",
    b" 2 ",
    b" 99 ",
    b" -1 ",
    b" 4294967297 ",
    b"*3\r\n",
    b"$1\r\n",
];

/// Pieces of a configuration.
const TOML: &[&[u8]] = &[
    b"\n",
    b" = ",
    b"[",
    b"[[",
    b"]",
    b"]]",
    b"{ ",
    b" }",
    b".",
    b",",
    b"'",
    b"\"",
    b"\"\"\"",
    b"\\u0000",
    b"#",
    b"true",
    b"[server]",
    b"[l1]",
    b"[l2]",
    b"[targets]",
    b"[[policy]]",
    b"l1.",
    b"match",
    b"url",
    b"max_size",
    b"ttl",
    b"lease",
    b"password",
    b"log",
    b"0",
    b"-1",
    b"1e400",
    b"nan",
    b"9223372036854775808",
    b"500ms",
    b"99999years",
    b"5MB",
    b"redis://",
    b"unix://",
    b"\xff",
];

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry of the corpus").path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a file of the corpus")).collect()
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], tokens: &[&[u8]], rng: &mut StdRng) {
    let at = rng.random_range(0..=input.len());
    match rng.random_range(0..6) {
        0 if at < input.len() => input[at] = rng.random(),
        1 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
        2 => {
            let end = (at + rng.random_range(1..8)).min(input.len());
            input.drain(at..end);
        }
        3 => {
            let end = (at + rng.random_range(1..64)).min(input.len());
            let copy = input[at..end].to_vec();
            input.splice(at..at, copy);
        }
        4 => {
            let other = corpus.choose(rng).map_or(&[][..], Vec::as_slice);
            input.truncate(at);
            input.extend_from_slice(&other[rng.random_range(0..=other.len())..]);
        }
        _ => {
            let token = tokens.choose(rng).copied().unwrap_or_default();
            input.splice(at..at, token.iter().copied());
        }
    }
    input.truncate(MAX_INPUT);
}

fn replay(target: &str, tokens: &[&[u8]], body: fn(&[u8])) {
    let corpus = corpus(target);
    assert!(corpus.len() >= 20, "the corpus of {target} is there");
    corpus.iter().for_each(|input| body(input));
    let mut rng = StdRng::seed_from_u64(7379);
    for round in 0..MUTATIONS {
        let mut input = corpus[round % corpus.len()].clone();
        for _ in 0..rng.random_range(1..=6) {
            mutate(&mut input, &corpus, tokens, &mut rng);
        }
        body(&input);
    }
}

#[test]
fn the_corpus_of_the_request_parser() {
    replay("request", RESP, bodies::request);
}

#[test]
fn the_corpus_of_the_reply_scanner() {
    replay("reply", RESP, bodies::reply);
}

#[test]
fn the_corpus_of_stored_values() {
    replay("stored", STORED, bodies::stored);
}

#[test]
fn the_corpus_of_command_keys() {
    replay("keys", COMMANDS, bodies::keys);
}

#[test]
fn the_corpus_of_the_configuration() {
    replay("config", TOML, bodies::config);
}
