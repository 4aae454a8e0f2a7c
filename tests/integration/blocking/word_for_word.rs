//! The same commands to strata and to a bare redis-server: the same bytes, waiting or not.

use std::thread;
use std::time::{Duration, Instant};

use super::{LONG, waiting};
use crate::support::{Client, Endpoint, RedisServer, Strata, encode, is_redis_7_0, skip, wait_until};

/// Nobody has to act for these to be answered.
const ALONE: &[&str] = &[
    "RPUSH l 1 2 3|BLPOP l 0|BRPOP l 0|BLMOVE l m LEFT RIGHT 0|BRPOPLPUSH m n 0|BLMPOP 0 2 l n LEFT COUNT 2|LLEN n",
    "ZADD z 1 a 2 b 3 c|BZPOPMIN z 0|BZPOPMAX none z 0|BZMPOP 0 1 z MIN|BZPOPMIN z 0.01|BZMPOP 0.01 1 z MAX",
    "XADD s 1-1 a b|XREAD BLOCK 10 STREAMS s 0|XREAD BLOCK 10 STREAMS s $|XGROUP CREATE s g 0|XREADGROUP GROUP g c BLOCK 10 STREAMS s >|XREADGROUP GROUP g c BLOCK 10 STREAMS s >",
    "BLPOP|BLPOP a|BLPOP a x|BLPOP a -1|BLPOP a inf|BLPOP a nan|BLPOP a 1e300|BLPOP a 0.01|BLPOP a b 0x0.01",
    "BLMPOP 0 0 a LEFT|BLMPOP 0 1 a MIDDLE|BLMPOP x 1 a LEFT|BLMPOP 0.01 1 a LEFT COUNT 0|BLMOVE a b LEFT x 0|BLMOVE a b LEFT LEFT",
    "XREAD BLOCK x STREAMS a 0|XREAD BLOCK 10 STREAMS a|XREAD BLOCK -1 STREAMS a 0|XREAD BLOCK 10 STREAMS a x|XREADGROUP GROUP g c BLOCK 1 STREAMS a >",
    "WAIT 0 x|WAIT x 0|WAIT 0 -1|WAIT 0 0|WAIT 1 10|SET a 1|WAIT 1 10|WAIT 0|WAIT 0 0 0",
    "SET s x|BLPOP s 0|BLPOP a s 0|BZPOPMIN s 0|BLMOVE s t LEFT LEFT 0|XREAD BLOCK 0 STREAMS s 0|BRPOPLPUSH s t 0",
    "BLPOP none 0.01|SET k 1|BRPOP none 0.01|GET k|BZPOPMIN none 0.01|INCR k|BLMOVE none k LEFT LEFT 0.01|GET k",
    "SELECT 3|RPUSH l a|BLPOP l 0|SELECT 0|BLPOP l 0.01|RPUSH l b|BLPOP l 0|HELLO 3|BLPOP l 0.01|RPUSH l c|BLPOP l 0",
    "CLIENT UNBLOCK 99999|CLIENT UNBLOCK 99999 foo|CLIENT UNBLOCK x|CLIENT UNBLOCK|CLIENT UNBLOCK 1 ERROR x",
    "CLIENT REPLY SKIP|BLPOP none 0.01|PING|CLIENT REPLY OFF|RPUSH l 1|BLPOP l 0|CLIENT REPLY ON|LLEN l",
    "WATCH k|BLPOP none 0.01|SET k 1|MULTI|GET k|EXEC|WATCH l|RPUSH l 1|BLPOP l 0|MULTI|GET k|EXEC",
    "RPUSH l 1|BLPOP l 0|DEL l|SET l string|BLPOP l 0.01|TYPE l|GETRANGE l 0 -1",
];

/// One waits, another acts, and a third reads.
const TOGETHER: &[(&str, &str)] = &[
    ("BLPOP a b 0", "RPUSH b 1 2"),
    ("BRPOP a b 5", "MULTI;RPUSH b 1;RPUSH a 2;EXEC"),
    ("BLPOP a 0", "MULTI;RPUSH a 1;DEL a;EXEC;RPUSH a 2"),
    ("BLPOP a 0", "SET a x;DEL a;RPUSH a 1"),
    ("BLMOVE a b LEFT RIGHT 0", "RPUSH a 1 2 3;LRANGE b 0 -1"),
    ("BLMOVE a b LEFT RIGHT 0", "SET b string;RPUSH a 1"),
    ("BRPOPLPUSH a b 0", "RPUSH a 1 2 3"),
    ("BLMPOP 0 2 a b RIGHT COUNT 2", "RPUSH b 1 2 3"),
    ("BZPOPMIN a b 0", "ZADD b 1.5 x 2 y"),
    ("BZPOPMAX a 0", "ZADD a 1 x 2 y"),
    ("BZMPOP 0 1 a MAX COUNT 10", "ZADD a 1 x 2 y"),
    ("XREAD BLOCK 0 STREAMS a b $ $", "XADD b 1-1 f v"),
    ("XREAD COUNT 1 BLOCK 0 STREAMS a 5-0", "XADD a 1-1 f v;XADD a 6-1 f w;XADD a 7-1 f x"),
    ("BLPOP a 0", "EVAL \"redis.call('rpush', 'a', 'from a script')\" 0"),
    ("BLPOP a 0", "RPUSH x 1;RENAME x a"),
    ("BLPOP a 0", "RPUSH x 1;COPY x a"),
    ("BLPOP a 0;LLEN a;GET k;BLPOP a 0.01", "SET k v;RPUSH a 1"),
    ("SELECT 2;BLPOP a 0", "RPUSH a zero;SELECT 2;RPUSH a two;SELECT 0"),
];

fn words(command: &str) -> Vec<&str> {
    let parts = command.split('"').enumerate();
    parts
        .flat_map(|(n, part)| if n % 2 == 0 { part.split_whitespace().collect() } else { vec![part] })
        .collect()
}

fn connect(endpoint: &Endpoint, protocol: u8) -> Client {
    let mut client = Client::connect(endpoint).unwrap();
    client.call(&["FLUSHALL"]).unwrap();
    client.hello(protocol).unwrap();
    client
}

fn stage() -> (RedisServer, RedisServer, Strata) {
    let (bare, home) = (RedisServer::start(&[]), RedisServer::start(&[]));
    let strata = Strata::start(&home.unix(), &[("server.workers", "2")]);
    (bare, home, strata)
}

/// All that comes back of commands sent in one write.
fn replies(client: &mut Client) -> String {
    let mut all = Vec::new();
    loop {
        let reply = client.read_raw().unwrap();
        if reply == b"$7\r\nthe end\r\n" {
            return all.escape_ascii().to_string();
        }
        // HELLO tells the client's number.
        if !reply.starts_with(b"%7") {
            all.extend(reply);
        }
    }
}

fn send(client: &mut Client, commands: &str, between: char) {
    let mut bytes: Vec<u8> = commands.split(between).flat_map(|command| encode(&words(command))).collect();
    bytes.extend(encode(&["ECHO", "the end"]));
    client.send_raw(&bytes).unwrap();
}

#[test]
fn who_waits_in_vain_or_not_at_all_is_answered_as_by_redis() {
    if !is_redis_7_0() {
        return skip("the words of CLIENT UNBLOCK");
    }
    let (bare, _home, strata) = stage();
    for commands in ALONE {
        for protocol in [2, 3] {
            let answers = |endpoint: &Endpoint| {
                let mut client = connect(endpoint, protocol);
                send(&mut client, commands, '|');
                replies(&mut client)
            };
            assert_eq!(answers(&strata.endpoint()), answers(&bare.tcp()), "{commands} (RESP{protocol})");
        }
    }
}

#[test]
fn who_is_served_by_another_client_is_answered_as_by_redis() {
    let (bare, home, strata) = stage();
    for (wait, act) in TOGETHER {
        for protocol in [2, 3] {
            let answers = |endpoint: &Endpoint, server: &RedisServer| {
                let mut actor = connect(endpoint, protocol);
                let mut waiter = connect(endpoint, protocol);
                send(&mut waiter, wait, ';');
                assert!(wait_until(LONG, || waiting(server) == 1), "{wait}");
                send(&mut actor, act, ';');
                let acted = replies(&mut actor);
                format!("{} / {acted}", replies(&mut waiter))
            };
            let ours = answers(&strata.endpoint(), &home);
            assert_eq!(ours, answers(&bare.tcp(), &bare), "{wait} / {act} (RESP{protocol})");
        }
    }
}

#[test]
fn waiting_takes_the_time_that_was_asked_for() {
    let (_bare, home, strata) = stage();
    thread::scope(|scope| {
        for (command, expected) in
            [("BLPOP l 0.3", 300), ("XREAD BLOCK 300 STREAMS s $", 300), ("WAIT 1 300", 300)]
        {
            let strata = &strata;
            scope.spawn(move || {
                let mut client = strata.connect();
                let asked = Instant::now();
                client.call(&words(command)).unwrap();
                let took = asked.elapsed();
                assert!(took >= Duration::from_millis(expected - 20) && took < LONG, "{command}: {took:?}");
            });
        }
    });
    assert_eq!(waiting(&home), 0);
}

#[test]
fn wait_counts_replicas_that_have_all_that_the_client_wrote() {
    let (_bare, home, strata) = stage();
    let mut replica = RedisServer::start(&[]);
    let port = home.tcp().url().rsplit(':').next().unwrap().to_owned();
    replica.connect().call(&["REPLICAOF", "127.0.0.1", &port]).unwrap();
    assert!(wait_until(LONG, || home.info("replication")["connected_slaves"] == "1"));
    let mut client = strata.connect();
    assert!(wait_until(LONG, || {
        client.call(&["SET", "k", "0"]).unwrap();
        client.call(&["WAIT", "1", "1000"]).unwrap().integer() == Some(1)
    }));
    for n in 1..20 {
        client.send_raw(format!("SET k {n}\r\nWAIT 1 10000\r\n").as_bytes()).unwrap();
        client.read().unwrap();
        assert_eq!(client.read().unwrap().integer(), Some(1));
        let there = replica.connect().call(&["GET", "k"]).unwrap();
        assert_eq!(there, super::bulk(&n.to_string()), "the replica has what was waited for");
    }
    replica.pause();
    client.send_raw(b"SET k last\r\nWAIT 1 200\r\n").unwrap();
    client.read().unwrap();
    assert_eq!(client.read().unwrap().integer(), Some(0), "it cannot have it");
    replica.resume();
}
