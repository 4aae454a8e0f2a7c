//! Rule 9: what may not be kept is asked for every time.

use super::{Scene, bulk};
use crate::support::Value;

/// Of every kind that the command table does not cache, with arguments that give a reply.
const NEVER: &[&str] = &[
    "RANDOMKEY",
    "HRANDFIELD h",
    "SRANDMEMBER s",
    "ZRANDMEMBER z",
    "LOLWUT",
    "OBJECT IDLETIME k",
    "XPENDING x g",
    "TTL k",
    "PTTL k",
    "EXPIRETIME k",
    "PEXPIRETIME k",
    "KEYS *",
    "DBSIZE",
    "SORT_RO l",
    "SORT l",
    "EVAL_RO return(1) 1 k",
    "XREAD STREAMS x 0",
    "SCAN 0",
    "HSCAN h 0",
    "SSCAN s 0",
    "ZSCAN z 0",
    "DUMP k",
    "OBJECT ENCODING k",
    "MEMORY USAGE k",
    "XINFO STREAM x",
    "TOUCH k",
    "OBJECT REFCOUNT k",
    "TIME",
    "LASTSAVE",
    "GETEX k",
    "INCRBY n 0",
];

#[test]
fn what_is_not_on_the_list_goes_home_every_time() {
    let scene = Scene::start(&[]);
    for words in [
        &["SET", "k", "v"][..],
        &["HSET", "h", "f", "v"],
        &["SADD", "s", "m"],
        &["ZADD", "z", "1", "m"],
        &["RPUSH", "l", "1"],
        &["XADD", "x", "1-1", "f", "v"],
        &["XGROUP", "CREATE", "x", "g", "0"],
    ] {
        scene.at_home(words);
    }
    for protocol in [2, 3] {
        let mut client = scene.client();
        client.hello(protocol).unwrap();
        for line in NEVER {
            let words: Vec<&str> = line.split(' ').collect();
            let container = ["OBJECT", "MEMORY", "XINFO"].contains(&words[0]);
            let name = if container { format!("{}|{}", words[0], words[1]) } else { words[0].to_owned() };
            let before = scene.home.calls(&name.to_lowercase());
            for _ in 0..4 {
                let reply = client.call(&words).unwrap();
                assert!(!reply.is_error(), "{line}: {reply:?}");
            }
            assert_eq!(scene.home.calls(&name.to_lowercase()) - before, 4, "{line}");
        }
    }
}

#[test]
fn an_error_is_never_kept() {
    let scene = Scene::start(&[]);
    let mut client = scene.client();
    client.call(&["LPUSH", "k", "x"]).unwrap();
    let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
    for _ in 0..4 {
        let (reply, asked) = scene.read(&mut client, &["GET", "k"]);
        assert_eq!((reply, asked), (Value::Error(wrong.into()), 1));
    }
    scene.at_home(&["DEL", "k"]);
    scene.at_home(&["SET", "k", "v"]);
    assert_eq!(client.call(&["GET", "k"]).unwrap(), bulk("v"));
}

#[test]
fn keys_that_a_policy_excludes_are_not_copied() {
    let policy = "[[policy]]\nmatch = \"raw:*\"\nno_cache = true\n";
    let scene = Scene::start_with(&[], policy, &[]);
    let mut client = scene.client();
    scene.at_home(&["MSET", "raw:k", "v", "k", "v"]);
    assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("v"));
    for _ in 0..4 {
        assert_eq!(scene.read(&mut client, &["GET", "raw:k"]), (bulk("v"), 1));
        assert_eq!(scene.read(&mut client, &["EXISTS", "k", "raw:k"]), (Value::Integer(2), 1));
        let both = Value::Array(vec![bulk("v"), bulk("v")]);
        assert_eq!(scene.read(&mut client, &["MGET", "k", "raw:k"]), (both, 1));
    }
    assert!(scene.home.calls("pttl") <= 3);
}

#[test]
fn without_l1_every_read_goes_home() {
    use crate::support::{RedisServer, Strata};
    let home = RedisServer::start(&[]);
    let strata = Strata::start(&home.tcp(), &[("l1.enabled", "false")]);
    let mut client = strata.connect();
    client.call(&["MSET", "a", "1", "b", "2"]).unwrap();
    let before = (home.calls("get"), home.calls("mget"));
    for _ in 0..5 {
        assert_eq!(client.call(&["GET", "a"]).unwrap(), bulk("1"));
        assert_eq!(client.call(&["MGET", "a", "b"]).unwrap(), Value::Array(vec![bulk("1"), bulk("2")]));
    }
    assert_eq!((home.calls("get"), home.calls("mget")), (before.0 + 5, before.1 + 5));
    assert_eq!(home.calls("pttl"), 0);
    assert_eq!(home.info("clients")["tracking_clients"], "0");
}
