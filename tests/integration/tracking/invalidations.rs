//! What a client that tracks is told, and when, beside a bare server.

use super::{Pair, bulk, call, connect, frames, invalidation, raw, resp3, surplus};
use crate::support::{Client, Endpoint, Value};

/// A client that tracks with these options, and another that writes.
fn two(endpoint: &Endpoint, options: &str) -> (Client, Client) {
    let (mut client, writer) = (resp3(endpoint), connect(endpoint));
    let on = format!("CLIENT TRACKING ON {options}");
    assert_eq!(frames(&mut client, on.trim(), 1), ["+OK\r\n"]);
    (client, writer)
}

#[test]
fn what_changed_before_tracking_began_is_no_news() {
    let pair = Pair::start();
    let (mut client, mut hears) = (resp3(&pair.strata.endpoint()), resp3(&pair.strata.endpoint()));
    let Value::Integer(number) = call(&mut hears, "CLIENT ID") else { panic!("a number") };
    for round in 0..200 {
        call(&mut client, if round % 2 == 0 { "FLUSHALL" } else { "SET k v" });
        let on = ["CLIENT TRACKING ON".to_owned(), format!("CLIENT TRACKING ON BCAST REDIRECT {number}")];
        assert_eq!(call(&mut client, &on[round / 2 % 2]), Value::Simple("OK".into()), "round {round}");
        assert!(!call(&mut client, "GET k").is_error());
        assert_eq!(call(&mut client, "CLIENT TRACKING OFF"), Value::Simple("OK".into()));
        assert_eq!(call(&mut hears, "PING"), Value::Simple("PONG".into()), "round {round}");
    }
}

#[test]
fn who_has_quit_hears_for_nobody() {
    let pair = Pair::start();
    for round in 0..50 {
        let (mut client, mut writer) = (resp3(&pair.strata.endpoint()), connect(&pair.strata.endpoint()));
        let mut hears = connect(&pair.strata.endpoint());
        let Value::Integer(number) = call(&mut hears, "CLIENT ID") else { panic!("a number") };
        call(&mut client, &format!("CLIENT TRACKING ON REDIRECT {number}"));
        call(&mut client, "GET k");
        call(&mut hears, "QUIT");
        call(&mut writer, "INCR k");
        let broken = Value::Push(vec![bulk("tracking-redir-broken"), Value::Integer(number)]);
        assert_eq!(client.read().unwrap(), broken, "round {round}");
    }
}

#[test]
fn a_key_that_was_read_is_told_once_when_it_changes() {
    let pair = Pair::start();
    pair.same(|endpoint| {
        let (mut client, mut writer) = two(endpoint, "");
        call(&mut writer, "MSET a 1 b 1 c 1");
        let mut seen = frames(&mut client, "GET a", 1);
        seen.extend(frames(&mut client, "GET absent", 1));
        call(&mut writer, "SET c 2");
        call(&mut writer, "SET a 2");
        seen.push(raw(&mut client));
        call(&mut writer, "SET a 3");
        call(&mut writer, "SET absent 1");
        seen.push(raw(&mut client));
        seen.extend(frames(&mut client, "GET a", 1));
        call(&mut writer, "DEL a");
        seen.push(raw(&mut client));
        seen.extend(surplus(&mut client));
        seen
    });
}

#[test]
fn a_hit_is_remembered_as_well() {
    let pair = Pair::start();
    let (mut client, mut writer) = two(&pair.strata.endpoint(), "");
    call(&mut writer, "SET k 1");
    let mut reader = resp3(&pair.strata.endpoint());
    // From now on there is a copy.
    let copied = crate::support::wait_until(super::LONG, || {
        let before = pair.home.calls("get");
        call(&mut reader, "GET k");
        pair.home.calls("get") == before
    });
    assert!(copied);
    for n in 2..5 {
        let before = pair.home.calls("get");
        frames(&mut client, "GET k", 1);
        if n == 2 {
            assert_eq!(pair.home.calls("get"), before, "a copy answers a client that tracks");
        }
        call(&mut writer, &format!("SET k {n}"));
        assert_eq!(raw(&mut client), ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n");
        assert_eq!(frames(&mut reader, "GET k", 1), [format!("$1\r\n{n}\r\n")]);
    }
}

#[test]
fn all_keys_of_a_read_count_and_none_of_other_commands() {
    let pair = Pair::start();
    for read in [
        "MGET a b",
        "SINTER a b",
        "EXISTS a b",
        "ZUNION 2 a b",
        "LCS a b",
        "SORT_RO a",
        "TTL a",
        "TYPE a",
        "OBJECT ENCODING a",
        "DUMP a",
        "TOUCH a",
        "XREAD STREAMS a b 0 0",
        "SCAN 0",
        "EVAL_RO return(redis.call('exists',KEYS[1])) 1 a",
        "BITFIELD_RO a GET u8 0",
        "MEMORY USAGE a",
        "SETRANGE a 0 x",
        "GETDEL a",
        "OBJECT HELP",
        "GETEX a",
        "PFCOUNT a b",
        "WAIT 0 0",
        "GEOSEARCH a FROMLONLAT 1 1 BYRADIUS 1 m",
    ] {
        pair.same(|endpoint| {
            let (mut client, mut writer) = two(endpoint, "");
            call(&mut writer, "FLUSHALL");
            let mut seen = vec![raw(&mut client)];
            // The server's wording of what it found is no matter here.
            let _ = client.call(&super::words(read)).expect("a reply");
            for key in ["a", "b"] {
                call(&mut writer, &format!("SET {key} 1"));
            }
            call(&mut writer, "FLUSHALL");
            loop {
                let frame = raw(&mut client);
                let end = frame.ends_with("_\r\n");
                seen.push(frame);
                if end {
                    seen.push(read.to_owned());
                    return seen;
                }
            }
        });
    }
}

#[test]
fn own_writes_are_told_behind_their_replies() {
    let pair = Pair::start();
    pair.same(|endpoint| {
        let (mut client, _) = two(endpoint, "");
        let mut seen = frames(&mut client, "HSET h f 1", 1);
        seen.extend(frames(&mut client, "HGET h f", 1));
        seen.extend(frames(&mut client, "HDEL h f", 2));
        seen.extend(frames(&mut client, "GET k", 1));
        seen.extend(frames(&mut client, "FLUSHALL", 2));
        seen.extend(frames(&mut client, "PING", 1));
        seen.extend(surplus(&mut client));
        seen
    });
}

/// Whichever worker is whose: all have the announcement before the writer has its reply.
#[test]
fn what_was_acknowledged_is_told_before_the_next_reply() {
    let pair = Pair::start();
    let endpoint = pair.strata.endpoint();
    let mut listeners: Vec<Client> = ["", "BCAST", "", "BCAST"].map(|how| two(&endpoint, how).0).into();
    let mut writer = connect(&endpoint);
    for round in 0..500 {
        listeners.iter_mut().for_each(|client| drop(call(client, "GET k")));
        call(&mut writer, "INCR k");
        for client in &mut listeners {
            client.send_raw(&crate::support::encode(&["PING"])).unwrap();
            let seen = [client.read().unwrap(), client.read().unwrap()];
            assert_eq!(seen, [invalidation(&["k"]), Value::Simple("PONG".into())], "round {round}");
        }
    }
}

#[test]
fn prefixes_are_told_together() {
    let pair = Pair::start();
    pair.same(|endpoint| {
        let (mut client, mut writer) = two(endpoint, "BCAST PREFIX b: PREFIX a:");
        let mut seen = Vec::new();
        call(&mut writer, "MSET a:2 1 a:1 1 b:1 1 c:1 1");
        seen.extend([raw(&mut client), raw(&mut client)]);
        seen.extend(frames(&mut client, "GET c:1", 1));
        seen.extend(frames(&mut client, "CLIENT TRACKING ON BCAST PREFIX c:", 1));
        call(&mut writer, "SET c:1 2");
        seen.push(raw(&mut client));
        call(&mut writer, "FLUSHDB");
        seen.push(raw(&mut client));
        seen.extend(frames(&mut client, "CLIENT TRACKING OFF", 1));
        call(&mut writer, "SET a:1 1");
        seen.extend(surplus(&mut client));
        seen
    });
    pair.same(|endpoint| {
        let (mut client, mut writer) = two(endpoint, "BCAST");
        call(&mut writer, "MSET a 1 b 2");
        vec![raw(&mut client)]
    });
}

#[test]
fn choices_are_for_one_command() {
    let pair = Pair::start();
    for (options, choice) in [("OPTIN", "CLIENT CACHING YES"), ("OPTOUT", "CLIENT CACHING NO")] {
        pair.same(|endpoint| {
            let (mut client, mut writer) = two(endpoint, options);
            let mut seen = Vec::new();
            for command in
                ["GET a", choice, "GET b", "GET c", choice, "CLIENT ID", "GET d", choice, "PING", "GET e"]
            {
                let reply = frames(&mut client, command, 1);
                if command != "CLIENT ID" {
                    seen.extend(reply);
                }
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
fn names_stand_for_all_databases_and_both_protocols() {
    let pair = Pair::start();
    pair.same(|endpoint| {
        let (mut client, mut writer) = two(endpoint, "");
        let mut seen = frames(&mut client, "GET k", 1);
        call(&mut writer, "SELECT 3");
        call(&mut writer, "SET k 1");
        seen.push(raw(&mut client));
        seen.extend(frames(&mut client, "GET k", 1));
        frames(&mut client, "HELLO 2", 1);
        call(&mut writer, "SET k 1");
        seen.extend(frames(&mut client, "GET k", 1));
        frames(&mut client, "HELLO 3", 1);
        call(&mut writer, "SET k 1");
        seen.push(raw(&mut client));
        seen.extend(frames(&mut client, "CLIENT REPLY OFF", 0));
        seen.extend(frames(&mut client, "GET k", 0));
        seen.extend(frames(&mut client, "CLIENT REPLY ON", 1));
        call(&mut writer, "SET k 1");
        seen.push(raw(&mut client));
        seen
    });
}

#[test]
fn what_expires_is_told() {
    let pair = Pair::start();
    for options in ["", "BCAST"] {
        pair.same(|endpoint| {
            let mut writer = connect(endpoint);
            call(&mut writer, "SET k v PX 700");
            let (mut client, _) = two(endpoint, options);
            let mut seen = frames(&mut client, "GET k", 1);
            seen.push(raw(&mut client));
            seen
        });
    }
}

#[test]
fn another_client_may_hear_instead() {
    let pair = Pair::start();
    pair.same(|endpoint| {
        let mut seen = Vec::new();
        for protocol in [2, 3] {
            let mut hears = resp3(endpoint);
            let id = call(&mut hears, "CLIENT ID").integer().unwrap();
            let mut client = if protocol == 3 { resp3(endpoint) } else { connect(endpoint) };
            let mut writer = connect(endpoint);
            seen.extend(frames(&mut client, &format!("CLIENT TRACKING ON REDIRECT {id}"), 1));
            seen.extend(frames(&mut client, "GET k", 1));
            call(&mut writer, "SET k 1");
            seen.push(raw(&mut hears));
            call(&mut writer, "FLUSHALL");
            seen.push(raw(&mut hears));
            seen.extend(frames(&mut client, "GET k", 1));
            frames(&mut hears, "QUIT", 1);
            assert!(hears.read_raw().is_err());
            call(&mut writer, "SET k 2");
            if protocol == 3 {
                seen.push(raw(&mut client).replace(&format!(":{id}\r"), ":ID\r"));
            }
            call(&mut client, "PING");
            seen.push(frames(&mut client, "CLIENT TRACKINGINFO", 1)[0].replace(&format!(":{id}\r"), ":ID\r"));
            let info = frames(&mut client, "CLIENT INFO", 1).remove(0);
            seen.extend(info.split(' ').find(|field| field.starts_with("flags=")).map(str::to_owned));
            call(&mut writer, "FLUSHALL");
        }
        seen
    });
}

#[test]
fn a_subscriber_that_speaks_resp2_may_hear_for_others() {
    let pair = Pair::start();
    pair.same(|endpoint| {
        let mut seen = Vec::new();
        for (protocol, channel) in [(2, "__redis__:invalidate"), (3, "anything")] {
            let mut hears = connect(endpoint);
            let id = call(&mut hears, "CLIENT ID").integer().unwrap();
            let mut client = if protocol == 3 { resp3(endpoint) } else { connect(endpoint) };
            let mut writer = connect(endpoint);
            frames(&mut client, &format!("CLIENT TRACKING ON REDIRECT {id}"), 1);
            frames(&mut client, "GET k", 1);
            // It does not hear yet.
            call(&mut writer, "SET k 1");
            frames(&mut hears, &format!("SUBSCRIBE {channel}"), 1);
            frames(&mut client, "GET k", 1);
            call(&mut writer, "SET k 2");
            seen.push(raw(&mut hears));
            call(&mut writer, "FLUSHALL");
            seen.push(raw(&mut hears));
            frames(&mut client, "CLIENT TRACKING OFF", 1);
            frames(&mut client, &format!("CLIENT TRACKING ON BCAST REDIRECT {id}"), 1);
            call(&mut writer, "MSET a 1 b 2");
            seen.push(raw(&mut hears));
            seen.extend(surplus(&mut hears));
            call(&mut writer, "FLUSHALL");
        }
        seen
    });
}

#[test]
fn a_table_that_is_full_forgets_and_says_so() {
    let pair = Pair::start_with(&[("server.tracking_table_max_keys", "100"), ("server.workers", "1")]);
    let (mut client, mut writer) = two(&pair.strata.endpoint(), "");
    let mut told = 0;
    for n in 0..150 {
        client.send_raw(&crate::support::encode(&["GET", &n.to_string()])).unwrap();
    }
    for _ in 0..200 {
        told += usize::from(raw(&mut client).starts_with('>'));
    }
    assert_eq!(told, 50);
    for n in 0..150 {
        call(&mut writer, &format!("SET {n} 1"));
    }
    for _ in 0..100 {
        assert!(raw(&mut client).starts_with('>'));
    }
    assert_eq!(surplus(&mut client), None);
}

#[test]
fn what_a_transaction_reads_is_remembered_and_told_behind_its_reply() {
    let pair = Pair::start();
    pair.same(|endpoint| {
        let (mut client, mut writer) = two(endpoint, "");
        let mut seen = Vec::new();
        // With and without commands that strata answers itself.
        for own in ["ECHO x", "PING"] {
            for command in ["MULTI", "GET a", own, "MGET b c", "SET d 1"] {
                seen.extend(frames(&mut client, command, 1));
            }
            // What is queued is not read.
            call(&mut writer, "SET a 1");
            seen.extend(frames(&mut client, "EXEC", 1));
            for key in ["d", "c", "a", "b"] {
                call(&mut writer, &format!("SET {key} 2"));
            }
            seen.extend((0..3).map(|_| raw(&mut client)));
            for command in ["MULTI", "GET a", "INCR a"] {
                seen.extend(frames(&mut client, command, 1));
            }
            seen.extend(frames(&mut client, "EXEC", 2));
            call(&mut writer, "DEL a b c d");
        }
        seen.extend(frames(&mut client, "CLIENT TRACKING OFF", 1));
        seen.extend(frames(&mut client, "CLIENT TRACKING ON OPTIN", 1));
        for command in ["CLIENT CACHING YES", "MULTI", "GET a", "GET b", "EXEC", "GET c"] {
            seen.extend(frames(&mut client, command, 1));
        }
        for key in ["a", "b", "c"] {
            call(&mut writer, &format!("SET {key} 3"));
        }
        seen.extend([raw(&mut client), raw(&mut client)]);
        seen.extend(surplus(&mut client));
        seen
    });
}

#[test]
fn what_a_command_that_waits_reads_is_remembered() {
    let pair = Pair::start();
    pair.same(|endpoint| {
        let (mut client, mut writer) = two(endpoint, "");
        let mut seen = frames(&mut client, "LRANGE l 0 -1", 1);
        client.send_raw(b"BLMOVE other l LEFT LEFT 0\r\n").unwrap();
        assert!(crate::support::wait_until(super::LONG, || {
            frames(&mut writer, "CLIENT LIST", 1)[0].contains("flags=bt")
        }));
        call(&mut writer, "RPUSH other x");
        seen.extend([raw(&mut client), raw(&mut client)]);
        seen
    });
}
