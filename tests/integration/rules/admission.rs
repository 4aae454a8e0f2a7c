//! Rule 11: a load without locality does not pay for copies that nobody asks for.

use rand::Rng;

use super::Scene;
use crate::support::{Arguments, Client, arguments};

const BATCH: usize = 500;

fn read(client: &mut Client, batches: usize, keys: u32) {
    let mut random = rand::rng();
    for _ in 0..batches {
        let key = |_| arguments(&["GET", &format!("key:{}", random.random_range(0..keys))]);
        let commands: Vec<Arguments> = (0..BATCH).map(key).collect();
        client.pipeline(&commands).unwrap();
    }
}

#[test]
fn uniform_reads_of_many_keys_cost_home_little_more_than_the_reads() {
    let scene = Scene::start(&[("server.workers", "1")]);
    let mut client = scene.client();
    // The trust of the beginning goes.
    read(&mut client, 60, 10_000_000);
    let before = (scene.home.calls("get"), scene.home.calls("pttl"));
    read(&mut client, 60, 10_000_000);
    let reads = scene.home.calls("get") - before.0;
    let lifetimes = scene.home.calls("pttl") - before.1;
    assert!(reads > 59 * BATCH as u64, "{reads}");
    assert!(lifetimes * 4 <= reads, "{lifetimes} PTTL for {reads} GET");
    // What is kept suffices to notice that the habit changed.
    assert!(lifetimes > 0);
    read(&mut client, 100, 50);
    let before = scene.home.calls("get");
    read(&mut client, 20, 50);
    assert_eq!(scene.home.calls("get") - before, 0);
}
