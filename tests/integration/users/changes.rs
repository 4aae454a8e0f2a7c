//! Rules that change while clients are there: what was queued, who is subscribed, and the password of home.

use super::{LONG, Stage, call, ok, raw, replies};
use crate::support::{Client, Endpoint, Value, is_redis_7_0, skip, wait_until};

const PASS: &[(&str, &str)] = &[("server.admin_commands", "pass"), ("server.workers", "2")];

/// The lines of ACL LOG without what differs from run to run.
fn denials(admin: &mut Client) -> Vec<String> {
    let log = call(admin, "ACL LOG");
    let entries = log.elements().unwrap().into_iter();
    entries
        .map(|entry| {
            let fields = entry.elements().unwrap();
            let shown: Vec<String> = fields[..10].iter().map(|field| format!("{field:?}")).collect();
            shown.join(" ")
        })
        .collect()
}

#[test]
fn what_was_queued_is_asked_about_again_at_exec() {
    if !is_redis_7_0() {
        return skip("denials word for word");
    }
    let stage = Stage::new(&[("u", "on nopass ~* &* +@all"), ("admin", "on nopass ~* &* +@all")], PASS);
    for change in [
        "-set",
        "resetkeys ~a* ~c*",
        "resetkeys %R~*",
        "resetchannels &x",
        "-@all +exec",
        "-exec",
        "-select",
        "-echo -client",
        "-@all",
        "off",
        "resetkeys (~b* +@all) -set",
        "+@all",
    ] {
        let [bare, strata] = [stage.bare.tcp(), stage.strata.endpoint()].map(|endpoint| {
            let mut admin = Client::connect(&endpoint).unwrap();
            let reset = "ACL SETUSER u reset on nopass ~* &* +@all";
            assert_eq!(call(&mut admin, reset), ok());
            raw(&mut admin, "ACL LOG RESET");
            raw(&mut admin, "MSET a 1 b 1 c 1");
            let mut client = Client::connect(&endpoint).unwrap();
            let mut seen = vec![change.to_owned(), raw(&mut client, "AUTH u x")];
            for command in [
                "MULTI",
                "GET a",
                "SET b 2",
                "ECHO here",
                "MGET a b c",
                "PUBLISH y m",
                "PUBLISH x m",
                "SELECT 3",
                "SET c 3",
                "INCR c",
                "SELECT 0",
                "CLIENT GETNAME",
            ] {
                seen.push(raw(&mut client, command));
            }
            let rules = format!("ACL SETUSER u {change}");
            assert_eq!(call(&mut admin, &rules), ok());
            seen.push(raw(&mut client, "EXEC"));
            call(&mut admin, reset);
            seen.push(raw(&mut client, "GET c"));
            seen.push(raw(&mut admin, "MGET a b c"));
            seen.extend(denials(&mut admin));
            seen
        });
        assert_eq!(strata, bare, "left: strata, right: redis-server");
    }
}

#[test]
fn a_queue_that_is_still_allowed_goes_on_as_it_was() {
    let stage = Stage::new(&[("u", "on nopass ~a* &* +@all")], PASS);
    for endpoint in [stage.bare.tcp(), stage.strata.endpoint()] {
        let mut admin = Client::connect(&endpoint).unwrap();
        let mut client = Client::connect(&endpoint).unwrap();
        let seen = ["AUTH u x", "WATCH a", "MULTI", "INCR a", "GET b", "INCR a"].map(|c| raw(&mut client, c));
        assert!(seen[4].starts_with("-NOPERM "), "{}", seen[4]);
        call(&mut admin, "ACL SETUSER u +get");
        assert!(raw(&mut client, "EXEC").starts_with("-EXECABORT "));
        for command in ["WATCH a", "MULTI", "INCR a"] {
            raw(&mut client, command);
        }
        call(&mut admin, "ACL SETUSER other on");
        call(&mut admin, "SET a 5");
        assert_eq!(raw(&mut client, "EXEC"), "*-1\r\n");
        for command in ["MULTI", "INCR a", "ECHO x"] {
            raw(&mut client, command);
        }
        call(&mut admin, "ACL SETUSER u ~b*");
        assert_eq!(raw(&mut client, "EXEC"), "*2\r\n:6\r\n$1\r\nx\r\n");
    }
}

/// Whether the connection of a subscriber is still there.
fn is_there(client: &mut Client) -> bool {
    client.send_raw(b"PING\r\n").is_ok() && client.read_raw().is_ok()
}

#[test]
fn who_may_no_longer_hear_a_channel_is_cut() {
    for change in [
        "resetchannels",
        "resetchannels &a",
        "resetchannels &a*",
        "resetchannels &a* &b",
        "allchannels",
        "resetchannels (&* +get)",
        "resetchannels &a* &p* &p &s",
        "resetchannels &s",
        "-@all",
    ] {
        let stage = Stage::new(&[("u", "on nopass &* +@all"), ("v", "on nopass &* +@all")], PASS);
        let watch = |endpoint: &Endpoint| {
            let mut admin = Client::connect(endpoint).unwrap();
            let mut subscribers: Vec<Client> = [
                ("u", "SUBSCRIBE ab"),
                ("u", "SUBSCRIBE a"),
                ("u", "PSUBSCRIBE p*"),
                ("u", "SSUBSCRIBE s"),
                ("u", "PING"),
                ("v", "SUBSCRIBE z"),
            ]
            .into_iter()
            .map(|(user, command)| {
                let mut client = Client::connect(endpoint).unwrap();
                raw(&mut client, &format!("AUTH {user} x"));
                raw(&mut client, command);
                client
            })
            .collect();
            // First they have fewer, and then again all.
            assert_eq!(call(&mut admin, "ACL SETUSER u resetchannels &ab &a &p* &s &more"), ok());
            let mut seen = vec![raw(&mut admin, &format!("ACL SETUSER u {change}"))];
            // They are gone when that is answered.
            let list = raw(&mut admin, "CLIENT LIST");
            seen.push(list.matches(" user=u ").count().to_string());
            let users = "ACL SETUSER u on nopass +@all";
            assert_eq!(call(&mut admin, users), ok());
            seen.extend(subscribers.iter_mut().map(|client| is_there(client).to_string()));
            seen.push(raw(&mut admin, "PUBLISH a m"));
            seen
        };
        let (bare, strata) = (watch(&stage.bare.tcp()), watch(&stage.strata.endpoint()));
        assert_eq!(strata, bare, "{change}; left: strata, right: redis-server");
    }
}

#[test]
fn a_new_password_of_home_is_learned_from_who_sets_it() {
    let mut stage = Stage::new(&[], &[("server.admin_commands", "pass"), ("server.workers", "1")]);
    let endpoint = stage.strata.endpoint();
    for password in ["sesame", "", "open"] {
        let set = Client::connect(&endpoint).unwrap().call(&["CONFIG", "SET", "requirepass", password]);
        assert_eq!(set.unwrap(), ok());
        let mut home = stage.home.connect();
        if !password.is_empty() {
            assert!(call(&mut home, "PING").is_error());
            assert_eq!(call(&mut home, &format!("AUTH {password}")), ok());
        }
        // Its connections are to be made anew.
        call(&mut home, "CLIENT KILL TYPE normal SKIPME yes");
        let answered = wait_until(LONG, || {
            let seen = replies(&endpoint, &["SET k v", "GET k", "WATCH k"]);
            seen == ["+OK\r\n", "$1\r\nv\r\n", "+OK\r\n"]
        });
        assert!(answered, "{password:?}: {}", stage.strata.output());
    }
    let refused = replies(&endpoint, &["MULTI", "CONFIG SET requirepass x", "EXEC"]);
    assert!(refused[1].starts_with("-ERR strata: ") && refused[2].starts_with("-EXECABORT"), "{refused:?}");
    // A home that has forgotten it, since nobody wrote its configuration.
    stage.home.kill();
    stage.home.start_again();
    let answered = wait_until(LONG, || replies(&endpoint, &["SET k v"]) == ["+OK\r\n"]);
    assert!(answered, "{}", stage.strata.output());
    assert_eq!(call(&mut stage.strata.connect(), "GET k"), Value::Bulk(b"v".to_vec()));
}
