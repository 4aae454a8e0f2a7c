//! Protected mode, and what bounds the memory that clients hold.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::{LONG, Stage, call, ok, raw};
use crate::support::{Client, Endpoint, RedisServer, Strata, wait_until};

/// An address of this machine that is not the loopback's; none where there is no network. Nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[test]
fn strangers_from_elsewhere_are_refused_while_nobody_needs_a_password() {
    let Some(address) = own_address() else {
        return println!("skipped: this machine has no address but the loopback's");
    };
    let home = RedisServer::start(&[]);
    for (name, value, expected) in [
        (
            "server.workers",
            "1",
            "-DENIED strata is running in protected mode because protected mode is enabled",
        ),
        ("server.protected_mode", "false", "+PONG"),
        ("server.password", "pw", "-NOAUTH"),
        ("user", "[{name='default',rules='on >pw ~* &* +@all'}]", "-NOAUTH"),
    ] {
        let strata = Strata::start_everywhere(&home.unix(), &[(name, value)]);
        let port = strata.endpoint().url().rsplit_once(':').unwrap().1.parse().unwrap();
        let from_elsewhere = Endpoint::Tcp(SocketAddr::new(address, port));
        let mut client = Client::connect(&from_elsewhere).unwrap();
        let told = raw(&mut client, "PING");
        assert!(told.starts_with(expected), "{name} = {value}: {told}");
        assert!(!raw(&mut strata.connect(), "PING").contains("DENIED"));
    }
}

#[test]
fn the_largest_clients_go_when_all_hold_too_much() {
    let settings = [("server.max_memory_clients", "4MB"), ("server.workers", "2")];
    let stage = Stage::new(&[], &settings);
    let mut spared = stage.strata.connect();
    assert_eq!(call(&mut spared, "CLIENT NO-EVICT ON"), ok());
    let open = |client: &mut Client, bytes: usize| {
        let mut part = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", bytes * 2).into_bytes();
        part.resize(bytes, b'x');
        client.send_raw(&part).unwrap();
    };
    let mut small = stage.strata.connect();
    open(&mut small, 100_000);
    open(&mut spared, 3_000_000);
    let mut large = stage.strata.connect();
    open(&mut large, 2_000_000);
    assert!(wait_until(LONG, || stage.strata.output().contains("server.max_memory_clients")));
    large.set_patience(LONG);
    assert!(large.read_raw().is_err_and(|e| e.kind() != std::io::ErrorKind::TimedOut));
    for client in [&mut small, &mut spared] {
        client.set_patience(Duration::from_millis(300));
        assert_eq!(client.read_raw().unwrap_err().kind(), std::io::ErrorKind::TimedOut, "it is still there");
    }
    assert_eq!(stage.strata.output().matches("evicted").count(), 1);
}

#[test]
fn an_idle_client_is_disconnected_and_a_busy_one_is_not() {
    let stage = Stage::new(&[], &[("server.timeout", "400ms")]);
    let (mut idle, mut busy) = (stage.strata.connect(), stage.strata.connect());
    call(&mut idle, "PING");
    idle.set_patience(LONG);
    let watch = std::thread::spawn(move || idle.read_raw().map(drop).map_err(|e| e.kind()));
    assert!(wait_until(LONG, || {
        assert_eq!(raw(&mut busy, "PING"), "+PONG\r\n");
        watch.is_finished()
    }));
    assert_ne!(watch.join().unwrap(), Err(std::io::ErrorKind::TimedOut));
}

#[test]
fn one_client_too_many_is_told_in_redis_words() {
    let bare = RedisServer::start(&[("maxclients", "2")]);
    let stage = Stage::new(&[], &[("server.max_clients", "2")]);
    for endpoint in [bare.tcp(), stage.strata.endpoint()] {
        let told = wait_until(LONG, || {
            let mut clients: Vec<_> = (0..3).map(|_| Client::connect(&endpoint).unwrap()).collect();
            let first: Vec<_> = clients[..2].iter_mut().map(|client| raw(client, "PING")).collect();
            let told = clients[2].read_raw().is_ok_and(|b| b == b"-ERR max number of clients reached\r\n");
            told && first == ["+PONG\r\n"; 2]
        });
        assert!(told, "{endpoint:?}");
    }
}
