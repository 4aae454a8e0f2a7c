//! Another server becomes master: when strata follows, and what clients see.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::{LONG, bulk, connections, ok, reads, writes};
use crate::support::{Sentinels, Strata, Value, wait_until};

/// How much later than the sentinels strata may be, on a machine that has much else to do; on one that has not, it is a
/// few ms, as the figures say that are printed. What waits for a time-out is later: see the settings below.
const BEHIND: Duration = Duration::from_secs(15);

/// When a first sentinel announces a switch.
fn first_switch(group: &Sentinels) -> impl FnOnce() -> Instant + use<> {
    let (sender, receiver) = std::sync::mpsc::channel();
    for number in 0..3 {
        let (mut client, sender) = (group.sentinel_client(number), sender.clone());
        client.set_patience(LONG);
        assert!(client.call(&["SUBSCRIBE", "+switch-master"]).is_ok());
        thread::spawn(move || client.read().map(|_| sender.send(Instant::now())));
    }
    move || receiver.recv_timeout(LONG).unwrap()
}

/// Writes every few ms until one is accepted; when that was.
fn first_write(strata: &Strata) -> impl FnOnce() -> Instant + use<> {
    let mut client = strata.connect();
    let writer = thread::spawn(move || {
        assert!(writes(&mut client, "first", "write"));
        Instant::now()
    });
    move || writer.join().unwrap()
}

/// What the figures of the failover are, for people to read: how long sentinels and strata took.
fn report(what: &str, began: Instant, switched: Instant, accepted: Instant) {
    let (detection, whole) = (switched - began, accepted - began);
    let behind = accepted.saturating_duration_since(switched);
    println!("{what}: sentinels {detection:?}, first write {whole:?}, {behind:?} behind them");
    assert!(behind <= BEHIND, "{behind:?} behind the sentinels");
}

#[test]
fn a_master_that_is_killed_is_replaced_as_soon_as_sentinels_say_so() {
    let mut group = Sentinels::start(&[]);
    let strata = group.strata(&[]);
    let mut client = strata.connect();
    assert!(writes(&mut client, "k", "old") && reads(&mut client, "k", "old"));
    let switched = first_switch(&group);
    group.kill(0);
    let began = Instant::now();
    let accepted = first_write(&strata);
    let switched = switched();
    report("SIGKILL", began, switched, accepted());
    // The same client goes on, and copies are true again.
    assert!(writes(&mut client, "k", "new") && reads(&mut client, "k", "new"));
    group.server(1).connect().call(&["SET", "k", "newer"]).unwrap();
    assert!(reads(&mut client, "k", "newer"));
}

/// A master that hangs holds connections open: what waits for it does not wait for its time-out.
#[test]
fn a_master_that_hangs_is_left_as_soon_as_another_is_named() {
    let mut group = Sentinels::start(&[]);
    let strata = group.strata(&[("l3.request_timeout", "60s"), ("l3.connect_timeout", "30s")]);
    let mut client = strata.connect();
    client.set_patience(LONG);
    assert!(writes(&mut client, "k", "old"));
    let switched = first_switch(&group);
    group.pause(0);
    let began = Instant::now();
    let reply = client.call(&["INCR", "n"]).unwrap();
    let failed = Instant::now();
    let text = format!("{reply:?}");
    assert!(reply.is_error() && text.contains("may have been executed"), "{text}");
    let accepted = first_write(&strata);
    let switched = switched();
    report("SIGSTOP", began, switched, accepted());
    assert!(failed.saturating_duration_since(switched) <= BEHIND);
    // It was not sent again.
    assert_eq!(client.call(&["GET", "n"]).unwrap(), Value::Nil);
    group.resume(0);
}

#[test]
fn a_failover_that_was_asked_for_loses_no_client() {
    let group = Sentinels::start(&[]);
    let strata = group.strata(&[]);
    let mut client = strata.connect();
    assert!(writes(&mut client, "k", "old") && reads(&mut client, "k", "old"));
    let mut subscriber = strata.connect();
    subscriber.call(&["SUBSCRIBE", "news"]).unwrap();
    let new = group.failover();
    assert_eq!(new, 1);
    assert!(writes(&mut client, "k", "new") && reads(&mut client, "k", "new"));
    assert_eq!(group.server(new).connect().call(&["GET", "k"]).unwrap(), bulk("new"));
    assert!(wait_until(LONG, || connections(&group, 0) == 0), "the old master is left");
    // Subscriptions go on at the new one; so does what needs a connection of its own.
    assert!(wait_until(LONG, || {
        group.server(new).connect().call(&["PUBLISH", "news", "again"]).unwrap() == Value::Integer(1)
    }));
    let message = subscriber.read().unwrap().elements().unwrap();
    assert_eq!(message[2], bulk("again"));
    assert_eq!(client.call(&["WATCH", "k"]).unwrap(), ok());
    assert_eq!(client.call(&["MULTI"]).unwrap(), ok());
    client.call(&["INCR", "n"]).unwrap();
    assert_eq!(client.call(&["EXEC"]).unwrap(), Value::Array(vec![Value::Integer(1)]));
}

/// Clients append numbers while masters are killed and exchanged: none is there twice, whatever its client was told.
#[test]
fn no_write_is_repeated() {
    let mut group = Sentinels::start(&[]);
    let strata = group.strata(&[]);
    let ending = AtomicBool::new(false);
    let accepted: usize = thread::scope(|scope| {
        let write = |writer: usize| {
            let (mut client, mut accepted) = (strata.connect(), 0);
            for number in 0.. {
                if ending.load(Relaxed) {
                    break;
                }
                let entry = format!("{writer}-{number}");
                accepted += usize::from(!client.call(&["RPUSH", "log", &entry]).unwrap().is_error());
                thread::sleep(Duration::from_millis(1));
            }
            accepted
        };
        let writers: Vec<_> = (0..4).map(|writer| scope.spawn(move || write(writer))).collect();
        thread::sleep(Duration::from_millis(300));
        let new = group.failover();
        group.wait_ok();
        group.kill(new);
        group.wait_switched(new);
        thread::sleep(Duration::from_millis(500));
        ending.store(true, Relaxed);
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    });
    let log = strata.connect().call(&["LRANGE", "log", "0", "-1"]).unwrap().elements().unwrap();
    let mut counts: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    log.iter().for_each(|entry| *counts.entry(entry.bytes().unwrap().to_vec()).or_default() += 1);
    println!("{accepted} writes accepted, {} in the log", log.len());
    assert!(accepted > 100 && log.len() > 100);
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}
