//! SLOWLOG: strata's own.

use std::time::Duration;

use super::{Pair, bulk, call, connect, frames, raw};
use crate::support::{Client, Value};

/// The log as arguments and names.
fn log(client: &mut Client, command: &str) -> Vec<(Vec<Value>, Value)> {
    let entries = call(client, command);
    let entry = |entry: &Value| {
        let fields = entry.elements().unwrap();
        assert_eq!(fields.len(), 6);
        assert!(fields[..3].iter().all(|field| field.integer().is_some()));
        assert!(fields[4].bytes().unwrap().starts_with(b"127.0.0.1:"));
        (fields[3].elements().unwrap().to_vec(), fields[5].clone())
    };
    entries.elements().unwrap().iter().map(entry).collect()
}

#[test]
fn what_takes_long_is_kept_with_who_asked() {
    let pair =
        Pair::start_with(&[("server.slowlog_log_slower_than", "50ms"), ("server.slowlog_max_len", "2")]);
    let mut client = connect(&pair.strata.endpoint());
    call(&mut client, "CLIENT SETNAME me");
    call(&mut client, "GET fast");
    let script = "local t=redis.call('time') repeat local n=redis.call('time') until (n[1]-t[1])*1000000+n[2]-t[2]>80000";
    for n in 0..3 {
        client.call(&["EVAL", script, "1", &n.to_string()]).unwrap();
    }
    assert_eq!(call(&mut client, "SLOWLOG LEN"), Value::Integer(2));
    let kept = log(&mut client, "SLOWLOG GET");
    let last: Vec<_> = kept.iter().map(|(arguments, name)| (arguments[3].clone(), name.clone())).collect();
    assert_eq!(last, [(bulk("2"), bulk("me")), (bulk("1"), bulk("me"))]);
    let entry = call(&mut client, "SLOWLOG GET 1").elements().unwrap()[0].elements().unwrap().to_vec();
    let micros = u64::try_from(entry[2].integer().unwrap()).unwrap();
    assert!((80_000..10_000_000).contains(&micros), "{micros}");
    let own = call(&mut client, "CACHE SLOWLOG 1").elements().unwrap()[0].elements().unwrap().to_vec();
    let field = |name: &str| own.chunks(2).find(|pair| pair[0] == bulk(name)).unwrap()[1].clone();
    assert_eq!((field("answered_by"), field("usec")), (bulk("l2"), entry[2].clone()));
    call(&mut client, "SLOWLOG RESET");
    assert_eq!(call(&mut client, "SLOWLOG LEN"), Value::Integer(0));
}

#[test]
fn config_set_is_heard_and_everything_can_be_kept() {
    let pair = Pair::start();
    pair.same(|endpoint| {
        let mut client = connect(endpoint);
        let long = "A".repeat(130);
        let many = vec!["x"; 40].join(" ");
        let mut seen = Vec::new();
        for command in [
            "CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 20",
            "SLOWLOG RESET",
            "PING",
            "get k",
            "GET k",
            "SET k v",
            "AUTH pw",
            "CONFIG SET slowlog-max-len 20 masterauth x",
            "ACL SETUSER nobody >secret",
            "NOSUCH",
            "SET k",
            &format!("SADD set foo {long}"),
            &format!("SADD {many}"),
            "CLIENT SETNAME me",
            "BLPOP",
            "MGET a b",
            "CONFIG SET slowlog-log-slower-than maybe",
        ] {
            seen.extend(frames(&mut client, command, 1));
        }
        for (arguments, name) in log(&mut client, "SLOWLOG GET -1") {
            let arguments: Vec<_> =
                arguments.iter().map(|a| String::from_utf8_lossy(a.bytes().unwrap())).collect();
            seen.push(format!("{arguments:?} {name:?}"));
        }
        seen.extend(frames(&mut client, "SLOWLOG LEN", 1));
        seen.extend(frames(&mut client, "CONFIG SET slowlog-max-len 3", 1));
        seen.extend(frames(&mut client, "PING", 1));
        seen.extend(frames(&mut client, "SLOWLOG LEN", 1));
        seen.extend(frames(&mut client, "CONFIG SET slowlog-log-slower-than -1", 1));
        seen.extend(frames(&mut client, "SLOWLOG RESET", 1));
        seen.extend(frames(&mut client, "PING", 1));
        seen.extend(frames(&mut client, "SLOWLOG LEN", 1));
        seen
    });
}

#[test]
fn nothing_is_kept_of_what_waits_for_others() {
    let pair = Pair::start_with(&[("server.slowlog_log_slower_than", "500ms")]);
    let mut client = connect(&pair.strata.endpoint());
    let mut boss = connect(&pair.strata.endpoint());
    call(&mut boss, "CLIENT PAUSE 1000 WRITE");
    client.send_raw(b"SET k v\r\n").unwrap();
    client.set_patience(Duration::from_secs(10));
    assert_eq!(raw(&mut client), "+OK\r\n");
    assert_eq!(call(&mut boss, "SLOWLOG LEN"), Value::Integer(0));
}
