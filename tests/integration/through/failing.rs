//! PostgreSQL, or home, does not do its part: an error, and never "there is none".

use super::{LONG, Scene, bulk, error};
use crate::support::{Value, wait_until};

#[test]
fn without_the_database_there_is_an_error_and_no_nil() {
    let mut scene = Scene::start_with(1, &[], &[("l4.connect_timeout", "1s")]);
    let mut client = scene.client(0);
    assert_eq!(client.call(&["GET", "factor:1"]).unwrap(), bulk("value 1"));
    scene.await_confirmed("factor:1");
    scene.postgres.stop();
    for command in [
        &["GET", "factor:2"][..],
        &["MGET", "factor:1", "factor:2"],
        &["EXISTS", "factor:1", "factor:2"],
        &["TTL", "factor:2"],
        &["STRLEN", "factor:2"],
        &["HGET", "person:1", "name"],
        &["TYPE", "person:1"],
    ] {
        let reply = client.call(command).unwrap();
        let name = if command[1].starts_with("person") { "people" } else { "factors" };
        assert!(error(&reply).starts_with(&format!("ERR strata: source {name}: ")), "{command:?}: {reply:?}");
    }
    // What is at home is, and other keys are absent or not.
    assert_eq!(client.call(&["GET", "factor:1"]).unwrap(), bulk("value 1"));
    assert_eq!(client.call(&["GET", "other"]).unwrap(), Value::Nil);
    scene.postgres.start_again();
    let read = || scene.client(0).call(&["GET", "factor:2"]).unwrap() == bulk("value 2");
    assert!(wait_until(LONG, read), "it is not read again");
}

#[test]
fn a_database_that_does_not_answer_is_an_error() {
    let timeouts = [("l4.statement_timeout", "3s"), ("l4.connect_timeout", "3s")];
    let mut scene = Scene::start_with(1, &[], &timeouts);
    let mut client = scene.client(0);
    scene.postgres.pause(true);
    let reply = client.call(&["GET", "factor:1"]).unwrap();
    scene.postgres.pause(false);
    assert!(error(&reply).starts_with("ERR strata: source factors: "), "{reply:?}");
    scene.await_reply(0, &["GET", "factor:1"], &bulk("value 1"));
}

#[test]
fn a_home_that_takes_no_row_is_an_error() {
    let scene = Scene::start(1);
    let mut client = scene.client(0);
    scene.at_home(&["CONFIG", "SET", "maxmemory", "1"]);
    let reply = client.call(&["GET", "factor:1"]).unwrap();
    assert!(
        error(&reply).starts_with("ERR strata: source factors: home did not take the row: OOM"),
        "{reply:?}"
    );
    scene.at_home(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(client.call(&["GET", "factor:1"]).unwrap(), bulk("value 1"));
}

#[test]
fn scripts_that_home_has_forgotten_are_sent_again() {
    let scene = Scene::start(1);
    let mut client = scene.client(0);
    assert_eq!(client.call(&["GET", "factor:1"]).unwrap(), bulk("value 1"));
    scene.await_confirmed("factor:1");
    scene.at_home(&["SCRIPT", "FLUSH"]);
    assert_eq!(client.call(&["GET", "factor:2"]).unwrap(), bulk("value 2"));
    scene.await_confirmed("factor:2");
    scene.at_home(&["SCRIPT", "FLUSH"]);
    scene.postgres.execute("UPDATE factor SET value = 'new' WHERE id = 1");
    scene.await_reply(0, &["GET", "factor:1"], &bulk("new"));
}
