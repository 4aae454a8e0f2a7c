//! Commands over several nodes of a cluster: clients see one Redis.

mod parts;
mod same;
mod scan;
mod scripts;
mod server;

use std::time::Duration;

use crate::support::{Client, Cluster, Shape, Strata, Value, wait_until};

/// Three masters, each with so many replicas. A node that is slow is not taken for dead: nothing here is about that.
fn cluster(replicas: usize, options: &[(&str, &str)]) -> Cluster {
    let all = [("cluster-node-timeout", "30000")].iter().chain(options);
    let options = all.map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    Cluster::start_as(Shape { replicas, options, ..Shape::default() })
}

/// In front of a cluster of which it knows all nodes.
fn start(cluster: &Cluster, settings: &[(&str, &str)]) -> Strata {
    let strata = cluster.strata(settings);
    let known = || !call(&mut strata.connect(), "dbsize").is_error();
    assert!(wait_until(Duration::from_secs(30), known), "the nodes are not found");
    strata
}

fn call(client: &mut Client, command: &str) -> Value {
    let words: Vec<&str> = command.split(' ').collect();
    client.call(&words).unwrap_or_else(|e| panic!("{command}: {e}"))
}

/// The same, which is no error.
fn good(client: &mut Client, command: &str) -> Value {
    let reply = call(client, command);
    assert!(!reply.is_error(), "{command}: {reply:?}");
    reply
}

fn error(reply: &Value) -> &str {
    match reply {
        Value::Error(text) => text,
        other => panic!("{other:?} is no error"),
    }
}

fn text(reply: &Value) -> String {
    String::from_utf8_lossy(reply.bytes().unwrap_or_else(|| panic!("{reply:?} is no text"))).into_owned()
}

/// The texts of an array, in order.
fn sorted(reply: &Value) -> Vec<String> {
    let mut all: Vec<_> = reply.elements().expect("an array").iter().map(text).collect();
    all.sort();
    all
}
