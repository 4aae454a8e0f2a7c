//! The keys of requests: those that the server finds, for requests it would execute and for odd ones; and for any
//! bytes whatever, no panic and no index beyond the arguments.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use strata::command::{self, Command, InvalidKeys, SessionNeed};
use strata::resp::encode;

use crate::access_names;
use crate::bodies;
use crate::lower_names;
use crate::server::{Reply, Server};

type Words = Vec<Vec<u8>>;
/// Keys with how they are used.
type Found = Vec<(Vec<u8>, BTreeSet<String>)>;

/// What stands in braces is chosen anew for each request: `{k}` a key, `{n}` a number, `{w}` any word, `{K}` one to
/// four keys, `{NK}` their number and them, `{KI}` keys and as many ids; `[a|b]` one of them or nothing.
const FORMS: &[&str] = &[
    "eval {w} {NK} {w} {w}",
    "eval {w} 0 {w}",
    "eval_ro {w} {NK}",
    "eval_ro {w} 0",
    "evalsha {w} {NK} {w}",
    "evalsha_ro {w} {NK} {w}",
    "fcall {w} {NK} {w}",
    "fcall {w} 0",
    "fcall_ro {w} {NK} {w}",
    "zunion {NK} [WITHSCORES]",
    "zinter {NK} [AGGREGATE] [max]",
    "zdiff {NK} [WITHSCORES]",
    "zintercard {NK} [LIMIT] {n}",
    "sintercard {NK} [LIMIT] {n}",
    "zunionstore {k} {NK} [AGGREGATE] [min]",
    "zinterstore {k} {NK} [WEIGHTS] {n}",
    "zdiffstore {k} {NK}",
    "lmpop {NK} [LEFT|RIGHT] [COUNT]",
    "blmpop {n} {NK} [LEFT|RIGHT]",
    "zmpop {NK} [MIN|MAX] [COUNT]",
    "bzmpop {n} {NK} [MIN|MAX]",
    "xread STREAMS {KI}",
    "xread COUNT {n} streams {KI}",
    "xread BLOCK {n} COUNT {n} Streams {KI}",
    "xreadgroup GROUP {w} {w} STREAMS {KI}",
    "xreadgroup GROUP {w} {w} COUNT {n} NOACK STREAMS {KI}",
    "xreadgroup GROUP {w} {w} BLOCK {n} STREAMS {KI}",
    "sort {k} [ALPHA] [DESC|asc]",
    "sort {k} BY {w} LIMIT {n} {n} GET # GET {w} [ALPHA]",
    "sort {k} [ALPHA] STORE {k}",
    "sort {k} BY {w} STORE {k} [ASC] GET {w}",
    "sort {k} STORE {k} LIMIT {n} {n} store {k}",
    "sort_ro {k} BY {w} GET {w} [ALPHA]",
    "migrate {w} {n} {k} {n} {n} [COPY] [REPLACE]",
    "migrate {w} {n} {k} {n} {n} AUTH {w}",
    "migrate {w} {n} \"\" {n} {n} [COPY] [REPLACE] KEYS {K}",
    "migrate {w} {n} \"\" {n} {n} AUTH keys KEYS {K}",
    "migrate {w} {n} \"\" {n} {n} AUTH2 {w} keys [REPLACE] KEYS {K}",
    "migrate {w} {n} {k} {n} {n} KEYS {K}",
    "georadius {k} {n} {n} {n} km [WITHDIST] [ASC]",
    "georadius {k} {n} {n} {n} km [WITHDIST] COUNT {n} STORE {k}",
    "georadius {k} {n} {n} {n} km STOREDIST {k} [ASC]",
    "georadiusbymember {k} {w} {n} km [WITHDIST|ANY]",
    "georadiusbymember {k} {w} {n} km store {k}",
    "georadiusbymember {k} {w} {n} km [ASC] STOREDIST {k} COUNT {n}",
    "set {k} {w} [GET|get|NX|XX] [EX] {n} [GET|KEEPTTL]",
    "bitfield {k} GET u8 {n}",
    "bitfield {k} GET u8 {n} OVERFLOW WRAP GET i16 {n}",
    "bitfield {k} [OVERFLOW] SAT SET u8 {n} {n}",
    "bitfield {k} GET u8 {n} INCRBY u8 {n} {n} GET u8 {n}",
    "bitfield {k} GET u8",
    "bitfield {k}",
    "pfmerge {k} {K}",
    "bitop AND {k} {K}",
    "mset {KI}",
    "copy {k} {k} [DB] [REPLACE]",
    "blpop {K} {n}",
    "brpoplpush {k} {k} {n}",
    "lcs {k} {k} [LEN|IDX]",
    "pfcount {K}",
];

const WORDS: &[&str] = &["word", "other", "*", "a*->b", "%", "", "last word"];

fn one<'a>(rng: &mut StdRng, of: &[&'a str]) -> &'a str {
    of.choose(rng).copied().unwrap_or_default()
}

fn key(rng: &mut StdRng) -> Vec<u8> {
    format!("k:{}", rng.random_range(0..50)).into_bytes()
}

fn keys(rng: &mut StdRng) -> Words {
    (0..rng.random_range(1..5)).map(|_| key(rng)).collect()
}

fn expand(form: &str, rng: &mut StdRng) -> Words {
    let mut words = Words::new();
    for part in form.split(' ') {
        match part {
            "{k}" => words.push(key(rng)),
            "{n}" => words.push(rng.random_range(1..100).to_string().into_bytes()),
            "{w}" => words.push(one(rng, WORDS).into()),
            "{K}" => words.extend(keys(rng)),
            "{NK}" => {
                let keys = keys(rng);
                words.push(keys.len().to_string().into_bytes());
                words.extend(keys);
            }
            "{KI}" => {
                let keys = keys(rng);
                let ids = vec![b"0".to_vec(); keys.len()];
                words.extend(keys.into_iter().chain(ids));
            }
            "\"\"" => words.push(Vec::new()),
            _ => match part.strip_prefix('[').and_then(|part| part.strip_suffix(']')) {
                Some(choice) if rng.random() => {
                    words.push(one(rng, &choice.split('|').collect::<Vec<_>>()).into());
                }
                Some(_) => {}
                None => words.push(part.into()),
            },
        }
    }
    words
}

fn ours(words: &Words) -> Result<Found, InvalidKeys> {
    let row = command::resolve(words.as_slice()).expect("a command");
    let mut keys = Vec::new();
    command::extract(row, words.as_slice(), &mut keys)?;
    Ok(keys.iter().map(|key| (words[key.index as usize].clone(), access_names(key.access))).collect())
}

/// None where the server finds no keys, or will not say.
fn theirs(reply: &Reply) -> Option<Found> {
    let Reply::List(keys) = reply else { return None };
    let found = |key: &Reply| (key.items()[0].text().into_bytes(), lower_names(&key.items()[1]));
    Some(keys.iter().map(found).collect())
}

fn ask(requests: &[Words]) -> Vec<Option<Found>> {
    let prefix = [b"COMMAND".to_vec(), b"GETKEYSANDFLAGS".to_vec()];
    let questions: Vec<Words> =
        requests.iter().map(|words| prefix.iter().chain(words).cloned().collect()).collect();
    let server = Server::start();
    server.connect().call_all(&questions).iter().map(theirs).collect()
}

fn shown(words: &Words) -> String {
    words.iter().map(|word| format!("{:?} ", String::from_utf8_lossy(word))).collect()
}

#[test]
fn requests_that_make_sense_have_the_keys_the_server_finds() {
    let mut rng = StdRng::seed_from_u64(1);
    let requests: Vec<Words> =
        FORMS.iter().flat_map(|form| (0..300).map(|_| expand(form, &mut rng)).collect::<Vec<_>>()).collect();
    for (words, expected) in requests.iter().zip(ask(&requests)) {
        assert_eq!(ours(words).ok(), expected, "{}", shown(words));
    }
}

#[test]
fn commands_with_keys_in_fixed_places_have_the_keys_the_server_finds() {
    let mut rng = StdRng::seed_from_u64(2);
    let mut requests = Vec::new();
    let fixed = |row: &&Command| !row.flags.contains(command::Flags::MOVABLEKEYS) && !row.is_container();
    for row in command::all().iter().filter(fixed) {
        for more in 0..5 {
            let mut words: Words = row.name.split('|').map(Into::into).collect();
            let extra = if row.arity < 0 { more } else { 0 };
            let argc = usize::from(row.arity.unsigned_abs()) + extra;
            words.extend((words.len()..argc).map(|_| key(&mut rng)));
            requests.push(words);
        }
    }
    let mut with_keys = 0;
    for (words, expected) in requests.iter().zip(ask(&requests)) {
        let found = ours(words).expect("the arity is right");
        with_keys += usize::from(!found.is_empty());
        // The server does not find the destination of a PFMERGE without sources, though it executes it.
        if words.len() == 2 && words[0] == b"pfmerge" {
            assert_eq!(found.len(), 1);
        } else {
            assert_eq!(found, expected.unwrap_or_default(), "{}", shown(words));
        }
        let row = command::resolve(words.as_slice()).expect("a command");
        if let Some(only) = row.only_key() {
            assert_eq!(found.iter().map(|(key, _)| key).collect::<Vec<_>>(), [&words[only]]);
        }
    }
    assert!(with_keys > 700, "{with_keys}");
}

#[test]
fn numbers_of_keys_that_are_none_are_refused() {
    let numbers = [
        "",
        "-1",
        "+1",
        "01",
        "1x",
        " 1",
        "1 ",
        "0x1",
        "99",
        "4294967297",
        "18446744073709551617",
        "1e0",
        "\0",
    ];
    let commands =
        ["eval s # a b", "zunion # a b", "zunionstore d # a b", "blmpop 0 # a b", "fcall_ro f # a b"];
    for number in numbers {
        for command in commands {
            let words: Words = command
                .split(' ')
                .map(|word| if word == "#" { number.into() } else { word.into() })
                .collect();
            assert_eq!(ours(&words), Err(InvalidKeys), "{}", shown(&words));
        }
    }
    let words = |text: &str| text.split(' ').map(Into::into).collect::<Words>();
    assert_eq!(ours(&words("eval s 0 a b")), Ok(Vec::new()));
    assert_eq!(ours(&words("zunion 0 a b")), Err(InvalidKeys));
    assert_eq!(ours(&words("get")), Err(InvalidKeys));
    assert_eq!(ours(&words("get a b")), Err(InvalidKeys));
    assert_eq!(ours(&words("xread STREAMS a b 0")), Err(InvalidKeys));
    assert_eq!(ours(&words("xread COUNT 1 STREAMS")), Err(InvalidKeys));
    assert_eq!(ours(&words("migrate h p k 0 0 KEYS a")), Err(InvalidKeys));
}

#[test]
fn what_waits_is_told_by_its_options() {
    let need = |text: &str| {
        let words: Vec<&str> = text.split(' ').collect();
        let row = command::resolve(words.as_slice()).expect("a command");
        (command::blocks(row, words.as_slice()), command::session_need(row, words.as_slice()))
    };
    let shared = (false, SessionNeed::None);
    let waits = (true, SessionNeed::Wait);
    assert_eq!(need("GET BLOCK"), shared);
    assert_eq!(need("XREAD STREAMS block 0"), shared);
    assert_eq!(need("XREAD COUNT block STREAMS a 0"), shared);
    assert_eq!(need("XREADGROUP GROUP block BLOCK STREAMS a 0"), shared);
    assert_eq!(need("XREAD block 0 STREAMS a 0"), waits);
    assert_eq!(need("XREAD COUNT 2 BLOCK 0 STREAMS a 0"), waits);
    assert_eq!(need("XREADGROUP GROUP g c NOACK BLOCK 1 STREAMS a >"), waits);
    assert_eq!(need("BLPOP a 0"), waits);
    assert_eq!(need("WAIT 1 0"), waits);
    assert_eq!(need("MULTI"), (false, SessionNeed::Transaction));
    assert_eq!(need("CLIENT SETNAME x"), (false, SessionNeed::Local));
    assert_eq!(need("SCRIPT DEBUG YES"), (false, SessionNeed::Refused));
}

const KEYWORD: &str = "(?i:store|storedist|by|get|limit|streams|block|count|group|noack|keys|auth|auth2|copy\
    |set|incrby|overflow|-?[0-9]{1,20}|[0-3])";

fn arguments() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let keyword = proptest::string::string_regex(KEYWORD).expect("a pattern").prop_map(String::into_bytes);
    let word = prop_oneof![4 => keyword, 1 => prop::collection::vec(any::<u8>(), 0..40)];
    prop::collection::vec(word, 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_arguments_of_any_command_are_borne(words in arguments()) {
        bodies::command_keys(command::all(), &words);
    }

    #[test]
    fn any_words_resolve_or_are_told(name in "[a-z_|]{0,20}", rest in arguments()) {
        let mut words = vec![name.into_bytes()];
        words.extend(rest);
        let mut request = Vec::new();
        encode::command(&mut request, &words.iter().map(Vec::as_slice).collect::<Vec<_>>());
        bodies::keys(&request);
    }
}
