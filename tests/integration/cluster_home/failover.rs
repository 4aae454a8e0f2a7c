//! Masters that end, stand still or step down, and their replicas.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use super::{End, LONG, PATIENT, good, text};
use crate::support::{Cluster, Value};

#[test]
fn a_dead_master_is_replaced_without_a_word() {
    // So long that who does not wait for it is answered before, on any machine.
    let mut cluster = Cluster::start(&[("cluster-node-timeout", "6000")]);
    let strata = cluster.strata(&[PATIENT]);
    let mut client = strata.connect();
    client.set_patience(LONG);
    let key = cluster.key_of_node(0, "k");
    let others = cluster.key_of_node(1, "k");
    good(&mut client, &["SET", &key, "1"]);
    cluster.wait_in_step(0);
    cluster.kill(0);
    // Clients of the others are not held up.
    let mut unconcerned = strata.connect();
    let waiting = thread::scope(|scope| {
        let waiting = scope.spawn(|| good(&mut client, &["GET", &key]));
        good(&mut unconcerned, &["SET", &others, "2"]);
        assert!(!waiting.is_finished());
        waiting.join().expect("an answer")
    });
    assert_eq!(waiting, text("1"));
    assert_eq!(good(&mut client, &["INCR", &key]), Value::Integer(2));
}

#[test]
fn a_master_that_stands_still_is_left_when_it_is_replaced() {
    let mut cluster = Cluster::start(&[]);
    let strata = cluster.strata(&[PATIENT]);
    let mut client = strata.connect();
    client.set_patience(LONG);
    let key = cluster.key_of_node(0, "k");
    good(&mut client, &["SET", &key, "1"]);
    cluster.wait_in_step(0);
    cluster.pause(0);
    // A read is asked again at the new master, long before its own time runs out.
    let began = Instant::now();
    assert_eq!(good(&mut client, &["GET", &key]), text("1"));
    println!("read after {:?}", began.elapsed());
    assert_eq!(good(&mut client, &["INCR", &key]), Value::Integer(2));
    cluster.resume(0);
    cluster.wait_ok();
    assert_eq!(good(&mut client, &["GET", &key]), text("2"));
}

#[test]
fn a_manual_failover_is_not_noticed() {
    let cluster = Cluster::start(&[]);
    let strata = cluster.strata(&[PATIENT]);
    let end = AtomicBool::new(false);
    let key = cluster.key_of_node(0, "k");
    thread::scope(|scope| {
        let counting = scope.spawn(|| {
            let mut client = strata.connect();
            client.set_patience(LONG);
            let mut count = 0;
            while !end.load(SeqCst) {
                count += 1;
                assert_eq!(good(&mut client, &["INCR", &key]), Value::Integer(count));
                assert_eq!(good(&mut client, &["GET", &key]), text(&count.to_string()));
            }
        });
        let ending = End::of(&end);
        thread::sleep(Duration::from_millis(200));
        cluster.failover(3);
        cluster.wait_ok();
        drop(ending);
        counting.join().expect("counted without an error");
    });
}
