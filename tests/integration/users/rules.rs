//! The language of rules: whatever is told to both servers, they take it alike and tell it alike.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::{Stage, call};
use crate::support::{Client, Value, is_redis_7_0, seed, setting, skip};

const RULES: &[&str] = &[
    "on",
    "off",
    "ON",
    "nopass",
    "resetpass",
    ">pw",
    ">pw2",
    "<pw",
    "<none",
    "#abc",
    "!abc",
    "sanitize-payload",
    "skip-sanitize-payload",
    "#30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4",
    "!30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4",
    "reset",
    "clearselectors",
    "#30C952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4",
    "~a*",
    "~b",
    "%R~r*",
    "%W~w*",
    "%RW~a*",
    "%R~a*",
    "%w~a*",
    "%~x",
    "%X~x",
    "%RR~x",
    "%",
    "%R",
    "~",
    "~*",
    "allkeys",
    "AllKeys",
    "resetkeys",
    "%RW~*",
    "%R~*",
    "~a\nb",
    "~[ab]?c",
    "&c*",
    "&d",
    "&",
    "&*",
    "allchannels",
    "resetchannels",
    "+get",
    "-get",
    "+GET",
    "+mget",
    "+nothing",
    "-nothing",
    "+",
    "-",
    "+|",
    "+get|",
    "+get|x",
    "+get|X",
    "+get|y",
    "-get|x",
    "+select|0",
    "+config|get",
    "-config|get",
    "+config",
    "-config",
    "+config|nothing",
    "+config|get|x",
    "+client|id",
    "-client|setname",
    "+object|freq",
    "-memory|usage",
    "+debug|object",
    "+acl|whoami",
    "+script",
    "-script",
    "allcommands",
    "nocommands",
    "+@all",
    "-@all",
    "+@ALL",
    "+@",
    "-@nothing",
    "+@read",
    "-@read",
    "+@WRITE",
    "-@write",
    "+@dangerous",
    "-@dangerous",
    "+@admin",
    "-@admin",
    "+@fast",
    "-@fast",
    "+@slow",
    "-@slow",
    "+@string",
    "-@hash",
    "+@scripting",
    "+@pubsub",
    "-@pubsub",
    "+@connection",
    "-@connection",
    "+@set",
    "+@sortedset",
    "+@geo",
    "-@geo",
    "+@stream",
    "+@list",
    "+@bitmap",
    "+@keyspace",
    "+@transaction",
    "+@blocking",
    "-@blocking",
    "+@hyperloglog",
    "()",
    "(~x +get)",
    "(%R~y +@read -mget)",
    "(&c +publish)",
    "(on)",
    "((+get))",
    "(~x",
    "+set",
    "~z)",
    ")",
    "(",
    "(~'q r' +get)",
    "(~\"q\" +get)",
    "(~\"q)",
    "(allkeys ~x)",
    "(+@all -@admin ~*)",
    "(+select|1)",
    "( +get  ~t )",
    "",
    "nothing",
    "|",
    "on off",
];

/// Single commands are told in the order of a table whose places are drawn when the server starts.
fn sorted(value: Value) -> Value {
    match value {
        Value::Bulk(text)
            if text.starts_with(b"user ") || text.starts_with(b"+@") || text.starts_with(b"-@") =>
        {
            let mut words: Vec<&[u8]> = text.split(|b| b" ()".contains(b)).collect();
            words.sort_unstable();
            Value::Bulk(words.join(&b' '))
        }
        Value::Array(all) => Value::Array(all.into_iter().map(sorted).collect()),
        Value::Map(all) => Value::Map(all.into_iter().map(|(k, v)| (sorted(k), sorted(v))).collect()),
        other => other,
    }
}

fn both(clients: &mut [Client; 2], words: &[&str]) -> [Value; 2] {
    let [bare, strata] = clients;
    [bare.call(words).unwrap(), strata.call(words).unwrap()].map(sorted)
}

/// Requests for DRYRUN; `%` stands for a key or a channel.
const REQUESTS: &[&str] = &[
    "get %",
    "set % v",
    "set % v get",
    "mget % %",
    "mset % 1 % 2",
    "copy % %",
    "del % %",
    "append % x",
    "getdel %",
    "sort % store %",
    "xread streams % % 0 0",
    "publish % m",
    "spublish % m",
    "subscribe % %",
    "psubscribe %",
    "unsubscribe %",
    "eval s 2 % %",
    "zunionstore % 2 % %",
    "georadius % 1 1 1 km store %",
    "migrate h 1 % 0 1",
    "bitfield % get u8 0",
    "bitfield % incrby u8 0 1",
    "object freq %",
    "memory usage %",
    "config get x",
    "config set x y",
    "client id",
    "select 0",
    "select 1",
    "debug object %",
    "get",
    "nothing",
    "config nothing",
    "config",
    "acl whoami",
    "keys *",
    "blpop % % 0",
    "lmove % % left left",
    "lmpop 2 % % left",
    "xadd % * f v",
    "pfcount % %",
    "pfmerge % %",
    "watch %",
    "multi",
    "ping",
    "auth x",
    "hello",
    "script load x",
    "restore % 0 v",
    "rename % %",
    "sinterstore % % %",
    "touch %",
    "exists %",
];

#[test]
fn rules_are_taken_and_told_as_the_server_does() {
    if !is_redis_7_0() {
        return skip("the words of ACL");
    }
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let stage = Stage::new(&[], &[("server.admin_commands", "pass")]);
    for round in 0..setting("STRATA_ROUNDS", 600) {
        let protocol = if random.random_bool(0.5) { "2" } else { "3" };
        let mut clients = [&stage.bare.tcp(), &stage.strata.endpoint()].map(|e| Client::connect(e).unwrap());
        both(&mut clients, &["HELLO", protocol]);
        let name = ["u", "v", "name with", "default2"].choose(&mut random).unwrap();
        let mut words = vec!["ACL", "SETUSER", name];
        words.extend((0..random.random_range(0..7)).map(|_| *RULES.choose(&mut random).unwrap()));
        let told = || format!("seed {seed}, round {round}: {words:?}");
        let [bare, strata] = both(&mut clients, &words);
        assert_eq!(strata, bare, "{}", told());
        for words in [&["ACL", "GETUSER", name][..], &["ACL", "LIST"], &["ACL", "USERS"]] {
            let [bare, strata] = both(&mut clients, words);
            assert_eq!(strata, bare, "{words:?} after {}", told());
        }
        for _ in 0..10 {
            let mut request = vec!["ACL".to_owned(), "DRYRUN".to_owned(), (*name).to_owned()];
            for word in REQUESTS.choose(&mut random).unwrap().split(' ') {
                let key = ["a1", "b", "r1", "w1", "c", "x", "y", "acc", "q"].choose(&mut random).unwrap();
                request.push(if word == "%" { (*key).to_owned() } else { word.to_owned() });
            }
            let request: Vec<&str> = request.iter().map(String::as_str).collect();
            let [bare, strata] = both(&mut clients, &request);
            assert_eq!(strata, bare, "{request:?} after {}", told());
        }
        if random.random_bool(0.1) {
            let [bare, strata] = both(&mut clients, &["ACL", "DELUSER", "u", "nobody", "v"]);
            assert_eq!(strata, bare, "{}", told());
        }
    }
}

#[test]
fn the_rest_of_acl_is_told_as_the_server_does() {
    if !is_redis_7_0() {
        return skip("the words of ACL");
    }
    let stage = Stage::new(&[("a", "on nopass +@all ~*")], &[("server.admin_commands", "pass")]);
    for hello in ["HELLO 2", "HELLO 3"] {
        let commands = [
            "ACL",
            "ACL NOTHING",
            "ACL HELP",
            "ACL CAT",
            "ACL CAT nothing",
            "ACL CAT a b",
            "ACL WHOAMI x",
            "ACL GETUSER nobody",
            "ACL GETUSER",
            "ACL DELUSER default",
            "ACL DELUSER",
            "ACL LOAD",
            "ACL SAVE",
            "ACL GENPASS 0",
            "ACL GENPASS 4097",
            "ACL GENPASS x",
            "ACL GENPASS 1 2",
            "ACL DRYRUN nobody get k",
            "ACL DRYRUN a",
            "ACL DRYRUN a nothing x",
            "ACL DRYRUN a get",
            "ACL SETUSER",
            "ACL USERS x",
            "ACL LIST x",
            "CLIENT KILL USER nobody",
        ];
        let mut all = vec![hello];
        all.extend(commands);
        let [bare, strata] = stage.replies(&all);
        for ((command, bare), strata) in all.iter().zip(bare).zip(strata).skip(1) {
            assert_eq!(strata, bare, "{command} after {hello}");
        }
    }
    let mut clients = [&stage.bare.tcp(), &stage.strata.endpoint()].map(|e| Client::connect(e).unwrap());
    let categories = call(&mut clients[0], "ACL CAT").elements().unwrap();
    assert_eq!(categories.len(), 21);
    for category in categories {
        let name = String::from_utf8(category.bytes().unwrap().to_vec()).unwrap();
        let [mut bare, mut strata] =
            [0, 1].map(|i| clients[i].call(&["ACL", "CAT", &name]).unwrap().elements().unwrap());
        bare.sort();
        strata.sort();
        assert_eq!(strata, bare, "{name}");
    }
    for (bits, digits) in [("1", 1), ("4", 1), ("5", 2), ("256", 64), ("4096", 1024)] {
        for client in &mut clients {
            let word = client.call(&["ACL", "GENPASS", bits]).unwrap();
            let word = word.bytes().unwrap();
            assert!(word.len() == digits && word.iter().all(|b| b"0123456789abcdef".contains(b)));
        }
    }
    let two = [0, 1].map(|_| call(&mut clients[1], "ACL GENPASS"));
    assert_ne!(two[0], two[1]);
}
