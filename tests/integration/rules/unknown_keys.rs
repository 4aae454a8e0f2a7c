//! Rule 4: a write whose keys cannot be known is answered once all copies it may have changed are gone.

use super::{LONG, Scene, bulk, prompt_reply};
use crate::support::Direction::Replies;
use crate::support::{Part, wait_until};

const WRITE: &[&str] = &["EVAL", "return redis.call('set', 'k' .. ARGV[1], 'new')", "0", ""];

#[test]
fn a_writer_reads_what_its_script_wrote() {
    let scene = Scene::start(&[("l2.lease", "20s")]);
    let mut client = scene.client();
    scene.at_home(&["SET", "k", "old"]);
    assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("old"));
    scene.relay.stall_part(Part::Guard, Replies, true);
    client.send_all(&[crate::support::arguments(WRITE)]).unwrap();
    if prompt_reply(&mut client).is_none() {
        scene.relay.stall_part(Part::Guard, Replies, false);
        client.read().unwrap();
    }
    assert_eq!(client.call(&["GET", "k"]).unwrap(), bulk("new"));
    scene.relay.stall_part(Part::Guard, Replies, false);
}

#[test]
fn what_follows_a_script_in_its_pipeline_is_as_new() {
    let scene = Scene::start(&[]);
    let mut client = scene.client();
    for round in 0..300 {
        scene.at_home(&["SET", "k", "old"]);
        assert!(wait_until(LONG, || client.call(&["GET", "k"]).unwrap() == bulk("old")));
        let commands = [crate::support::arguments(WRITE), crate::support::arguments(&["GET", "k"])];
        let replies = client.pipeline(&commands).unwrap();
        assert_eq!(replies[1], bulk("new"), "round {round}");
        assert_eq!(client.call(&["GET", "k"]).unwrap(), bulk("new"), "round {round}");
    }
}

#[test]
fn a_script_that_nobody_announces_ends_what_may_be_served_stale() {
    for words in [WRITE, &["FLUSHALL"]] {
        let policy = "[[policy]]\nmatch = \"*\"\nstale_if_error = \"10m\"\n";
        let scene = Scene::start_with(&[], policy, &[]);
        let mut client = scene.client();
        scene.at_home(&["SET", "k", "old"]);
        // The lanes are there when the guard goes, that of scripts too.
        client.call(&["SET", "lane", "up"]).unwrap();
        client.call(&["EVAL", "return 1", "0"]).unwrap();
        assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("old"));
        scene.lose_guard();
        assert!(wait_until(LONG, || scene.guards() == 0));
        assert!(wait_until(LONG, || scene.read(&mut client, &["GET", "k"]).1 == 1));
        assert!(!client.call(words).unwrap().is_error());
        scene.lose_home();
        let reply = client.call(&["GET", "k"]).unwrap();
        assert!(reply.is_error(), "after {words:?}: {reply:?}");
    }
}
