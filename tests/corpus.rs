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

/// Pieces that mutations insert: what delimits RESP, and numbers at its limits.
const TOKENS: &[&[u8]] = &[
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

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry of the corpus").path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a file of the corpus")).collect()
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut StdRng) {
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
            let token = TOKENS.choose(rng).copied().unwrap_or_default();
            input.splice(at..at, token.iter().copied());
        }
    }
    input.truncate(MAX_INPUT);
}

fn replay(target: &str, body: fn(&[u8])) {
    let corpus = corpus(target);
    assert!(corpus.len() >= 20, "the corpus of {target} is there");
    corpus.iter().for_each(|input| body(input));
    let mut rng = StdRng::seed_from_u64(7379);
    for round in 0..MUTATIONS {
        let mut input = corpus[round % corpus.len()].clone();
        for _ in 0..rng.random_range(1..=6) {
            mutate(&mut input, &corpus, &mut rng);
        }
        body(&input);
    }
}

#[test]
fn the_corpus_of_the_request_parser() {
    replay("request", bodies::request);
}

#[test]
fn the_corpus_of_the_reply_scanner() {
    replay("reply", bodies::reply);
}
