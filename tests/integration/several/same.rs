//! Commands through strata before a cluster, and the same before one Redis: the same replies.

use super::{call, sorted};
use crate::support::{Client, RedisServer, Value, is_redis_7_0, skip};

/// Commands separated by ` ; `, each list on connections of its own and with nothing there before.
const SAME: &[&str] = &[
    "mset a 1 b 2 c 3 d 4 ; mget d c b a nothing ; mget a ; get c",
    "mset a 1 a 2 b 3 b 4 a 5 ; mget a b a",
    "mset a 1 b ; get a ; mset ; mset a",
    "sadd s x ; mset a 1 b 2 ; mget s a b ; mget b s",
    "mset a 1 b 2 s 3 ; del a b nothing a ; exists a s ; mget a b s",
    "mset a 1 b 2 c 3 ; unlink a c x y z ; keys * ; dbsize",
    "mset a 1 b 2 c 3 ; exists a b c a a nothing ; touch a b nothing ; exists ; del ; touch",
    "hello 3 ; mset a 1 b 2 ; mget a nothing b ; del a nothing ; keys *",
    "mset a 1 b 2 c 3 ab 4 ba 5 ; keys a* ; keys * ; keys nothing ; keys ; keys a b ; dbsize ; dbsize x",
    "mset a 1 b 2 c 3 ; flushall ; dbsize ; mset a 1 b 2 ; flushdb async ; dbsize ; flushall nonsense ; flushdb a b",
    "randomkey ; set a 1 ; randomkey ; randomkey x ; hello 3 ; del a ; randomkey",
    "script load return_1 ; script exists x ; script exists e0e1f9fabfc9d4800c877a703b823ac0578ff8db y",
    "script flush ; script flush x ; script load ; script exists ; script kill ; script",
    "function stats ; function list ; function kill ; function delete nothing ; function flush ; function load x",
    "pubsub numpat ; pubsub channels ; pubsub channels a* ; pubsub numsub ; pubsub numsub a b ; pubsub numsub a a",
    "pubsub shardchannels ; pubsub shardnumsub a b ; pubsub numpat x ; pubsub nothing",
    "subscribe a ; subscribe b",
    "scan x ; scan 0 count 0 ; scan 0 count ; scan 0 nonsense ; scan ; scan 0 match",
    "config set maxmemory 0 ; config set nothing 1 ; config set maxmemory x ; config set maxmemory ; config resetstat",
    "latency reset ; latency reset nothing ; memory purge ; memory purge x",
    "wait 0 0 ; wait x 0 ; wait 0 -1 ; wait",
    "get a ; set a 1 ; append a 2 ; getrange a 0 0 ; object encoding a ; type a ; ttl a ; dump nothing",
    "select 0 ; select x ; echo a ; ping ; time x ; lolwut version x ; role x",
    "multi ; set {t}a 1 ; mget {t}a {t}b ; del {t}a {t}c ; exec ; multi ; mset {t}a 1 {t}b 2 ; discard",
    "multi ; keys ; exec ; multi ; mset a ; exec",
    "debug sleep ; debug",
    "client reply skip ; mget a b ; mset a 1 b 2 ; client reply skip ; del a b ; mget a b",
];

fn normal(command: &str, reply: Value) -> Value {
    let name = command.split(' ').next().unwrap_or_default();
    match (name, &reply) {
        // It counts clients.
        ("hello", Value::Map(_)) => Value::Nil,
        ("keys", Value::Array(_)) => {
            Value::Array(sorted(&reply).into_iter().map(|key| Value::Bulk(key.into_bytes())).collect())
        }
        _ => reply,
    }
}

fn replies(client: &mut Client, script: &str) -> Vec<Value> {
    let commands: Vec<&str> = script.split(" ; ").collect();
    for command in &commands {
        let words: Vec<&str> = command.split(' ').collect();
        client.send_all(&[words.iter().map(|w| w.as_bytes().to_vec()).collect()]).expect("the server reads");
    }
    let silent = commands.iter().enumerate().filter(|(at, command)| {
        **command == "client reply skip" || *at > 0 && commands[at - 1] == "client reply skip"
    });
    let silent: Vec<usize> = silent.map(|(at, _)| at).collect();
    let spoken = commands.iter().enumerate().filter(|(at, _)| !silent.contains(at));
    spoken.map(|(_, command)| normal(command, client.read().expect("a reply"))).collect()
}

#[test]
fn one_redis_and_a_cluster_say_the_same() {
    if !is_redis_7_0() {
        return skip("commands over several nodes word for word");
    }
    let (cluster, one) = (super::cluster(0, &[]), RedisServer::start(&[]));
    let strata = super::start(&cluster, &[("server.admin_commands", "pass")]);
    for script in SAME {
        for client in [&mut strata.connect(), &mut one.connect()] {
            call(client, "flushall");
            call(client, "script flush");
        }
        let (strata, bare) = (replies(&mut strata.connect(), script), replies(&mut one.connect(), script));
        assert_eq!(strata, bare, "{script}");
    }
}

/// What needs one slot, in the words of a cluster.
const CROSSED: &[&str] = &[
    "msetnx a 1 b 2",
    "sinter a b",
    "sunionstore a b c",
    "rename a b",
    "copy a b",
    "smove a b x",
    "lmove a b left left",
    "bitop and a b c",
    "pfcount a b",
    "pfmerge a b",
    "zunionstore a 2 b c",
    "eval return_1 2 a b",
    "evalsha e0e1f9fabfc9d4800c877a703b823ac0578ff8db 2 a b",
    "fcall f 2 a b",
    "blpop a b 0",
    "xread streams a b 0 0",
    "watch a b",
    "sort a store b",
    "georadius a 0 0 1 m store b",
    "migrate 127.0.0.1 1  0 1 keys a b",
    "zdiff 2 a b",
    "lcs a b",
];

#[test]
fn what_needs_one_slot_is_refused_as_by_a_cluster() {
    let cluster = super::cluster(0, &[]);
    let (strata, strict) =
        (super::start(&cluster, &[]), super::start(&cluster, &[("cluster.strict", "true")]));
    let (mut client, mut home) = (strata.connect(), cluster.node(0).connect());
    let crossed = "CROSSSLOT Keys in request don't hash to the same slot";
    for command in CROSSED {
        let said = call(&mut client, command);
        assert_eq!(said, Value::Error(crossed.into()), "{command}");
        assert_eq!(said, call(&mut home, command), "{command}");
    }
    for command in ["mset a 1 b 2", "del a b", "unlink a b"] {
        assert_eq!(call(&mut strict.connect(), command), call(&mut home, command), "{command}");
        assert!(!call(&mut client, command).is_error(), "{command}");
    }
    for command in
        ["mget a b", "exists a b", "touch a b", "mset {t}a 1 {t}b 2", "del {t}a {t}b", "dbsize", "flushall"]
    {
        assert!(!call(&mut strict.connect(), command).is_error(), "{command}");
    }
}

#[test]
fn what_is_about_all_nodes_cannot_be_part_of_a_transaction() {
    let cluster = super::cluster(0, &[]);
    let strata = super::start(&cluster, &[]);
    let mut client = strata.connect();
    for command in ["dbsize", "keys *", "flushall", "scan 0", "mget a b", "mset a 1 b 2", "randomkey"] {
        assert_eq!(call(&mut client, "multi"), Value::Simple("OK".into()));
        assert!(super::error(&call(&mut client, command)).starts_with("CROSSSLOT "), "{command}");
        assert!(super::error(&call(&mut client, "exec")).starts_with("EXECABORT "), "{command}");
    }
}
