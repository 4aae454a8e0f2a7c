//! PUBLISH inside of MULTI: how many heard it, and when.

use super::{bulk, call, message, pair, subscribe, texts};
use crate::support::{Client, RedisServer, Value};

fn push(channel: &str, text: &str) -> Value {
    Value::Push(texts(&["message", channel, text]))
}

/// Sends all at once and reads as many replies and pushes.
fn told(client: &mut Client, commands: &str, count: usize) -> Vec<Value> {
    client.send_raw(commands.as_bytes()).unwrap();
    (0..count).map(|_| client.read().unwrap()).collect()
}

#[test]
fn all_receivers_are_counted() {
    let (home, strata) = pair(&[("server.workers", "2")]);
    let bare = RedisServer::start(&[]);
    let converse = |connect: &dyn Fn() -> Client| {
        let mut crowd: Vec<Client> = (0..5).map(|_| connect()).collect();
        for client in &mut crowd {
            subscribe(client, "a");
        }
        let (mut pattern, mut shard) = (connect(), connect());
        call(&mut pattern, "PSUBSCRIBE a*");
        call(&mut shard, "SSUBSCRIBE s");
        let commands = "MULTI\r\nPUBLISH a 1\r\nSET k v\r\nPUBLISH nobody 1\r\nECHO x\r\nSPUBLISH s 1\r\nPUBLISH ab 1\r\nGET k\r\nPUBLISH a 2\r\nEXEC\r\n";
        let mut replies = told(&mut connect(), commands, 10);
        for client in &mut crowd {
            assert_eq!(
                [client.read().unwrap(), client.read().unwrap()],
                [message("a", "1"), message("a", "2")]
            );
        }
        // A PUBLISH that is not run counts nobody.
        replies.extend(told(&mut connect(), "MULTI\r\nPUBLISH a\r\nPUBLISH a x\r\nEXEC\r\n", 4));
        replies
    };
    let expected = converse(&|| bare.connect());
    assert_eq!(converse(&|| strata.connect()), expected);
    drop(home);
}

#[test]
fn a_client_hears_what_it_published_before_the_reply() {
    let (_home, strata) = pair(&[("server.workers", "2")]);
    let mut client = strata.connect();
    client.hello(3).unwrap();
    assert_eq!(told(&mut client, "SUBSCRIBE a\r\n", 1).len(), 1);
    let mut other = strata.connect();
    subscribe(&mut other, "a");
    for round in 0..50 {
        // Redis puts the messages into the midst of the reply, where hardly any client can read them.
        let commands = format!("MULTI\r\nPUBLISH a {round}\r\nINCR n\r\nPUBLISH a again\r\nEXEC\r\nPING\r\n");
        let told = told(&mut client, &commands, 8);
        assert_eq!(told[4..6], [push("a", &round.to_string()), push("a", "again")]);
        let numbers = [2, round + 1, 2].map(Value::Integer).to_vec();
        assert_eq!(told[6..], [Value::Array(numbers), Value::Simple("PONG".into())]);
    }
    assert_eq!(call(&mut client, "PUBSUB NUMSUB a"), Value::Array(vec![bulk("a"), Value::Integer(2)]));
}
