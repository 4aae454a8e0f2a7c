//! Values that home keeps compressed.

use std::thread;

use super::{bulk, call, field, ok, pair, statistic};
use crate::support::{Client, RedisServer, Value, arguments};

const ON: &str = "[l3]\ncompression_min_size = \"100B\"\n[[policy]]\nmatch = \"z:*\"\ncompress = true\n";
const MARK: &[u8] = b"\xffsz";

/// A text that compresses well.
fn text(n: usize) -> String {
    "{\"name\":\"strata\"},".repeat(n / 17 + 1)[..n].to_owned()
}

/// What home keeps of a key.
fn kept(home: &RedisServer, key: &str) -> Vec<u8> {
    home.connect().call(&["GET", key]).expect("home answers").bytes().map(<[u8]>::to_vec).unwrap_or_default()
}

fn set(client: &mut Client, key: &str, value: &str) {
    assert_eq!(client.call(&["SET", key, value]).expect("answered"), ok());
}

#[test]
fn whole_values_are_kept_compressed_and_shown_plain() {
    let (home, strata) = pair(ON);
    let mut client = strata.connect();
    let value = text(1_000);
    set(&mut client, "z:a", &value);
    set(&mut client, "plain", &value);
    assert_eq!(kept(&home, "plain"), value.as_bytes());
    let stored = kept(&home, "z:a");
    assert!(stored.starts_with(MARK) && stored.len() < 200, "{}", stored.escape_ascii());
    for _ in 0..3 {
        assert_eq!(call(&mut client, "GET z:a"), bulk(&value));
    }
    call(&mut client, "HELLO 3");
    assert_eq!(call(&mut client, "GET z:a"), bulk(&value));
    assert_eq!(call(&mut client, "STRLEN z:a"), Value::Integer(1_000));
    assert_eq!(call(&mut client, "GETRANGE z:a 3 6"), bulk("ame\""));
    assert_eq!(call(&mut client, "SUBSTR z:a -2 -1"), bulk(&value[998..]));
    let both = Value::Array(vec![bulk(&value), Value::Nil, bulk(&value)]);
    assert_eq!(call(&mut client, "MGET z:a none plain"), both);
    assert_eq!(client.call(&["SET", "z:a", &text(500), "GET"]).expect("answered"), bulk(&value));
    assert_eq!(client.call(&["GETSET", "z:a", &value]).expect("answered"), bulk(text(500)));
    assert_eq!(call(&mut client, "GETEX z:a EX 100"), bulk(&value));
    assert_eq!(call(&mut client, "GETDEL z:a"), bulk(&value));
    for words in
        [&["SETEX", "z:b", "100"][..], &["PSETEX", "z:c", "100000"], &["SETNX", "z:d"], &["MSETNX", "z:e"]]
    {
        client.call(&[words, &[&value]].concat()).expect("answered");
        let key = words[1];
        assert!(kept(&home, key).starts_with(MARK), "{words:?}");
        assert_eq!(call(&mut client, &format!("GET {key}")), bulk(&value));
    }
    let compressed = statistic(&mut client, "l2", "compressed");
    assert_eq!(compressed, 7);
    assert!(statistic(&mut client, "l2", "decompressed") >= 8);
    let ratio = field(&call(&mut client, "CACHE STATS l2"), "compression_ratio");
    let ratio: f64 = String::from_utf8_lossy(ratio.bytes().expect("a text")).parse().expect("a number");
    assert!(ratio > 5.0, "{ratio}");
    let found = call(&mut client, "CACHE WHERE z:b");
    assert_eq!(field(&field(&found, "l2"), "compressed"), Value::Integer(1));
    assert_eq!(field(&field(&found, "policy"), "match"), bulk("z:*"));
}

#[test]
fn plain_values_of_others_and_values_that_look_compressed_are_what_they_are() {
    let (home, strata) = pair(ON);
    let mut client = strata.connect();
    home.connect().call(&["SET", "z:old", &text(2_000)]).expect("home answers");
    assert_eq!(call(&mut client, "GET z:old"), bulk(text(2_000)));
    for looks in [&b"\xffsz"[..], b"\xffsz\0abc", b"\xffsz\x01\0\x05abc", b"\xffsz\0\xffsz\0"] {
        client.call(&[b"SET", b"z:k", looks]).expect("answered");
        assert_eq!(call(&mut client, "GET z:k"), bulk(looks));
        assert_eq!(call(&mut client, "STRLEN z:k"), Value::Integer(looks.len() as i64));
        assert_eq!(kept(&home, "z:k"), looks);
    }
    // Others cannot be kept from writing this; it is none of ours.
    home.connect().call(&[&b"SET"[..], b"z:k", b"\xffsz\x01\0\x05abc"]).expect("home answers");
    let seen = crate::support::wait_until(std::time::Duration::from_secs(5), || {
        call(&mut client, "GET z:k") == bulk(b"\xffsz\x01\0\x05abc")
    });
    assert!(seen);
}

/// Bytes that home keeps of some value are a value as well, whichever way they are set and whatever fails.
#[test]
fn a_value_that_would_be_taken_for_a_compressed_one_is_what_it_is() {
    let (home, strata) = pair(ON);
    let mut client = strata.connect();
    set(&mut client, "z:a", &text(300));
    let packed = kept(&home, "z:a");
    client.call(&[b"SET", b"z:a", &packed[..]]).expect("answered");
    let escaped = kept(&home, "z:a");
    assert_eq!(escaped[escaped.len() - packed.len()..], packed);
    for value in [packed, escaped] {
        let is = |client: &mut Client, what: &str| {
            assert_eq!(call(client, "GET z:k"), bulk(&value), "{what}");
            assert_eq!(call(client, "STRLEN z:k"), Value::Integer(value.len() as i64), "{what}");
        };
        client.call(&[b"SET", b"z:k", &value[..]]).expect("answered");
        is(&mut client, "SET");
        call(&mut client, "HSET hash f v");
        assert!(call(&mut client, "BITOP AND z:k hash z:k").is_error());
        is(&mut client, "a BITOP that fails");
        call(&mut client, "APPEND z:k x");
        call(&mut client, "MULTI");
        call(&mut client, "HINCRBY z:k f 1");
        call(&mut client, "SETRANGE z:k 0 y");
        client.call(&[b"SET", b"z:k", &value[..]]).expect("queued");
        assert!(call(&mut client, "EXEC").elements().is_some());
        is(&mut client, "SET in MULTI");
        let script = "redis.call('SET',KEYS[1],ARGV[1])";
        client.call(&[b"EVAL", script.as_bytes(), b"1", b"z:k", &value[..]]).expect("answered");
        is(&mut client, "a script");
        client.call(&[&b"SET"[..], b"other", &value]).expect("answered");
        call(&mut client, "RENAME other z:k");
        is(&mut client, "RENAME");
        assert!(call(&mut client, "RENAME none z:k").is_error());
        is(&mut client, "a RENAME that fails");
    }
}

#[test]
fn commands_that_work_inside_find_plain_bytes() {
    let (home, strata) = pair(ON);
    let mut client = strata.connect();
    let value = text(300);
    let again = |client: &mut Client| set(client, "z:a", &value);
    again(&mut client);
    call(&mut client, "EXPIRE z:a 1000");
    assert_eq!(call(&mut client, "APPEND z:a !"), Value::Integer(301));
    assert_eq!(kept(&home, "z:a"), format!("{value}!").as_bytes());
    assert!(call(&mut client, "TTL z:a").integer() > Some(900));
    assert_eq!(call(&mut client, "GET z:a"), bulk(format!("{value}!")));
    let cases = [
        ("SETRANGE z:a 0 X", Value::Integer(300)),
        ("GETBIT z:a 1", Value::Integer(1)),
        ("SETBIT z:a 7 0", Value::Integer(1)),
        ("BITPOS z:a 1", Value::Integer(1)),
        ("BITFIELD z:a GET u8 0", Value::Array(vec![Value::Integer(i64::from(value.as_bytes()[0]))])),
        ("BITOP NOT z:b z:a", Value::Integer(300)),
        ("EVAL return(redis.call('STRLEN',KEYS[1])) 1 z:a", Value::Integer(300)),
        ("LCS z:a z:a LEN", Value::Integer(300)),
        ("RENAME z:a elsewhere", ok()),
    ];
    for (command, expected) in cases {
        again(&mut client);
        assert!(kept(&home, "z:a").starts_with(MARK));
        assert_eq!(call(&mut client, command), expected, "{command}");
    }
    assert_eq!(kept(&home, "elsewhere"), value.as_bytes());
    again(&mut client);
    assert_eq!(
        call(&mut client, "INCR z:a"),
        Value::Error("ERR value is not an integer or out of range".into())
    );
    assert_eq!(call(&mut client, "INCRBYFLOAT z:a 1"), Value::Error("ERR value is not a valid float".into()));
    let hll = "WRONGTYPE Key is not a valid HyperLogLog string value.";
    assert_eq!(call(&mut client, "PFADD z:a x"), Value::Error(hll.into()));
    call(&mut client, "RPUSH z:list a");
    let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
    assert_eq!(call(&mut client, "APPEND z:list x"), Value::Error(wrong.into()));
    let refused = call(&mut client, "SORT z:list GET z:* STORE l");
    assert!(
        matches!(&refused, Value::Error(e) if e.contains("SORT") && e.contains("policy \"z:*\"")),
        "{refused:?}"
    );
}

#[test]
fn a_pipeline_keeps_its_order_through_commands_that_work_inside() {
    let (_home, strata) = pair(ON);
    let mut client = strata.connect();
    let value = text(200);
    let commands = [
        arguments(&["SET", "z:a", &value]),
        arguments(&["APPEND", "z:a", "1"]),
        arguments(&["GET", "z:a"]),
        arguments(&["SET", "z:a", &value]),
        arguments(&["GETBIT", "z:a", "1"]),
        arguments(&["STRLEN", "z:a"]),
    ];
    let replies = client.pipeline(&commands).expect("answered");
    let expected =
        [ok(), Value::Integer(201), bulk(format!("{value}1")), ok(), Value::Integer(1), Value::Integer(200)];
    assert_eq!(replies, expected);
}

#[test]
fn transactions_show_plain_values_and_work_inside_them() {
    let (home, strata) = pair(ON);
    let mut client = strata.connect();
    let value = text(400);
    let whole = |client: &mut Client, commands: &[&[&str]]| {
        assert_eq!(call(client, "MULTI"), ok());
        for command in commands {
            assert_eq!(
                client.call(command).expect("answered"),
                Value::Simple("QUEUED".into()),
                "{command:?}"
            );
        }
        call(client, "EXEC")
    };
    let replies = whole(
        &mut client,
        &[&["SET", "z:a", &value], &["GET", "z:a"], &["MGET", "z:a", "z:none"], &["STRLEN", "z:a"]],
    );
    let mget = Value::Array(vec![bulk(&value), Value::Nil]);
    assert_eq!(replies, Value::Array(vec![ok(), bulk(&value), mget, Value::Integer(400)]));
    assert!(kept(&home, "z:a").starts_with(MARK));
    // z:b is set in the transaction that works inside it.
    let replies = whole(
        &mut client,
        &[
            &["APPEND", "z:a", "!"],
            &["SET", "z:b", &value],
            &["SETRANGE", "z:b", "0", "X"],
            &["CLIENT", "GETNAME"],
            &["GET", "z:a"],
        ],
    );
    let expected = [Value::Integer(401), ok(), Value::Integer(400), Value::Nil, bulk(format!("{value}!"))];
    assert_eq!(replies, Value::Array(expected.to_vec()));
    assert_eq!(kept(&home, "z:b"), format!("X{}", &value[1..]).as_bytes());
    // A client that watches hears that its key was changed, and nothing of strata's own watching.
    set(&mut client, "z:a", &value);
    call(&mut client, "WATCH other");
    assert_eq!(whole(&mut client, &[&["APPEND", "z:a", "!"]]), Value::Array(vec![Value::Integer(401)]));
    call(&mut client, "WATCH other");
    home.connect().call(&["SET", "other", "x"]).expect("home answers");
    assert_eq!(whole(&mut client, &[&["APPEND", "z:a", "!"]]), Value::Nil);
    assert_eq!(call(&mut client, "GET z:a"), bulk(format!("{value}!")));
    assert_eq!(call(&mut client, "PING"), Value::Simple("PONG".into()));
}

/// Bytes appended by many are all there, though the value is compressed anew meanwhile: none is lost to a race.
#[test]
fn nothing_is_lost_between_those_who_append_and_those_who_set() {
    let (home, strata) = pair(ON);
    let value = text(150);
    set(&mut strata.connect(), "z:a", &value);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = strata.connect();
                for _ in 0..25 {
                    let reply = call(&mut client, "APPEND z:a +");
                    assert!(reply.integer() > Some(150), "{reply:?}");
                }
            });
        }
        scope.spawn(|| {
            let mut client = strata.connect();
            for _ in 0..50 {
                // As it is, but compressed.
                call(&mut client, "WATCH z:a");
                let now = call(&mut client, "GET z:a");
                call(&mut client, "MULTI");
                client.call(&[b"SET", b"z:a", now.bytes().expect("a value")]).expect("answered");
                call(&mut client, "EXEC");
            }
        });
    });
    let expected = format!("{value}{}", "+".repeat(100));
    assert_eq!(call(&mut strata.connect(), "GET z:a"), bulk(&expected));
    drop(home);
}

#[test]
fn values_are_read_where_no_new_ones_are_compressed() {
    let (home, strata) = pair(ON);
    set(&mut strata.connect(), "z:a", &text(900));
    let off = ON.replace("compress = true", "compress = false");
    let other = crate::support::Strata::start_with(&home.unix().url(), &off, &[]);
    let mut client = other.connect();
    assert_eq!(call(&mut client, "GET z:a"), bulk(text(900)));
    set(&mut client, "z:a", &text(800));
    assert_eq!(kept(&home, "z:a"), text(800).as_bytes());
}
