//! Inside a transaction nothing is loaded.

use super::{Scene, bulk};
use crate::support::{Value, arguments};

#[test]
fn a_transaction_sees_home_as_it_is() {
    let scene = Scene::start(1);
    let mut client = scene.client(0);
    let commands = [&["MULTI"][..], &["GET", "factor:1"], &["SET", "k", "v"], &["EXEC"]].map(arguments);
    let replies = client.pipeline(&commands).unwrap();
    assert_eq!(replies[3], Value::Array(vec![Value::Nil, Value::Simple("OK".into())]));
    assert_eq!(client.call(&["GET", "factor:1"]).unwrap(), bulk("value 1"));
    let replies = client.pipeline(&commands).unwrap();
    assert_eq!(replies[3], Value::Array(vec![bulk("value 1"), Value::Simple("OK".into())]));
    let script = "return redis.call('GET', KEYS[1])";
    assert_eq!(client.call(&["EVAL", script, "1", "factor:2"]).unwrap(), Value::Nil);
}

/// It is told what others change by home itself, on a connection of its own.
#[test]
fn a_client_that_home_tracks_is_shown_rows() {
    let scene = Scene::start(1);
    let mut client = scene.client(0);
    client.hello(3).unwrap();
    assert_eq!(client.call(&["CLIENT", "TRACKING", "ON", "NOLOOP"]).unwrap(), Value::Simple("OK".into()));
    let mut ask = |words: &[&str]| {
        client.send_all(&[arguments(words)]).unwrap();
        // Loads are announced, too.
        std::iter::repeat_with(|| client.read().unwrap())
            .find(|value| !matches!(value, Value::Push(_)))
            .unwrap()
    };
    assert_eq!(ask(&["GET", "factor:1"]), bulk("value 1"));
    assert_eq!(ask(&["HGET", "person:1", "none"]), Value::Nil);
    assert_eq!(ask(&["HGET", "person:1", "name"]), bulk("Ada"));
    assert_eq!(ask(&["GET", "factor:99999"]), Value::Nil);
}

/// That a watched key is loaded counts as a change of it.
#[test]
fn who_watches_a_key_is_shown_its_row() {
    let scene = Scene::start(1);
    let mut client = scene.client(0);
    let mut round = || {
        client.call(&["WATCH", "factor:1"]).unwrap();
        let value = client.call(&["GET", "factor:1"]).unwrap();
        client.call(&["MULTI"]).unwrap();
        client.call(&["SET", "factor:1", "mine"]).unwrap();
        (value, client.call(&["EXEC"]).unwrap())
    };
    assert_eq!(round(), (bulk("value 1"), Value::Nil));
    scene.await_confirmed("factor:1");
    assert_eq!(round(), (bulk("value 1"), Value::Array(vec![Value::Simple("OK".into())])));
}
