//! CLIENT UNBLOCK, by strata's numbers of clients.

use std::thread;

use super::{LONG, call, pair, popped, waiting};
use crate::support::{Client, Value, wait_until};

fn number(client: &mut Client) -> i64 {
    call(client, "CLIENT ID").integer().unwrap()
}

#[test]
fn a_client_is_unblocked_by_its_number_with_or_without_an_error() {
    let (home, strata) = pair(&[("server.workers", "2")]);
    let mut other = strata.connect();
    for protocol in [2, 3] {
        let mut client = strata.connect();
        client.hello(protocol).unwrap();
        let id = number(&mut client);
        assert_eq!(call(&mut other, &format!("CLIENT UNBLOCK {id}")).integer(), Some(0));
        for (reason, reply) in [
            ("", Value::Nil),
            (" TIMEOUT", Value::Nil),
            (" error", Value::Error("UNBLOCKED client unblocked via CLIENT UNBLOCK".into())),
        ] {
            for command in ["BLPOP a b 0", "BLMOVE a b LEFT LEFT 0", "XREAD BLOCK 0 STREAMS s $"] {
                client.send_raw(format!("{command}\r\n").as_bytes()).unwrap();
                assert!(wait_until(LONG, || waiting(&home) == 1));
                let answer = call(&mut other, &format!("CLIENT UNBLOCK {id}{reason}"));
                assert_eq!(answer.integer(), Some(1), "{command}{reason}");
                assert_eq!(client.read().unwrap(), reply, "{command}{reason}");
            }
        }
        assert_eq!(call(&mut other, &format!("CLIENT UNBLOCK {id}")).integer(), Some(0));
    }
}

#[test]
fn client_list_shows_who_waits() {
    let (home, strata) = pair(&[]);
    let (mut client, mut other) = (strata.connect(), strata.connect());
    let id = number(&mut client);
    let mut line = || {
        let list = call(&mut other, &format!("CLIENT LIST ID {id}"));
        String::from_utf8_lossy(list.bytes().unwrap()).into_owned()
    };
    client.send_raw(b"BLPOP a 0\r\n").unwrap();
    assert!(wait_until(LONG, || waiting(&home) == 1));
    assert!(line().contains(" flags=b ") && line().contains(" cmd=blpop "), "{}", line());
    home.connect().call(&["RPUSH", "a", "x"]).unwrap();
    client.read().unwrap();
    assert!(wait_until(LONG, || line().contains(" flags=N ")));
}

/// Clients that are unblocked while connections pass from one to the other: nobody is unblocked in another's place.
#[test]
fn nobody_is_unblocked_in_anothers_place() {
    let (_home, strata) = pair(&[("server.workers", "2")]);
    let mut victim = strata.connect();
    let id = number(&mut victim);
    thread::scope(|scope| {
        let bystanders: Vec<_> = (0..4)
            .map(|n| {
                let strata = &strata;
                scope.spawn(move || {
                    let mut client = strata.connect();
                    for turn in 0..200 {
                        let list = format!("l{n}");
                        client.send_raw(format!("BLPOP {list} 60\r\n").as_bytes()).unwrap();
                        call(&mut strata.connect(), &format!("RPUSH {list} {turn}"));
                        assert_eq!(client.read().unwrap(), popped(&list, &turn.to_string()));
                    }
                })
            })
            .collect();
        let mut other = strata.connect();
        let (mut unblocked, mut turns) = (0, 0);
        while bystanders.iter().any(|b| !b.is_finished()) {
            victim.send_raw(b"BLPOP never gone 0.02\r\n").unwrap();
            unblocked += call(&mut other, &format!("CLIENT UNBLOCK {id}")).integer().unwrap();
            assert_eq!(victim.read().unwrap(), Value::Nil);
            turns += 1;
        }
        assert!(unblocked > 0 || turns < 20, "{unblocked} of {turns}");
    });
}
