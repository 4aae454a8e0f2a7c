//! Many readers, and many keys.

use std::time::Instant;

use super::{LONG, Scene, bulk, stat, words};
use crate::support::{Client, Value, wait_until};

#[test]
fn a_thousand_clients_that_miss_one_key_ask_once() {
    let scene = Scene::start(1);
    let mut clients: Vec<Client> = (0..1000).map(|_| scene.client(0)).collect();
    // Nobody has a row before all have asked.
    let (runtime, lock) = scene.postgres.connect();
    runtime.block_on(lock.batch_execute("BEGIN; LOCK TABLE factor IN ACCESS EXCLUSIVE MODE")).unwrap();
    clients.iter_mut().for_each(|client| client.send_raw(b"GET factor:1\r\n").unwrap());
    assert!(wait_until(LONG, || stat(&scene.strata[0], "joined") > 500));
    runtime.block_on(lock.batch_execute("COMMIT")).unwrap();
    for client in &mut clients {
        assert_eq!(client.read().unwrap(), bulk("value 1"));
    }
    assert_eq!(scene.asked(), 1);
    assert_eq!(words(&scene.strata[0], "l4_loads"), "1");
}

#[test]
fn many_keys_come_at_once() {
    let scene = Scene::start(1);
    let keys: Vec<String> = (1..=600).map(|n| format!("factor:{n}")).collect();
    let mut command = vec!["MGET"];
    command.extend(keys.iter().map(String::as_str));
    let expected: Vec<Value> = (1..=600).map(|n| bulk(&format!("value {n}"))).collect();
    let mut client = scene.client(0);
    assert_eq!(client.call(&command).unwrap(), Value::Array(expected));
    command[0] = "EXISTS";
    assert_eq!(client.call(&command).unwrap(), Value::Integer(600));
    assert_eq!(scene.asked(), 600);
}

/// Not a proof, but a figure (`--nocapture`).
#[test]
fn a_cold_read_takes_its_time() {
    let scene = Scene::start(1);
    let mut client = scene.client(0);
    client.call(&["GET", "factor:1"]).unwrap();
    let mut times = Vec::new();
    for n in 2..=500 {
        let began = Instant::now();
        assert_eq!(client.call(&["GET", &format!("factor:{n}")]).unwrap(), bulk(&format!("value {n}")));
        times.push(began.elapsed());
    }
    times.sort();
    println!("cold reads: p50 {:?}, p99 {:?}", times[times.len() / 2], times[times.len() * 99 / 100]);
    assert_eq!(scene.asked(), 500);
}
