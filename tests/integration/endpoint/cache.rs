//! CACHE: what it reports, and what it drops.

use std::time::{Duration, Instant};

use super::{bulk, call, field};
use crate::support::{Client, RedisServer, Strata, Value, arguments, wait_until};

const PATIENCE: Duration = Duration::from_secs(10);

fn ok() -> Value {
    Value::Simple("OK".into())
}

/// Reads until a copy answers.
fn warm(client: &mut Client, command: &str) {
    let before = hits(client);
    let warmed = wait_until(PATIENCE, || {
        call(client, command);
        hits(client) > before
    });
    assert!(warmed, "{command} never became a hit");
}

fn hits(client: &mut Client) -> i64 {
    field(&call(client, "CACHE STATS l1"), "hits").integer().expect("a number")
}

fn stage(settings: &[(&str, &str)]) -> (RedisServer, Strata) {
    let home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), settings);
    (home, strata)
}

#[test]
fn statistics_count_what_happened() {
    let (_home, strata) = stage(&[]);
    let mut client = strata.connect();
    call(&mut client, "SET k v");
    call(&mut client, "DEL gone");
    warm(&mut client, "GET k");
    (0..9).for_each(|_| drop(call(&mut client, "GET k")));
    call(&mut client, "SET k w");
    let stats = call(&mut client, "CACHE STATS");
    let (l1, l2) = (field(&stats, "l1"), field(&stats, "l2"));
    assert!(field(&l1, "hits").integer() >= Some(10), "{l1:?}");
    // A late announcement of the first SET may end the first copy.
    assert!((1..=2).contains(&field(&l1, "sets").integer().unwrap_or_default()), "{l1:?}");
    // By the writer, or by home's announcement, whichever was first.
    let dropped = ["deletes", "invalidations"].map(|name| field(&l1, name).integer().unwrap_or_default());
    assert!((0..=1).contains(&dropped[0]) && dropped.iter().sum::<i64>() >= 1, "{l1:?}");
    assert_eq!((field(&l2, "sets"), field(&l2, "deletes")), (Value::Integer(3), Value::Integer(1)));
    assert_eq!(field(&l1, "max_bytes"), Value::Integer(5_000_000));
    for name in ["get_avg_usec", "get_p50_usec", "get_p99_usec", "set_avg_usec", "set_p99_usec"] {
        for tier in [&l1, &l2] {
            let figure = super::text(&field(tier, name));
            assert!(figure.parse::<f64>().is_ok_and(|us| us > 0.0), "{name} is {figure}");
        }
    }
    call(&mut client, "HELLO 3");
    let stats = call(&mut client, "CACHE STATS");
    assert!(
        matches!(&stats, Value::Map(_)) && matches!(field(&stats, "flights"), Value::Map(_)),
        "{stats:?}"
    );
    assert_eq!(field(&stats, "l2"), call(&mut client, "cache stats L2"));
}

#[test]
fn a_key_is_found_where_it_is() {
    let (home, strata) = stage(&[]);
    let mut client = strata.connect();
    home.connect().call(&["HSET", "h", "f", "v"]).expect("home answers");
    home.connect().call(&["PEXPIRE", "h", "50000"]).expect("home answers");
    call(&mut client, "HELLO 3");
    warm(&mut client, "HGET h f");
    warm(&mut client, "HLEN h");
    let found = call(&mut client, "CACHE WHERE h");
    let (l1, l2) = (field(&found, "l1"), field(&found, "l2"));
    assert_eq!(field(&l1, "copies"), Value::Integer(2));
    let copies = field(&l1, "requests").elements().expect("an array");
    let mut requests: Vec<_> = copies.iter().map(|copy| super::text(&field(copy, "request"))).collect();
    requests.sort();
    assert_eq!(requests, ["hget f", "hlen"]);
    for copy in &copies {
        assert_eq!((field(copy, "protocol"), field(copy, "db")), (Value::Integer(3), Value::Integer(0)));
        assert_eq!(field(copy, "says"), bulk("value"));
        let left = field(copy, "time_left_ms").integer().expect("a number");
        assert!((30_000..=50_000).contains(&left), "the key's own life bounds the copy's: {left}");
    }
    assert_eq!((field(&l2, "exists"), field(&l2, "type")), (Value::Integer(1), bulk("hash")));
    assert!(field(&l2, "time_left_ms").integer() > Some(30_000));
    let nowhere = call(&mut client, "CACHE WHERE nowhere");
    assert_eq!(field(&field(&nowhere, "l1"), "copies"), Value::Integer(0));
    let l2 = field(&nowhere, "l2");
    assert_eq!((field(&l2, "exists"), field(&l2, "type")), (Value::Integer(0), bulk("none")));
    assert_eq!(field(&l2, "time_left_ms"), Value::Integer(-2));
}

#[test]
fn copies_are_dropped_by_key_and_by_pattern() {
    let (home, strata) = stage(&[]);
    let mut client = strata.connect();
    for key in ["user:1", "user:2", "order:1"] {
        call(&mut client, &format!("SET {key} v"));
        warm(&mut client, &format!("GET {key}"));
        warm(&mut client, &format!("STRLEN {key}"));
    }
    let copies = |client: &mut Client, key: &str| {
        let found = call(client, &format!("CACHE WHERE {key}"));
        field(&field(&found, "l1"), "copies")
    };
    assert_eq!(copies(&mut client, "user:1"), Value::Integer(2));
    assert_eq!(call(&mut client, "CACHE INVALIDATE KEYS user:1 nosuch"), Value::Integer(1));
    assert_eq!(copies(&mut client, "user:1"), Value::Integer(0));
    warm(&mut client, "GET user:1");
    assert_eq!(call(&mut client, "CACHE INVALIDATE MATCH user:*"), Value::Integer(2));
    assert_eq!(copies(&mut client, "user:2"), Value::Integer(0));
    assert_eq!(copies(&mut client, "order:1"), Value::Integer(2));
    assert_eq!(home.info("keyspace").get("db0").map(|row| row.starts_with("keys=3,")), Some(true));
    assert_eq!(call(&mut client, "CACHE CLEAR L1"), ok());
    assert_eq!(copies(&mut client, "order:1"), Value::Integer(0));
}

#[test]
fn keys_are_deleted_at_home_without_stopping_others() {
    let (home, strata) = stage(&[]);
    let mut writer = home.connect();
    let keys = 30_000;
    let script =
        "for i = 1, tonumber(ARGV[1]) do redis.call('SET', 'old:' .. i, i) end redis.call('SET', 'new', 1)";
    writer.call(&["EVAL", script, "0", &keys.to_string()]).expect("home answers");
    let (mut client, mut other) = (strata.connect(), strata.connect());
    warm(&mut other, "GET old:7");
    let request = b"CACHE INVALIDATE MATCH old:* FROM HOME\r\nDBSIZE\r\nGET old:7\r\n";
    client.send_raw(request).expect("strata reads");
    let (mut slowest, mut turns) = (Duration::ZERO, 0);
    let began = Instant::now();
    while call(&mut other, "EXISTS old:30000") == Value::Integer(1) || turns < 10 {
        let asked = Instant::now();
        assert_eq!(call(&mut other, "GET new"), bulk("1"));
        slowest = slowest.max(asked.elapsed());
        turns += 1;
        assert!(began.elapsed() < PATIENCE, "old:30000 is still there");
    }
    assert!(slowest < Duration::from_millis(500), "another client waited {slowest:?}");
    assert_eq!(client.read().expect("a reply"), Value::Integer(keys));
    assert_eq!(client.read().expect("a reply"), Value::Integer(1), "what follows is executed after it");
    assert_eq!(client.read().expect("a reply"), Value::Nil);
    assert_eq!(call(&mut other, "GET old:7"), Value::Nil);
}

#[test]
fn a_pattern_deletes_in_the_selected_database_only() {
    let (_home, strata) = stage(&[]);
    let mut client = strata.connect();
    call(&mut client, "SET k v");
    assert_eq!(call(&mut client, "SELECT 1"), ok());
    call(&mut client, "SET k w");
    assert_eq!(call(&mut client, "CACHE INVALIDATE MATCH k* FROM HOME"), Value::Integer(1));
    assert_eq!(call(&mut client, "GET k"), Value::Nil);
    call(&mut client, "SELECT 0");
    assert_eq!(call(&mut client, "GET k"), bulk("v"));
}

#[test]
fn hot_keys_are_named_hottest_first() {
    let (_home, strata) = stage(&[]);
    let mut client = strata.connect();
    for key in ["hot", "warm", "cold"] {
        call(&mut client, &format!("SET {key} v"));
        warm(&mut client, &format!("GET {key}"));
    }
    for _ in 0..400 {
        let batch: Vec<_> = (0..100)
            .map(|turn| match turn {
                0..70 => arguments(&["GET", "hot"]),
                70..95 => arguments(&["GET", "warm"]),
                _ => arguments(&["GET", "cold"]),
            })
            .collect();
        client.pipeline(&batch).expect("strata answers");
    }
    let top = call(&mut client, "CACHE HOTKEYS").elements().expect("pairs");
    let names: Vec<_> = top.chunks(2).map(|pair| super::text(&pair[0])).collect();
    assert_eq!(names, ["hot", "warm", "cold"]);
    let hits = top[1].integer().expect("a number");
    assert!((20_000..36_000).contains(&hits), "28,000 hits are estimated as {hits}");
    assert_eq!(call(&mut client, "CACHE HOTKEYS 1").elements().map(|e| e.len()), Some(2));
}

#[test]
fn targets_are_reported_as_met_missed_or_without_data() {
    let settings = [("targets.hit_rate.l1", "0.01"), ("targets.latency.l2", "1us")];
    let (_home, strata) = stage(&settings);
    let mut client = strata.connect();
    let state = |client: &mut Client, name: &str| {
        super::text(&field(&field(&call(client, "CACHE TARGETS"), name), "state"))
    };
    assert_eq!(state(&mut client, "latency.l1"), "no data");
    call(&mut client, "SET k v");
    warm(&mut client, "GET k");
    assert_eq!(state(&mut client, "hit_rate.l1"), "met");
    assert_eq!(state(&mut client, "latency.l2"), "missed");
    assert_eq!(state(&mut client, "latency.l3"), "no data");
}

#[test]
fn mistakes_are_answered_in_the_words_of_redis() {
    let (_home, strata) = stage(&[]);
    let mut client = strata.connect();
    for (command, error) in [
        ("CACHE", "ERR wrong number of arguments for 'cache' command"),
        ("CACHE foo", "ERR unknown subcommand 'foo'. Try CACHE HELP."),
        ("CACHE WHERE", "ERR wrong number of arguments for 'cache|where' command"),
        ("CACHE HEALTH x", "ERR wrong number of arguments for 'cache|health' command"),
        ("CACHE INVALIDATE KEYS", "ERR wrong number of arguments for 'cache|invalidate' command"),
        ("CACHE INVALIDATE MATCH a b", "ERR syntax error"),
        ("CACHE INVALIDATE MATCH a FROM AWAY", "ERR syntax error"),
        ("CACHE INVALIDATE foo bar", "ERR syntax error"),
        ("CACHE STATS l9", "ERR unknown tier 'l9'. Tiers are L1 and L2."),
        ("CACHE HOTKEYS 0", "ERR value is not an integer or out of range"),
        ("CACHE CLEAR all", "ERR syntax error"),
    ] {
        assert_eq!(call(&mut client, command), Value::Error(error.into()), "{command}");
    }
    let help = call(&mut client, "CACHE HELP").elements().expect("lines");
    assert_eq!(help[0], Value::Simple("CACHE <subcommand> [<arg> ...]. Subcommands are:".into()));
}

#[test]
fn without_home_an_errand_fails_in_words() {
    let (mut home, strata) = stage(&[]);
    let mut client = strata.connect();
    call(&mut client, "SET k v");
    home.kill();
    let answer = call(&mut client, "CACHE INVALIDATE MATCH * FROM HOME");
    assert!(matches!(&answer, Value::Error(text) if text.starts_with("ERR strata: ")), "{answer:?}");
    let found = field(&call(&mut client, "CACHE WHERE k"), "l2");
    assert_eq!(field(&found, "exists"), Value::Nil);
    assert!(super::text(&field(&found, "error")).starts_with("ERR strata: "), "{found:?}");
    assert_eq!(call(&mut client, "PING"), Value::Simple("PONG".into()));
}
