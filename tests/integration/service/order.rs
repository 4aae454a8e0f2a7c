//! Replies come in the order of the requests, however these come.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use rand::Rng;

use super::{bulk, ok, pair};
use crate::support::{Arguments, Client, Value, arguments};

#[test]
fn hits_misses_writes_and_local_replies_keep_their_order() {
    let (_home, strata) = pair(&[]);
    let mut random = rand::rng();
    for protocol in [2, 3] {
        let mut client = strata.connect();
        client.hello(protocol).unwrap();
        for n in 0..50 {
            client.call(&["SET", &format!("k{n}"), &n.to_string()]).unwrap();
        }
        for _ in 0..40 {
            let (mut commands, mut expected): (Vec<Arguments>, Vec<Value>) = (Vec::new(), Vec::new());
            for step in 0..400 {
                let n = random.random_range(0..50);
                let (key, value) = (format!("k{n}"), n.to_string());
                let (words, reply): (Vec<&str>, Value) = match random.random_range(0..6) {
                    0 => (vec!["ECHO", &value], bulk(&value)),
                    1 => (vec!["SET", &key, &value], ok()),
                    2 => (vec!["MGET", &key, &key], Value::Array(vec![bulk(&value), bulk(&value)])),
                    3 => (vec!["STRLEN", &key], Value::Integer(value.len() as i64)),
                    _ => (vec!["GET", &key], bulk(&value)),
                };
                commands.push(arguments(&words));
                expected.push(reply);
                if step == 200 {
                    commands.push(arguments(&["NOSUCH"]));
                    let text = "ERR unknown command 'NOSUCH', with args beginning with: ";
                    expected.push(Value::Error(text.into()));
                }
            }
            assert_eq!(client.pipeline(&commands).unwrap(), expected);
        }
    }
}

#[test]
fn a_pipeline_of_100_000_commands_is_answered_while_it_is_written() {
    let (_home, strata) = pair(&[]);
    let mut client = strata.connect();
    let mut requests = Vec::new();
    for n in 0..50_000 {
        requests.extend(crate::support::encode(&["SET", &format!("k{}", n % 1_000), &n.to_string()]));
        requests.extend(crate::support::encode(&["GET", &format!("k{}", n % 1_000)]));
    }
    // Written in full before anything is read: what the sockets do not hold, strata has to.
    client.send_raw(&requests).unwrap();
    for n in 0..50_000 {
        assert_eq!(client.read().unwrap(), ok());
        assert_eq!(client.read().unwrap(), bulk(&n.to_string()));
    }
}

#[test]
fn a_client_that_has_said_all_gets_all_replies() {
    let (_home, strata) = pair(&[]);
    let crate::support::Endpoint::Tcp(address) = strata.endpoint() else {
        unreachable!("strata listens on TCP")
    };
    for command in ["INCR n\r\n", "GET k\r\n"] {
        let mut stream = TcpStream::connect(address).unwrap();
        let mut replies = Vec::new();
        thread::scope(|scope| {
            let mut reading = stream.try_clone().unwrap();
            let replies = &mut replies;
            scope.spawn(move || reading.read_to_end(replies).unwrap());
            stream.write_all(command.repeat(40_000).as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        assert_eq!(replies.iter().filter(|byte| **byte == b'\n').count(), 40_000, "{command:?}");
    }
}

#[test]
fn frames_may_come_byte_by_byte_and_several_at_once() {
    let (_home, strata) = pair(&[]);
    let mut client = strata.connect();
    let requests = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\n\r\nab\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\nECHO \"a b\"\r\n*1\r\n$4\r\nPING\r\n";
    for byte in requests {
        client.send_raw(&[*byte]).unwrap();
    }
    let replies: Vec<Value> = (0..4).map(|_| client.read().unwrap()).collect();
    assert_eq!(replies, [ok(), bulk("\r\nab"), bulk("a b"), Value::Simple("PONG".into())]);
    for cut in 1..requests.len() {
        client.send_raw(&requests[..cut]).unwrap();
        client.send_raw(&requests[cut..]).unwrap();
        assert_eq!((0..4).map(|_| client.read().unwrap()).collect::<Vec<_>>(), replies);
    }
}

#[test]
fn a_protocol_error_ends_its_client_in_redis_own_words_and_no_other() {
    let (home, strata) = pair(&[("server.workers", "1")]);
    let mut neighbour = strata.connect();
    let wrong: [&[u8]; 9] = [
        b"*1\r\n+PING\r\n",
        b"*x\r\n",
        b"*1\r\n$x\r\n",
        b"*1\r\n$-1\r\n",
        b"*3000000000\r\n",
        b"*1\r\n$600000000\r\n",
        b"GET \"k\r\n",
        b"*2\r\n$3\r\nGET\r\n$+1\r\nk\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n:5\r\n",
    ];
    for bytes in wrong {
        let answers = |mut client: Client| {
            client.send_raw(b"PING\r\n").unwrap();
            client.send_raw(bytes).unwrap();
            let mut replies = Vec::new();
            loop {
                match client.read_raw() {
                    Ok(reply) => replies.push(String::from_utf8_lossy(&reply).into_owned()),
                    Err(error) => return (replies, error.kind()),
                }
            }
        };
        let expected = answers(Client::connect(&home.tcp()).unwrap());
        assert_eq!(expected.1, ErrorKind::UnexpectedEof, "{expected:?}");
        assert_eq!(answers(strata.connect()), expected, "{:?}", String::from_utf8_lossy(bytes));
        assert_eq!(neighbour.call(&["SET", "k", "v"]).unwrap(), ok());
        assert_eq!(neighbour.call(&["GET", "k"]).unwrap(), bulk("v"));
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_disturbs_nobody_on_its_lane() {
    let (_home, strata) = pair(&[("server.workers", "1")]);
    let mut neighbour = strata.connect();
    for round in 0..200 {
        let mut leaving = strata.connect();
        let text = round.to_string();
        leaving.send_raw(b"GET a\r\nINCR n\r\nGET b\r\n*3\r\n$3\r\nSET\r\n$1\r\nk").unwrap();
        let set = neighbour.pipeline(&[arguments(&["SET", "k", &text]), arguments(&["GET", "k"])]);
        drop(leaving);
        assert_eq!(set.unwrap(), [ok(), bulk(&text)]);
    }
    thread::yield_now();
    assert_eq!(neighbour.call(&["GET", "k"]).unwrap(), bulk("199"));
}

#[test]
fn a_value_of_64_megabytes_goes_through_both_ways() {
    let (home, strata) = pair(&[]);
    let value: Vec<u8> = (0..64 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut client = strata.connect();
    client.set_patience(super::LONG);
    assert_eq!(client.call(&[&b"SET"[..], b"big", &value]).unwrap(), ok());
    for _ in 0..2 {
        assert!(client.call(&["GET", "big"]).unwrap() == Value::Bulk(value.clone()));
    }
    assert_eq!(home.connect().call(&["STRLEN", "big"]).unwrap(), Value::Integer(64 << 20));
}
