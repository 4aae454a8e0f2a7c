//! Many who wait, and those who wake them.

use std::thread;
use std::time::{Duration, Instant};

use super::{LONG, bulk, call, popped, waiting};
use crate::support::{Client, RedisServer, Strata, Value, wait_until};

#[test]
fn hundreds_that_wait_starve_nobody_and_each_is_served_once() {
    const CROWD: usize = 200;
    let home = RedisServer::start(&[]);
    let settings = [("server.workers", "2"), ("l2.max_connections", "2")];
    let strata = Strata::start(&home.unix(), &settings);
    let mut crowd: Vec<Client> = (0..CROWD).map(|_| strata.connect()).collect();
    for client in &mut crowd {
        client.send_raw(b"BLPOP l other 0\r\n").unwrap();
    }
    assert!(wait_until(LONG, || waiting(&home) == CROWD), "{} wait", waiting(&home));
    let mut waker = strata.connect();
    let began = Instant::now();
    for n in 0..CROWD / 2 {
        assert_eq!(call(&mut waker, "WATCH l"), Value::Simple("OK".into()));
        call(&mut waker, "MULTI");
        call(&mut waker, &format!("RPUSH l {}", 2 * n));
        call(&mut waker, &format!("RPUSH l {}", 2 * n + 1));
        let reply = call(&mut waker, "EXEC");
        assert!(matches!(&reply, Value::Array(replies) if replies.len() == 2), "{reply:?}");
    }
    assert!(began.elapsed() < LONG);
    let mut served: Vec<Value> = crowd.iter_mut().map(|client| client.read().unwrap()).collect();
    served.sort();
    let mut expected: Vec<Value> = (0..CROWD).map(|n| popped("l", &n.to_string())).collect();
    expected.sort();
    assert_eq!(served, expected);
    assert_eq!(waiting(&home), 0);
    // The connections they waited on serve the next.
    let before = home.info("stats")["total_connections_received"].clone();
    for client in &mut crowd {
        assert_eq!(call(client, "RPUSH l x").integer(), Some(1));
        assert_eq!(call(client, "BLPOP l 0"), popped("l", "x"));
    }
    let after: u64 = home.info("stats")["total_connections_received"].parse().unwrap();
    // The look itself is one, and a worker may lend more than have waited there.
    assert!(after <= before.parse::<u64>().unwrap() + 20, "{before} {after}");
}

#[test]
fn a_queue_of_jobs_loses_none_and_gives_none_twice() {
    const JOBS: usize = 2_000;
    let (_home, strata) = super::pair(&[("server.workers", "2")]);
    let mut done: Vec<u64> = thread::scope(|scope| {
        let workers: Vec<_> = (0..6)
            .map(|n| {
                let strata = &strata;
                scope.spawn(move || {
                    let mut client = strata.connect();
                    client.hello(2 + n % 2).unwrap();
                    let mut jobs = Vec::new();
                    loop {
                        let reply = call(&mut client, "BLMOVE jobs busy LEFT RIGHT 0");
                        let job: u64 = String::from_utf8_lossy(reply.bytes().unwrap()).parse().unwrap();
                        if job == 0 {
                            return jobs;
                        }
                        jobs.push(job);
                    }
                })
            })
            .collect();
        let mut giver = strata.connect();
        for n in 1..=JOBS {
            call(&mut giver, &format!("RPUSH jobs {n}"));
        }
        for _ in 0..6 {
            call(&mut giver, "RPUSH jobs 0");
        }
        workers.into_iter().flat_map(|w| w.join().unwrap()).collect()
    });
    done.sort_unstable();
    assert_eq!(done, (1..=JOBS as u64).collect::<Vec<_>>());
    assert_eq!(call(&mut strata.connect(), "LLEN busy").integer(), Some(JOBS as i64 + 6));
}

#[test]
fn who_was_served_and_everybody_else_sees_what_it_took() {
    let (home, strata) = super::pair(&[("server.workers", "2")]);
    let (mut waiter, mut other, mut direct) = (strata.connect(), strata.connect(), home.connect());
    for n in 0..200 {
        let value = n.to_string();
        waiter.send_raw(b"BLMOVE a b LEFT LEFT 0\r\n").unwrap();
        // Copies that the move makes wrong.
        call(&mut other, "LLEN b");
        call(&mut other, "LINDEX b 0");
        call(&mut other, "LINDEX b 0");
        direct.call(&["RPUSH", "a", &value]).unwrap();
        assert_eq!(waiter.read().unwrap(), bulk(&value));
        assert_eq!(call(&mut other, "LINDEX b 0"), bulk(&value));
        assert_eq!(call(&mut waiter, "LLEN b").integer(), Some(n + 1));
    }
}

#[test]
fn the_commands_behind_one_that_waits_wait_with_it() {
    let (home, strata) = super::pair(&[]);
    let mut client = strata.connect();
    client.send_raw(b"SET k before\r\nBLPOP l 0\r\nSET k after\r\nGET k\r\n").unwrap();
    assert_eq!(client.read().unwrap(), Value::Simple("OK".into()));
    assert!(wait_until(LONG, || waiting(&home) == 1));
    thread::sleep(Duration::from_millis(50));
    let mut other = strata.connect();
    assert_eq!(call(&mut other, "GET k"), bulk("before"));
    call(&mut other, "RPUSH l x");
    assert_eq!(client.read().unwrap(), popped("l", "x"));
    assert_eq!(client.read().unwrap(), Value::Simple("OK".into()));
    assert_eq!(client.read().unwrap(), bulk("after"));
}
