//! The same commands to strata and to a bare redis-server, one by one and as pipelines: the same bytes.

use std::io;
use std::time::Duration;

use crate::support::{Client, Endpoint, RedisServer, Strata, encode, is_redis_7_0, skip};

/// Conversations, a command a word group. What Redis says of itself (addresses, numbers of clients) is not in them.
const CONVERSATIONS: &[&str] = &[
    "MULTI; SET a 1; GET a; EXEC; GET a",
    "MULTI; EXEC; MULTI; PING; EXEC; MULTI; DISCARD; DISCARD; EXEC",
    "EXEC x; MULTI x; DISCARD x; UNWATCH x; WATCH; MULTI; EXEC x; EXEC",
    "MULTI; NOSUCH a; EXEC; MULTI; GET; SET a 1; EXEC; GET a",
    "MULTI; CONFIG FOO; EXEC; MULTI; CLIENT FOO; EXEC; MULTI; SUBSCRIBE; EXEC; CLIENT FOO",
    "MULTI; MULTI; WATCH a; SET a 1; EXEC; EXEC",
    "MULTI; SHUTDOWN; EXEC; MULTI; PSYNC a 1; EXEC",
    "SET s x; MULTI; LPUSH s 1; INCR s; SET a b; EXEC; GET a",
    "RPUSH l 1 2 3; MULTI; LPUSH l 0; LRANGE l 0 -1; SORT l DESC; EXPIRE l 0; LRANGE l 0 -1; EXEC; EXISTS l",
    "WATCH k; SET k 1; MULTI; PING; EXEC; GET k; MULTI; GET k; EXEC",
    "WATCH k; MULTI; SET k 1; EXEC; WATCH k; SET k 2; UNWATCH; MULTI; GET k; EXEC",
    "WATCH k; MULTI; SET k 1; DISCARD; SET k 2; MULTI; GET k; EXEC",
    "WATCH k; SET k 1; RESET; MULTI; GET k; EXEC",
    "WATCH a b c; GET a; SET z 1; INCR n; MGET a z; HGETALL h; MULTI; INCR n; EXEC; INCR n; GET n",
    "WATCH k; MULTI; UNWATCH; SET k 1; EXEC; GET k; UNWATCH",
    "WATCH k; SET k 1; MULTI; NOSUCH; EXEC; MULTI; GET k; EXEC",
    "WATCH k; SELECT 1; SET k 1; MULTI; GET k; EXEC; SELECT 0; WATCH k; SELECT 1; SELECT 0; SET k 2; MULTI; GET k; EXEC",
    "WATCH k; SELECT 1; WATCH k; SET q 1; MULTI; SET k 1; SELECT 0; SET k 2; EXEC; GET k; SELECT 1; GET k",
    "WATCH k; HELLO 3; HSET h f v; MULTI; HGETALL h; EXEC; WATCH k; HGETALL h; MULTI; HGETALL h; EXEC; HGETALL h",
    "WATCH k; EVAL \"return redis.call('incr','k')\" 0; MULTI; EXEC; FLUSHALL; WATCH k; FLUSHALL; MULTI; EXEC",
    "SET k 1; WATCH k; FLUSHDB; MULTI; EXEC; SET k 1 PX 1; DEBUG SLEEP 0.01; WATCH k; MULTI; GET k; EXEC",
    "SET k 1; MULTI; INCR k; GET k; SELECT 3; SET k other; GET k; SELECT 0; GET k; EXEC; GET k; SELECT 3; GET k",
    "MULTI; SELECT 1; EXEC; SET x 1; GET x; SELECT 0; GET x",
    "MULTI; SELECT 99; SELECT x; SET a 1; SELECT -1; SELECT 2; SELECT 2; GET a; EXEC; SET in 2; SELECT 2; GET in",
    "MULTI; SET a 1; SELECT 1 2; EXEC",
    "HSET h f v; MULTI; HGETALL h; CLIENT GETNAME; CLIENT SETNAME me; CLIENT GETNAME; ECHO x; PING x; EXEC; CLIENT GETNAME",
    "MULTI; AUTH x y; HELLO 9; ECHO a; CLIENT TRACKINGINFO; CLIENT GETREDIR; EXEC",
    "MULTI; CLIENT REPLY SKIP; PING; SET a 1; EXEC; PING; PING",
    "CLIENT REPLY SKIP; MULTI; CLIENT REPLY SKIP; SET a 1; CLIENT REPLY SKIP; NOSUCH; GET a; EXEC; PING",
    "CLIENT REPLY OFF; MULTI; SELECT 1; SET a 1; EXEC; CLIENT REPLY ON; GET a; SELECT 0; GET a",
    "MULTI; CLIENT REPLY ON; SET a 1; CLIENT REPLY OFF; SET b 1; CLIENT REPLY ON; SET c 1; EXEC; PING; MGET a b c",
    "CLIENT REPLY OFF; WATCH a; MULTI; SET a 1; EXEC; CLIENT REPLY ON; GET a",
    "MULTI; BLPOP a 0; WAIT 1 0; XREAD BLOCK 0 STREAMS s 0; BLMOVE a b LEFT LEFT 0; BZPOPMIN z 0; CLIENT UNBLOCK 1; EXEC",
    "RPUSH l 1; MULTI; BLPOP l 0; BLPOP l 0; BRPOPLPUSH l m 0; BLMPOP 0 1 l LEFT; EXEC; MULTI; BLPOP a x; BLPOP a -1; EXEC",
    "MULTI; XREAD BLOCK 0 STREAMS s $; XREAD BLOCK x STREAMS s 0; XREADGROUP GROUP g c BLOCK 0 STREAMS s >; EXEC",
    "MULTI; SET a 1; RESET; EXEC; GET a; MULTI; QUIT; EXEC",
    "MULTI; FUNCTION STATS; SCRIPT KILL; DEBUG SLEEP 0; EVAL \"return redis.call('set','x',1)\" 0; GET x; EXEC; GET x",
    "MULTI; EVAL \"return redis.call('multi')\" 0; EVAL \"return {1,redis.error_reply('X y'),false}\" 0; EXEC",
    "MULTI; ASKING; READONLY; MONITOR; EXEC",
    "SUBSCRIBE z; UNSUBSCRIBE z; MULTI; SUBSCRIBE a; SET k 1; PSUBSCRIBE b; UNSUBSCRIBE a; PUNSUBSCRIBE; EXEC; GET k",
    "DEBUG PROTOCOL PUSH; DEBUG PROTOCOL BIGNUM; DEBUG PROTOCOL ATTRIB; DEBUG PROTOCOL MAP; PING",
    "MULTI; DEBUG PROTOCOL MAP; DEBUG PROTOCOL ATTRIB; DEBUG PROTOCOL NULL; GET k; EXEC; PING",
    "MULTI; FLUSHALL; SET a 1; FLUSHDB; DBSIZE; KEYS *; SWAPDB 0 1; EXEC; DBSIZE",
    "MULTI; RANDOMKEY; OBJECT ENCODING a; OBJECT FOO; MEMORY USAGE a; SCAN 0; COMMAND COUNT; EXEC",
    "SCRIPT KILL; FUNCTION KILL; FUNCTION STATS; DEBUG SLEEP 0; SCRIPT KILL x; FUNCTION STATS y; DEBUG FOO; SHUTDOWN FOO",
];

/// What comes back of a conversation, and how it ended.
type Answers = (Vec<u8>, Option<io::ErrorKind>);

/// Sends a conversation in one write.
fn pipelined(client: &mut Client, words: &[Vec<String>]) -> Answers {
    let mut bytes: Vec<u8> = words.iter().flat_map(|words| encode(words)).collect();
    bytes.extend(encode(&["ECHO", "the end"]));
    client.send_raw(&bytes).expect("the server reads");
    let mut all = Vec::new();
    loop {
        match client.read_raw() {
            Ok(reply) if reply == b"$7\r\nthe end\r\n" => return (all, None),
            Ok(reply) => all.extend(reply),
            Err(e) => return (all, Some(e.kind())),
        }
    }
}

/// Waits for each reply before the next command is sent.
fn one_by_one(client: &mut Client, words: &[Vec<String>]) -> Answers {
    let mut all = Vec::new();
    for words in words {
        match client.send_raw(&encode(words)).and_then(|()| client.read_raw()) {
            Ok(reply) => all.extend(reply),
            Err(e) => return (all, Some(e.kind())),
        }
    }
    (all, None)
}

/// Splits by blanks, but for what is in double quotes.
fn split(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (n, part) in command.split('"').enumerate() {
        match n % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

fn compare(conversations: &[&str], converse: impl Fn(&mut Client, &[Vec<String>]) -> Answers) {
    let options = [("enable-debug-command", "yes")];
    let (bare, home) = (RedisServer::start(&options), RedisServer::start(&options));
    let strata = Strata::start(&home.unix(), &[("server.workers", "1"), ("server.admin_commands", "pass")]);
    for conversation in conversations {
        let words: Vec<Vec<String>> = conversation.split("; ").map(split).collect();
        for protocol in [2, 3] {
            let answers = |endpoint: &Endpoint| {
                let mut client = Client::connect(endpoint).expect("the server accepts");
                client.call(&["FLUSHALL"]).unwrap();
                client.hello(protocol).unwrap();
                client.set_patience(Duration::from_secs(5));
                let (bytes, end) = converse(&mut client, &words);
                format!("{}{}", without_ids(&bytes), if end.is_some() { " (closed)" } else { "" })
            };
            let (ours, redis) = (answers(&strata.endpoint()), answers(&bare.tcp()));
            assert_eq!(ours, redis, "{conversation} (RESP{protocol})");
        }
    }
}

/// As text, without the client's number that HELLO tells.
fn without_ids(bytes: &[u8]) -> String {
    let text = bytes.escape_ascii().to_string();
    let mut parts = text.split("$2\\r\\nid\\r\\n:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + "id " + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

#[test]
fn transactions_one_by_one_are_answered_as_by_redis() {
    if !is_redis_7_0() {
        return skip("what is refused inside MULTI");
    }
    // A client that silences replies cannot wait for each.
    let spoken: Vec<_> = CONVERSATIONS.iter().copied().filter(|c| !c.contains("CLIENT REPLY")).collect();
    compare(&spoken, one_by_one);
}

#[test]
fn transactions_in_one_write_are_answered_as_by_redis() {
    if !is_redis_7_0() {
        return skip("what is refused inside MULTI");
    }
    compare(CONVERSATIONS, pipelined);
}
