//! Commands about the server.

use strata::command::{Admin, Command, all};

use super::{Stage, call, ok, raw};
use crate::support::{Client, Value, wait_until};

/// The least that this command takes.
fn least(command: &Command) -> String {
    let mut words: Vec<String> = command.name.split('|').map(str::to_owned).collect();
    let missing = usize::from(command.arity.unsigned_abs()).saturating_sub(words.len());
    words.extend((0..missing).map(|number| format!("x{number}")));
    words.join(" ")
}

fn is_refused(client: &mut Client, command: &Command) -> bool {
    let text = raw(client, &least(command));
    text.starts_with("-NOPERM strata: ") && text.contains("server.admin_commands")
}

#[test]
fn what_changes_the_server_is_refused_unless_it_may_pass() {
    for (setting, reads) in [("read", false), ("deny", true)] {
        let stage = Stage::new(&[], &[("server.admin_commands", setting)]);
        let mut client = stage.strata.connect();
        for command in all() {
            let expected = match command.admin {
                Admin::Changes => true,
                Admin::Reads => reads,
                Admin::No | Admin::Own => continue,
            };
            assert_eq!(is_refused(&mut client, command), expected, "{} when {setting}", command.name);
        }
        // A wrong number of arguments is told first, and what nobody knows is not sent to find out.
        stage.same(&["CONFIG SET", "CONFIG NOTHING x", "REPLICAOF x", "ACL NOTHING", "CLUSTER NOTHING"]);
        // About data, however grave.
        for command in ["FLUSHALL", "SCRIPT FLUSH", "FUNCTION FLUSH", "SWAPDB 0 1"] {
            assert_eq!(call(&mut client, command), ok(), "{command}");
        }
    }
}

#[test]
fn what_may_pass_passes() {
    let stage = Stage::new(&[], &[("server.admin_commands", "pass")]);
    stage.same(&[
        "CONFIG SET maxmemory 123mb",
        "CONFIG GET maxmemory",
        "CONFIG SET nothing x",
        "CONFIG RESETSTAT",
    ]);
    stage.same(&["LATENCY RESET", "MEMORY PURGE", "CONFIG NOTHING", "CLUSTER MEET x y", "MODULE LIST"]);
    let mut admin = stage.home.connect();
    assert_eq!(
        call(&mut admin, "CONFIG GET maxmemory").elements().unwrap()[1].bytes(),
        Some(&b"128974848"[..])
    );
}

#[test]
fn the_address_that_is_told_stays_as_it_is() {
    let stage = Stage::new(&[], &[("server.admin_commands", "pass")]);
    let port = stage.strata.endpoint().url().rsplit_once(':').unwrap().1.to_owned();
    let mut admin = stage.strata.connect();
    let ok = Value::Simple("OK".into());
    for same in
        [format!("CONFIG SET port {port}"), format!("CONFIG SET bind 127.0.0.1 maxmemory 88mb Port {port}")]
    {
        assert_eq!(call(&mut admin, &same), ok, "{same}");
    }
    for other in ["CONFIG SET port 0", "CONFIG SET maxmemory 99mb bind 0.0.0.0", "CONFIG SET tls-port 7"] {
        let refused = call(&mut admin, other);
        assert!(
            refused.is_error() && format!("{refused:?}").contains("server.listen"),
            "{other}: {refused:?}"
        );
    }
    let at_home = call(&mut stage.home.connect(), "CONFIG GET maxmemory").elements().unwrap();
    assert_eq!(at_home[1].bytes(), Some(&b"92274688"[..]));
    stage.same(&["CONFIG SET port", "CONFIG SET port x y"]);
}

#[test]
fn settings_are_homes_but_for_those_of_the_endpoint() {
    let settings = [("server.max_clients", "123"), ("server.timeout", "1h"), ("server.tcp_keepalive", "70s")];
    let stage = Stage::new(&[], &settings);
    call(&mut stage.home.connect(), "CONFIG SET maxmemory 77mb maxclients 500 timeout 9 masterauth hidden");
    let port = stage.strata.endpoint().url().rsplit_once(':').unwrap().1.to_owned();
    for hello in ["HELLO 2", "HELLO 3"] {
        let mut client = stage.strata.connect();
        call(&mut client, hello);
        for (name, value) in [
            ("port", &*port),
            ("maxclients", "123"),
            ("timeout", "3600"),
            ("tcp-keepalive", "70"),
            ("bind", "127.0.0.1"),
            ("MaxMemory", "80740352"),
            ("masterauth", ""),
            ("protected-mode", "yes"),
            ("maxmemory-clients", "0"),
        ] {
            let told = call(&mut client, &format!("CONFIG GET {name}")).elements().unwrap();
            assert_eq!(told[1].bytes(), Some(value.as_bytes()), "{name}");
            assert_eq!(told[0].bytes(), Some(name.as_bytes()), "as it was asked for");
        }
        let names = |client: &mut Client| {
            let told = call(client, "CONFIG GET *").elements().unwrap();
            let mut names: Vec<Value> = told.into_iter().step_by(2).collect();
            names.sort();
            names
        };
        assert_eq!(names(&mut client), names(&mut stage.bare.connect()));
    }
    stage.same(&["CONFIG GET nothing", "CONFIG GET", "HELLO 3 x", "CONFIG GET maxmemory-sam*"]);
}

#[test]
fn own_commands_ask_for_rights_to_everything() {
    let stage = Stage::new(&[("app", "on nopass ~app:* +@all"), ("all", "on nopass ~* &* +@all -get")], &[]);
    let mut client = stage.strata.connect();
    call(&mut client, "AUTH app x");
    let refused = "-NOPERM this user has no permissions to run the 'cache' command\r\n";
    assert_eq!(raw(&mut client, "CACHE WHERE other"), refused);
    assert_eq!(raw(&mut client, "CLIENT SETINFO LIB-NAME x"), "+OK\r\n");
    assert!(raw(&mut client, "NOTHING x").starts_with("-ERR unknown command 'NOTHING'"));
    call(&mut client, "AUTH all x");
    assert!(wait_until(super::LONG, || raw(&mut client, "CACHE WHERE other").starts_with('*')));
}
