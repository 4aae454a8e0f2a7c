//! Copies answer nobody who may not read the key, and those who may; changes of users hold at once.

use super::{LONG, Stage, call, error, ok};
use crate::support::{Value, wait_until};

const NO_KEY: &str = "NOPERM this user has no permissions to access one of the keys used as arguments";

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

#[test]
fn a_copy_that_another_user_brought_is_no_way_around_the_rules() {
    let users = &[("in", "on nopass ~in:* +@read"), ("out", "on nopass ~out:* +@all")];
    let stage = Stage::new(users, &[]);
    let mut free = stage.strata.connect();
    call(&mut free, "MSET in:1 v in:2 w");
    call(&mut free, "HSET in:h f v");
    for (command, counted) in [("GET in:1", "get"), ("MGET in:1 in:2", "mget"), ("HGETALL in:h", "hgetall")] {
        // Until a copy answers.
        assert!(wait_until(LONG, || {
            let before = stage.home.calls(counted);
            call(&mut free, command);
            stage.home.calls(counted) == before
        }));
        let expected = call(&mut free, command);
        let (mut allowed, mut denied) = (stage.strata.connect(), stage.strata.connect());
        call(&mut allowed, "AUTH in x");
        call(&mut denied, "AUTH out x");
        let before = stage.home.calls(counted);
        for _ in 0..20 {
            assert_eq!(call(&mut denied, command), error(NO_KEY), "{command}");
            assert_eq!(call(&mut allowed, command), expected, "{command}");
        }
        if wait_until(LONG, || call(&mut free, "PING") == Value::Simple("PONG".into())) {
            let asked = stage.home.calls(counted) - before;
            assert!(asked <= 2, "{command}: copies answer whom they may, home was asked {asked} times");
        }
        // In one pipeline, between others.
        let words = |text: &str| text.split(' ').map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>();
        let pipeline = [words("GET out:1"), words(command), words("GET out:1")];
        assert_eq!(denied.pipeline(&pipeline).unwrap(), [Value::Nil, error(NO_KEY), Value::Nil]);
    }
}

#[test]
fn a_change_of_a_user_holds_for_clients_that_are_connected() {
    let stage = Stage::new(&[], &[("server.admin_commands", "pass"), ("server.workers", "2")]);
    let mut admin = stage.strata.connect();
    call(&mut admin, "SET k v");
    assert_eq!(call(&mut admin, "ACL SETUSER u on nopass ~k +get"), ok());
    let mut clients: Vec<_> = (0..4).map(|_| stage.strata.connect()).collect();
    for client in &mut clients {
        assert_eq!(call(client, "AUTH u x"), ok());
    }
    for _ in 0..20 {
        for (rules, expected) in [("resetkeys ~x", error(NO_KEY)), ("~k", bulk("v")), ("off", bulk("v"))] {
            call(&mut admin, &format!("ACL SETUSER u {rules}"));
            for client in &mut clients {
                assert_eq!(call(client, "GET k"), expected, "{rules}");
            }
        }
        let refused = error("WRONGPASS invalid username-password pair or user is disabled.");
        assert_eq!(call(&mut stage.strata.connect(), "AUTH u x"), refused);
        call(&mut admin, "ACL SETUSER u on");
    }
    // Everybody is the default user.
    call(&mut admin, "ACL SETUSER default -del");
    let denied = error("NOPERM this user has no permissions to run the 'del' command");
    assert_eq!(call(&mut stage.strata.connect(), "DEL k"), denied);
    assert_eq!(call(&mut admin, "DEL k"), denied);
    call(&mut admin, "ACL SETUSER default +@all");
    assert_eq!(call(&mut admin, "DEL k"), Value::Integer(1));
}

#[test]
fn clients_of_a_deleted_user_are_cut() {
    let settings = [("server.admin_commands", "pass"), ("server.workers", "2")];
    let stage = Stage::new(&[("u", "on nopass ~* +@all"), ("v", "on nopass ~* +@all")], &settings);
    let mut admin = stage.strata.connect();
    let mut clients: Vec<_> = (0..4).map(|_| stage.strata.connect()).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        call(client, if index == 3 { "AUTH v x" } else { "AUTH u x" });
    }
    assert_eq!(call(&mut admin, "CLIENT KILL USER v"), Value::Integer(1));
    assert!(clients[3].call(&["PING"]).is_err());
    assert_eq!(call(&mut admin, "ACL DELUSER u"), Value::Integer(1));
    for client in &mut clients[..3] {
        assert!(client.call(&["PING"]).is_err());
    }
    // Who deletes himself is answered first.
    stage.same(&["AUTH v x", "ACL DELUSER v", "PING"]);
}
