//! One subscription at home for all who want it, whichever worker serves them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{LONG, bulk, call, known_at, message, pair, subscribe, texts};
use crate::support::{Client, RedisServer, Strata, Value, is_redis_7_0, skip, wait_until};

#[test]
fn a_thousand_subscribers_are_one_at_home_and_a_thousand_here() {
    let (home, strata) = pair(&[("server.workers", "2")]);
    let mut crowd: Vec<Client> = (0..1_000).map(|_| strata.connect()).collect();
    crowd.iter_mut().for_each(|client| client.send_raw(b"SUBSCRIBE a\r\n").unwrap());
    for client in &mut crowd {
        assert_eq!(
            client.read().unwrap(),
            Value::Array([texts(&["subscribe", "a"]), vec![Value::Integer(1)]].concat())
        );
    }
    assert_eq!(known_at(&home, "a"), 1);
    let mut client = strata.connect();
    assert_eq!(call(&mut client, "PUBSUB NUMSUB a"), Value::Array(vec![bulk("a"), Value::Integer(1_000)]));
    assert_eq!(call(&mut client, "PUBLISH a hello"), Value::Integer(1_000));
    for subscriber in &mut crowd {
        assert_eq!(subscriber.read().unwrap(), message("a", "hello"));
    }
    // One published beside strata reaches them, too; home counts what it knows.
    assert_eq!(call(&mut home.connect(), "PUBLISH a again"), Value::Integer(1));
    for subscriber in &mut crowd {
        assert_eq!(subscriber.read().unwrap(), message("a", "again"));
    }
    crowd.truncate(1);
    assert!(wait_until(LONG, || call(&mut client, "PUBLISH a x") == Value::Integer(1)));
    assert_eq!(known_at(&home, "a"), 1);
    crowd.clear();
    assert!(wait_until(LONG, || known_at(&home, "a") == 0));
}

#[test]
fn subscribers_of_home_and_of_another_strata_are_counted() {
    let (home, strata) = pair(&[]);
    let other = Strata::start(&home.unix(), &[]);
    let (mut a, mut b, mut c, mut d) = (strata.connect(), strata.connect(), home.connect(), other.connect());
    [&mut a, &mut b, &mut c, &mut d].into_iter().for_each(|client| subscribe(client, "x"));
    call(&mut d, "PSUBSCRIBE x*");
    // Those of the other are two subscriptions at home.
    assert_eq!(call(&mut strata.connect(), "PUBLISH x m"), Value::Integer(5));
    for client in [&mut a, &mut b, &mut c, &mut d] {
        assert_eq!(client.read().unwrap(), message("x", "m"));
    }
    let channels = call(&mut strata.connect(), "PUBSUB CHANNELS");
    assert_eq!(channels, Value::Array(vec![bulk("x")]));
}

#[test]
fn workers_hear_messages_in_the_order_they_were_published() {
    let (home, strata) = pair(&[("server.workers", "2")]);
    let mut crowd: Vec<Client> = (0..8).map(|_| strata.connect()).collect();
    for client in &mut crowd {
        subscribe(client, "a");
        subscribe(client, "b");
    }
    let (mut here, mut there) = (strata.connect(), home.connect());
    for n in 0..500 {
        let text = format!("{n}");
        let publisher = if n % 3 == 0 { &mut there } else { &mut here };
        let channel = if n % 2 == 0 { "a" } else { "b" };
        call(publisher, &format!("PUBLISH {channel} {text}"));
    }
    for client in &mut crowd {
        for n in 0..500 {
            assert_eq!(client.read().unwrap(), message(if n % 2 == 0 { "a" } else { "b" }, &n.to_string()));
        }
    }
}

#[test]
fn what_was_published_before_is_not_heard_and_all_until_unsubscribing_is() {
    let (_home, strata) = pair(&[("server.workers", "2")]);
    let (mut first, mut second, mut publisher) = (strata.connect(), strata.connect(), strata.connect());
    subscribe(&mut first, "a");
    for n in 0..300 {
        call(&mut publisher, &format!("PUBLISH a before-{n}"));
        subscribe(&mut second, "a");
        call(&mut publisher, &format!("PUBLISH a during-{n}"));
        second.send_raw(b"UNSUBSCRIBE\r\n").unwrap();
        assert_eq!(second.read().unwrap(), message("a", &format!("during-{n}")));
        assert!(second.read().unwrap().elements().unwrap().starts_with(&texts(&["unsubscribe", "a"])));
    }
}

#[test]
fn client_list_shows_subscriptions_and_tells_the_kinds_apart() {
    let (_home, strata) = pair(&[]);
    let (mut subscriber, mut other) = (strata.connect(), strata.connect());
    subscribe(&mut subscriber, "a");
    call(&mut subscriber, "PSUBSCRIBE a b");
    subscriber.read().unwrap();
    call(&mut subscriber, "SSUBSCRIBE s");
    let lines = |client: &mut Client, kind: &str| {
        let list = call(client, &format!("CLIENT LIST TYPE {kind}"));
        String::from_utf8_lossy(list.bytes().unwrap()).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let found = lines(&mut other, "pubsub");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains(" flags=P db=0 sub=1 psub=2 ssub=1 multi=-1 "), "{found:?}");
    assert!(lines(&mut other, "normal").iter().all(|line| line.contains(" flags=N ")));
    assert_eq!(call(&mut other, "CLIENT KILL TYPE pubsub"), Value::Integer(1));
    assert!(subscriber.read().is_err());
    assert!(wait_until(LONG, || call(&mut other, "PUBSUB NUMPAT") == Value::Integer(0)));
}

#[test]
fn unsubscribing_without_names_ends_all() {
    let (home, strata) = pair(&[]);
    let mut client = strata.connect();
    for name in ["a", "b", "c"] {
        subscribe(&mut client, name);
    }
    client.send_raw(b"UNSUBSCRIBE\r\n").unwrap();
    let mut names = BTreeSet::new();
    for left in [2, 1, 0] {
        let reply = client.read().unwrap().elements().unwrap();
        assert_eq!((&reply[0], &reply[2]), (&bulk("unsubscribe"), &Value::Integer(left)));
        names.insert(reply[1].bytes().unwrap().to_vec());
    }
    assert_eq!(names, BTreeSet::from([b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]));
    assert_eq!(["a", "b", "c"].map(|name| known_at(&home, name)), [0; 3]);
}

#[test]
fn what_home_does_not_allow_is_refused_in_its_words_and_leaves_nothing() {
    if !is_redis_7_0() {
        return skip("the words about channels");
    }
    let home = RedisServer::start(&[]);
    let mut admin = home.connect();
    call(&mut admin, "ACL SETUSER proxy on >secret ~* +@all resetchannels &open*");
    let url = home.unix().url();
    let strata = Strata::start_with(&url, "", &[("l2.username", "proxy"), ("l2.password", "secret")]);
    let mut client = strata.connect();
    let refused = call(&mut client, "SUBSCRIBE open1 closed");
    let words = "NOPERM this user has no permissions to access one of the channels used as arguments";
    assert_eq!(refused, Value::Error(words.into()));
    assert_eq!(known_at(&home, "open1"), 0);
    assert_eq!(call(&mut client, "GET k"), Value::Nil);
    subscribe(&mut client, "open1");
    assert_eq!(call(&mut admin, "PUBLISH open1 x"), Value::Integer(1));
    assert_eq!(client.read().unwrap(), message("open1", "x"));
}

#[test]
fn a_silent_subscriber_is_not_idle() {
    let (_home, strata) = pair(&[("server.timeout", "1s")]);
    let mut subscriber = strata.connect();
    subscribe(&mut subscriber, "a");
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(call(&mut strata.connect(), "PUBLISH a x"), Value::Integer(1));
    assert_eq!(subscriber.read().unwrap(), message("a", "x"));
}

#[test]
fn a_subscription_given_up_before_there_was_a_connection_is_confirmed() {
    let (_home, strata) = pair(&[("server.workers", "1")]);
    let mut client = strata.connect();
    client.set_patience(LONG);
    call(&mut client, "MULTI");
    for command in ["SUBSCRIBE a", "PSUBSCRIBE b", "UNSUBSCRIBE a", "PUNSUBSCRIBE"] {
        assert_eq!(call(&mut client, command), Value::Simple("QUEUED".into()));
    }
    let counted =
        |kind: &str, topic: &str, count| Value::Array(vec![bulk(kind), bulk(topic), Value::Integer(count)]);
    let expected = [
        counted("subscribe", "a", 1),
        counted("psubscribe", "b", 2),
        counted("unsubscribe", "a", 1),
        counted("punsubscribe", "b", 0),
    ];
    assert_eq!(call(&mut client, "EXEC"), Value::Array(expected.to_vec()));
    assert_eq!(call(&mut client, "PING"), Value::Simple("PONG".into()));
}
