//! Rule 8: MGET shows one moment.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Scene, bulk};
use crate::support::{Client, Part, Value, arguments};

const KEYS: usize = 3;

fn words(command: &str) -> Vec<String> {
    std::iter::once(command.to_owned()).chain((0..KEYS).map(|n| format!("k{n}"))).collect()
}

/// Writes all keys together at home, again and again; `read` is to return values that are one.
fn while_written(scene: &Scene, read: impl Fn(&mut Client) -> Vec<Value>) -> usize {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut home = scene.home.connect();
            let mut version = 0;
            while !over.load(Ordering::Relaxed) {
                version += 1;
                let value = version.to_string();
                let mut commands = vec![arguments(&["MULTI"])];
                commands.extend((0..KEYS).map(|n| arguments(&["SET", &format!("k{n}"), &value])));
                commands.push(arguments(&["EXEC"]));
                home.pipeline(&commands).unwrap();
                thread::sleep(Duration::from_micros(rand::random_range(500..6_000)));
            }
        });
        // Copies of single keys come from reads of single keys.
        for _ in 0..2 {
            scope.spawn(|| {
                let mut single = scene.client();
                while !over.load(Ordering::Relaxed) {
                    let key = format!("k{}", rand::random_range(0..KEYS));
                    single.call(&["GET", &key]).unwrap();
                }
            });
        }
        let mut client = scene.client();
        let (mut different, mut last) = (0, Value::Nil);
        let mut torn = None;
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end && torn.is_none() {
            let values = read(&mut client);
            different += usize::from(values[0] != last);
            last = values[0].clone();
            torn = Some(values).filter(|values| values.iter().any(|v| *v != last));
        }
        over.store(true, Ordering::Relaxed);
        assert!(torn.is_none(), "torn: {torn:?}");
        different
    })
}

#[test]
fn an_mget_is_never_torn() {
    let scene = Scene::start(&[]);
    let words = words("MGET");
    let mut copied = 0;
    for delay in [0, 3] {
        scene.relay.delay_part(Part::Guard, Duration::from_millis(delay));
        let (asked, reads) = (scene.home.calls("mget"), Cell::new(0));
        let versions = while_written(&scene, |client| {
            reads.set(reads.get() + 1);
            client.call(&words).unwrap().elements().unwrap()
        });
        let (asked, reads) = (scene.home.calls("mget") - asked, reads.get());
        println!("guard {delay} ms late: {versions} versions, {reads} reads, {asked} of them at home");
        assert!(versions > 20, "{versions} versions");
        copied += reads - asked;
    }
    assert!(copied > 100, "{copied} reads from copies");
}

#[test]
fn an_mget_is_answered_from_copies_if_all_keys_are_there() {
    let scene = Scene::start(&[]);
    let mut client = scene.client();
    scene.at_home(&["MSET", "a", "1", "b", "2"]);
    scene.at_home(&["LPUSH", "list", "x"]);
    let both = Value::Array(vec![bulk("1"), bulk("2"), Value::Nil]);
    assert_eq!(scene.copied(&mut client, &["MGET", "a", "b", "c"]), both);
    assert_eq!(scene.copied(&mut client, &["GET", "a"]), bulk("1"));
    // One of them missing: home is asked for all.
    let hits = scene.home.info("stats")["keyspace_hits"].parse::<u64>().unwrap();
    scene.at_home(&["SET", "d", "4"]);
    let three = client.call(&["MGET", "a", "d", "b"]).unwrap();
    assert_eq!(three, Value::Array(vec![bulk("1"), bulk("4"), bulk("2")]));
    let after = scene.home.info("stats")["keyspace_hits"].parse::<u64>().unwrap();
    assert!(after >= hits + 3, "{hits} then {after}");
    // A null for a key of another type is no absence.
    for _ in 0..3 {
        let (reply, asked) = scene.read(&mut client, &["MGET", "a", "list"]);
        assert_eq!((reply, asked), (Value::Array(vec![bulk("1"), Value::Nil]), 1));
        assert!(client.call(&["GET", "list"]).unwrap().is_error());
    }
}
