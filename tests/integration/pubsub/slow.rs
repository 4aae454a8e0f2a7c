//! Subscribers that do not read.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::{LONG, call, pair, subscribe};
use crate::support::{Client, Strata, Value, wait_until};

const LARGE: usize = 1 << 20;

fn publish(publisher: &mut Client) -> Value {
    publisher.call(&[&b"PUBLISH"[..], b"a", &vec![b'x'; LARGE]]).unwrap()
}

/// Publishes until strata has said `reason`, while the other subscriber reads all it is sent.
fn cut(strata: &Strata, reason: &str, most: usize) {
    let (mut slow, mut quick, mut publisher) = (strata.connect(), strata.connect(), strata.connect());
    quick.set_patience(LONG);
    subscribe(&mut slow, "a");
    subscribe(&mut quick, "a");
    let mut published = 0;
    let found = wait_until(LONG, || {
        if published < most {
            let asked = Instant::now();
            publish(&mut publisher);
            assert_eq!(quick.read().unwrap().elements().unwrap()[2].bytes().unwrap().len(), LARGE);
            assert!(asked.elapsed() < Duration::from_secs(5));
            published += 1;
        }
        strata.output().contains(reason)
    });
    assert!(found, "{published} published: {}", strata.output());
    assert!(wait_until(LONG, || publish(&mut publisher) == Value::Integer(1) && quick.read().is_ok()));
    slow.set_patience(LONG);
    let end = loop {
        match slow.read_raw() {
            Ok(message) => assert!(message.len() > LARGE),
            Err(error) => break error.kind(),
        }
    };
    assert!(matches!(end, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{end:?}");
    assert_eq!(call(&mut publisher, "PUBSUB NUMSUB a").elements().unwrap()[1], Value::Integer(1));
}

#[test]
fn a_subscriber_that_does_not_read_is_cut_at_the_limit_and_others_do_not_feel_it() {
    let (_home, strata) = pair(&[("server.pubsub_buffer_limit", "10MB"), ("server.workers", "1")]);
    cut(&strata, "server.pubsub_buffer_limit", 100);
}

#[test]
fn a_subscriber_that_is_far_behind_for_too_long_is_cut_without_another_message() {
    let settings = [("server.pubsub_buffer_soft_limit", "1MB"), ("server.pubsub_buffer_soft_time", "1s")];
    let (_home, strata) = pair(&settings);
    cut(&strata, "server.pubsub_buffer_soft_limit", 20);
}

#[test]
fn a_subscriber_that_catches_up_in_time_stays() {
    let settings = [("server.pubsub_buffer_soft_limit", "1MB"), ("server.pubsub_buffer_soft_time", "3s")];
    let (_home, strata) = pair(&settings);
    let (mut subscriber, mut publisher) = (strata.connect(), strata.connect());
    subscriber.set_patience(LONG);
    subscribe(&mut subscriber, "a");
    for _ in 0..4 {
        (0..12).for_each(|_| assert_eq!(publish(&mut publisher), Value::Integer(1)));
        (0..12).for_each(|_| assert!(subscriber.read_raw().unwrap().len() > LARGE));
        std::thread::sleep(Duration::from_millis(900));
    }
}
