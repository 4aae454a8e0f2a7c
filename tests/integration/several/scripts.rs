//! Scripts and functions are on every node that may run them.

use super::{call, error, good};
use crate::support::Value;

/// `return 1`, and what it is called by.
const ONE: &str = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";

#[test]
fn a_script_is_loaded_everywhere_and_again_where_it_is_lost() {
    let mut cluster = super::cluster(0, &[]);
    let strata = super::start(&cluster, &[]);
    let mut client = strata.connect();
    let keys: Vec<String> = (0..3).map(|node| cluster.key_of_node(node, "k")).collect();
    assert_eq!(
        error(&call(&mut client, &format!("evalsha {ONE} 1 {}", keys[0]))).split(' ').next(),
        Some("NOSCRIPT")
    );
    assert_eq!(client.call(&["SCRIPT", "LOAD", "return 1"]).expect("a reply"), Value::Bulk(ONE.into()));
    assert_eq!(good(&mut client, &format!("script exists {ONE} x")).elements().map(|all| all.len()), Some(2));
    for (node, key) in keys.iter().enumerate() {
        assert_eq!(
            good(&mut cluster.node(node).connect(), &format!("script exists {ONE}")).elements(),
            Some(vec![Value::Integer(1)])
        );
        assert_eq!(good(&mut client, &format!("evalsha {ONE} 1 {key}")), Value::Integer(1));
    }
    // A restart forgets scripts.
    cluster.kill(1);
    cluster.start_again(1);
    cluster.wait_ok();
    for _ in 0..3 {
        for key in &keys {
            let said = call(&mut client, &format!("evalsha {ONE} 1 {key}"));
            assert_eq!(said, Value::Integer(1), "{key}");
        }
    }
    // Elsewhere flushed: one call may be told so, no more.
    good(&mut cluster.node(2).connect(), "script flush");
    assert_eq!(
        call(&mut client, &format!("evalsha {} 1 {}", ONE.to_uppercase(), keys[2])),
        Value::Integer(1)
    );
    // Through strata it is gone for good.
    good(&mut client, "script flush");
    for key in &keys {
        assert!(error(&call(&mut client, &format!("evalsha {ONE} 1 {key}"))).starts_with("NOSCRIPT "));
    }
}

#[test]
fn a_script_that_was_run_once_can_be_called_by_its_digest_for_any_key() {
    let cluster = super::cluster(1, &[]);
    let strata = super::start(&cluster, &[]);
    let mut client = strata.connect();
    let keys: Vec<String> = (0..3).map(|node| cluster.key_of_node(node, "k")).collect();
    assert_eq!(client.call(&["EVAL", "return 1", "1", &keys[0]]).expect("a reply"), Value::Integer(1));
    for key in &keys {
        assert_eq!(good(&mut client, &format!("evalsha {ONE} 1 {key}")), Value::Integer(1));
        assert_eq!(good(&mut client, &format!("evalsha_ro {ONE} 1 {key}")), Value::Integer(1));
    }
    let body = "return 2";
    let digest = "7f923f79fe76194c868d7e1d0820de36700eb649";
    assert_eq!(client.call(&["EVAL", body, "1", &keys[2]]).expect("a reply"), Value::Integer(2));
    // One node has it, and strata loads it wherever it is called.
    let exist = good(&mut client, &format!("script exists {digest} {} x", ONE.to_uppercase()));
    assert_eq!(exist.elements(), Some([1, 1, 0].map(Value::Integer).to_vec()));
    let replica = cluster.replicas(0)[0];
    cluster.failover(replica);
    for key in &keys {
        assert_eq!(good(&mut client, &format!("evalsha {ONE} 1 {key}")), Value::Integer(1), "{key}");
    }
    let commands = ["MULTI".to_owned(), format!("EVALSHA {ONE} 1 {}", keys[1]), "EXEC".to_owned()];
    good(&mut strata.connect(), &format!("evalsha {ONE} 1 {}", keys[2]));
    let replies: Vec<Value> = commands.iter().map(|command| call(&mut client, command)).collect();
    assert_eq!(replies[2], Value::Array(vec![Value::Integer(1)]));
}

#[test]
fn a_library_is_on_every_node() {
    let cluster = super::cluster(0, &[]);
    let strata = super::start(&cluster, &[]);
    let mut client = strata.connect();
    let library = "#!lua name=lib\nredis.register_function('f', function(keys) return keys[1] end)";
    assert_eq!(client.call(&["FUNCTION", "LOAD", library]).expect("a reply"), Value::Bulk("lib".into()));
    let twice = client.call(&["FUNCTION", "LOAD", library]).expect("a reply");
    assert_eq!(error(&twice), "ERR Library 'lib' already exists");
    for node in 0..3 {
        let key = cluster.key_of_node(node, "k");
        assert_eq!(good(&mut client, &format!("fcall f 1 {key}")), Value::Bulk(key.into_bytes()));
    }
    let dump = good(&mut client, "function dump");
    good(&mut client, "function delete lib");
    assert_eq!(error(&call(&mut client, "fcall f 0")), "ERR Function not found");
    let restored = client.call(&[b"FUNCTION", &b"RESTORE"[..], dump.bytes().expect("a dump")]);
    assert_eq!(restored.expect("a reply"), Value::Simple("OK".into()));
    for node in 0..3 {
        let key = cluster.key_of_node(node, "k");
        assert_eq!(good(&mut client, &format!("fcall f 1 {key}")), Value::Bulk(key.into_bytes()));
    }
}

#[test]
fn a_script_that_runs_for_long_is_ended_wherever_it_runs() {
    let cluster = super::cluster(0, &[("busy-reply-threshold", "50")]);
    let strata = super::start(&cluster, &[]);
    for node in 0..3 {
        let key = cluster.key_of_node(node, "k");
        let mut busy = strata.connect();
        let words = ["EVAL", "while true do end", "1", &key].map(|word| word.as_bytes().to_vec());
        busy.send_all(&[words.to_vec()]).expect("it reads");
        let mut client = strata.connect();
        let limit = std::time::Duration::from_secs(30);
        let ended = crate::support::wait_until(limit, || {
            call(&mut client, "script kill") == Value::Simple("OK".into())
        });
        assert!(ended, "node {node}");
        assert!(error(&busy.read().expect("a reply")).contains("killed"), "node {node}");
    }
    assert!(error(&call(&mut strata.connect(), "script kill")).starts_with("NOTBUSY "));
}
