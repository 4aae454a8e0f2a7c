//! Commands of the connection: what strata says is what Redis says.

use super::{call, converse};
use crate::support::{Client, Endpoint, RedisServer, Strata, Value, arguments, is_redis_7_0, skip};

/// Commands of one connection are separated by ` ; `.
const SAME: &[&str] = &[
    "ping",
    "ping a",
    "ping a b",
    "echo",
    "echo a",
    "echo a b",
    "select x",
    "select 1.5",
    "select -1",
    "select 15 ; select 0",
    "select 16",
    "select 99999999999",
    "select 9999999999999999999999",
    "select",
    "select 0 0",
    "hello",
    "hello 2",
    "hello 3",
    "hello 4",
    "hello x",
    "hello 03",
    "hello 3 bad",
    "hello 3 setname",
    "hello 3 setname a bad ; client getname",
    "hello 3 setname a\tb ; client getname",
    "hello 3 auth default",
    "hello 3 auth a b",
    "hello 3 auth a b bad",
    "hello 3 auth default b setname c ; client getname",
    "hello 3 ; hello 2 ; client getname",
    "auth",
    "auth a",
    "auth a b",
    "auth default b",
    "auth a b c",
    "acl whoami",
    "acl whoami x",
    "quit",
    "quit foo ; ping",
    "reset",
    "reset foo",
    "hello 3 ; client setname a ; select 3 ; reset ; client getname",
    "client",
    "client foo",
    "client no-touch on",
    "client id foo",
    "client help",
    "client help foo",
    "client setname a ; client getname ; client setname  ; client getname",
    "client setname a\nb",
    "client setname é",
    "client setname",
    "hello 3 ; client getname",
    "client getredir",
    "client trackinginfo",
    "hello 3 ; client trackinginfo",
    "client caching yes",
    "client caching",
    "client tracking off",
    "client tracking off bcast optin optout noloop prefix a",
    "client tracking off prefix",
    "client tracking off redirect",
    "client tracking off redirect 0",
    "client tracking off redirect x",
    "client tracking off redirect 99999",
    "client tracking off foo",
    "client tracking maybe",
    "client tracking",
    "client unpause",
    "client unblock",
    "client unblock x",
    "client unblock 99999",
    "client unblock 99999 timeout",
    "client unblock 99999 error",
    "client unblock 99999 foo",
    "client unblock 99999 timeout x",
    "client no-evict on",
    "client no-evict off",
    "client no-evict x",
    "client no-evict",
    "client reply",
    "client reply x",
    "client reply on",
    "client list foo",
    "client list type",
    "client list type foo",
    "client list type master",
    "client list type replica",
    "client list type pubsub",
    "client list id",
    "client list id x",
    "client list id 99999 x",
    "client list id 99999 99998",
    "client kill",
    "client kill 1.2.3.4:5",
    "client kill id 0",
    "client kill id -1",
    "client kill id x",
    "client kill id 99999",
    "client kill id 99999 foo",
    "client kill id 99999 foo bar",
    "client kill type x",
    "client kill type pubsub",
    "client kill type slave skipme no",
    "client kill user nobody",
    "client kill user default id 99999",
    "client kill addr 1.2.3.4:5 laddr 1.2.3.4:6",
    "client kill skipme maybe",
    "client reply skip ; ping ; echo a",
    "client reply skip ; get k ; get k",
    "client reply skip ; client reply skip ; ping ; echo a",
    "client reply skip ; client reply on ; ping",
    "client reply skip ; reset ; ping",
    "client reply skip ; nosuch ; get",
    "client reply off ; ping ; get k ; client reply on ; ping",
    "client reply off ; client reply skip ; client reply on ; ping",
    "client reply off ; client reply x ; reset ; ping",
    "set k v ; get k ; quit",
    "post",
    "POST / HTTP/1.1",
    "Host: localhost",
    "set k v ; get k ; post ; get k",
    "info nosuchsection",
    "hello 3 ; info nosuchsection",
];

/// What a client may ask before it says who it is.
const STRANGERS: &[&str] = &[
    "ping",
    "get k",
    "nosuch a b",
    "get",
    "client",
    "client foo",
    "client id",
    "select 0",
    "acl whoami",
    "quit",
    "reset",
    "post x",
    "hello",
    "hello 3",
    "hello 4",
    "hello 3 bad",
    "hello 3 auth a b bad",
    "hello 3 auth default no",
    "hello 3 auth default pw bad ; client getname",
    "hello 3 setname x ; auth pw ; client getname",
    "hello 3 setname x auth default pw ; client getname",
    "hello 3 auth default pw setname x auth a b ; client getname",
    "hello 2 auth default pw",
    "auth",
    "auth no",
    "auth pw ; ping",
    "auth default pw ; auth default no ; ping",
    "auth Default pw",
    "auth pw ; reset ; ping",
    "auth pw x y",
];

fn compare(bare: &Endpoint, strata: &Endpoint, lines: &[&str]) {
    let mut findings = Vec::new();
    for line in lines {
        let commands: Vec<Vec<&str>> = line.split(" ; ").map(|c| c.split(' ').collect()).collect();
        let commands: Vec<&[&str]> = commands.iter().map(Vec::as_slice).collect();
        let [said, wanted] = [strata, bare].map(|endpoint| {
            let (replies, closed) = converse(endpoint, &commands);
            (replies.iter().map(|reply| without_id(reply)).collect::<Vec<_>>(), closed)
        });
        if said != wanted {
            findings.push(format!("{line}\n  strata: {said:?}\n  redis:  {wanted:?}"));
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

/// A reply as text; HELLO's number of the connection is left out.
fn without_id(reply: &[u8]) -> String {
    let text = reply.escape_ascii().to_string();
    match text.split_once("$2\\r\\nid\\r\\n:") {
        Some((before, after)) => {
            format!("{before}ID{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        None => text,
    }
}

#[test]
fn commands_of_the_connection_answer_like_redis() {
    if !is_redis_7_0() {
        return skip("what a connection says word for word");
    }
    let (bare, home) = (RedisServer::start(&[]), RedisServer::start(&[]));
    let strata = Strata::start(&home.unix(), &[]);
    compare(&bare.tcp(), &strata.endpoint(), SAME);
}

#[test]
fn strangers_are_answered_like_redis() {
    if !is_redis_7_0() {
        return skip("what strangers are told word for word");
    }
    let (bare, home) = (RedisServer::start(&[]), RedisServer::start(&[]));
    call(&mut bare.connect(), "CONFIG SET requirepass pw");
    let strata = Strata::start(&home.unix(), &[("server.password", "pw")]);
    compare(&bare.tcp(), &strata.endpoint(), STRANGERS);
    let mut client = strata.connect();
    assert_eq!(call(&mut client, "CACHE CLEAR L1"), Value::Error("NOAUTH Authentication required.".into()));
}

#[test]
fn what_a_browser_sends_closes_the_connection_and_is_logged() {
    let home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), &[]);
    for request in ["POST / HTTP/1.1\r\nHost: x\r\n\r\nSET k v\r\n", "Host: x\r\nSET k v\r\n"] {
        let mut client = strata.connect();
        client.send_raw(request.as_bytes()).expect("strata reads");
        assert!(client.read_raw().is_err(), "{request}");
    }
    assert_eq!(call(&mut home.connect(), "EXISTS k"), Value::Integer(0));
    assert_eq!(strata.output().matches("possible attack").count(), 1, "{}", strata.output());
}

#[test]
fn quit_waits_for_the_replies_that_are_due() {
    let home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), &[]);
    call(&mut strata.connect(), "SET k v");
    let mut client = strata.connect();
    client.send_raw(b"STRLEN k\r\nTTL k\r\nQUIT\r\nPING\r\n").expect("strata reads");
    let replies: Vec<_> = (0..3).map(|_| client.read().expect("a reply")).collect();
    assert_eq!(replies, [Value::Integer(1), Value::Integer(-1), Value::Simple("OK".into())]);
    assert!(client.read_raw().is_err());
}

#[test]
fn a_change_of_protocol_or_database_overtakes_nothing() {
    let home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), &[]);
    let mut client = strata.connect();
    // What is behind it on the same connection to home takes a while to get there.
    let long = "x".repeat(16 << 20);
    for n in 0..6 {
        let before = n.to_string();
        let protocol = if n % 2 == 0 { "3" } else { "2" };
        let pipeline = [
            arguments(&["SET", "long", &long]),
            arguments(&["SET", "k", &before]),
            arguments(&["HELLO", protocol]),
            arguments(&["INCR", "k"]),
            arguments(&["SET", "long", &long]),
            arguments(&["MOVE", "k", "1"]),
            arguments(&["SELECT", "1"]),
            arguments(&["GETDEL", "k"]),
            arguments(&["SELECT", "0"]),
        ];
        let replies = client.pipeline(&pipeline).expect("strata answers");
        assert_eq!(replies.len(), 9);
        let after = Value::Bulk((n + 1).to_string().into_bytes());
        assert_eq!((&replies[3], &replies[7]), (&Value::Integer(n + 1), &after), "turn {n}");
    }
}

#[test]
fn libraries_of_today_may_name_themselves() {
    let home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), &[]);
    let mut client = strata.connect();
    let said = |client: &mut Client, command: &str| match call(client, command) {
        Value::Error(text) | Value::Simple(text) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(said(&mut client, "CLIENT SETINFO LIB-NAME redis-py"), "OK");
    assert_eq!(said(&mut client, "CLIENT SETINFO lib-ver 5.0.1"), "OK");
    assert_eq!(said(&mut client, "CLIENT SETINFO foo bar"), "ERR Unrecognized option 'foo'");
    let arity = "ERR wrong number of arguments for 'client|setinfo' command";
    assert_eq!(said(&mut client, "CLIENT SETINFO LIB-NAME"), arity);
    let spaces = client.call(&["CLIENT", "SETINFO", "LIB-NAME", "a b"]).expect("a reply");
    assert_eq!(
        spaces,
        Value::Error("ERR LIB-NAME cannot contain spaces, newlines or special characters.".into())
    );
}

#[test]
fn databases_are_known_without_a_guard() {
    let home = RedisServer::start(&[("databases", "5")]);
    let strata = Strata::start(&home.unix(), &[("l1.enabled", "false")]);
    let mut client = strata.connect();
    assert_eq!(call(&mut client, "SELECT 4"), Value::Simple("OK".into()));
    assert_eq!(call(&mut client, "SELECT 5"), Value::Error("ERR DB index is out of range".into()));
}

/// They are of one length, as commands that repeat themselves are.
#[test]
fn subcommands_in_one_write_are_told_apart() {
    let home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), &[]);
    let mut client = strata.connect();
    let commands = ["CLIENT HELP", "CLIENT INFO", "CLIENT HELP", "CLIENT LIST"];
    let commands = commands.map(|command| command.split(' ').map(|w| w.as_bytes().to_vec()).collect());
    let kinds = client.pipeline(&commands).unwrap().into_iter().map(|reply| matches!(reply, Value::Array(_)));
    assert_eq!(kinds.collect::<Vec<_>>(), [true, false, true, false]);
}
