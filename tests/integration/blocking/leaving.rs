//! Clients that go while they wait, and a home that does.

use std::thread;
use std::time::{Duration, Instant};

use super::{LONG, bulk, call, is_error, pair, popped, waiting};
use crate::support::{Client, RedisServer, Strata, Value, wait_until};

/// A ghost is gone within this.
const SOON: Duration = Duration::from_secs(1);

fn waiters(strata: &Strata, home: &RedisServer, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| strata.connect()).collect();
    clients.iter_mut().for_each(|client| client.send_raw(b"BLPOP l 0\r\n").unwrap());
    assert!(wait_until(LONG, || waiting(home) == count), "{} wait", waiting(home));
    clients
}

fn leases_at(home: &RedisServer) -> usize {
    let list = home.connect().call(&["CLIENT", "LIST"]).unwrap();
    let list = String::from_utf8_lossy(list.bytes().unwrap()).into_owned();
    list.lines().filter(|line| line.contains(" name=strata-lease ")).count()
}

#[test]
fn a_client_that_goes_leaves_no_ghost_that_would_take_what_is_others() {
    let (home, strata) = pair(&[("server.workers", "2")]);
    let clients = waiters(&strata, &home, 20);
    drop(clients);
    assert!(wait_until(SOON, || waiting(&home) == 0 && leases_at(&home) == 0), "{}", waiting(&home));
    let mut client = strata.connect();
    call(&mut client, "RPUSH l x");
    assert_eq!(call(&mut client, "BLPOP l 0"), popped("l", "x"));
}

#[test]
fn a_client_that_was_killed_leaves_no_ghost() {
    let (home, strata) = pair(&[("server.workers", "2")]);
    let mut client = strata.connect();
    let id = call(&mut client, "CLIENT ID").integer().unwrap();
    client.send_raw(b"BLPOP l 0\r\n").unwrap();
    assert!(wait_until(LONG, || waiting(&home) == 1));
    let mut other = strata.connect();
    assert_eq!(call(&mut other, &format!("CLIENT KILL ID {id}")).integer(), Some(1));
    assert!(client.read().is_err());
    assert!(wait_until(SOON, || waiting(&home) == 0 && leases_at(&home) == 0));
}

#[test]
fn a_client_that_sends_on_while_it_waits_is_heard_and_bounded() {
    let (home, strata) = pair(&[("server.max_query_buffer", "1MiB"), ("server.max_bulk", "1MiB")]);
    let mut clients = waiters(&strata, &home, 2);
    let (mut greedy, mut modest) = (clients.remove(0), clients.remove(0));
    modest.send_raw(&b"PING\r\n".repeat(10_000)).unwrap();
    let flood = vec![b'x'; 64 * 1024];
    let ended = (0..64).any(|_| {
        greedy.send_raw(b"*2\r\n$4\r\nECHO\r\n$65536\r\n").is_err()
            || greedy.send_raw(&flood).is_err()
            || greedy.send_raw(b"\r\n").is_err()
    });
    assert!(ended || greedy.read().is_err(), "4 MiB were kept of a client that may leave 1 MiB");
    assert!(wait_until(SOON, || waiting(&home) == 1));
    call(&mut strata.connect(), "RPUSH l x");
    assert_eq!(modest.read().unwrap(), popped("l", "x"));
    for _ in 0..10_000 {
        assert_eq!(modest.read().unwrap(), Value::Simple("PONG".into()));
    }
}

#[test]
fn when_home_goes_those_who_wait_are_told_at_once_and_may_wait_again() {
    let (mut home, strata) = pair(&[("l2.backoff_max", "300ms")]);
    let mut clients = waiters(&strata, &home, 5);
    let gone = Instant::now();
    home.kill();
    for client in &mut clients {
        let reply = client.read().unwrap();
        assert!(is_error(&reply, "ERR strata: connection to home"), "{reply:?}");
    }
    assert!(gone.elapsed() < Duration::from_secs(2));
    home.start_again();
    let mut other = strata.connect();
    assert!(wait_until(LONG, || call(&mut other, "PING k").bytes().is_some()
        && call(&mut other, "DEL none").integer().is_some()));
    for client in &mut clients {
        call(&mut other, "RPUSH l again");
        assert!(wait_until(LONG, || call(client, "BLPOP l 1") == popped("l", "again")));
    }
}

#[test]
fn a_home_that_hangs_keeps_nobody_longer_than_its_own_patience() {
    let (mut home, strata) = pair(&[("l2.request_timeout", "300ms")]);
    let mut client = strata.connect();
    call(&mut client, "BLPOP none 0.01");
    client.send_raw(b"BLPOP l 0.2\r\n").unwrap();
    assert!(wait_until(LONG, || waiting(&home) == 1));
    home.pause();
    let asked = Instant::now();
    let reply = client.read().unwrap();
    assert!(is_error(&reply, "did not answer within"), "{reply:?}");
    assert!(asked.elapsed() < Duration::from_secs(5));
    home.resume();
    assert!(wait_until(LONG, || call(&mut client, "BLPOP none 0.01") == Value::Nil));
}

#[test]
fn strata_ends_while_clients_wait() {
    let (home, mut strata) = pair(&[]);
    let mut clients = waiters(&strata, &home, 3);
    let began = Instant::now();
    assert!(strata.stop(LONG).success());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(clients.iter_mut().all(|client| client.read().is_err()));
    assert!(wait_until(SOON, || waiting(&home) == 0));
}

#[test]
fn who_waits_is_not_idle() {
    let (home, strata) = pair(&[("server.timeout", "4s")]);
    let mut clients = waiters(&strata, &home, 1);
    let mut idle = strata.connect();
    thread::sleep(Duration::from_millis(5_000));
    assert!(idle.call(&["PING"]).is_err());
    call(&mut strata.connect(), "RPUSH l x");
    assert_eq!(clients[0].read().unwrap(), popped("l", "x"));
    assert_eq!(call(&mut clients[0], "ECHO a"), bulk("a"));
}

#[test]
fn who_waits_next_has_the_connection_of_who_waited_before() {
    let (home, strata) = pair(&[("server.workers", "1")]);
    let mut direct = home.connect();
    let mut leased = || {
        let list = call(&mut direct, "CLIENT LIST");
        let list = String::from_utf8_lossy(list.bytes().unwrap()).into_owned();
        let own = list.lines().filter(|line| line.contains(" name=strata-lease "));
        own.map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let serve = |round: usize| {
        let mut client = strata.connect();
        client.send_raw(b"BLPOP l 0\r\n").unwrap();
        assert!(wait_until(LONG, || waiting(&home) == 1));
        call(&mut strata.connect(), &format!("RPUSH l {round}"));
        assert_eq!(client.read().unwrap(), popped("l", &round.to_string()));
    };
    serve(0);
    let first = leased();
    assert_eq!(first.len(), 1, "{first:?}");
    (1..20).for_each(serve);
    let now = leased();
    assert!(now.len() <= 2 && now.contains(&first[0]), "{first:?} {now:?}");
    // Named to home, it is not lent again.
    let mut client = strata.connect();
    let id = call(&mut client, "CLIENT ID").integer().unwrap();
    client.send_raw(b"BLPOP l 0\r\n").unwrap();
    assert!(wait_until(LONG, || waiting(&home) == 1));
    assert_eq!(call(&mut strata.connect(), &format!("CLIENT UNBLOCK {id}")), Value::Integer(1));
    assert_eq!(client.read().unwrap(), Value::Nil);
    assert!(wait_until(LONG, || leased().len() < now.len()), "{now:?}");
    serve(20);
}
