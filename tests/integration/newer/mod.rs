//! A home that can do more than Redis 7.0: commands of a module, of which strata knows what home says of them.

#![allow(clippy::unwrap_used, reason = "what is not as expected fails the test, in helpers too")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Client, RedisServer, Strata, Value, is_redis_7_0, skip, wait_until};

const LONG: Duration = Duration::from_secs(15);

struct Scene {
    home: RedisServer,
    strata: Strata,
    _library: TempDir,
}

impl Scene {
    fn start() -> Scene {
        let library = tempfile::tempdir().unwrap();
        let path = compile(library.path());
        let home = RedisServer::start(&[("loadmodule", &path)]);
        let strata = Strata::start(&home.unix(), &[]);
        let guards = || home.info("clients")["tracking_clients"] == "1";
        assert!(wait_until(LONG, guards), "the guard does not connect");
        Scene { home, strata, _library: library }
    }
}

fn compile(directory: &Path) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/newer/module.c");
    let library = directory.join("module.so");
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library).arg(source);
    assert!(command.status().expect("a C compiler is installed").success());
    library.to_str().expect("a path of text").to_owned()
}

fn call(client: &mut Client, words: &str) -> Value {
    client.call(&words.split(' ').collect::<Vec<_>>()).unwrap()
}

/// Whether a read sooner or later does not reach home.
fn becomes_a_copy(home: &RedisServer, client: &mut Client, name: &str, words: &str) -> bool {
    wait_until(LONG, || {
        let before = home.calls(name);
        call(client, words);
        home.calls(name) == before
    })
}

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

#[test]
fn what_a_module_writes_unnamed_is_seen_at_once() {
    let scene = Scene::start();
    let mut client = scene.strata.connect();
    for round in 0..200 {
        let value = round.to_string();
        assert_eq!(call(&mut client, &format!("newer.poke k {value}")), Value::Simple("OK".into()));
        // Asked twice, so that a copy is there for the next round to be wrong.
        for key in ["k", "shadow", "k", "shadow"] {
            assert_eq!(call(&mut client, &format!("GET {key}")), bulk(&value));
        }
        assert_eq!(call(&mut client, "NEWER.PEEK k"), bulk(&value));
    }
    assert_eq!(scene.home.calls("newer.peek"), 200);
}

#[test]
fn a_wrong_number_of_arguments_is_told_in_the_words_of_home() {
    let scene = Scene::start();
    let mut client = scene.strata.connect();
    let mut bare = scene.home.connect();
    for words in ["newer.poke", "newer.peek k k", "newer.nothing", "HPEXPIRE"] {
        assert_eq!(call(&mut client, words), call(&mut bare, words), "{words}");
    }
}

#[test]
fn hashes_whose_fields_expire_are_not_copied() {
    let scene = Scene::start();
    let mut client = scene.strata.connect();
    call(&mut client, "HSET h kept 1 fleeting 2");
    call(&mut client, "SET k v");
    let reads =
        [("hget", "HGET h kept"), ("hlen", "HLEN h"), ("hgetall", "HGETALL h"), ("exists", "EXISTS h")];
    for (name, words) in reads {
        let before = scene.home.calls(name);
        for _ in 0..5 {
            call(&mut client, words);
        }
        assert_eq!(scene.home.calls(name), before + 5, "{words}");
    }
    assert!(becomes_a_copy(&scene.home, &mut client, "get", "GET k"), "other types are copied as ever");
    assert_eq!(call(&mut client, "HPEXPIRE h"), Value::Integer(1));
    assert_eq!(call(&mut client, "HLEN h"), Value::Integer(1));
}

#[test]
fn a_home_without_such_fields_has_its_hashes_copied() {
    let home = RedisServer::start(&[]);
    let known = home.connect().call(&["COMMAND", "INFO", "HPEXPIRE"]).unwrap();
    if known.elements().unwrap()[0] != Value::Nil {
        return skip("copies of hashes");
    }
    let strata = Strata::start(&home.unix(), &[]);
    assert!(wait_until(LONG, || home.info("clients")["tracking_clients"] == "1"));
    let mut client = strata.connect();
    call(&mut client, "HSET h f v");
    assert!(becomes_a_copy(&home, &mut client, "hget", "HGET h f"));
}

/// Only against a newer home: `STRATA_TEST_REDIS_SERVER`.
#[test]
fn what_a_newer_version_added_is_answered_as_it_answers() {
    if is_redis_7_0() {
        return skip("commands that 7.0 does not have");
    }
    let home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), &[]);
    let (mut client, mut bare) = (strata.connect(), home.connect());
    let sha = call(&mut client, "SCRIPT LOAD return(1)");
    let show = format!("SCRIPT SHOW {}", String::from_utf8_lossy(sha.bytes().unwrap()));
    for words in [show.as_str(), "SCRIPT SHOW", "COMMANDLOG", "COMMANDLOG NOSUCH", "COMMANDLOG HELP"] {
        assert_eq!(call(&mut client, words), call(&mut bare, words), "{words}");
    }
}
