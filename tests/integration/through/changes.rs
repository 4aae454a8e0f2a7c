//! Rows that change: what was made of them is gone, and nothing else.

use std::time::{Duration, Instant};

use super::{LONG, Scene, bulk, field};
use crate::support::{Value, wait_until};

#[test]
fn a_change_reaches_every_copy() {
    let scene = Scene::start(2);
    for process in 0..2 {
        scene.await_reply(process, &["GET", "factor:1"], &bulk("value 1"));
    }
    scene.await_confirmed("factor:1");
    scene.postgres.execute("UPDATE factor SET value = 'new' WHERE id = 1");
    for process in 0..2 {
        scene.await_reply(process, &["GET", "factor:1"], &bulk("new"));
        scene.await_reply(process, &["MGET", "factor:1"], &Value::Array(vec![bulk("new")]));
        scene.await_reply(process, &["EXISTS", "factor:1"], &Value::Integer(1));
    }
    scene.postgres.execute("DELETE FROM factor WHERE id = 1");
    for process in 0..2 {
        scene.await_reply(process, &["GET", "factor:1"], &Value::Nil);
        scene.await_reply(process, &["EXISTS", "factor:1"], &Value::Integer(0));
    }
}

/// How long it takes is printed (`--nocapture`).
#[test]
fn changes_are_seen_soon() {
    let scene = Scene::start(2);
    let mut clients = [scene.client(0), scene.client(1)];
    let (runtime, writer) = scene.postgres.connect();
    let mut times = Vec::new();
    for round in 0..30 {
        let value = format!("round {round}");
        // Copies are in both.
        clients.iter_mut().for_each(|client| {
            client.call(&["GET", "factor:1"]).unwrap();
        });
        let update = format!("UPDATE factor SET value = '{value}' WHERE id = 1");
        runtime.block_on(writer.batch_execute(&update)).unwrap();
        let committed = Instant::now();
        for client in &mut clients {
            let seen = || client.call(&["GET", "factor:1"]).unwrap() == bulk(&value);
            assert!(wait_until(LONG, seen), "{value} is never seen");
        }
        times.push(committed.elapsed());
    }
    times.sort();
    println!("from COMMIT to both: p50 {:?}, the longest {:?}", times[15], times[29]);
}

/// The query has seen the old row and the change is told before what it brought is at home.
#[test]
fn a_change_between_query_and_load_wins() {
    let scene = Scene::start(1);
    let (runtime, lock) = scene.postgres.connect();
    runtime.block_on(lock.batch_execute("SELECT pg_advisory_lock(7)")).unwrap();
    let mut reader = scene.client(0);
    reader.send_raw(b"GET slow:1\r\n").unwrap();
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    assert!(wait_until(LONG, || scene.postgres.ask(waits).as_deref() == Some("1")));
    scene.postgres.execute("UPDATE factor SET value = 'new' WHERE id = 1");
    // Both sources that watch the table.
    scene.await_changes(2);
    runtime.block_on(lock.batch_execute("SELECT pg_advisory_unlock(7)")).unwrap();
    // Whoever asked before the change may be told of before; nobody for long. The lease alone would last a minute.
    reader.read().unwrap();
    scene.await_reply(0, &["GET", "slow:1"], &bulk("new"));
    scene.await_confirmed("slow:1");
}

/// Who has loaded is killed before anybody knows whether a change was missed: what it loaded ends.
#[test]
fn what_a_loader_leaves_behind_ends_after_a_lease() {
    let mut scene = Scene::start_with(1, &[], &[("l4.load_lease", "2s")]);
    let (runtime, lock) = scene.postgres.connect();
    // Nobody reads the log now.
    let locked = "BEGIN; LOCK TABLE strata.change IN ACCESS EXCLUSIVE MODE";
    runtime.block_on(lock.batch_execute(locked)).unwrap();
    assert_eq!(scene.client(0).call(&["GET", "factor:1"]).unwrap(), bulk("value 1"));
    let left = scene.at_home(&["PTTL", "factor:1"]).integer().unwrap();
    scene.strata[0].kill();
    assert!(left <= 2_000, "{left}");
    assert!(wait_until(LONG, || scene.at_home(&["EXISTS", "factor:1"]) == Value::Integer(0)));
    let keys = || scene.at_home(&["KEYS", "*"]).elements().unwrap();
    assert!(wait_until(LONG, || keys().is_empty()), "{:?} is left", keys());
}

#[test]
fn what_a_client_sets_is_not_deleted_by_a_change() {
    let scene = Scene::start(2);
    let mut client = scene.client(0);
    // One where there was nothing, one in the place of what was loaded, and one by another way with a time to live.
    assert_eq!(client.call(&["GET", "factor:2"]).unwrap(), bulk("value 2"));
    assert_eq!(client.call(&["GET", "factor:3"]).unwrap(), bulk("value 3"));
    scene.await_confirmed("factor:3");
    client.call(&["SET", "factor:1", "mine"]).unwrap();
    client.call(&["SET", "factor:2", "mine"]).unwrap();
    scene.at_home(&["SET", "factor:3", "mine", "PX", "3600000"]);
    scene.postgres.execute("UPDATE factor SET value = 'new' WHERE id <= 3");
    scene.await_changes(3);
    for n in 1..=3 {
        let key = format!("factor:{n}");
        assert_eq!(scene.at_home(&["GET", &key]), bulk("mine"), "{key}");
        for process in 0..2 {
            assert_eq!(scene.client(process).call(&["GET", &key]).unwrap(), bulk("mine"), "{key}");
        }
    }
    client.call(&["DEL", "factor:1"]).unwrap();
    assert_eq!(client.call(&["GET", "factor:1"]).unwrap(), bulk("new"));
}

#[test]
fn a_row_that_comes_after_none_was_found_is_seen() {
    let scene = Scene::start_with(2, &[], &[("l1.negative_ttl", "1h"), ("l1.rest", "false")]);
    for process in 0..2 {
        for _ in 0..3 {
            assert_eq!(scene.client(process).call(&["GET", "factor:5000"]).unwrap(), Value::Nil);
        }
        // It is remembered, and for an hour.
        assert_eq!(field(&scene.strata[process], "l4_misses"), 1);
    }
    scene.postgres.execute("INSERT INTO factor VALUES (5000, 'late')");
    for process in 0..2 {
        scene.await_reply(process, &["GET", "factor:5000"], &bulk("late"));
    }
}

#[test]
fn what_changes_everything_drops_everything_that_was_loaded() {
    let scene = Scene::start(2);
    let mut client = scene.client(0);
    for n in 1..=50 {
        assert_eq!(client.call(&["GET", &format!("factor:{n}")]).unwrap(), bulk(&format!("value {n}")));
    }
    client.call(&["HGETALL", "person:1"]).unwrap();
    client.call(&["SET", "factor:51", "mine"]).unwrap();
    scene.postgres.execute("TRUNCATE factor");
    for process in 0..2 {
        for n in 1..=50 {
            scene.await_reply(process, &["GET", &format!("factor:{n}")], &Value::Nil);
        }
        scene.await_reply(process, &["GET", "factor:51"], &bulk("mine"));
    }
    assert_eq!(scene.at_home(&["EXISTS", "person:1"]), Value::Integer(1));
}

/// Home evicts by use, and nobody uses marks: without its mark a key is still known to be from a row.
#[test]
fn where_home_evicts_a_key_without_its_mark_is_dropped() {
    let scene = Scene::start_with(1, &[("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")], &[]);
    let mut client = scene.client(0);
    client.call(&["GET", "factor:1"]).unwrap();
    scene.await_confirmed("factor:1");
    assert_eq!(scene.at_home(&["DEL", "strata:l4:{factor:1}"]), Value::Integer(1));
    client.call(&["SET", "factor:2", "mine"]).unwrap();
    scene.postgres.execute("UPDATE factor SET value = 'new' WHERE id <= 2");
    scene.await_reply(0, &["GET", "factor:1"], &bulk("new"));
    scene.await_changes(2);
    assert_eq!(client.call(&["GET", "factor:2"]).unwrap(), bulk("mine"));
}

/// Home is away while a row changes: it is told when it is back.
#[test]
fn home_is_told_until_it_has_taken_it() {
    let mut scene = Scene::start_with(1, &[], &[("l2.request_timeout", "300ms")]);
    let mut client = scene.client(0);
    client.call(&["GET", "factor:1"]).unwrap();
    scene.await_confirmed("factor:1");
    scene.home.pause();
    scene.postgres.execute("UPDATE factor SET value = 'new' WHERE id = 1");
    std::thread::sleep(Duration::from_millis(700));
    scene.home.resume();
    scene.await_reply(0, &["GET", "factor:1"], &bulk("new"));
}

/// While changes are not followed what is loaded is not kept, and when they are again what was missed counts.
#[test]
fn what_was_missed_while_the_follower_was_cut_is_made_up_for() {
    let scene = Scene::start(1);
    let mut client = scene.client(0);
    client.call(&["GET", "factor:1"]).unwrap();
    scene.await_confirmed("factor:1");
    scene.postgres.cut("%");
    scene.postgres.execute("UPDATE factor SET value = 'new' WHERE id = 1");
    scene.await_reply(0, &["GET", "factor:1"], &bulk("new"));
}
