//! While writes far outnumber reads, home announces nothing; what is written then is never hidden by a copy.

use std::time::Duration;

use super::{LONG, Scene, bulk, ok, prompt_reply, resp3};
use crate::support::Direction::{Replies, Requests};
use crate::support::{Client, Part, wait_until};

/// Writes that nobody reads, enough of them to count.
fn noise() -> Vec<Vec<Vec<u8>>> {
    let words = |i: u32| ["SET".to_owned(), format!("noise:{i}"), "x".to_owned()];
    (0..100).map(|i| words(i).map(String::into_bytes).to_vec()).collect()
}

/// Writes at home until the guard rests.
fn tire(scene: &Scene) {
    let mut home = scene.home.connect();
    let resting = wait_until(LONG, || {
        home.pipeline(&noise()).unwrap();
        scene.guards() == 0
    });
    assert!(resting, "the guard does not rest");
}

fn guard(client: &mut Client) -> String {
    let info = client.call(&["INFO", "strata"]).unwrap();
    let text = String::from_utf8_lossy(info.bytes().unwrap_or_default()).into_owned();
    text.lines().find_map(|l| l.strip_prefix("strata_guard:")).unwrap_or_default().to_owned()
}

#[test]
fn copies_end_when_the_guard_rests_and_come_back_with_the_reads() {
    let scene = Scene::start(&[("l2.lease", "10s")]);
    let mut client = scene.client();
    scene.at_home(&["SET", "k", "old"]);
    assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("old"));
    tire(&scene);
    assert_eq!(guard(&mut client), "resting");
    // Nobody announces this.
    scene.at_home(&["SET", "k", "new"]);
    assert_eq!(scene.read(&mut client, &["GET", "k"]), (bulk("new"), 1));
    // Reads that copies could answer, and no more writes.
    assert!(wait_until(LONG, || {
        client.call(&["GET", "k"]).unwrap();
        guard(&mut client) == "up"
    }));
    assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("new"));
    scene.at_home(&["SET", "k", "newer"]);
    assert!(wait_until(Duration::from_secs(1), || client.call(&["GET", "k"]).unwrap() == bulk("newer")));
}

#[test]
fn own_writes_are_seen_across_rest_and_waking() {
    let scene = Scene::start(&[]);
    let mut client = scene.client();
    let mut reader = scene.client();
    for round in 0..3 {
        tire(&scene);
        let mut woken = false;
        for i in 0..20_000 {
            let value = format!("{round}:{i}");
            assert_eq!(client.call(&["SET", "k", &value]).unwrap(), ok());
            for _ in 0..3 {
                reader.call(&["GET", "k"]).unwrap();
            }
            assert_eq!(client.call(&["GET", "k"]).unwrap(), bulk(&value));
            if i % 100 == 0 && scene.guards() == 1 {
                if woken {
                    break;
                }
                woken = true;
            }
        }
        assert!(woken, "round {round}");
    }
}

#[test]
fn what_was_copied_while_a_write_from_before_the_waking_was_on_its_way_is_gone_before_its_reply() {
    let scene = Scene::start(&[("l2.lease", "10s")]);
    let (mut writer, mut reader) = (resp3(&scene.strata.endpoint()), scene.client());
    writer.call(&["SET", "k", "old"]).unwrap();
    tire(&scene);
    scene.relay.stall_part(Part::Lane3, Requests, true);
    writer.send_raw(b"SET k new\r\n").unwrap();
    assert_eq!(prompt_reply(&mut writer), None);
    // The reads wake the guard, and the old value, which is still the one there is, becomes a copy.
    assert_eq!(scene.copied(&mut reader, &["GET", "k"]), bulk("old"));
    scene.relay.stall_part(Part::Guard, Replies, true);
    scene.relay.stall_part(Part::Lane3, Requests, false);
    assert_eq!(writer.read().unwrap(), ok());
    writer.hello(2).unwrap();
    assert_eq!(writer.call(&["GET", "k"]).unwrap(), bulk("new"));
    scene.relay.stall_part(Part::Guard, Replies, false);
}

#[test]
fn it_does_not_rest_where_the_operator_says_so_or_where_stale_copies_are_wanted() {
    let stale = "[[policy]]\nmatch = \"k\"\nstale_if_error = \"10m\"\n";
    for (file, settings) in [("", vec![("l1.rest", "false")]), (stale, vec![])] {
        let scene = Scene::start_with(&[], file, &settings);
        let mut client = scene.client();
        let mut home = scene.home.connect();
        scene.at_home(&["SET", "k", "v"]);
        assert_eq!(scene.copied(&mut client, &["GET", "k"]), bulk("v"));
        let until = std::time::Instant::now() + Duration::from_secs(3);
        while std::time::Instant::now() < until {
            home.pipeline(&noise()).unwrap();
        }
        assert_eq!(scene.read(&mut client, &["GET", "k"]), (bulk("v"), 0));
        assert_eq!(guard(&mut client), "up");
    }
}
