//! `read_from = "replica"`: what is read there, what is not, and who answers when there is none.

use std::time::Duration;

use super::{bulk, call, ok, statistic};
use crate::support::{Client, Cluster, NAME, Sentinels, Shape, Strata, Value, wait_until};

const POLICY: &str = "[[policy]]\nmatch = \"far:*\"\nread_from = \"replica\"\n";

/// For what has to happen, however loaded the machine is.
const LONG: Duration = Duration::from_secs(120);

/// Reads that go on one after the other; so many of them by a replica show that reads go there.
const MANY: u64 = 20;

/// A master with a replica, and two more.
fn cluster() -> (Cluster, Strata) {
    let cluster = Cluster::start_as(Shape::default());
    let own = cluster.settings();
    let mut all: Vec<(&str, &str)> = own.iter().map(|(name, value)| (&**name, &**value)).collect();
    all.extend([("l2.enabled", "false"), ("l3.request_timeout", "120s")]);
    let strata = Strata::start_with("embedded", POLICY, &all);
    (cluster, strata)
}

/// Sends a command again and again until `count` of them in a row were executed by this server.
fn executes(client: &mut Client, command: &str, expected: &Value, calls: impl Fn() -> u64) -> bool {
    wait_until(LONG, || {
        let before = calls();
        for _ in 0..MANY {
            assert_eq!(call(client, command), *expected, "{command}");
        }
        calls() - before == MANY
    })
}

#[test]
fn reads_of_what_a_policy_names_go_to_a_replica_each_of_them() {
    let (cluster, strata) = cluster();
    let mut client = strata.connect();
    let replica = cluster.replicas(0)[0];
    let key = cluster.key_of_node(0, "far:");
    let calls = |name: &'static str| {
        let server = &cluster.node(replica).server;
        move || server.calls(name)
    };
    assert_eq!(call(&mut client, &format!("SET {key} 1")), ok());
    cluster.wait_in_step(0);
    assert!(executes(&mut client, &format!("GET {key}"), &bulk("1"), calls("get")), "GET does not go there");
    assert!(executes(&mut client, &format!("TTL {key}"), &Value::Integer(-1), calls("ttl")));
    let both = Value::Array(vec![bulk("1"), Value::Nil]);
    let mget = format!("MGET {key} {{{key}}}far");
    assert_eq!(call(&mut client, &mget), both);
    assert!(statistic(&mut client, "l3", "replica_reads") >= 2 * MANY as i64);
    // Writes, and what others wait for, do not.
    assert_eq!(call(&mut client, &format!("APPEND {key} 2")), Value::Integer(2));
    cluster.wait_in_step(0);
    assert_eq!(call(&mut client, &format!("GET {key}")), bulk("12"));
    // A key that no policy names is read from its master, and copied.
    let near = cluster.key_of_node(0, "near:");
    let before = calls("get")();
    assert_eq!(call(&mut client, &format!("SET {near} 1")), ok());
    for _ in 0..MANY {
        assert_eq!(call(&mut client, &format!("GET {near}")), bulk("1"));
        assert_eq!(
            call(&mut client, &format!("MGET {{{near}}}far {near}")),
            Value::Array(vec![Value::Nil, bulk("1")])
        );
    }
    assert_eq!(calls("get")(), before);
}

#[test]
fn keys_of_several_nodes_are_read_from_the_replicas_of_each() {
    let (cluster, strata) = cluster();
    let mut client = strata.connect();
    let keys: Vec<String> = (0..3).map(|node| cluster.key_of_node(node, "far:")).collect();
    let calls = || (0..3).map(|node| cluster.node(cluster.replicas(node)[0]).server.calls("mget")).min();
    for key in &keys {
        assert_eq!(call(&mut client, &format!("SET {key} {key}")), ok());
    }
    (0..3).for_each(|node| cluster.wait_in_step(node));
    let expected = Value::Array(keys.iter().map(bulk).collect());
    let spread = wait_until(LONG, || {
        assert_eq!(call(&mut client, &format!("MGET {}", keys.join(" "))), expected);
        calls() > Some(0)
    });
    assert!(spread, "the replica of some node was asked for nothing");
}

#[test]
fn who_keeps_a_cache_of_its_own_or_watches_reads_from_the_master() {
    let (cluster, strata) = cluster();
    let mut client = strata.connect();
    client.hello(3).expect("RESP3");
    let server = &cluster.node(cluster.replicas(0)[0]).server;
    let key = cluster.key_of_node(0, "far:");
    assert_eq!(call(&mut client, &format!("SET {key} 1")), ok());
    cluster.wait_in_step(0);
    let get = format!("GET {key}");
    assert!(executes(&mut client, &get, &bulk("1"), || server.calls("get")));
    for (begin, end) in [("CLIENT TRACKING ON", "CLIENT TRACKING OFF"), (&*format!("WATCH {key}"), "UNWATCH")]
    {
        assert_eq!(call(&mut client, begin), ok());
        let before = server.calls("get");
        for _ in 0..MANY {
            assert_eq!(call(&mut client, &get), bulk("1"), "{begin}");
        }
        assert_eq!(server.calls("get"), before, "{begin}");
        assert_eq!(call(&mut client, end), ok());
        assert!(executes(&mut client, &get, &bulk("1"), || server.calls("get")), "{end}");
    }
}

#[test]
fn the_master_answers_where_no_replica_does() {
    let (mut cluster, strata) = cluster();
    let mut client = strata.connect();
    client.set_patience(LONG);
    let replica = cluster.replicas(0)[0];
    let key = cluster.key_of_node(0, "far:");
    assert_eq!(call(&mut client, &format!("SET {key} 1")), ok());
    cluster.wait_in_step(0);
    let get = format!("GET {key}");
    assert!(executes(&mut client, &get, &bulk("1"), || cluster.node(replica).server.calls("get")));
    // Sent, and never answered: who has fallen silent is given up within a lease, not within the request's own time.
    cluster.pause(replica);
    let misses = statistic(&mut client, "l3", "replica_misses");
    assert_eq!(call(&mut client, &get), bulk("1"));
    assert!(statistic(&mut client, "l3", "replica_misses") > misses);
    cluster.resume(replica);
    assert!(executes(&mut client, &get, &bulk("1"), || cluster.node(replica).server.calls("get")));
    cluster.kill(replica);
    for _ in 0..MANY {
        assert_eq!(call(&mut client, &get), bulk("1"));
    }
    cluster.start_again(replica);
    assert!(executes(&mut client, &get, &bulk("1"), || cluster.node(replica).server.calls("get")));
}

#[test]
fn the_replicas_that_sentinels_look_after_are_read_until_one_of_them_is_master() {
    let group = Sentinels::start(&[]);
    let nodes = group.nodes();
    let settings = [
        ("l3.enabled", "true"),
        ("l3.mode", "sentinel"),
        ("l3.nodes", &*nodes),
        ("l3.master", NAME),
        ("l2.enabled", "false"),
        ("l3.request_timeout", "120s"),
    ];
    let strata = Strata::start_with("embedded", POLICY, &settings);
    let mut client = strata.connect();
    client.set_patience(LONG);
    let old = group.master();
    let replica = 1 - old;
    assert_eq!(call(&mut client, "SELECT 3"), ok());
    assert!(wait_until(LONG, || call(&mut client, "SET far:k 1") == ok()));
    let seen = wait_until(LONG, || {
        let mut home = group.server(replica).connect();
        call(&mut home, "SELECT 3");
        call(&mut home, "GET far:k") == bulk("1")
    });
    assert!(seen, "the replica does not follow");
    assert!(executes(&mut client, "GET far:k", &bulk("1"), || group.server(replica).calls("get")));
    let new = group.failover();
    assert_eq!(new, replica);
    assert!(wait_until(LONG, || call(&mut client, "SET far:k 2") == ok()));
    let moved = wait_until(LONG, || {
        let before = group.server(old).calls("get");
        let read = call(&mut client, "GET far:k");
        read == bulk("2") && group.server(old).calls("get") > before
    });
    assert!(moved, "the new replica is not read from");
}
