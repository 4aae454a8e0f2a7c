//! Many clients of several processes that want the same at once: one asks home.

use std::thread;
use std::time::{Duration, Instant};

use super::{LONG, Scene, bulk};
use crate::support::Direction::Replies;
use crate::support::{Part, wait_until};

#[test]
fn a_hundred_clients_of_three_processes_are_one_read_at_home() {
    let scene = Scene::start(3, &[("l1.ttl", "1m")]);
    for round in 0..5 {
        let key = format!("k{round}");
        scene.set(&key, "v");
        let mut clients: Vec<_> = (0..100).map(|n| scene.client(n % 3)).collect();
        // Their lanes are there.
        clients.iter_mut().for_each(|client| drop(client.call(&["GET", "other"]).unwrap()));
        let before = scene.home.calls("get");
        // Home takes its time.
        scene.nodes.iter().for_each(|m| m.to_home.delay_part(Part::Lane2, Duration::from_millis(10)));
        for client in &mut clients {
            client.send_raw(format!("GET {key}\r\n").as_bytes()).unwrap();
        }
        clients.iter_mut().for_each(|client| assert_eq!(client.read().unwrap(), bulk("v")));
        scene.nodes.iter().for_each(|m| m.to_home.delay_part(Part::Lane2, Duration::ZERO));
        assert_eq!(scene.home.calls("get") - before, 1, "round {round}");
    }
}

#[test]
fn a_dead_process_that_was_to_fill_blocks_nobody() {
    let mut scene = Scene::start(2, &[("l2.fill_within", "500ms")]);
    scene.set("k", "v");
    let mut doomed = scene.client(0);
    doomed.call(&["GET", "other"]).unwrap();
    scene.nodes[0].to_home.stall_part(Part::Lane2, Replies, true);
    doomed.send_raw(b"GET k\r\n").unwrap();
    assert!(wait_until(LONG, || scene.knows("k")));
    scene.nodes[0].strata.kill();
    let began = Instant::now();
    let readers: Vec<_> = (0..20).map(|_| scene.client(1)).collect();
    let readers: Vec<_> = readers
        .into_iter()
        .map(|mut client| thread::spawn(move || client.call(&["GET", "k"]).unwrap()))
        .collect();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), bulk("v"));
    }
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(scene.read_in_l2(1, &["GET", "k"]), bulk("v"));
}

#[test]
fn a_slow_home_is_waited_for_only_so_long() {
    let scene = Scene::start(2, &[("l2.fill_within", "500ms")]);
    scene.set("k", "v");
    let mut slow = scene.client(0);
    slow.call(&["GET", "other"]).unwrap();
    scene.nodes[0].to_home.stall_part(Part::Lane2, Replies, true);
    slow.send_raw(b"GET k\r\n").unwrap();
    assert!(wait_until(LONG, || scene.knows("k")));
    let began = Instant::now();
    assert_eq!(scene.client(1).call(&["GET", "k"]).unwrap(), bulk("v"));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    scene.nodes[0].to_home.stall_part(Part::Lane2, Replies, false);
    assert_eq!(slow.read().unwrap(), bulk("v"));
}
