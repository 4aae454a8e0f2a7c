//! Scripts: what runs long is heard of by everybody, and nothing overtakes anything.

use std::thread;

use super::{LONG, bulk, call, is_error, ok, words};
use crate::support::{Client, RedisServer, Strata, Value, arguments, encode, wait_until};

fn stage() -> (RedisServer, Strata) {
    let home = RedisServer::start(&[("busy-reply-threshold", "10")]);
    let strata = Strata::start(&home.unix(), &[("server.workers", "1"), ("l2.backoff_max", "200ms")]);
    (home, strata)
}

/// Runs a script that does not end, and returns once home says that it is busy.
fn run_forever(home: &RedisServer, strata: &Strata) -> Client {
    let mut runner = strata.connect();
    call(&mut runner, "EVAL return{} 0");
    runner.send_raw(&encode(&["EVAL", "while true do end", "0"])).unwrap();
    assert!(wait_until(LONG, || is_error(&home.connect().call(&["PING"]).unwrap(), "BUSY")));
    runner
}

#[test]
fn while_a_script_runs_others_are_told_so_at_once_and_not_kept_waiting() {
    let (home, strata) = stage();
    let mut other = strata.connect();
    call(&mut other, "SET k 1");
    let mut runner = run_forever(&home, &strata);
    assert!(wait_until(LONG, || is_error(&call(&mut other, "PING"), "BUSY")), "PING tells, too");
    for command in ["SET k 2", "GET none"] {
        assert!(is_error(&call(&mut other, command), "BUSY"), "{command}");
    }
    let mut late = strata.connect();
    // A database that nobody used before: the connection itself is refused, and that is no outage.
    call(&mut late, "SELECT 9");
    assert!(is_error(&call(&mut late, "SET k 2"), "BUSY"));
    assert_eq!(call(&mut other, "MULTI"), ok());
    assert!(is_error(&call(&mut other, "SET k 2"), "BUSY"));
    let reply = call(&mut other, "EXEC");
    assert!(is_error(&reply, "EXECABORT Transaction discarded because of: BUSY"), "{reply:?}");
    let block = ["MULTI", "SET k 2", "SET k 3", "EXEC"].map(|command| arguments(&words(command)));
    let replies = other.pipeline(&block).unwrap();
    assert_eq!(replies[0], ok());
    assert!(replies[1..3].iter().all(|reply| is_error(reply, "BUSY")), "{replies:?}");
    assert_eq!(replies[3], reply);
    assert_eq!(call(&mut other, "SCRIPT KILL"), ok());
    assert!(is_error(&runner.read().unwrap(), "Script killed by user"));
    assert!(wait_until(LONG, || call(&mut other, "SET k 3") == ok()));
    assert_eq!(call(&mut late, "SET k 3"), ok());
    assert!(wait_until(LONG, || call(&mut other, "PING") == Value::Simple("PONG".into())));
}

#[test]
fn scripts_and_other_commands_of_a_pipeline_keep_their_order() {
    let (_home, strata) = stage();
    for protocol in [2, 3] {
        let mut client = strata.connect();
        client.hello(protocol).unwrap();
        for round in 0..20 {
            call(&mut client, "FLUSHALL");
            let mut bytes = Vec::new();
            for n in 0..60 {
                // Scripts in a row, writes in a row, and changes between them.
                let script = format!("return redis.call('rpush', 'l', '{n}')");
                let words: [Vec<&str>; 5] = [
                    vec!["EVAL", &script, "0"],
                    vec!["EVAL", "return redis.call('llen', KEYS[1])", "1", "l"],
                    vec!["LLEN", "l"],
                    vec!["RPUSH", "l", "x"],
                    vec!["PING"],
                ];
                words.iter().for_each(|words| bytes.extend(encode(words)));
                if n % 7 == round % 7 {
                    bytes.extend(b"MULTI\r\nEVAL return{} 0\r\nLLEN l\r\nEXEC\r\n");
                }
            }
            client.send_raw(&bytes).unwrap();
            for n in 0..60 {
                let replies: Vec<_> = (0..5).map(|_| client.read().unwrap()).collect();
                let (odd, even) = (Value::Integer(2 * n + 1), Value::Integer(2 * n + 2));
                assert_eq!(
                    replies,
                    [odd.clone(), odd.clone(), odd, even.clone(), Value::Simple("PONG".into())]
                );
                if n % 7 == round % 7 {
                    let last = (0..4).map(|_| client.read().unwrap()).last();
                    assert_eq!(last, Some(Value::Array(vec![Value::Array(vec![]), even])));
                }
            }
        }
    }
}

#[test]
fn a_script_sees_what_its_client_wrote_just_before_and_the_client_what_it_wrote() {
    let (_home, strata) = stage();
    thread::scope(|scope| {
        for n in 0..4 {
            let strata = &strata;
            scope.spawn(move || {
                let mut client = strata.connect();
                let key = format!("k{n}");
                for turn in 0..300 {
                    let value = turn.to_string();
                    let mut bytes = encode(&["SET", &key, &value]);
                    bytes.extend(encode(&["EVAL", "return redis.call('incr', KEYS[1])", "1", &key]));
                    bytes.extend(encode(&["GET", &key]));
                    client.send_raw(&bytes).unwrap();
                    assert_eq!(client.read().unwrap(), ok());
                    assert_eq!(client.read().unwrap(), Value::Integer(turn + 1));
                    assert_eq!(client.read().unwrap(), bulk(&(turn + 1).to_string()));
                }
            });
        }
    });
}
