//! CLIENT PAUSE holds strata's clients back, and which commands it holds.

use std::time::{Duration, Instant};

use super::{LONG, Pair, SHORT, call, connect, frames, surplus, words};
use crate::support::{Client, Value, encode, wait_until};

fn ok() -> Value {
    Value::Simple("OK".into())
}

#[test]
fn a_pause_of_writes_holds_what_redis_holds() {
    let pair = Pair::start();
    let commands = [
        "SET k v",
        "GET k",
        "PFCOUNT h",
        "PUBLISH c m",
        "SPUBLISH c m",
        "FLUSHALL",
        "DEL k",
        "PING",
        "EXISTS k",
        "EVAL return(1) 0",
        "EVAL_RO return(1) 0",
        "CLIENT ID",
        "SCRIPT EXISTS x",
        "SCRIPT FLUSH",
        "CONFIG GET maxmemory",
        "GETEX k",
        "SORT k",
        "SORT_RO k",
        "XREAD STREAMS s 0",
        "SET k",
        "NOSUCH",
        "OBJECT ENCODING k",
        "EXPIRE k 1",
        "SWAPDB 0 1",
        "COPY a b",
        "SCAN 0",
        "TOUCH k",
    ];
    pair.same(|endpoint| {
        let mut boss = connect(endpoint);
        assert_eq!(call(&mut boss, "CLIENT PAUSE 60000 WRITE"), ok());
        let mut clients: Vec<Client> = commands.iter().map(|_| connect(endpoint)).collect();
        for (client, command) in clients.iter_mut().zip(commands) {
            client.send_raw(&encode(&words(command))).unwrap();
        }
        std::thread::sleep(SHORT);
        let ready = commands.iter().zip(&mut clients).map(|(command, client)| {
            client.set_patience(Duration::from_millis(10));
            let held = client.read_raw().is_err();
            client.set_patience(LONG);
            format!("{command}: {}", if held { "held" } else { "answered" })
        });
        let seen: Vec<String> = ready.collect();
        assert_eq!(call(&mut boss, "CLIENT UNPAUSE"), ok());
        for (client, line) in clients.iter_mut().zip(&seen) {
            if line.ends_with("held") {
                client.read_raw().unwrap_or_else(|e| panic!("{line}: {e}"));
            }
        }
        seen
    });
}

#[test]
fn a_transaction_is_held_if_it_writes() {
    let pair = Pair::start();
    pair.same(|endpoint| {
        let mut boss = connect(endpoint);
        let mut seen = Vec::new();
        for queued in ["GET k", "SET k v", "PUBLISH c m", "EVAL_RO return(1) 0", "PING"] {
            let mut client = connect(endpoint);
            seen.extend(frames(&mut client, "MULTI", 1));
            seen.extend(frames(&mut client, queued, 1));
            call(&mut boss, "CLIENT PAUSE 60000 WRITE");
            client.send_raw(b"EXEC\r\n").unwrap();
            client.set_patience(SHORT);
            let held = client.read_raw().is_err();
            client.set_patience(LONG);
            seen.push(format!("{queued}: {held}"));
            call(&mut boss, "CLIENT UNPAUSE");
            if held {
                seen.push(super::raw(&mut client));
            }
        }
        seen
    });
}

#[test]
fn what_is_held_keeps_its_order_and_what_is_behind_it_waits() {
    let pair = Pair::start();
    pair.same(|endpoint| {
        let mut boss = connect(endpoint);
        let mut client = connect(endpoint);
        call(&mut boss, "SET k 0");
        call(&mut boss, "CLIENT PAUSE 60000 WRITE");
        let mut seen = Vec::new();
        client.send_raw(b"GET k\r\nINCR k\r\nGET k\r\nINCR k\r\nget k\r\n").unwrap();
        seen.push(super::raw(&mut client));
        std::thread::sleep(SHORT);
        let list = frames(&mut boss, "CLIENT LIST", 1).remove(0);
        seen.push(list.matches(" flags=b ").count().to_string());
        call(&mut boss, "CLIENT UNPAUSE");
        seen.extend((0..4).map(|_| super::raw(&mut client)));
        seen
    });
}

#[test]
fn a_pause_of_everything_ends_by_itself_and_only_grows() {
    let pair = Pair::start();
    pair.same(|endpoint| {
        let (mut boss, mut client) = (connect(endpoint), connect(endpoint));
        let began = Instant::now();
        // Its own next commands are held, too.
        boss.send_raw(b"CLIENT PAUSE 300\r\nCLIENT PAUSE 1 WRITE\r\nPING\r\n").unwrap();
        let mut seen = vec![super::raw(&mut boss)];
        seen.extend(frames(&mut client, "PING", 1));
        assert!(began.elapsed() >= Duration::from_millis(290), "{:?}", began.elapsed());
        assert!(began.elapsed() < LONG);
        seen.extend([super::raw(&mut boss), super::raw(&mut boss)]);
        seen
    });
}

#[test]
fn who_goes_away_while_held_leaves_nothing() {
    let pair = Pair::start();
    let endpoint = pair.strata.endpoint();
    let mut boss = connect(&endpoint);
    call(&mut boss, "CLIENT PAUSE 60000 WRITE");
    let mut gone = connect(&endpoint);
    gone.send_raw(&encode(&words("SET k v"))).unwrap();
    assert_eq!(surplus(&mut gone), None);
    drop(gone);
    call(&mut boss, "CLIENT UNPAUSE");
    // It was held, not refused: whoever sent it has a right to have it done, as on Redis.
    assert!(wait_until(LONG, || call(&mut boss, "GET k") == super::bulk("v")));
    let clients = |boss: &mut Client| {
        let list = call(boss, "CLIENT LIST");
        String::from_utf8_lossy(list.bytes().unwrap()).lines().count()
    };
    assert!(wait_until(LONG, || clients(&mut boss) == 1));
}
