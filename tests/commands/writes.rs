//! Where `COMMAND GETKEYS` and execution differ, execution decides: whatever the server announces as changed while
//! it executes an odd request must be among the keys that the request is said to write. The words are chosen to
//! confuse: keys, groups and consumers are called like options.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use strata::command;

use crate::server::{Client, Reply, Server};

type Words = Vec<Vec<u8>>;

const NAMES: &[&str] = &[
    "store",
    "STOREDIST",
    "by",
    "get",
    "limit",
    "streams",
    "block",
    "count",
    "group",
    "keys",
    "set",
    "1",
    "2",
    "asc",
];

/// Heads of requests that have to be right to get anywhere; `*` stands for a name or number, and odd words follow.
const HEADS: &[&str] = &[
    "sort list:*",
    "sort list:* STORE *",
    "sort list:* BY nosort GET # STORE *",
    "georadius geo:* 15 37 300 km",
    "georadius geo:* 15 37 300 km STORE *",
    "georadius geo:* 15 37 300 km COUNT 2 STOREDIST *",
    "georadiusbymember geo:* one 300 km",
    "georadiusbymember geo:* one 300 km STORE *",
    "zunionstore * 2 zset:* zset:*",
    "zinterstore * 1 zset:*",
    "zdiffstore * 1 zset:*",
    "zmpop 2 zset:* zset:*",
    "lmpop 1 list:* LEFT",
    "lmpop 2 list:* list:* RIGHT COUNT 1",
    "set *",
    "set * *",
    "bitfield *",
    "bitfield * SET u8 1 7",
    "bitfield * GET u8 0 INCRBY u8 1 1",
    "pfmerge pf:*",
    "pfcount pf:*",
    "bitop OR *",
    "mset *",
    "msetnx *",
    "copy * *",
    "rename list:* *",
    "xreadgroup GROUP group * STREAMS stream:* >",
    "xreadgroup GROUP group * COUNT 1 STREAMS stream:* >",
    "xreadgroup COUNT 1 GROUP group streams STREAMS stream:* >",
    "lmove list:* list:* LEFT RIGHT",
    "getex *",
    "del *",
    "smove set:* set:* one",
    "sinterstore * set:*",
    "geosearchstore * geo:* FROMLONLAT 15 37 BYRADIUS 300 km",
    "zrangestore * zset:* 0 -1",
];

fn name(rng: &mut StdRng) -> &'static str {
    NAMES.choose(rng).expect("names")
}

fn request(rng: &mut StdRng) -> Words {
    let head = HEADS.choose(rng).expect("heads");
    let mut words: Words = head.split(' ').map(|word| word.replace('*', name(rng)).into_bytes()).collect();
    words.extend((0..rng.random_range(0..6)).map(|_| name(rng).into()));
    if rng.random_bool(0.2) {
        let place = rng.random_range(1..=words.len());
        words.insert(place, name(rng).into());
    }
    words
}

/// A value of each type under every name.
fn fill(client: &mut Client) {
    let mut requests = vec![vec!["FLUSHALL".to_owned()]];
    for name in NAMES {
        for command in [
            format!("RPUSH list:{name} 3 1 2"),
            format!("GEOADD geo:{name} 13.4 38.1 one 15.1 37.5 two"),
            format!("ZADD zset:{name} 1 one 2 two"),
            format!("SADD set:{name} one two"),
            format!("PFADD pf:{name} one"),
            format!("XADD stream:{name} * field value"),
            format!("XGROUP CREATE stream:{name} group 0"),
        ] {
            requests.push(command.split(' ').map(str::to_owned).collect());
        }
    }
    for reply in client.call_all(&requests) {
        assert!(!matches!(reply, Reply::Error(_)), "{reply:?}");
    }
}

/// The names announced as changed up to now.
fn announced(watcher: &mut Client) -> BTreeSet<Vec<u8>> {
    let mut names = BTreeSet::new();
    let mut reply = watcher.call(&["PING"]);
    while let Reply::Push(items) = reply {
        if let Reply::List(keys) = &items[1] {
            names.extend(keys.iter().map(|key| key.text().into_bytes()));
        }
        reply = watcher.read();
    }
    assert_eq!(reply, Reply::Text(b"PONG".to_vec()));
    names
}

fn written(words: &Words) -> BTreeSet<Vec<u8>> {
    let row = command::resolve(words.as_slice()).expect("a command");
    let mut keys = Vec::new();
    // Keys that cannot be told mean that nothing changes: then nothing may be announced.
    let _ = command::extract(row, words.as_slice(), &mut keys);
    let writes = keys.iter().filter(|key| key.access.writes());
    writes.map(|key| words[key.index as usize].clone()).collect()
}

#[test]
fn nothing_changes_but_what_is_said_to_be_written() {
    let mut rng = StdRng::seed_from_u64(3);
    let server = Server::start();
    let mut client = server.connect();
    let mut watcher = server.connect();
    watcher.call(&["HELLO", "3"]);
    watcher.call(&["CLIENT", "TRACKING", "ON", "BCAST"]);
    let mut changes = 0;
    for round in 0..20_000 {
        if round % 40 == 0 {
            fill(&mut client);
            announced(&mut watcher);
        }
        let words = request(&mut rng);
        let said = written(&words);
        let reply = client.call(&words);
        let changed = announced(&mut watcher);
        changes += usize::from(!changed.is_empty());
        let shown: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word)).collect();
        assert!(changed.is_subset(&said), "{shown:?} changed {changed:?}, said {said:?}, reply {reply:?}");
    }
    assert!(changes > 2000, "{changes}");
}
