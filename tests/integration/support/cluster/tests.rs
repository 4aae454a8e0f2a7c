use std::time::Instant;

use super::*;

fn ok() -> Value {
    Value::Simple("OK".into())
}

fn write(cluster: &Cluster, key: &str, value: &str) {
    assert_eq!(cluster.connect_to(key).call(&["SET", key, value]).unwrap(), ok());
}

fn read(cluster: &Cluster, key: &str) -> Value {
    cluster.connect_to(key).call(&["GET", key]).unwrap()
}

#[test]
fn slots_are_those_of_redis() {
    assert_eq!(slot_of(b"123456789"), 12739);
    assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
    let cluster = Cluster::start_as(Shape { masters: 1, replicas: 0, ..Shape::default() });
    let mut client = cluster.node(0).connect();
    for key in ["", "k", "{}", "{}a", "a{b}c", "a{b", "}{a}", "{{a}}", "a{}{b}"] {
        let slot = Value::Integer(i64::from(slot_of(key.as_bytes())));
        assert_eq!(client.call(&["CLUSTER", "KEYSLOT", key]).unwrap(), slot, "{key}");
    }
}

#[test]
fn a_cluster_starts_soon_and_survives_the_end_of_a_master() {
    let start = Instant::now();
    let mut cluster = Cluster::start(&[]);
    println!("a cluster starts within {:?}", start.elapsed());
    assert_eq!(cluster.masters(), [0, 1, 2]);
    assert_eq!((cluster.replicas(0), cluster.replicas(2)), (vec![3], vec![5]));
    let key = cluster.key_of_node(0, "k");
    write(&cluster, &key, "v");
    cluster.wait_in_step(0);
    cluster.kill(0);
    cluster.wait_promoted(3);
    cluster.wait_ok();
    assert_eq!(read(&cluster, &key), Value::Bulk(b"v".to_vec()));
    cluster.start_again(0);
    cluster.wait_ok();
    assert_eq!(cluster.replicas(3), [0]);
    cluster.failover(0);
    assert_eq!(cluster.masters(), [0, 1, 2]);
}

#[test]
fn slots_move_to_a_node_that_joins_and_back_from_one_that_leaves() {
    let mut cluster = Cluster::start_as(Shape { replicas: 0, ..Shape::default() });
    let key = cluster.key_of_node(1, "k");
    let slot = slot_of(key.as_bytes());
    write(&cluster, &key, "v");
    let joined = cluster.add_master();
    let replica = cluster.add_replica(joined);
    cluster.begin_move(slot, joined);
    let absent = format!("{{{key}}}absent");
    let asked = cluster.node(1).command(&["GET", &absent]);
    assert_eq!(asked, Value::Error(format!("ASK {slot} {}", cluster.node(joined).address())));
    assert_eq!(cluster.move_keys(slot, joined, 10), 1);
    assert_eq!(cluster.move_keys(slot, joined, 10), 0);
    cluster.end_move(slot, joined);
    cluster.wait_ok();
    assert_eq!(cluster.owner(slot), joined);
    assert_eq!(read(&cluster, &key), Value::Bulk(b"v".to_vec()));
    cluster.move_all(joined, 1);
    cluster.remove(replica);
    cluster.remove(joined);
    assert_eq!(cluster.masters(), [0, 1, 2]);
    assert_eq!(read(&cluster, &key), Value::Bulk(b"v".to_vec()));
}

#[test]
fn a_cluster_may_ask_for_a_user_and_speak_tls() {
    let login = Some(("app".to_owned(), "secret".to_owned()));
    let mut cluster = Cluster::start_as(Shape { login, tls: true, ..Shape::default() });
    let key = cluster.key_of_node(0, "k");
    write(&cluster, &key, "v");
    cluster.move_slot(slot_of(key.as_bytes()), 1);
    cluster.wait_ok();
    assert_eq!(read(&cluster, &key), Value::Bulk(b"v".to_vec()));
    let stranger = Client::connect(&cluster.node(1).server.unix()).unwrap().call(&["GET", &key]).unwrap();
    assert_eq!(stranger, Value::Error("NOAUTH Authentication required.".into()));
    cluster.pause(0);
    cluster.wait_promoted(3);
    cluster.resume(0);
    cluster.wait_ok();
    assert_eq!(cluster.replicas(3), [0]);
}
