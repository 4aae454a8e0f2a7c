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
