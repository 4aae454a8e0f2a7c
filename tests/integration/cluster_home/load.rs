//! What CACHE STATS says of each node of home.

use super::{LONG, PATIENT, good, small, text};
use crate::support::{Client, Cluster, Value, wait_until};

/// A figure of a node.
fn figure(client: &mut Client, cluster: &Cluster, node: usize, name: &str) -> Value {
    let of = |map: &Value, name: &str| -> Option<Value> {
        let all = map.elements()?;
        all.chunks(2).find(|pair| pair[0].bytes() == Some(name.as_bytes())).map(|pair| pair[1].clone())
    };
    let stats = good(client, &["CACHE", "STATS", "L3"]);
    let nodes = of(&stats, "nodes").expect("there are nodes");
    let figures = of(&nodes, &cluster.node(node).address());
    figures
        .and_then(|figures| of(&figures, name))
        .unwrap_or_else(|| panic!("no {name} of {node} in {nodes:?}"))
}

fn number(client: &mut Client, cluster: &Cluster, node: usize, name: &str) -> i64 {
    figure(client, cluster, node, name).integer().expect("a number")
}

#[test]
fn requests_errors_times_and_what_is_in_flight_are_told_of_each_node() {
    let mut cluster = small();
    let strata = cluster.strata(&[PATIENT]);
    let (mut client, mut observer) = (strata.connect(), strata.connect());
    let keys: Vec<String> = (0..3).map(|node| cluster.key_of_node(node, "k")).collect();
    let before: Vec<i64> = (0..3).map(|node| number(&mut client, &cluster, node, "requests")).collect();
    for round in 0..20 {
        for key in keys.iter().take(if round < 10 { 2 } else { 1 }) {
            good(&mut client, &["SET", key, "text"]);
        }
    }
    assert!(client.call(&["INCR", &keys[1]]).expect("answered").is_error());
    let sent = |client: &mut Client, node: usize| number(client, &cluster, node, "requests") - before[node];
    assert_eq!([0, 1, 2].map(|node| sent(&mut client, node)), [20, 11, 0]);
    assert_eq!([0, 1, 2].map(|node| number(&mut client, &cluster, node, "errors")), [0, 1, 0]);
    assert_eq!([0, 1, 2].map(|node| figure(&mut client, &cluster, node, "role")), ["master"; 3].map(text));
    for name in ["reply_p50_usec", "reply_p99_usec"] {
        let time = figure(&mut client, &cluster, 0, name);
        let time: f64 = String::from_utf8_lossy(time.bytes().expect("a time")).parse().expect("a number");
        assert!(time > 0.0, "{name}");
    }
    assert_eq!(number(&mut client, &cluster, 0, "in_flight"), 0);
    cluster.pause(0);
    client.send_all(&vec![crate::support::arguments(&["SET", &keys[0], "v"]); 3]).expect("sent");
    assert!(wait_until(LONG, || number(&mut observer, &cluster, 0, "in_flight") == 3));
    assert_eq!(number(&mut observer, &cluster, 1, "in_flight"), 0);
    cluster.resume(0);
    (0..3).for_each(|_| assert_eq!(client.read().expect("answered"), Value::Simple("OK".into())));
    assert!(wait_until(LONG, || number(&mut observer, &cluster, 0, "in_flight") == 0));
}

#[test]
fn what_a_node_did_not_answer_is_an_error_and_is_in_flight_no_longer() {
    let mut cluster = small();
    let strata = cluster.strata(&[("l3.request_timeout", "1s")]);
    let (mut client, mut observer) = (strata.connect(), strata.connect());
    client.set_patience(LONG);
    let key = cluster.key_of_node(0, "k");
    good(&mut client, &["SET", &key, "v"]);
    cluster.pause(0);
    client.send_all(&[crate::support::arguments(&["SET", &key, "w"])]).expect("sent");
    assert!(wait_until(LONG, || number(&mut observer, &cluster, 0, "in_flight") > 0));
    assert!(client.read().expect("answered").is_error());
    assert!(wait_until(LONG, || number(&mut observer, &cluster, 0, "in_flight") == 0));
    assert!(number(&mut observer, &cluster, 0, "errors") > 0);
    cluster.resume(0);
}
