//! CLIENT TRACKING NOLOOP: a client is told of what others change, and not of what it changes itself.

use super::{LONG, Pair, bulk, call, connect, frames, invalidation, raw, resp3, surplus};
use crate::support::{Client, Endpoint, RedisServer, Strata, Value, wait_until};

/// A client that tracks with NOLOOP and these options, and another that writes.
fn two(endpoint: &Endpoint, options: &str) -> (Client, Client) {
    let (mut client, writer) = (resp3(endpoint), connect(endpoint));
    let on = format!("CLIENT TRACKING ON NOLOOP {options}");
    assert_eq!(frames(&mut client, on.trim(), 1), ["+OK\r\n"]);
    (client, writer)
}

/// What the client is told before `__end` changes, which it has to hear of, too.
fn told(client: &mut Client, writer: &mut Client) -> Vec<String> {
    let mut seen = frames(client, "GET __end", 1);
    while seen.last().is_some_and(|frame| frame.starts_with('>')) {
        seen.push(raw(client));
    }
    seen.pop();
    call(writer, "INCR __end");
    loop {
        let frame = raw(client);
        if frame.contains("__end") {
            return seen;
        }
        seen.push(frame);
    }
}

#[test]
fn own_writes_are_not_told_and_those_of_others_are() {
    let pair = Pair::start();
    for options in ["", "BCAST", "BCAST PREFIX k PREFIX l PREFIX __", "OPTOUT"] {
        pair.same(|endpoint| {
            let (mut client, mut writer) = two(endpoint, options);
            let mut seen = vec![options.to_owned()];
            for own in [
                "SET k 1",
                "INCR k",
                "DEL k",
                "EVAL redis.call('SET',KEYS[1],1) 1 k",
                "RPUSH l x",
                "BLPOP l 0",
                "FCALL nothing 1 k",
                "PUBLISH c m",
                "GETDEL k",
                "SELECT 0",
            ] {
                frames(&mut client, "MGET k l", 1);
                seen.extend(frames(&mut client, own, 1));
                seen.extend(told(&mut client, &mut writer));
            }
            for other in [
                "SET k 2",
                "SET k 2 XX",
                "APPEND k x",
                "DEL k",
                "RPUSH l y",
                "EVAL redis.call('DEL',KEYS[1]) 1 l",
            ] {
                frames(&mut client, "MGET k l", 1);
                call(&mut writer, other);
                seen.push(raw(&mut client));
                seen.extend(told(&mut client, &mut writer));
            }
            seen
        });
    }
}

#[test]
fn what_a_transaction_changes_is_its_client_s_own() {
    let pair = Pair::start();
    for options in ["", "BCAST"] {
        pair.same(|endpoint| {
            let (mut client, mut writer) = two(endpoint, options);
            let mut seen = Vec::new();
            let transactions: [&[&str]; 4] = [
                &["MULTI", "GET k", "SET k 1", "EXEC"],
                &["WATCH k", "GET k", "MULTI", "INCR k", "ECHO x", "EXEC"],
                &["MULTI", "SELECT 1", "SET k 3", "SELECT 0", "EXEC", "GET k"],
                &["WATCH k", "UNWATCH", "SET k 5", "MULTI", "SET k 6", "DISCARD", "GET k"],
            ];
            for commands in transactions {
                for command in commands {
                    seen.extend(frames(&mut client, command, 1));
                }
                seen.extend(told(&mut client, &mut writer));
            }
            frames(&mut client, "WATCH k", 1);
            frames(&mut client, "GET k", 1);
            call(&mut writer, "SET k 9");
            seen.push(raw(&mut client));
            for command in ["MULTI", "SET k 10", "EXEC", "GET k"] {
                seen.extend(frames(&mut client, command, 1));
            }
            seen
        });
    }
}

#[test]
fn choices_are_for_one_command() {
    let pair = Pair::start();
    for (options, choice) in [("OPTIN", "CLIENT CACHING YES"), ("OPTOUT", "CLIENT CACHING NO")] {
        pair.same(|endpoint| {
            let (mut client, mut writer) = two(endpoint, options);
            let mut seen = Vec::new();
            for command in
                ["GET a", choice, "GET b", "GET c", choice, "PING", "GET d", choice, "MULTI", "GET e", "EXEC"]
            {
                seen.extend(frames(&mut client, command, 1));
            }
            for key in ["a", "b", "c", "d", "e"] {
                call(&mut writer, &format!("SET {key} 1"));
            }
            call(&mut writer, "FLUSHALL");
            loop {
                let frame = raw(&mut client);
                let end = frame.ends_with("_\r\n");
                seen.push(frame);
                if end {
                    return seen;
                }
            }
        });
    }
}

#[test]
fn another_client_may_hear_instead() {
    let pair = Pair::start();
    pair.same(|endpoint| {
        let mut seen = Vec::new();
        for (protocol, options) in [(2, ""), (3, ""), (2, "BCAST"), (3, "BCAST PREFIX k")] {
            let mut hears = connect(endpoint);
            let id = call(&mut hears, "CLIENT ID").integer().unwrap();
            frames(&mut hears, "SUBSCRIBE __redis__:invalidate", 1);
            let mut client = if protocol == 3 { resp3(endpoint) } else { connect(endpoint) };
            let mut writer = connect(endpoint);
            let on = format!("CLIENT TRACKING ON REDIRECT {id} NOLOOP {options}");
            seen.extend(frames(&mut client, on.trim(), 1));
            frames(&mut client, "MGET k1 k2 k3", 1);
            call(&mut writer, "SET k1 1");
            seen.extend(frames(&mut client, "SET k2 1", 1));
            call(&mut writer, "SET k3 1");
            seen.extend([raw(&mut hears), raw(&mut hears)]);
            seen.extend(surplus(&mut hears));
            let info = frames(&mut client, "CLIENT TRACKINGINFO", 1).remove(0);
            seen.push(info.replace(&format!(":{id}\r"), ":ID\r"));
        }
        seen
    });
}

#[test]
fn it_may_be_turned_on_and_off_and_the_client_may_go_elsewhere() {
    let pair = Pair::start();
    pair.same(|endpoint| {
        let (mut client, mut writer) = two(endpoint, "");
        let mut seen = Vec::new();
        for command in [
            "CLIENT TRACKING OFF",
            "GET k",
            "CLIENT TRACKING ON NOLOOP",
            "SELECT 2",
            "SET k two",
            "GET k",
            "HELLO 2",
            "GET k",
        ] {
            let reply = frames(&mut client, command, 1);
            seen.extend(reply.into_iter().filter(|_| !command.starts_with("HELLO")));
        }
        frames(&mut client, "HELLO 3", 1);
        seen.extend(frames(&mut client, "GET k", 1));
        seen.extend(told(&mut client, &mut writer));
        // Without NOLOOP, its own writes as well.
        seen.extend(frames(&mut client, "CLIENT TRACKING ON", 1));
        seen.extend(frames(&mut client, "GET k", 1));
        seen.extend(frames(&mut client, "SET k 3", 2));
        seen.extend(frames(&mut client, "RESET", 1));
        seen.extend(frames(&mut client, "GET k", 1));
        call(&mut writer, "SET k 4");
        seen.extend(surplus(&mut client));
        seen
    });
}

#[test]
fn a_pipeline_is_answered_in_order_across_the_switch() {
    let pair = Pair::start();
    pair.same(|endpoint| {
        let mut client = resp3(endpoint);
        let mut all = String::new();
        for round in 0..20 {
            all += &format!("SET k {round}\r\nGET k\r\nCLIENT TRACKING ON NOLOOP\r\nINCR k\r\nGET k\r\n");
            all += "MULTI\r\nINCR k\r\nEXEC\r\nEVAL 'return redis.call(\"INCR\",KEYS[1])' 1 k\r\n";
            all += "CLIENT TRACKING OFF\r\nGET k\r\n";
        }
        client.send_raw(all.as_bytes()).unwrap();
        (0..20 * 10).map(|_| raw(&mut client)).collect()
    });
}

/// Numbers of home's connections by which strata's NOLOOP clients go (flag t), and by which they hear.
fn tracked_at(home: &RedisServer) -> (Vec<String>, Vec<String>) {
    let list = frames(&mut home.connect(), "CLIENT LIST", 1).remove(0);
    let field = |line: &str, name: &str| {
        let field = line.split(' ').find_map(|field| field.strip_prefix(name));
        field.unwrap_or_default().to_owned()
    };
    let tracked: Vec<&str> =
        list.lines().filter(|line| field(line, "redir=").parse::<i64>().unwrap_or(-1) > 0).collect();
    let ids = tracked.iter().map(|line| field(line, "id=")).collect();
    (ids, tracked.iter().map(|line| field(line, "redir=")).collect())
}

fn null() -> Value {
    Value::Push(vec![bulk("invalidate"), Value::Nil])
}

#[test]
fn a_connection_that_is_lost_drops_everything_and_is_replaced() {
    let home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), &[]);
    for options in ["", "BCAST"] {
        for ear in [false, true] {
            let (mut client, _) = two(&strata.endpoint(), options);
            let mut reader = connect(&strata.endpoint());
            assert!(!call(&mut client, "GET k").is_error());
            let (own, ears) = tracked_at(&home);
            assert_eq!((own.len(), ears.len()), (1, 1));
            let lost = if ear { &ears[0] } else { &own[0] };
            call(&mut home.connect(), &format!("CLIENT KILL ID {lost}"));
            assert_eq!(client.read().unwrap(), null(), "{options} {ear}");
            // Whether there is another already or not, what changes after a read is told after it.
            for n in 0..30 {
                let mut reply = call(&mut client, "GET k");
                while matches!(reply, Value::Push(_)) {
                    reply = client.read().unwrap();
                }
                assert!(!reply.is_error(), "{reply:?}");
                call(&mut reader, "GET k");
                call(&mut home.connect(), &format!("SET k {n}"));
                let mut told = client.read().unwrap();
                while told == null() {
                    told = client.read().unwrap();
                }
                assert_eq!(told, invalidation(&["k"]), "{options} {ear} {n}");
            }
            let replaced = wait_until(LONG, || tracked_at(&home).0.iter().any(|id| *id != own[0]));
            assert!(replaced);
            drop(client);
            assert!(wait_until(LONG, || tracked_at(&home).0.is_empty()), "connections end with their client");
        }
    }
}

#[test]
fn a_home_that_hangs_is_noticed_with_the_lease() {
    let mut home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), &[("l2.lease", "400ms")]);
    let (mut client, _) = two(&strata.endpoint(), "");
    assert_eq!(call(&mut client, "GET k"), Value::Nil);
    home.pause();
    let begin = std::time::Instant::now();
    assert_eq!(client.read().unwrap(), null());
    assert!(begin.elapsed() < LONG / 3, "{:?}", begin.elapsed());
    home.resume();
    let (mut home, mut last) = (home.connect(), 0);
    let silent = wait_until(LONG, || {
        last += 1;
        call(&mut home, &format!("SET k {last}"));
        let reply = client.call(&["GET", "k"]).unwrap();
        // Told at once: there is no connection yet.
        let covered = reply == bulk(&last.to_string()) && client.call(&["ECHO", "x"]).unwrap() == bulk("x");
        if !covered {
            client = two(&strata.endpoint(), "").0;
        }
        covered
    });
    assert!(silent);
    call(&mut home, "SET k x");
    assert_eq!(client.read().unwrap(), invalidation(&["k"]));
}

#[test]
fn what_was_remembered_before_the_switch_is_dropped() {
    let home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), &[]);
    let mut client = resp3(&strata.endpoint());
    call(&mut client, "CLIENT TRACKING ON");
    call(&mut client, "GET k");
    client.send_raw(b"CLIENT TRACKING ON NOLOOP\r\n").unwrap();
    let both = [client.read().unwrap(), client.read().unwrap()];
    assert!(both.contains(&null()) && both.contains(&Value::Simple("OK".into())), "{both:?}");
    call(&mut client, "GET k");
    call(&mut home.connect(), "SET k 1");
    assert_eq!(client.read().unwrap(), invalidation(&["k"]));
}
