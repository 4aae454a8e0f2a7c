//! The commands of the history: what is written, what is read, and what replies say.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::field::{Kind, Register};
use super::model::{Content, MILLISECOND, Nanos, Part, SECOND, Seen};
use crate::support::{Arguments, Value, arguments};

/// Digits of a version in a value.
const CHUNK: usize = 8;
/// Versions a text may collect by APPEND.
const MAX_CHUNKS: usize = 5;

/// The commands that clients read with, as INFO spells them.
pub(super) const READS: [&str; 8] =
    ["get", "getrange", "strlen", "exists", "hget", "hmget", "hgetall", "mget"];

/// Commands that make one write, all or none of them executed in the end.
pub(super) struct Write {
    pub(super) commands: Vec<Arguments>,
    /// What a server that executed them says.
    pub(super) replies: Vec<Value>,
    pub(super) what: &'static str,
    pub(super) content: Content,
    pub(super) ttl: Option<Nanos>,
    /// A last reply of nil says that none was executed: what was watched was lost.
    pub(super) conditional: bool,
}

/// One read, and how to understand its reply.
pub(super) struct Query {
    pub(super) command: Arguments,
    pub(super) what: &'static str,
    pub(super) part: Part,
}

/// EVAL of a script that finds all it works on in ARGV. In a cluster its keys are named too, or nobody could tell where it
/// is to run.
fn script(register: &Register, script: &str, keys: &[Vec<u8>], further: &[&[u8]]) -> Arguments {
    let declared = if register.terms.cluster { keys } else { &[] };
    let count = declared.len().to_string();
    let mut words = vec![script.as_bytes(), count.as_bytes()];
    words.extend(declared.iter().map(Vec::as_slice));
    words.extend(keys.iter().map(Vec::as_slice).chain(further.iter().copied()));
    command("EVAL", &words)
}

/// The first key that a command names, if it names one.
pub(super) fn key_of(words: &Arguments) -> Option<&[u8]> {
    let at = match words.first()?.as_slice() {
        b"MULTI" | b"EXEC" => return None,
        b"EVAL" if words.get(2)?.as_slice() == b"0" => return None,
        b"EVAL" => 3,
        _ => 1,
    };
    words.get(at).map(Vec::as_slice)
}

fn command(name: &str, words: &[&[u8]]) -> Arguments {
    std::iter::once(name.as_bytes()).chain(words.iter().copied()).map(<[u8]>::to_vec).collect()
}

fn ok() -> Value {
    Value::Simple("OK".into())
}

/// How a value says its version.
pub(super) fn chunk(version: usize) -> Vec<u8> {
    format!("{version:0width$}", width = CHUNK).into_bytes()
}

/// A random write of this register, which holds `content` now.
pub(super) fn write(register: &Register, content: &Content, version: usize, random: &mut StdRng) -> Write {
    let value = chunk(version);
    let keys: Vec<Vec<u8>> = match register.kind {
        Kind::Pair => vec![register.key("a"), register.key("b")],
        Kind::Text | Kind::Hash => vec![register.key("")],
    };
    if content.is_some() {
        match random.random_range(0..100) {
            0..12 => return delete(&keys),
            12..18 => return expire(register, &keys, content, short_time(random)),
            18..22 if register.kind != Kind::Pair => return rename_away(register, version),
            22..27 if register.kind == Kind::Hash => return delete_fields(&keys[0]),
            _ => {}
        }
    }
    let plain = match register.kind {
        Kind::Text => write_text(register, content, &value, random),
        Kind::Hash => write_hash(register, content, &value, random),
        Kind::Pair => write_pair(register, &keys, &value, random),
    };
    match random.random_range(0..8) {
        0 => transaction(plain),
        1 => watching(transaction(plain), register),
        _ => plain,
    }
}

/// Mostly so short that it falls into everything else, sometimes longer than the lease.
fn short_time(random: &mut StdRng) -> Nanos {
    if random.random_ratio(1, 10) { 2 * SECOND } else { random.random_range(10..250) * MILLISECOND }
}

fn single(what: &'static str, command: Arguments, reply: Value, content: Content) -> Write {
    Write { commands: vec![command], replies: vec![reply], what, content, ttl: None, conditional: false }
}

fn delete(keys: &[Vec<u8>]) -> Write {
    let words: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    single("DEL", command("DEL", &words), Value::Integer(keys.len() as i64), None)
}

/// Both keys of a pair are given the same moment: two PEXPIREs of one script may be a millisecond apart, and MGET finds them torn.
fn expire(register: &Register, keys: &[Vec<u8>], content: &Content, ttl: Nanos) -> Write {
    let millis = (ttl / MILLISECOND).to_string();
    let seconds = (ttl / SECOND).to_string();
    let mut write = match keys {
        [key] if ttl.is_multiple_of(SECOND) => {
            single("EXPIRE", command("EXPIRE", &[key, seconds.as_bytes()]), Value::Integer(1), None)
        }
        [key] => single("PEXPIRE", command("PEXPIRE", &[key, millis.as_bytes()]), Value::Integer(1), None),
        _ => {
            let text = "local time = redis.call('TIME') \
                local at = math.floor(time[1] * 1000 + time[2] / 1000 + ARGV[3]) \
                for i = 1, 2 do redis.call('PEXPIREAT', ARGV[i], at) end return 1";
            let words = script(register, text, keys, &[millis.as_bytes()]);
            single("EVAL of PEXPIREAT", words, Value::Integer(1), None)
        }
    };
    write.content.clone_from(content);
    write.ttl = Some(ttl);
    write
}

fn rename_away(register: &Register, version: usize) -> Write {
    let to = register.key(&format!("old{version}"));
    single("RENAME away", command("RENAME", &[&register.key(""), &to]), ok(), None)
}

fn delete_fields(key: &[u8]) -> Write {
    single("HDEL", command("HDEL", &[key, b"f", b"g"]), Value::Integer(2), None)
}

fn write_text(register: &Register, content: &Content, value: &[u8], random: &mut StdRng) -> Write {
    let key = register.key("");
    let held = content.as_deref().unwrap_or_default();
    let appended: Vec<u8> = [held, value].concat();
    let overwritten: Vec<u8> = [value, held.get(CHUNK..).unwrap_or_default()].concat();
    match random.random_range(0..8) {
        0 | 1 if appended.len() <= MAX_CHUNKS * CHUNK => {
            let length = Value::Integer(appended.len() as i64);
            single("APPEND", command("APPEND", &[&key, value]), length, Some(appended.into()))
        }
        2 => {
            let length = Value::Integer(overwritten.len() as i64);
            single("SETRANGE", command("SETRANGE", &[&key, b"0", value]), length, Some(overwritten.into()))
        }
        3 => {
            let text = "redis.call('SET', ARGV[1], ARGV[2]) return 1";
            let words = script(register, text, &[key], &[value]);
            single("EVAL of SET", words, Value::Integer(1), Some(value.into()))
        }
        4 => {
            let from = register.key(&format!("new{}", String::from_utf8_lossy(value)));
            Write {
                commands: vec![command("SET", &[&from, value]), command("RENAME", &[&from, &key])],
                replies: vec![ok(), ok()],
                what: "RENAME onto",
                content: Some(value.into()),
                ttl: None,
                conditional: false,
            }
        }
        _ => single("SET", command("SET", &[&key, value]), ok(), Some(value.into())),
    }
}

fn write_hash(register: &Register, content: &Content, value: &[u8], random: &mut StdRng) -> Write {
    let key = register.key("");
    if random.random_ratio(1, 4) {
        let text = "redis.call('HSET', ARGV[1], 'f', ARGV[2], 'g', ARGV[2]) return 1";
        let words = script(register, text, &[key], &[value]);
        return single("EVAL of HSET", words, Value::Integer(1), Some(value.into()));
    }
    let new = if content.is_some() { 0 } else { 2 };
    let words = command("HSET", &[&key, b"f", value, b"g", value]);
    single("HSET", words, Value::Integer(new), Some(value.into()))
}

fn write_pair(register: &Register, keys: &[Vec<u8>], value: &[u8], random: &mut StdRng) -> Write {
    if random.random_ratio(1, 4) {
        let text = "redis.call('SET', ARGV[1], ARGV[3]) redis.call('SET', ARGV[2], ARGV[3]) return 1";
        let words = script(register, text, keys, &[value]);
        return single("EVAL of two SETs", words, Value::Integer(1), Some(value.into()));
    }
    let words = command("MSET", &[&keys[0], value, &keys[1], value]);
    single("MSET", words, ok(), Some(value.into()))
}

/// The same write between MULTI and EXEC.
fn transaction(write: Write) -> Write {
    let queued = std::iter::repeat_n(Value::Simple("QUEUED".into()), write.commands.len());
    let replies = std::iter::once(ok()).chain(queued).chain([Value::Array(write.replies)]);
    let replies = replies.collect();
    let mut commands = vec![arguments(&["MULTI"])];
    commands.extend(write.commands);
    commands.push(arguments(&["EXEC"]));
    Write { commands, replies, ..write }
}

/// The same transaction behind a WATCH of a key that nobody writes.
fn watching(mut write: Write, register: &Register) -> Write {
    write.commands.insert(0, command("WATCH", &[&register.key("watched")]));
    write.replies.insert(0, ok());
    write.conditional = true;
    write
}

/// A random read of this register.
pub(super) fn query(register: &Register, random: &mut StdRng) -> Query {
    let choices: &[(&str, Part)] = match register.kind {
        Kind::Text => &[
            ("GET", Part::All),
            ("GET", Part::All),
            ("GETRANGE", Part::All),
            ("STRLEN", Part::All),
            ("EXISTS", Part::All),
        ],
        Kind::Hash => &[
            ("HGETALL", Part::All),
            ("HGETALL", Part::All),
            ("HGET", Part::All),
            ("HMGET", Part::All),
            ("EXISTS", Part::All),
        ],
        Kind::Pair => &[
            ("MGET", Part::All),
            ("MGET", Part::All),
            ("GET", Part::First),
            ("GET", Part::Second),
            ("EXISTS", Part::All),
        ],
    };
    let &(what, part) = choices.choose(random).unwrap_or(&("GET", Part::All));
    let suffixes: &[&str] = match (register.kind, part) {
        (Kind::Pair, Part::First) => &["a"],
        (Kind::Pair, Part::Second) => &["b"],
        (Kind::Pair, Part::All) => &["a", "b"],
        (Kind::Text | Kind::Hash, _) => &[""],
    };
    let further: &[&str] = match what {
        "GETRANGE" => &["0", "-1"],
        "HGET" => &["f"],
        "HMGET" => &["f", "g"],
        _ => &[],
    };
    let mut command = vec![what.as_bytes().to_vec()];
    command.extend(suffixes.iter().map(|suffix| register.key(suffix)));
    command.extend(further.iter().map(|word| word.as_bytes().to_vec()));
    Query { command, what, part }
}

/// WATCH and GET of a key.
pub(super) fn log_words(key: &[u8]) -> [Arguments; 2] {
    [command("WATCH", &[key]), command("GET", &[key])]
}

/// A read that shows what a register holds.
pub(super) fn sample(register: &Register) -> Arguments {
    match register.kind {
        Kind::Text => command("GET", &[&register.key("")]),
        Kind::Hash => command("HGET", &[&register.key(""), b"f"]),
        Kind::Pair => command("GET", &[&register.key("a")]),
    }
}

/// Whether `value` is what `sample` reads of this content.
pub(super) fn is_same(value: &Value, content: &Content) -> bool {
    value.bytes() == content.as_deref()
}

pub(super) fn is_read(words: &Arguments) -> bool {
    words.first().is_some_and(|name| READS.iter().any(|read| read.as_bytes().eq_ignore_ascii_case(name)))
}

/// What the reply to a query says. `Err` for one that no server may give.
pub(super) fn understand(query: &Query, reply: &Value) -> Result<Seen, String> {
    let odd = || format!("{} answered {reply:?}", query.what);
    match query.what {
        "STRLEN" => {
            let length = reply.integer().and_then(|length| usize::try_from(length).ok());
            length.map(Seen::Length).ok_or_else(odd)
        }
        "EXISTS" => match reply.integer() {
            Some(0) => Ok(Seen::Present(false)),
            Some(count) if count + 1 == query.command.len() as i64 => Ok(Seen::Present(true)),
            Some(1) => Ok(Seen::Torn("one of two keys".to_owned())),
            _ => Err(odd()),
        },
        "HGETALL" => match reply.elements().as_deref() {
            Some([]) => Ok(Seen::Content(None)),
            Some([one, first, other, second]) if one != other => same(first, second),
            _ => Err(odd()),
        },
        "HMGET" | "MGET" => match reply.elements().as_deref() {
            Some([first, second]) => same(first, second),
            _ => Err(odd()),
        },
        _ => match reply {
            Value::Nil => Ok(Seen::Content(None)),
            Value::Bulk(bytes) if bytes.is_empty() => Ok(Seen::Content(None)),
            Value::Bulk(bytes) => Ok(Seen::Content(Some(bytes.clone().into()))),
            _ => Err(odd()),
        },
    }
}

fn same(first: &Value, second: &Value) -> Result<Seen, String> {
    if first != second {
        return Ok(Seen::Torn(format!("{first:?} and {second:?}")));
    }
    Ok(Seen::Content(first.bytes().map(Into::into)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn understood(what: &'static str, words: usize, reply: &[u8]) -> Result<Seen, String> {
        let command = vec![b"x".to_vec(); words];
        understand(&Query { command, what, part: Part::All }, &Value::parse(reply).unwrap())
    }

    #[test]
    fn replies_are_understood_in_both_protocols() {
        let five = Seen::Content(Some(Box::from(&b"5"[..])));
        assert_eq!(understood("GET", 2, b"$1\r\n5\r\n").unwrap(), five);
        assert_eq!(understood("GET", 2, b"_\r\n").unwrap(), Seen::Content(None));
        assert_eq!(understood("GETRANGE", 4, b"$0\r\n\r\n").unwrap(), Seen::Content(None));
        for hash in [&b"*4\r\n+f\r\n+5\r\n+g\r\n+5\r\n"[..], b"%2\r\n+f\r\n+5\r\n+g\r\n+5\r\n"] {
            assert_eq!(understood("HGETALL", 2, hash).unwrap(), five);
        }
        assert_eq!(understood("EXISTS", 3, b":2\r\n").unwrap(), Seen::Present(true));
        assert_eq!(understood("EXISTS", 2, b":1\r\n").unwrap(), Seen::Present(true));
        assert!(understood("GET", 2, b":1\r\n").is_err());
        assert!(understood("MGET", 3, b"*1\r\n_\r\n").is_err());
    }

    #[test]
    fn what_was_written_together_and_read_apart_is_torn() {
        for (what, words, reply) in [
            ("MGET", 3, &b"*2\r\n+1\r\n+2\r\n"[..]),
            ("MGET", 3, b"*2\r\n$-1\r\n+2\r\n"),
            ("HGETALL", 2, b"*4\r\n+f\r\n+5\r\n+g\r\n+6\r\n"),
            ("EXISTS", 3, b":1\r\n"),
        ] {
            assert!(matches!(understood(what, words, reply), Ok(Seen::Torn(_))), "{what}");
        }
    }
}
