//! CLIENT LIST and KILL: true values, and an end for whom they are about.

use std::io;

use super::{call, text};
use crate::support::{Client, RedisServer, Strata, Value, is_redis_7_0, skip};

struct Stage {
    _home: RedisServer,
    strata: Strata,
}

impl Stage {
    fn new() -> Self {
        let home = RedisServer::start(&[]);
        let strata = Strata::start(&home.unix(), &[("server.workers", "2")]);
        Stage { _home: home, strata }
    }

    fn client(&self) -> (Client, i64) {
        let mut client = self.strata.connect();
        let id = call(&mut client, "CLIENT ID").integer().expect("a number");
        (client, id)
    }
}

fn fields(line: &str) -> Vec<(String, String)> {
    let pairs = line.trim().split(' ').map(|pair| pair.split_once('=').expect("name=value"));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn value(line: &str, name: &str) -> String {
    let found = fields(line).into_iter().find(|(n, _)| n == name);
    found.unwrap_or_else(|| panic!("{line} has no {name}")).1
}

fn is_closed(client: &mut Client) -> bool {
    let kinds = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
    client.call(&["PING"]).is_err_and(|e| kinds.contains(&e.kind()))
}

#[test]
fn a_line_has_the_fields_of_redis_in_their_order() {
    if !is_redis_7_0() {
        return skip("the fields of CLIENT LIST");
    }
    let bare = RedisServer::start(&[]);
    let stage = Stage::new();
    for command in ["CLIENT INFO", "CLIENT LIST", "CLIENT LIST TYPE normal"] {
        let names = |line: &str| fields(line).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let redis = text(&call(&mut Client::connect(&bare.tcp()).expect("a connection"), command));
        let strata = text(&call(&mut stage.strata.connect(), command));
        assert_eq!(
            names(strata.lines().last().expect("a line")),
            names(redis.lines().last().expect("a line"))
        );
        assert!(strata.ends_with("resp=2\n"), "{strata}");
    }
}

#[test]
fn a_line_tells_the_truth() {
    let stage = Stage::new();
    let (mut client, id) = stage.client();
    let (mut other, other_id) = stage.client();
    call(&mut client, "HELLO 3 SETNAME me");
    call(&mut client, "SELECT 3");
    call(&mut client, "CLIENT NO-EVICT ON");
    call(&mut client, "HGET h f");
    let list = text(&call(&mut other, "CLIENT LIST"));
    let line = list.lines().find(|l| value(l, "id") == id.to_string()).expect("the other client");
    let of_mine = ["name", "db", "flags", "cmd", "resp", "user", "events"].map(|name| value(line, name));
    assert_eq!(of_mine, ["me", "3", "e", "hget", "3", "default", "r"]);
    assert_eq!(value(line, "laddr"), stage.strata.endpoint().url().trim_start_matches("redis://"));
    let info = text(&call(&mut client, "CLIENT INFO"));
    assert_eq!((value(&info, "addr"), value(&info, "cmd")), (value(line, "addr"), "client|info".to_owned()));
    let wanted = format!("CLIENT LIST ID {other_id} 99999 {id}");
    let chosen = text(&call(&mut other, &wanted));
    let ids: Vec<_> = chosen.lines().map(|l| value(l, "id")).collect();
    assert_eq!(ids, [other_id.to_string(), id.to_string()]);
}

#[test]
fn others_are_killed_by_number_and_address_on_whichever_worker() {
    let stage = Stage::new();
    let (mut me, _) = stage.client();
    for _ in 0..4 {
        let (mut other, id) = stage.client();
        assert_eq!(call(&mut me, &format!("CLIENT KILL ID {id}")), Value::Integer(1));
        assert_eq!(call(&mut me, &format!("CLIENT LIST ID {id}")).bytes(), Some(&b""[..]));
        assert!(is_closed(&mut other));
        let (mut other, _) = stage.client();
        let address = value(&text(&call(&mut other, "CLIENT INFO")), "addr");
        assert_eq!(call(&mut me, &format!("CLIENT KILL {address}")), Value::Simple("OK".into()));
        assert!(is_closed(&mut other));
        assert_eq!(
            call(&mut me, &format!("CLIENT KILL {address}")),
            Value::Error("ERR No such client".into())
        );
    }
    let (mut other, id) = stage.client();
    let local = stage.strata.endpoint().url().trim_start_matches("redis://").to_owned();
    assert_eq!(call(&mut me, &format!("CLIENT KILL ID {id} TYPE pubsub")), Value::Integer(0));
    assert_eq!(call(&mut other, "PING"), Value::Simple("PONG".into()));
    // Named by its number as well: who has just left may be in the register still.
    let elsewhere = format!("CLIENT KILL ID {id} LADDR 127.0.0.1:1");
    assert_eq!(call(&mut me, &elsewhere), Value::Integer(0));
    let command = format!("CLIENT KILL ID {id} LADDR {local} USER default TYPE normal");
    assert_eq!(call(&mut me, &command), Value::Integer(1));
    assert!(is_closed(&mut other));
    assert_eq!(call(&mut me, "PING"), Value::Simple("PONG".into()));
}

#[test]
fn who_kills_himself_is_answered_first() {
    let stage = Stage::new();
    let (mut me, id) = stage.client();
    assert_eq!(call(&mut me, &format!("CLIENT KILL ID {id}")), Value::Integer(0), "SKIPME is the default");
    assert_eq!(call(&mut me, &format!("CLIENT KILL ID {id} SKIPME no")), Value::Integer(1));
    assert!(is_closed(&mut me));
    let (mut me, _) = stage.client();
    let address = value(&text(&call(&mut me, "CLIENT INFO")), "addr");
    assert_eq!(call(&mut me, &format!("CLIENT KILL {address}")), Value::Simple("OK".into()));
    assert!(is_closed(&mut me));
}
