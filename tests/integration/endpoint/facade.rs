//! `server.cluster_facade`: what strata says of itself is what a Redis says that is the only node of its cluster.

use std::time::Duration;

use super::converse;
use crate::support::{Client, Endpoint, RedisServer, Strata, Value, is_redis_7_0, skip, wait_until};

/// Commands of one connection are separated by ` ; `.
const SAME: &[&str] = &[
    "cluster info",
    "cluster info x",
    "cluster nodes",
    "cluster slots",
    "cluster shards",
    "cluster myid",
    "cluster links",
    "hello 3 ; cluster slots ; cluster shards ; cluster nodes ; cluster info ; cluster links",
    "cluster keyslot foo{bar}baz",
    "cluster keyslot ",
    "cluster keyslot",
    "cluster countkeysinslot x",
    "cluster countkeysinslot 16384",
    "cluster countkeysinslot -1",
    "cluster getkeysinslot 16384 1",
    "cluster getkeysinslot 1 -1",
    "cluster getkeysinslot 1 x",
    "cluster replicas nobody",
    "cluster slaves nobody",
    "cluster count-failure-reports nobody",
    "cluster help",
    "cluster",
    "cluster nothing",
    "readonly ; get k ; readwrite ; get k ; asking ; get k",
    "readonly x",
    "asking x",
    "multi ; cluster keyslot a ; readonly ; exec",
];

/// The same where there is no cluster.
const DISABLED: &[&str] = &[
    "cluster info",
    "cluster info x",
    "cluster keyslot a",
    "cluster keyslot",
    "cluster help",
    "cluster nothing",
    "cluster",
    "readonly",
    "readwrite",
    "asking",
    "asking x",
    "multi ; cluster slots ; readonly ; exec",
];

fn said(endpoint: &Endpoint, script: &str) -> String {
    let commands: Vec<Vec<&str>> = script.split(" ; ").map(|c| c.split(' ').collect()).collect();
    let commands: Vec<&[&str]> = commands.iter().map(Vec::as_slice).collect();
    let (replies, closed) = converse(endpoint, &commands);
    assert!(!closed, "{script}");
    String::from_utf8_lossy(&replies.concat()).into_owned()
}

fn text(client: &mut Client, words: &[&str]) -> String {
    let reply = client.call(words).expect("a reply");
    String::from_utf8_lossy(reply.bytes().expect("a text")).into_owned()
}

/// The same but for who somebody is, where, and how many bytes that takes. Redis knows no address of its own before it
/// has met another node; clients then take the one they connected to, and strata says it.
fn anonymous(said: &str, endpoint: &Endpoint, id: &str) -> String {
    let Endpoint::Tcp(address) = endpoint else { panic!("clients of a cluster need an address") };
    let (port, bus) = (address.port().to_string(), (u32::from(address.port()) + 10_000).to_string());
    let said = said.replace("$9\r\n127.0.0.1\r\n", "$0\r\n\r\n").replace("127.0.0.1:", ":");
    let said = said.replace(id, "<id>").replace(&bus, "<bus>").replace(&port, "<port>");
    let length = |line: &str| line.starts_with(['$', '=']);
    said.lines().map(|line| if length(line) { "<length>" } else { line }).collect::<Vec<_>>().join("\n")
}

fn node() -> RedisServer {
    let server = RedisServer::start(&[("cluster-enabled", "yes")]);
    let mut client = server.connect();
    client.call(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).expect("a reply");
    let ok = || text(&mut server.connect(), &["CLUSTER", "INFO"]).contains("cluster_state:ok");
    assert!(wait_until(Duration::from_secs(10), ok), "the cluster does not get well");
    server
}

#[test]
fn strata_is_the_one_node_of_a_cluster() {
    let (node, home) = (node(), RedisServer::start(&[]));
    let strata = Strata::start(&home.unix(), &[("server.cluster_facade", "true")]);
    let id_of =
        |endpoint: &Endpoint| text(&mut Client::connect(endpoint).expect("it accepts"), &["CLUSTER", "MYID"]);
    let (bare, own) = (id_of(&node.tcp()), id_of(&strata.endpoint()));
    assert_eq!((own.len(), own == id_of(&strata.endpoint())), (40, true));
    if !is_redis_7_0() {
        return skip("a node of a cluster word for word");
    }
    for script in SAME {
        let bare = anonymous(&said(&node.tcp(), script), &node.tcp(), &bare);
        let strata = anonymous(&said(&strata.endpoint(), script), &strata.endpoint(), &own);
        // HELLO counts clients.
        let behind_hello =
            |said: &str| said.split_once("modules").map_or(said.to_owned(), |(_, rest)| rest.to_owned());
        assert_eq!(behind_hello(&strata), behind_hello(&bare), "{script}");
    }
}

#[test]
fn a_node_says_who_it_is_in_hello_and_info() {
    let home = RedisServer::start(&[]);
    for (facade, mode, enabled) in [("true", "cluster", "1"), ("false", "standalone", "0")] {
        let strata = Strata::start(&home.unix(), &[("server.cluster_facade", facade)]);
        let mut client = strata.connect();
        let hello = client.call(&["HELLO", "2"]).expect("a reply");
        assert_eq!(super::field(&hello, "mode"), Value::Bulk(mode.into()));
        let info = text(&mut client, &["INFO", "everything"]);
        // Redis calls it redis_mode, Valkey server_mode.
        assert!(info.contains(&format!("_mode:{mode}\r\n")), "{info}");
        assert!(info.contains(&format!("cluster_enabled:{enabled}\r\n")), "{info}");
    }
}

#[test]
fn a_cluster_that_is_none_cannot_be_changed() {
    let home = RedisServer::start(&[]);
    let settings = [("server.cluster_facade", "true"), ("server.admin_commands", "pass")];
    let strata = Strata::start(&home.unix(), &settings);
    let reply = strata.connect().call(&["CLUSTER", "MEET", "127.0.0.1", "1"]);
    let Ok(Value::Error(error)) = reply else { panic!("{reply:?}") };
    assert_eq!(error, "ERR strata: CLUSTER MEET changes a cluster, and strata only stands for one");
}

#[test]
fn without_the_facade_there_is_no_cluster() {
    if !is_redis_7_0() {
        return skip("a server that is no node of a cluster word for word");
    }
    let home = RedisServer::start(&[]);
    let strata = Strata::start(&home.unix(), &[]);
    for script in DISABLED {
        assert_eq!(said(&strata.endpoint(), script), said(&home.tcp(), script), "{script}");
    }
}
