//! Passwords, users and TLS, of the servers and of the sentinels.

use std::fs;
use std::process::{Command, Stdio};

use super::{bulk, explains, ok};
use crate::support::{
    Certificates, Port, Process, RedisServer, Sentinels, Strata, is_redis_7_0, skip, wait_until,
};

#[test]
fn servers_and_sentinels_may_ask_for_users_of_their_own() {
    let options = [("user", "app on >secret ~* &* +@all")];
    let lines =
        "user watcher on >other &* +@all\nuser limited on >other -@all +sentinel +client|setname +hello";
    let group = Sentinels::start_with(1, &options, lines);
    let settings = [
        ("l3.username", "app"),
        ("l3.password", "secret"),
        ("l3.sentinel_username", "watcher"),
        ("l3.sentinel_password", "other"),
    ];
    let strata = group.strata(&settings);
    let mut client = strata.connect();
    assert_eq!(client.call(&["SET", "k", "v"]).unwrap(), ok());
    let users = |mut client: crate::support::Client| {
        let list = client.call(&["CLIENT", "LIST"]).unwrap();
        let list = String::from_utf8_lossy(list.bytes().unwrap()).into_owned();
        let of_strata = list.lines().filter(|line| line.contains(" name=strata-")).map(str::to_owned);
        of_strata.collect::<Vec<_>>()
    };
    let at_home = users(group.server(0).connect());
    assert!(!at_home.is_empty() && at_home.iter().all(|line| line.contains(" user=app ")), "{at_home:?}");
    for sentinel in 0..3 {
        let mut there = Vec::new();
        let come = wait_until(super::LONG, || {
            there = users(group.sentinel_client(sentinel));
            there.len() == 1
        });
        assert!(come && there[0].contains(" user=watcher "), "{there:?}");
    }
    // Who may not subscribe has to ask.
    let limited = [settings[0], settings[1], ("l3.sentinel_username", "limited"), settings[3]];
    let polling = group.strata(&limited);
    assert_eq!(polling.connect().call(&["GET", "k"]).unwrap(), bulk("v"));
    group.failover();
    assert!(super::writes(&mut polling.connect(), "k", "w"));
    let wrong = [settings[0], settings[1], settings[2], ("l3.sentinel_password", "wrong")];
    explains(&group.strata(&wrong), &["sentinel 127.0.0.1:", "WRONGPASS"]);
}

#[test]
fn servers_and_sentinels_may_be_reached_by_tls() {
    if !is_redis_7_0() {
        return skip("TLS, which other servers may be built without");
    }
    let Some(made) = Certificates::make() else {
        return println!("skipped: openssl cannot make certificates here");
    };
    let [home_port, port] = [(); 2].map(|()| Port::reserve().unwrap());
    let number = home_port.number().to_string();
    let options = made.server_options();
    let mut options: Vec<(&str, &str)> = options.iter().map(|(name, value)| (*name, &**value)).collect();
    options.push(("tls-port", &number));
    let home = RedisServer::start(&options);
    let file = home.directory().join("sentinel.conf");
    let mut text = format!("port 0\ntls-port {}\nbind 127.0.0.1\ntls-replication yes\n", port.number());
    options.iter().filter(|(name, _)| *name != "tls-port").for_each(|(name, value)| {
        text += &format!("{name} {value}\n");
    });
    text += &format!("dir {}\nsentinel monitor main 127.0.0.1 {number} 1\n", home.directory().display());
    fs::write(&file, text).unwrap();
    let mut command = Command::new("redis-sentinel");
    command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut sentinel = Process::spawn(command).unwrap();

    let (ca, cert, key) = (made.file("ca.crt"), made.file("home.crt"), made.file("home.key"));
    let nodes = format!("[\"{}\"]", port.address());
    let start = |name: &str| {
        Strata::start_bare(&[
            ("l3.enabled", "true"),
            ("l3.mode", "sentinel"),
            ("l3.nodes", &nodes),
            ("l3.master", "main"),
            ("l3.tls", "true"),
            ("l3.ca_file", &ca),
            ("l3.cert_file", &cert),
            ("l3.key_file", &key),
            ("l3.server_name", name),
            ("l2.enabled", "false"),
        ])
    };
    let strata = start("home.test");
    let mut client = strata.connect();
    assert!(wait_until(super::LONG, || client.call(&["SET", "k", "v"]).unwrap() == ok()));
    assert_eq!(home.connect().call(&["GET", "k"]).unwrap(), bulk("v"));
    // The name is checked at the sentinels, too.
    explains(&start("other.test"), &["certificate"]);
    sentinel.kill().unwrap();
}
