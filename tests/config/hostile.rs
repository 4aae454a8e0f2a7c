//! Input that was not written in good faith, or holds what must not be shown.

use proptest::prelude::*;
use strata::config;

use crate::{file, sources};

#[test]
fn errors_never_show_a_secret() {
    for text in [
        "l2.url = 'redis://:swordfish@cache:bad'",
        "l2.url = 'reddis://app:swordfish@cache'",
        "l2.url = 'unix:///run/s?password=swordfish'",
        "l2.password = ['swordfish']",
        "l2.password = 'swordfish",
        "server.password = { swordfish = 1 }",
        "l2.password = swordfish",
    ] {
        let errors = file(text).unwrap_err();
        assert!(!format!("{errors} {errors:?}").contains("swordfish"), "{errors}");
    }
}

/// Depth, length and number: all bounded, nothing recurses over them, and time stays linear.
#[test]
fn hostile_files_are_answered() {
    let many_unknown: String = (0..50_000).map(|at| format!("key{at} = 1\n")).collect();
    for text in [
        "[".repeat(500_000),
        "a=".to_owned() + &"[".repeat(500_000),
        "a=".to_owned() + &"{a=".repeat(300_000),
        "a.".repeat(500_000) + "a=1",
        format!("[{}a]", "a.".repeat(500_000)),
        format!("{}=1", "k".repeat(1_000_000)),
        format!("l1.ttl='{}'", "9".repeat(1_000_000)),
        format!("server.log='{}'", "(".repeat(4_000)),
        format!("server.log='x[{{a={}}}]=info'", "(".repeat(4_000)),
        "[[policy]]\n".repeat(90_000),
        "[l1]\n".repeat(200_000),
        "a=".to_owned() + &"\"\"\"\n".repeat(250_000),
        format!("policy=[{}]", "{},".repeat(300_000)),
        format!("policy=[{{{}}}]", (0..50_000).map(|at| format!("key{at}=1,")).collect::<String>()),
        many_unknown,
    ] {
        let errors = file(&text).unwrap_err();
        assert!(errors.to_string().len() < 100_000, "{}", &text[..20]);
    }
}

/// Text that is near to a configuration: lines of known and unknown keys with values of any kind.
fn lines() -> impl Strategy<Value = String> {
    let keys = prop::sample::select(vec![
        "[l1]",
        "[l2]",
        "[[policy]]",
        "[server]",
        "[targets]",
        "[l3]",
        "l1",
        "ttl",
        "max_size",
        "url",
        "match",
        "log",
        "l1_ttl",
        "password",
        "hit_rate",
        "latency.l1",
        "listen",
        "workers",
        "policy",
        "enabled",
        "lease",
        "binary",
        "mode",
        "nodes",
        "l3.nodes",
    ]);
    let values = prop_oneof![
        Just(String::new()),
        any::<i64>().prop_map(|number| format!(" = {number}")),
        any::<f64>().prop_map(|number| format!(" = {number:?}")),
        "[ -~]{0,20}".prop_map(|text| format!(" = '{text}'")),
        "[0-9]{1,25}(ns|us|ms|s|m|h|days|years|MB|GiB)( [0-9]{1,20}(ns|ms|y))?"
            .prop_map(|text| format!(" = \"{text}\"")),
        "(redis|rediss|unix|embedded)(://|:)[a-z:@/%0-9?#\\[\\]]{0,20}"
            .prop_map(|text| format!(" = '{text}'")),
        Just(" = [{ match = 'a' }, {}]".to_owned()),
        Just(" = { l1 = 0.5, x = {} }".to_owned()),
        Just(" = true".to_owned()),
        Just(" = ['10.0.0.1:7000', '[::1]:1']".to_owned()),
        Just(" = 'standalone'".to_owned()),
        Just(" = 'sentinel'".to_owned()),
    ];
    let line = (keys, values).prop_map(|(key, value)| key.to_owned() + &value);
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_bytes_give_a_configuration_or_errors(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Err(errors) = config::from_toml("f", &bytes) {
            prop_assert!(errors.count() > 0);
        }
    }

    #[test]
    fn any_lines_give_a_configuration_that_can_be_shown_or_errors(text in lines()) {
        match file(&text) {
            Ok(config) if config.server.password.is_none() && config.l2.upstream.password.is_none() => {
                prop_assert_eq!(file(&config.to_toml_masked()), Ok(config));
            }
            Ok(config) => prop_assert!(!config.to_toml_masked().is_empty()),
            Err(errors) => prop_assert!(errors.count() > 0),
        }
    }

    #[test]
    fn any_words_give_a_configuration_or_errors(name in "[A-Z_0-9]{0,12}", set in ".{0,40}", text in ".{0,40}") {
        for key in ["l1.ttl", "l1.max_size", "l2.url", "policy", "targets", "server.log", "server.listen"] {
            let name = format!("STRATA_{name}");
            let sets = [set.as_str(), &format!("{key}={text}")];
            if let Err(errors) = config::load(&sources(&[(&name, &text)], &sets)) {
                prop_assert!(errors.count() > 0);
            }
        }
    }
}
