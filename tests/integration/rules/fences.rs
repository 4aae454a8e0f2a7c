//! Rule 3: what changes a key ends its copies and refuses the replies that were read before; what a client was told is
//! never undone by an older copy.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{LONG, Scene, bulk, ok, prompt_reply, resp3};
use crate::support::Direction::{Replies, Requests};
use crate::support::{Part, Value, wait_until};

fn scene() -> Scene {
    // No lease may end a copy in the middle of a test.
    Scene::start(&[("l2.lease", "20s"), ("server.workers", "1")])
}

#[test]
fn a_client_reads_its_own_write_before_home_announces_it() {
    let scene = scene();
    for mut client in [scene.client(), resp3(&scene.strata.endpoint())] {
        client.call(&["MSET", "k", "old", "l", "old"]).unwrap();
        assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("old"));
        assert_eq!(scene.copied(&mut client, &["GET", "l"]), bulk("old"));
        scene.relay.stall_part(Part::Guard, Replies, true);
        assert_eq!(client.call(&["SET", "k", "new"]).unwrap(), ok());
        assert_eq!(client.call(&["GET", "k"]).unwrap(), bulk("new"));
        client.call(&["RENAME", "k", "l"]).unwrap();
        assert_eq!(client.call(&["GET", "l"]).unwrap(), bulk("new"));
        assert_eq!(client.call(&["GET", "k"]).unwrap(), Value::Nil);
        scene.relay.stall_part(Part::Guard, Replies, false);
    }
}

#[test]
fn what_was_copied_while_a_write_was_on_its_way_is_gone_before_its_reply() {
    let scene = scene();
    let (mut writer, mut reader) = (resp3(&scene.strata.endpoint()), scene.client());
    writer.call(&["SET", "k", "old"]).unwrap();
    scene.relay.stall_part(Part::Lane3, Requests, true);
    writer.send_raw(b"SET k new\r\n").unwrap();
    assert_eq!(prompt_reply(&mut writer), None);
    assert_eq!(scene.copied(&mut reader, &["GET", "k"]), bulk("old"));
    scene.relay.stall_part(Part::Guard, Replies, true);
    scene.relay.stall_part(Part::Lane3, Requests, false);
    assert_eq!(writer.read().unwrap(), ok());
    writer.hello(2).unwrap();
    assert_eq!(writer.call(&["GET", "k"]).unwrap(), bulk("new"));
    scene.relay.stall_part(Part::Guard, Replies, false);
}

#[test]
fn a_reply_from_before_a_write_is_no_copy_and_later_readers_ask_anew() {
    let scene = scene();
    let (mut writer, mut early) = (resp3(&scene.strata.endpoint()), scene.client());
    assert_eq!(writer.call(&["SET", "k", "old"]).unwrap(), ok());
    assert_eq!(early.call(&["GET", "other"]).unwrap(), Value::Nil);
    scene.relay.stall_part(Part::Lane2, Replies, true);
    let before = scene.home.calls("get");
    early.send_raw(b"GET k\r\n").unwrap();
    assert!(wait_until(LONG, || scene.home.calls("get") == before + 1));
    scene.relay.stall_part(Part::Guard, Replies, true);
    assert_eq!(writer.call(&["SET", "k", "new"]).unwrap(), ok());
    let mut late = scene.client();
    late.send_raw(b"GET k\r\n").unwrap();
    assert!(wait_until(LONG, || scene.home.calls("get") == before + 2), "the late reader joined");
    scene.relay.stall_part(Part::Lane2, Replies, false);
    assert_eq!(early.read().unwrap(), bulk("old"));
    assert_eq!(late.read().unwrap(), bulk("new"));
    let mut third = scene.client();
    third.send_raw(b"GET k\r\n").unwrap();
    let reply = prompt_reply(&mut third);
    scene.relay.stall_part(Part::Guard, Replies, false);
    assert_eq!(reply.unwrap_or_else(|| third.read().unwrap()), bulk("new"));
    assert_eq!(scene.copied(&mut early, &["GET", "k"]), bulk("new"));
}

#[test]
fn a_reply_from_before_a_foreign_write_is_no_copy() {
    let scene = scene();
    let mut early = scene.client();
    scene.at_home(&["SET", "k", "old"]);
    assert_eq!(early.call(&["GET", "other"]).unwrap(), Value::Nil);
    scene.relay.stall_part(Part::Lane2, Replies, true);
    let before = scene.home.calls("get");
    early.send_raw(b"GET k\r\n").unwrap();
    assert!(wait_until(LONG, || scene.home.calls("get") == before + 1));
    let pushes = scene.relay.chunks(Part::Guard, Replies);
    scene.at_home(&["SET", "k", "new"]);
    assert!(wait_until(LONG, || scene.relay.chunks(Part::Guard, Replies) > pushes));
    scene.relay.stall_part(Part::Lane2, Replies, false);
    assert_eq!(early.read().unwrap(), bulk("old"));
    let mut client = scene.client();
    assert!(wait_until(LONG, || client.call(&["GET", "k"]).unwrap() == bulk("new")));
    assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("new"));
}

/// The keys of a foreign write, and reads of them by other ways than the copy.
#[test]
fn what_was_told_by_another_way_is_never_undone_by_a_copy() {
    let asked: [(&[&str], &str); 4] = [
        // A flight, a direct read, a reply over several keys, an MGET.
        (&["HGET", "k", "f2"], "new"),
        (&["HRANDFIELD", "k", "-1", "WITHVALUES"], "new"),
        (&["EXISTS", "k", "l"], "2"),
        (&["MGET", "l", "m"], "new"),
    ];
    for (words, says) in asked {
        let scene = scene();
        let mut client = scene.client();
        scene.at_home(&["HSET", "k", "f1", "old"]);
        scene.at_home(&["SET", "m", "old"]);
        assert_eq!(scene.copied(&mut client, &["HGET", "k", "f1"]), bulk("old"));
        assert_eq!(scene.copied(&mut client, &["GET", "m"]), bulk("old"));
        scene.relay.stall_part(Part::Guard, Replies, true);
        let write =
            "redis.call('hset', 'k', 'f1', 'new', 'f2', 'new') redis.call('mset', 'l', 'new', 'm', 'new')";
        scene.at_home(&["EVAL", write, "0"]);
        client.send_all(&[crate::support::arguments(words)]).unwrap();
        // Either it comes now, and what follows is as new; or it waits for the guard.
        let reply = prompt_reply(&mut client);
        let waited = reply.is_none();
        if waited {
            scene.relay.stall_part(Part::Guard, Replies, false);
        }
        let reply = reply.unwrap_or_else(|| client.read().unwrap());
        let text = format!("{:?}", Value::Array(vec![reply.clone()]));
        let new =
            reply == Value::Integer(2) || reply.elements().unwrap_or(vec![reply]).contains(&bulk("new"));
        assert!(new, "{words:?} says {text}, not {says}");
        assert_eq!(client.call(&["HGET", "k", "f1"]).unwrap(), bulk("new"), "after {words:?}");
        assert_eq!(client.call(&["GET", "m"]).unwrap(), bulk("new"), "after {words:?}");
        scene.relay.stall_part(Part::Guard, Replies, false);
    }
}

#[test]
fn what_follows_in_a_pipeline_is_no_older_than_what_comes_first() {
    let scene = scene();
    let mut client = scene.client();
    scene.at_home(&["HSET", "k", "f1", "old", "f2", "old"]);
    assert_eq!(scene.copied(&mut client, &["HGET", "k", "f1"]), bulk("old"));
    scene.relay.stall_part(Part::Guard, Replies, true);
    scene.at_home(&["HSET", "k", "f1", "new", "f2", "new"]);
    client.send_raw(b"HGET k f2\r\nHGET k f1\r\n").unwrap();
    let first = prompt_reply(&mut client);
    scene.relay.stall_part(Part::Guard, Replies, false);
    assert_eq!(first.unwrap_or_else(|| client.read().unwrap()), bulk("new"));
    assert_eq!(client.read().unwrap(), bulk("new"));
}

#[test]
fn a_copy_that_is_confirmed_late_is_not_older_than_what_was_told_meanwhile() {
    let scene = scene();
    let mut client = scene.client();
    client.call(&["GET", "lane"]).unwrap();
    for round in 3..8 {
        let (old, new, key) = (format!("a{round}"), format!("b{round}"), format!("k{round}"));
        scene.relay.delay_part(Part::Guard, Duration::ZERO);
        scene.at_home(&["HSET", &key, "f1", &old, "f2", &old]);
        // Home has nothing more to announce.
        client.call(&["EVAL", "return 1", "0"]).unwrap();
        scene.relay.delay_part(Part::Guard, Duration::from_millis(200));
        // It waits to become a copy. At some moment of the way of what it waits for, the key changes.
        assert_eq!(client.call(&["HGET", &key, "f1"]).unwrap(), bulk(&old));
        sleep(Duration::from_millis(60 * round));
        scene.at_home(&["HSET", &key, "f1", &new, "f2", &new]);
        assert_eq!(client.call(&["HGET", &key, "f2"]).unwrap(), bulk(&new));
        let end = Instant::now() + Duration::from_millis(450);
        while Instant::now() < end {
            assert_eq!(client.call(&["HGET", &key, "f1"]).unwrap(), bulk(&new), "round {round}");
            sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_pipeline_is_answered_as_of_its_order() {
    let scene = scene();
    let mut client = scene.client();
    client.call(&["SET", "k", "0"]).unwrap();
    for round in 1..=200 {
        let text = round.to_string();
        let commands: [&[&str]; 6] = [
            &["GET", "k"],
            &["INCR", "k"],
            &["GET", "k"],
            &["STRLEN", "k"],
            &["MGET", "k", "k"],
            &["GET", "k"],
        ];
        let commands: Vec<_> = commands.iter().map(|words| crate::support::arguments(words)).collect();
        let replies = client.pipeline(&commands).unwrap();
        assert_eq!(replies[0], bulk(&(round - 1).to_string()));
        assert_eq!(replies[1..3], [Value::Integer(round), bulk(&text)]);
        assert_eq!(
            replies[3..5],
            [Value::Integer(text.len() as i64), Value::Array(vec![bulk(&text), bulk(&text)])]
        );
        assert_eq!(replies[5], bulk(&text));
    }
}
