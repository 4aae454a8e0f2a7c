//! Passwords and TLS, on either side.

use super::{LONG, bulk, ok, pair};
use crate::support::{Certificates, RedisServer, Strata, Value, is_redis_7_0, skip, wait_until};

#[test]
fn clients_need_the_password_that_is_set() {
    let (_home, strata) = pair(&[("server.password", "open sesame")]);
    let mut client = strata.connect();
    let needed = Value::Error("NOAUTH Authentication required.".into());
    for words in [&["GET", "k"][..], &["SET", "k", "v"], &["PING"], &["SELECT", "1"]] {
        assert_eq!(client.call(words).unwrap(), needed, "{words:?}");
    }
    let wrong = Value::Error("WRONGPASS invalid username-password pair or user is disabled.".into());
    assert_eq!(client.call(&["AUTH", "open"]).unwrap(), wrong);
    assert_eq!(client.call(&["AUTH", "somebody", "open sesame"]).unwrap(), wrong);
    assert!(client.hello(3).is_err());
    assert_eq!(client.call(&["GET", "k"]).unwrap(), needed);
    assert_eq!(client.call(&["AUTH", "open sesame"]).unwrap(), ok());
    assert_eq!(client.call(&["SET", "k", "v"]).unwrap(), ok());
    let mut other = strata.connect();
    let greeting = other.call(&["HELLO", "3", "AUTH", "default", "open sesame"]).unwrap();
    assert!(matches!(greeting, Value::Map(_)), "{greeting:?}");
    assert_eq!(other.call(&["GET", "k"]).unwrap(), bulk("v"));
    // A copy is no way around it.
    assert_eq!(strata.connect().call(&["GET", "k"]).unwrap(), needed);
}

/// Writes and reads in both protocols, and has a reply come from a copy.
fn works(home: &RedisServer, strata: &Strata, calls: impl Fn(&RedisServer) -> u64) {
    for protocol in [2, 3] {
        let mut client = strata.connect();
        client.hello(protocol).unwrap();
        assert!(wait_until(LONG, || client.call(&["SET", "k", "v"]).unwrap() == ok()), "{}", strata.output());
        assert!(wait_until(LONG, || {
            let before = calls(home);
            assert_eq!(client.call(&["GET", "k"]).unwrap(), bulk("v"));
            calls(home) == before
        }));
    }
}

#[test]
fn home_may_ask_for_a_password_or_a_user() {
    let home = RedisServer::start(&[]);
    let mut admin = home.connect();
    for words in [
        &["ACL", "SETUSER", "proxy", "on", ">secret", "~*", "&*", "+@all"][..],
        &["ACL", "SETUSER", "narrow", "on", ">secret", "~*", "+@all", "-config", "-info"],
        &["ACL", "SETUSER", "default", "resetpass", ">base"],
    ] {
        assert_eq!(admin.call(words).unwrap(), ok());
    }
    let home_url = home.unix().url();
    let calls = |_: &RedisServer| {
        let mut client = home.connect();
        client.call(&["AUTH", "base"]).unwrap();
        let stats = client.call(&["INFO", "commandstats"]).unwrap();
        let text = String::from_utf8_lossy(stats.bytes().unwrap()).into_owned();
        let calls = text.lines().find_map(|line| line.strip_prefix("cmdstat_get:calls="));
        calls.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
    };
    for settings in [
        &[("l2.password", "base")][..],
        &[("l2.username", "proxy"), ("l2.password", "secret")],
        &[("l2.username", "narrow"), ("l2.password", "secret")],
    ] {
        let strata = Strata::start_with(&home_url, "", settings);
        works(&home, &strata, calls);
        let mut client = strata.connect();
        assert_eq!(client.call(&["SELECT", "15"]).unwrap(), ok());
        assert!(client.call(&["SELECT", "16"]).unwrap().is_error());
    }
    let strata = Strata::start_with(&home_url, "", &[("l2.password", "wrong")]);
    let reply = strata.connect().call(&["GET", "k"]).unwrap();
    let says =
        matches!(&reply, Value::Error(text) if text.contains("WRONGPASS") && !text.contains("wrong\""));
    assert!(says, "{reply:?}");
}

#[test]
fn home_may_be_reached_by_tls() {
    if !is_redis_7_0() {
        return skip("TLS, which other servers may be built without");
    }
    let Some(made) = Certificates::make() else {
        return println!("skipped: openssl cannot make certificates here");
    };
    let port = crate::support::Port::reserve().unwrap();
    let number = port.number().to_string();
    let options = made.server_options();
    let mut options: Vec<(&str, &str)> = options.iter().map(|(name, value)| (*name, &**value)).collect();
    options.push(("tls-port", &number));
    let home = RedisServer::start(&options);
    let (ca, cert, key) = (made.file("ca.crt"), made.file("home.crt"), made.file("home.key"));
    let settings = [
        ("l2.ca_file", &*ca),
        ("l2.cert_file", &*cert),
        ("l2.key_file", &*key),
        ("l2.server_name", "home.test"),
    ];
    let url = format!("rediss://{}", port.address());
    let strata = Strata::start_with(&url, "", &settings);
    works(&home, &strata, |home| home.calls("get"));
    let mut client = strata.connect();
    let value = "x".repeat(5 << 20);
    assert_eq!(client.call(&["SET", "big", &value]).unwrap(), ok());
    assert!(client.call(&["GET", "big"]).unwrap() == bulk(&value));
    // The name is checked, and so is who signed.
    let settings = [settings[0], settings[1], settings[2], ("l2.server_name", "other.test")];
    let strata = Strata::start_with(&url, "", &settings);
    let reply = strata.connect().call(&["GET", "k"]).unwrap();
    assert!(matches!(&reply, Value::Error(text) if text.contains("certificate")), "{reply:?}");
}
