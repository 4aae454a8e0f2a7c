//! What is said of home as a whole: INFO, DBSIZE, PUBSUB, WAIT, CONFIG.

use super::{call, error, good, text};
use crate::support::Value;

#[test]
fn info_is_of_all_nodes() {
    let cluster = super::cluster(0, &[]);
    let strata = super::start(&cluster, &[]);
    let mut client = strata.connect();
    for number in 0..100 {
        good(&mut client, &format!("set k{number} 1 ex 1000"));
    }
    for info in ["info", "info keyspace", "info everything"] {
        let told = text(&good(&mut client, info));
        assert!(told.contains("db0:keys=100,expires=100,avg_ttl="), "{told}");
        assert_eq!(told.matches("# Keyspace").count(), 1);
    }
    let told = text(&good(&mut client, "info"));
    assert!(told.contains("redis_mode:standalone\r\n") && told.contains("cluster_enabled:0\r\n"), "{told}");
    assert!(told.contains("# Strata\r\n"), "{told}");
    let stats = text(&good(&mut client, "info commandstats"));
    let sets = stats.lines().find(|line| line.starts_with("cmdstat_set:")).expect("SET is counted");
    assert!(sets.starts_with("cmdstat_set:calls=100,"), "{sets}");
    assert_eq!(good(&mut client, "dbsize"), Value::Integer(100));
}

#[test]
fn settings_are_made_everywhere() {
    let cluster = super::cluster(0, &[]);
    let strata = super::start(&cluster, &[("server.admin_commands", "pass")]);
    let mut client = strata.connect();
    good(&mut client, "config set maxmemory-samples 7");
    good(&mut client, "config set slowlog-max-len 9 hz 11");
    for node in 0..3 {
        for (name, value) in [("maxmemory-samples", "7"), ("slowlog-max-len", "9"), ("hz", "11")] {
            let reply = good(&mut cluster.node(node).connect(), &format!("config get {name}"));
            assert_eq!(text(&reply.elements().expect("a pair")[1]), value, "node {node}");
        }
    }
    assert!(error(&call(&mut client, "shutdown nosave")).contains("is about one server"));
}

#[test]
fn wait_is_for_replicas() {
    let cluster = super::cluster(1, &[]);
    let strata = super::start(&cluster, &[]);
    let mut client = strata.connect();
    for node in 0..3 {
        good(&mut client, &format!("set {} 1", cluster.key_of_node(node, "k")));
    }
    assert_eq!(good(&mut client, "wait 1 30000"), Value::Integer(1));
}

#[test]
fn keys_are_counted_by_their_slots() {
    let cluster = super::cluster(0, &[]);
    let strata = super::start(&cluster, &[("server.cluster_facade", "true")]);
    let mut client = strata.connect();
    for tag in ["a", "b", "c", "d"] {
        good(&mut client, &format!("mset {{{tag}}}1 x {{{tag}}}2 x"));
        let slot = good(&mut client, &format!("cluster keyslot {tag}"));
        let Value::Integer(slot) = slot else { panic!("{slot:?}") };
        assert_eq!(good(&mut client, &format!("cluster countkeysinslot {slot}")), Value::Integer(2));
        let keys = super::sorted(&good(&mut client, &format!("cluster getkeysinslot {slot} 10")));
        assert_eq!(keys, [format!("{{{tag}}}1"), format!("{{{tag}}}2")]);
    }
}

#[test]
fn subscribers_are_counted_once() {
    let cluster = super::cluster(0, &[]);
    let strata = super::start(&cluster, &[]);
    let (mut first, mut second, mut client) = (strata.connect(), strata.connect(), strata.connect());
    good(&mut first, "subscribe c");
    good(&mut second, "subscribe c");
    good(&mut second, "psubscribe p*");
    assert_eq!(super::sorted(&good(&mut client, "pubsub channels")), ["c"]);
    let numsub = good(&mut client, "pubsub numsub c d");
    let [_, c, _, d] = &numsub.elements().expect("pairs")[..] else { panic!("{numsub:?}") };
    assert_eq!((c, d), (&Value::Integer(2), &Value::Integer(0)));
    assert_eq!(good(&mut client, "pubsub numpat"), Value::Integer(1));
    assert_eq!(good(&mut client, "publish c hello"), Value::Integer(2));
}
