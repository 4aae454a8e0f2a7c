//! Where nodes say they are: by name, by an address that is not theirs, by IPv6, or not at all; by TLS, and as a user.

use super::{good, text};
use crate::support::{Cluster, Direction, Part, Shape, Value};

/// Writes and reads keys of every node, before and after slots and masters have changed places.
fn works(cluster: &Cluster, settings: &[(&str, &str)]) {
    let strata = cluster.strata(settings);
    let mut client = strata.connect();
    let keys: Vec<String> = (0..3).map(|node| cluster.key_of_node(node, "k")).collect();
    for round in 0..3 {
        for key in &keys {
            assert_eq!(good(&mut client, &["INCR", key]), Value::Integer(round + 1), "{}", strata.output());
            assert_eq!(good(&mut client, &["GET", key]), text(&(round + 1).to_string()));
        }
        match round {
            0 => cluster.move_slot(crate::support::slot_of(keys[0].as_bytes()), 1),
            1 => cluster.failover(5),
            _ => {}
        }
    }
}

fn start(options: &[(&str, &str)]) -> Cluster {
    Cluster::start(options)
}

#[test]
fn nodes_that_are_known_by_name_are_found() {
    let named = [("cluster-announce-hostname", "localhost"), ("cluster-preferred-endpoint-type", "hostname")];
    let cluster = start(&named);
    let key = cluster.key_of_node(1, "k");
    let moved = cluster.node(0).connect().call(&["GET", &key]).unwrap();
    assert!(matches!(&moved, Value::Error(text) if text.contains(" localhost:")), "{moved:?}");
    works(&cluster, &[]);
}

#[test]
fn nodes_that_say_only_a_port_are_where_the_one_is_that_said_so() {
    let cluster = start(&[("cluster-preferred-endpoint-type", "unknown-endpoint")]);
    let key = cluster.key_of_node(1, "k");
    let moved = cluster.node(0).connect().call(&["GET", &key]).unwrap();
    assert!(matches!(&moved, Value::Error(text) if text.contains(" :")), "{moved:?}");
    works(&cluster, &[]);
}

#[test]
fn nodes_are_reached_where_they_announce_to_be() {
    let cluster = Cluster::start_as(Shape { relays: true, ..Shape::default() });
    works(&cluster, &[]);
    for node in 0..3 {
        let asked = [Part::Lane2, Part::Lane3]
            .map(|part| cluster.node(node).relay().chunks(part, Direction::Requests));
        assert!(asked.iter().sum::<u64>() > 0, "nothing came to node {node} by its announced port");
    }
}

#[test]
fn nodes_may_have_addresses_of_ipv6() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return println!("skipped: there is no IPv6 here");
    }
    let cluster = start(&[("bind", "127.0.0.1 ::1"), ("cluster-announce-ip", "::1")]);
    let key = cluster.key_of_node(1, "k");
    let moved = cluster.node(0).connect().call(&["GET", &key]).unwrap();
    assert!(matches!(&moved, Value::Error(text) if text.contains(" ::1:")), "{moved:?}");
    works(&cluster, &[]);
}

#[test]
fn nodes_may_speak_tls_and_ask_who_it_is() {
    let login = Some(("app".to_owned(), "secret".to_owned()));
    let cluster = Cluster::start_as(Shape { login, tls: true, ..Shape::default() });
    works(&cluster, &[]);
    // In clear text nobody answers, and who is nobody hears so.
    // For so long a request waits for a node that serves it.
    let strata = cluster.strata(&[("l3.password", "wrong"), ("l3.request_timeout", "500ms")]);
    let reply = strata.connect().call(&["GET", "k"]).unwrap();
    assert!(matches!(&reply, Value::Error(text) if text.contains("WRONGPASS")), "{reply:?}");
}

#[test]
fn one_living_node_among_those_named_is_enough() {
    let mut cluster = start(&[]);
    cluster.kill(3);
    cluster.kill(4);
    let nodes = [3, 4, 1].map(|node| cluster.node(node).address()).join(",");
    let strata = cluster.strata(&[("l3.nodes", &nodes)]);
    let mut client = strata.connect();
    for number in 0..20 {
        let key = format!("k{number}");
        good(&mut client, &["SET", &key, &key]);
        assert_eq!(good(&mut client, &["GET", &key]), text(&key));
    }
}
