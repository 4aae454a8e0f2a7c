//! With other homes: a cluster, and L2 as a tier of copies above home.

use super::{LONG, Scene, bulk, database, error, field};
use crate::support::{Cluster, RedisServer, Shape, Strata, Value, wait_until};

/// In front of a cluster, with the sources.
fn over_cluster(cluster: &Cluster, file: &str) -> Strata {
    let nodes = cluster.settings();
    let settings: Vec<(&str, &str)> = nodes.iter().map(|(name, value)| (&**name, &**value)).collect();
    let strata = Strata::start_with("redis://127.0.0.1:1", file, &settings);
    let known = || !strata.connect().call(&["DBSIZE"]).unwrap().is_error();
    assert!(wait_until(LONG, known), "the nodes are not found");
    super::await_following(&strata, file.matches("[[l4.source]]").count());
    strata
}

#[test]
fn rows_go_to_the_slots_of_their_keys() {
    let cluster = Cluster::start_as(Shape { replicas: 0, ..Shape::default() });
    let (postgres, file) = database();
    let strata = [over_cluster(&cluster, &file), over_cluster(&cluster, &file)];
    let mut client = strata[0].connect();
    let keys: Vec<String> = (1..=40).map(|n| format!("factor:{n}")).collect();
    let mut command = vec!["MGET"];
    command.extend(keys.iter().map(String::as_str));
    let expected: Vec<Value> = (1..=40).map(|n| bulk(&format!("value {n}"))).collect();
    assert_eq!(client.call(&command).unwrap(), Value::Array(expected));
    command[0] = "EXISTS";
    assert_eq!(strata[1].connect().call(&command).unwrap(), Value::Integer(40));
    for n in 41..=60 {
        assert_eq!(client.call(&["STRLEN", &format!("factor:{n}")]).unwrap(), Value::Integer(8));
    }
    command[0] = "MGET";
    postgres.execute("UPDATE factor SET value = 'new'");
    for strata in &strata {
        let mut client = strata.connect();
        let seen = || client.call(&command).unwrap() == Value::Array(vec![bulk("new"); 40]);
        assert!(wait_until(LONG, seen), "the change is not seen");
    }
    postgres.execute("TRUNCATE factor");
    for strata in &strata {
        let mut client = strata.connect();
        let seen = || client.call(&command).unwrap() == Value::Array(vec![Value::Nil; 40]);
        assert!(wait_until(LONG, seen), "the change is not seen");
    }
}

#[test]
fn a_key_that_can_have_no_mark_beside_it_is_not_loaded() {
    let cluster = Cluster::start_as(Shape { replicas: 0, ..Shape::default() });
    let postgres = crate::support::Postgres::start(&[]);
    postgres.execute("CREATE TABLE word (id text PRIMARY KEY, value text); INSERT INTO word VALUES ('{a}b', 'tag'), ('a}b', 'none')");
    let source = "[[l4.source]]\nname = 'words'\nmatch = 'word:{id}'\nquery = 'SELECT value FROM word WHERE id = $1'\nwatch = ['word']\n";
    let file = super::configuration(&postgres, source);
    super::migrate(&file);
    let strata = over_cluster(&cluster, &file);
    let mut client = strata.connect();
    assert_eq!(client.call(&["GET", "word:{a}b"]).unwrap(), bulk("tag"));
    let reply = client.call(&["GET", "word:a}b"]).unwrap();
    assert_eq!(
        error(&reply),
        "ERR strata: source words: in a cluster a key with '}' needs a hash tag to be loaded"
    );
    // Where home is one server it is.
    let home = RedisServer::start(&[]);
    let strata = Strata::start_with(&home.tcp().url(), &file, &[]);
    assert_eq!(strata.connect().call(&["GET", "word:a}b"]).unwrap(), bulk("none"));
}

#[test]
fn a_change_is_gone_from_l2_as_well() {
    let (l2, mut scene) = (RedisServer::start(&[]), Scene::start(0));
    let (l2, home) = (l2.tcp().url(), scene.home.tcp().url());
    let home = home.strip_prefix("redis://").unwrap();
    let settings = [
        ("l2.url", &*l2),
        ("l3.enabled", "true"),
        ("l3.mode", "standalone"),
        ("l3.nodes", home),
        ("l2.answer_within", "10s"),
        ("l1.rest", "false"),
        ("l1.ttl", "1ms"),
    ];
    scene.add(&settings);
    scene.add(&settings);
    for process in 0..2 {
        let mut client = scene.client(process);
        let from_l2 = || {
            let before = field(&scene.strata[process], "l2_hits");
            assert_eq!(client.call(&["GET", "factor:1"]).unwrap(), bulk("value 1"));
            assert_eq!(client.call(&["GET", "factor:5000"]).unwrap(), Value::Nil);
            field(&scene.strata[process], "l2_hits") > before
        };
        assert!(wait_until(LONG, from_l2), "it is never read from L2");
    }
    scene
        .postgres
        .execute("UPDATE factor SET value = 'new' WHERE id = 1; INSERT INTO factor VALUES (5000, 'late')");
    for process in 0..2 {
        scene.await_reply(process, &["GET", "factor:1"], &bulk("new"));
        scene.await_reply(process, &["GET", "factor:5000"], &bulk("late"));
    }
}
