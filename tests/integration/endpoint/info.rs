//! INFO: home's sections and strata's own.

use std::time::Duration;

use super::{call, text};
use crate::support::{RedisServer, Strata, Value, wait_until};

fn sections(info: &str) -> Vec<&str> {
    info.lines().filter_map(|line| line.strip_prefix("# ")).collect()
}

fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("{info} has no {name}"))
}

#[test]
fn the_section_comes_where_all_are_asked_for_or_itself_is() {
    let home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), &[]);
    let (mut client, mut bare) = (strata.connect(), home.connect());
    for command in
        ["INFO", "INFO default", "INFO ALL", "INFO everything", "INFO server strata", "INFO memory all"]
    {
        let said = text(&call(&mut client, command));
        let bare = text(&call(&mut bare, &command.replace(" strata", "")));
        let mut wanted = sections(&bare);
        wanted.push("Strata");
        assert_eq!(sections(&said), wanted, "{command}");
        assert!(said.contains("\r\n\r\n# Strata\r\n") && said.ends_with("\r\n"), "{said}");
    }
    for command in ["INFO server", "INFO server clients memory", "INFO keyspace"] {
        let said = text(&call(&mut client, command));
        assert_eq!(sections(&said), sections(&text(&call(&mut bare, command))), "{command}");
    }
    call(&mut client, "HELLO 3");
    let Value::Verbatim(said) = call(&mut client, "INFO") else { panic!("not verbatim") };
    assert!(said.starts_with(b"txt:# Server\r\n"), "{}", said.escape_ascii());
}

#[test]
fn each_reply_has_the_protocol_of_its_time() {
    let home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), &[]);
    let mut client = strata.connect();
    client.send_raw(b"INFO\r\nHELLO 3\r\nINFO\r\n").expect("strata reads");
    let starts: Vec<u8> = (0..3).map(|_| client.read_raw().expect("a reply")[0]).collect();
    assert_eq!(starts, b"$%=");
}

#[test]
fn figures_are_those_of_this_process() {
    let home = RedisServer::start(&[]);
    let mut strata = Strata::start(&home.unix(), &[("server.workers", "2"), ("l1.max_size", "1MB")]);
    let mut client = strata.connect();
    call(&mut client, "SET k v");
    assert!(wait_until(Duration::from_secs(5), || {
        call(&mut client, "GET k");
        field(&text(&call(&mut client, "INFO strata")), "strata_l1_hits") != "0"
    }));
    let info = text(&call(&mut client, "INFO strata"));
    assert_eq!(field(&info, "strata_process_id"), strata.process_id().to_string());
    assert_eq!(field(&info, "strata_version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(field(&info, "strata_tiers"), "l1,l2");
    assert_eq!(field(&info, "strata_workers"), "2");
    assert_eq!(field(&info, "strata_l1_max_bytes"), "1000000");
    assert_eq!(field(&info, "strata_l1_entries"), "1");
    assert_eq!(field(&info, "strata_guard"), "up");
    assert_eq!(field(&info, "strata_l2_sets"), "1");
    strata.stop(Duration::from_secs(5));
}

#[test]
fn the_section_alone_needs_no_home() {
    let mut home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), &[]);
    let mut client = strata.connect();
    call(&mut client, "SET k v");
    home.kill();
    let mut info = String::new();
    let noticed = wait_until(Duration::from_secs(5), || {
        info = text(&call(&mut client, "INFO STRATA"));
        field(&info, "strata_l2_state") == "unreachable"
    });
    assert!(noticed, "{info}");
    assert_eq!((field(&info, "strata_guard"), field(&info, "strata_lease_left_ms")), ("down", "0"));
    assert!(!field(&info, "strata_l2_trouble").is_empty());
    assert_eq!(field(&info, "strata_l2_health"), "unhealthy");
    assert!(call(&mut client, "INFO").is_error());
}
