//! Counters under WATCH: no update is ever lost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::{call, ok};
use crate::support::{Client, Endpoint, RedisServer, Strata, Value};

/// Adds one under WATCH until it has done so `times` times; returns how often it lost a race.
fn count(endpoint: &Endpoint, protocol: u8, times: u64, pipelined: bool) -> u64 {
    let mut client = Client::connect(endpoint).unwrap();
    client.hello(protocol).unwrap();
    let (mut done, mut lost) = (0, 0);
    while done < times {
        let value = if pipelined {
            client.send_raw(b"WATCH n\r\nGET n\r\n").unwrap();
            assert_eq!(client.read().unwrap(), ok());
            client.read().unwrap()
        } else {
            assert_eq!(call(&mut client, "WATCH n"), ok());
            call(&mut client, "GET n")
        };
        let value: u64 = value.bytes().map_or(0, |b| String::from_utf8_lossy(b).parse().unwrap());
        assert_eq!(call(&mut client, "MULTI"), ok());
        call(&mut client, &format!("SET n {}", value + 1));
        match call(&mut client, "EXEC") {
            Value::Array(replies) => {
                assert_eq!(replies, [ok()]);
                done += 1;
                // Whatever copies there are, none is older than what was just written.
                let seen = call(&mut client, "GET n");
                let seen: u64 = String::from_utf8_lossy(seen.bytes().unwrap()).parse().unwrap();
                assert!(seen > value, "{seen} after {}", value + 1);
            }
            Value::Nil => lost += 1,
            other => panic!("{other:?}"),
        }
    }
    lost
}

#[test]
fn no_update_is_lost_by_eight_clients_of_two_stratas_and_one_of_home() {
    let home = RedisServer::start(&[]);
    let stratas = [Strata::start(&home.unix(), &[("server.workers", "2")]), Strata::start(&home.unix(), &[])];
    let lost = AtomicU64::new(0);
    thread::scope(|scope| {
        for n in 0..9 {
            let endpoint = if n == 8 { home.unix() } else { stratas[n % 2].endpoint() };
            let lost = &lost;
            scope.spawn(move || {
                lost.fetch_add(count(&endpoint, 2 + (n / 2 % 2) as u8, 60, n % 4 < 2), Ordering::Relaxed);
            });
        }
    });
    assert_eq!(home.connect().call(&["GET", "n"]).unwrap(), super::bulk("540"));
    assert!(lost.load(Ordering::Relaxed) > 0, "nobody ever lost a race: nothing was tried");
    for strata in &stratas {
        assert_eq!(call(&mut strata.connect(), "GET n"), super::bulk("540"));
    }
}
