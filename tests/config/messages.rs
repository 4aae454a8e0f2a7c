//! Wrong configurations, and word for word what is said of them.

use std::time::Duration;

use strata::config;

use crate::{file, sources, wrong};

const SIZE: &str = "such as \"5MB\" (5,000,000 bytes) or \"5MiB\"";
const SPAN: &str = "such as \"60s\" or \"500ms\"";

#[test]
fn wrong_values_are_named_with_what_is_accepted() {
    let table: &[(&str, &str)] = &[
        (
            "[server]\nlisten = 'localhost'",
            "server.listen (f:2): \"localhost\" is not an address with a port; accepted: an address and a port, such as \"127.0.0.1:7379\" or \"[::1]:7379\"",
        ),
        (
            "[server]\n\nworkers = 257",
            "server.workers (f:3): 257 is out of range; accepted: a whole number from 0 to 256",
        ),
        (
            "server.workers = -1",
            "server.workers (f:1): -1 is not a whole number in range; accepted: a whole number from 0 to 256",
        ),
        (
            "server.workers = '2'",
            "server.workers (f:1): \"2\" is not a whole number; accepted: a whole number from 0 to 256",
        ),
        (
            "server.workers = 99999999999999999999",
            "server.workers (f:1): an integer beyond 64 bits is not a whole number; accepted: a whole number from 0 to 256",
        ),
        (
            "server.max_clients = 0",
            "server.max_clients (f:1): 0 is out of range; accepted: a whole number from 1 to 1000000",
        ),
        (
            "server.password = 12345",
            "server.password (f:1): an integer is not a string: write it in quotes; accepted: a string of at most 4096 bytes",
        ),
        (
            "server.log = 'loud'",
            "server.log (f:1): \"loud\" is not a level; accepted: a level (off, error, warn, info, debug, trace) or directives such as \"info,strata=debug\"",
        ),
        (
            "server.max_query_buffer = '100MiB'",
            "server.max_bulk (default): is more than server.max_query_buffer lets a client send",
        ),
        (
            "server.max_bulk = '2GiB'",
            "server.max_bulk (f:1): is more than server.max_query_buffer lets a client send",
        ),
        ("l1.enabled = 'yes'", "l1.enabled (f:1): \"yes\" is not true or false; accepted: true or false"),
        (
            "l1.max_size = '5XB'",
            &format!("l1.max_size (f:1): \"5XB\" is not a size; accepted: a size from 64KB to 1TB, {SIZE}"),
        ),
        (
            "l1.max_size = 63999",
            &format!("l1.max_size (f:1): 63999 is out of range; accepted: a size from 64KB to 1TB, {SIZE}"),
        ),
        (
            "l1.ttl = 60",
            &format!("l1.ttl (f:1): 60 has no unit; accepted: a duration from 1ms to 1year, {SPAN}"),
        ),
        (
            "l1.ttl = '0s'",
            &format!("l1.ttl (f:1): \"0s\" is out of range; accepted: a duration from 1ms to 1year, {SPAN}"),
        ),
        (
            "l1.ttl = ['60s']",
            &format!(
                "l1.ttl (f:1): an array is not a duration; accepted: a duration from 1ms to 1year, {SPAN}"
            ),
        ),
        (
            "l1.policy = 'lfu'",
            "l1.policy (f:1): \"lfu\" is not one of the choices; accepted: \"s3-fifo\" or \"lru\"",
        ),
        (
            "l2.lease = '49ms'",
            &format!(
                "l2.lease (f:1): \"49ms\" is out of range; accepted: a duration from 50ms to 1m, {SPAN}"
            ),
        ),
        (
            "l2.lease = '61s'",
            &format!("l2.lease (f:1): \"61s\" is out of range; accepted: a duration from 50ms to 1m, {SPAN}"),
        ),
        ("l2.enabled = false", "l2.enabled (f:1): leaves no home: l3.enabled is false, too"),
        (
            "l2.backoff_min = '6s'",
            "l2.backoff_min (f:1): makes the first delay (l2.backoff_min) longer than the longest (l2.backoff_max)",
        ),
        (
            "l2.backoff_max = '6ms'",
            "l2.backoff_max (f:1): makes the first delay (l2.backoff_min) longer than the longest (l2.backoff_max)",
        ),
        ("l2.binary = ''", "l2.binary (f:1): is empty"),
        (
            "l2.binary = \"a\\u0000b\"",
            "l2.binary (f:1): holds control characters; accepted: the name or the path of a redis-server",
        ),
        (
            "targets.hit_rate.l1 = 1.01",
            "targets.hit_rate.l1 (f:1): 1.01 is out of range; accepted: a number from 0 to 1, such as 0.85",
        ),
        (
            "targets.hit_rate.l1 = nan",
            "targets.hit_rate.l1 (f:1): NaN is out of range; accepted: a number from 0 to 1, such as 0.85",
        ),
        (
            "targets.latency.l4 = '0s'",
            &format!(
                "targets.latency.l4 (f:1): \"0s\" is out of range; accepted: a duration from 1us to 1h, {SPAN}"
            ),
        ),
    ];
    for (text, message) in table {
        assert_eq!(wrong(file(text)), [*message], "{text}");
    }
}

#[test]
fn unknown_keys_are_named_with_what_was_meant() {
    let table: &[(&str, &str)] = &[
        ("[l1]\nmax_sise = '5MB'", "l1.max_sise (f:2): is not known; did you mean `l1.max_size`?"),
        ("max_clients = 1", "max_clients (f:1): is not known; did you mean `server.max_clients`?"),
        ("[sever]\nlisten = ''", "sever (f:1): is not known; did you mean `server`?"),
        (
            "[l1]\ncolour = 'red'",
            "l1.colour (f:2): is not known; accepted: in [l1]: enabled, max_size, ttl, negative_ttl, rest, policy",
        ),
        (
            "colour = 'red'",
            "colour (f:1): is not known; accepted: the sections server, l1, l2, l3, l4, targets, policy and user",
        ),
        (
            "[targets.hit_rate]\nl9999 = 1",
            "targets.hit_rate.l9999 (f:2): is not known; accepted: in [targets.hit_rate]: l1, l2, l3, overall",
        ),
        ("\"l1.ttl\" = '1s'", "\"l1.ttl\" (f:1): is not known"),
        (
            "[l1]\nttl.x = '1s'",
            &format!(
                "l1.ttl (f:2): a table is not a duration; accepted: a duration from 1ms to 1year, {SPAN}"
            ),
        ),
        ("l1 = 5", "l1 (f:1): is a section, not an integer"),
        (
            "[policy]\nmatch = '*'",
            "policy (f:1): is a list of sections, not a table; accepted: [[policy]] sections",
        ),
    ];
    for (text, message) in table {
        assert_eq!(wrong(file(text)), [*message], "{text}");
    }
}

#[test]
fn what_later_versions_know_is_not_ignored_in_silence() {
    let table: &[(&str, &str)] = &[
        ("[warm]\nenabled = false", "warm (f:1): is not available in this version yet"),
        ("server.admin = '127.0.0.1:9379'", "server.admin (f:1): is not available in this version yet"),
        (
            "[[policy]]\nmatch = 'a'\nwrite = 'through'",
            "policy[1].write (f:3): \"through\" is not available in this version yet; accepted: \"home\"",
        ),
    ];
    for (text, message) in table {
        assert_eq!(wrong(file(text)), [*message], "{text}");
    }
    let result = config::load(&sources(&[("STRATA_WARM_PATTERNS", "")], &["warm.patterns=[]"]));
    let expected = [
        "warm (STRATA_WARM_PATTERNS): is not available in this version yet",
        "warm.patterns (--set): is not available in this version yet",
    ];
    assert_eq!(wrong(result), expected);
}

#[test]
fn policies_are_checked_each() {
    let text = "
[[policy]]
match = 'a:*'
[[policy]]
l1_ttl = '1s'
[[policy]]
match = ''
[[policy]]
match = 'a:*'
stale_if_err = '1s'
mget = 'none'";
    let expected = [
        "policy[2].match (f:4): is missing; accepted: a glob of 1 to 1024 bytes, such as \"session:*\"",
        "policy[3].match (f:7): is empty; accepted: a glob of 1 to 1024 bytes, such as \"session:*\"",
        "policy[4].match (f:9): is never used: policy[1] matches the same keys before it",
        "policy[4].stale_if_err (f:10): is not known; did you mean `stale_if_error`?",
        "policy[4].mget (f:11): \"none\" is not one of the choices; accepted: \"atomic\" or \"per-key\"",
    ];
    assert_eq!(wrong(file(text)), expected);
    let long = format!("policy = [{{ match = '{}' }}, 5]", "x".repeat(1025));
    let expected = [
        "policy[1].match (f:1): is too long; accepted: a glob of 1 to 1024 bytes, such as \"session:*\"",
        "policy[2] (f:1): is a section, not an integer",
    ];
    let mut found = wrong(file(&long));
    found.sort();
    assert_eq!(found, expected);
    let many: String = (0..1001).map(|at| format!("[[policy]]\nmatch = '{at}'\n")).collect();
    assert_eq!(wrong(file(&many)), ["policy (f:2001): is one too many; accepted: at most 1000 policies"]);
}

#[test]
fn the_parts_of_l2_must_fit_together() {
    let redis = "l2.url = 'redis://cache'\n";
    let table: &[(String, &[&str])] = &[
        (
            "l2.password = 'x'".to_owned(),
            &["l2.password (f:1): has no meaning for an embedded Redis, which nobody else can reach"],
        ),
        (
            format!("{redis}l2.username = 'app'"),
            &[
                "l2.username (f:2): names a user without a password; accepted: a user together with l2.password or l2.password_file",
            ],
        ),
        (
            format!("{redis}l2.ca_file = '/x'"),
            &["l2.ca_file (f:2): has no meaning for an l2.url that is not rediss://"],
        ),
        (
            "l2.url = 'redis://:a@cache/1'\nl2.password = 'b'\nl2.database = 2".to_owned(),
            &[
                "l2.password (f:2): is given by l2.url (f:1) already; accepted: one of them",
                "l2.database (f:3): is given by l2.url (f:1) already; accepted: one of them",
            ],
        ),
        (
            "l2.url = 'rediss://cache'\nl2.cert_file = '/nonexistent'".to_owned(),
            &[
                "l2.cert_file (f:2): cannot be read: No such file or directory (os error 2)",
                "l2.cert_file (f:2): needs l2.key_file beside it",
            ],
        ),
        (
            "[server]\npassword = 'a'\npassword_file = '/nonexistent'".to_owned(),
            &["server.password_file (f:3): is given by server.password (f:2) already; accepted: one of them"],
        ),
    ];
    for (text, messages) in table {
        assert_eq!(wrong(file(text)), *messages, "{text}");
    }
    assert_eq!(file("l2.url = 'redis://cache/1'\nl2.database = 0").unwrap().l2.upstream.database, 1);
    let over = config::load(&sources(&[("STRATA_L2_URL", "redis://cache/1")], &["l2.database=0"]));
    assert_eq!(over.unwrap().l2.upstream.database, 0);
}

#[test]
fn the_parts_of_l3_must_fit_together() {
    let one = "l3.mode = 'standalone'\nl3.nodes = ['cache:6379']\n";
    let list = "a list of hosts with ports, such as [\"10.0.0.1:6379\", \"[::1]:6380\"]";
    let table: &[(String, &[&str])] = &[
        (
            "l3.nodes = ['cache']".to_owned(),
            &[&format!("l3.nodes (f:1): \"cache\" is not a host with a port; accepted: {list}")],
        ),
        (
            "l3.nodes = 'cache:6379'".to_owned(),
            &[&format!("l3.nodes (f:1): \"cache:6379\" is not a list of hosts with ports; accepted: {list}")],
        ),
        (
            "l3.nodes = [1]".to_owned(),
            &[&format!("l3.nodes (f:1): an array is not a list of hosts with ports; accepted: {list}")],
        ),
        (
            "l3.enabled = true\nl3.mode = 'standalone'".to_owned(),
            &[&format!("l3.nodes (default): is empty; accepted: {list}")],
        ),
        (
            "l3.enabled = true\nl3.mode = 'standalone'\nl3.nodes = ['a:1', 'b:2']".to_owned(),
            &["l3.nodes (f:3): names more than one node, which l3.mode = \"standalone\" cannot use"],
        ),
        (
            "[l3]\nenabled = true\nmode = 'sentinel'\nnodes = ['a:1', 'b:2']".to_owned(),
            &["l3.master (default): is empty: the sentinels know the master by a name, such as \"mymaster\""],
        ),
        (
            "l3.mode = 'redis'".to_owned(),
            &[
                "l3.mode (f:1): \"redis\" is not one of the choices; accepted: \"standalone\" or \"sentinel\" or \"cluster\"",
            ],
        ),
        ("l3.database = 1".to_owned(), &["l3.database (f:1): is not 0: a cluster has no other"]),
        (
            format!("{one}l3.master = 'm'\nl3.sentinel_password = 'p'"),
            &[
                "l3.master (f:3): has no meaning for l3.mode = \"standalone\"",
                "l3.sentinel_password (f:4): has no meaning for l3.mode = \"standalone\"",
            ],
        ),
        (
            format!("{one}l3.ca_file = '/x'\nl3.username = 'app'"),
            &[
                "l3.ca_file (f:3): has no meaning without l3.tls = true",
                "l3.username (f:4): names a user without a password; accepted: a user together with l3.password or l3.password_file",
            ],
        ),
        (
            format!("{one}l3.tls = true\nl3.cert_file = '/nonexistent'\nl3.backoff_max = '6ms'"),
            &[
                "l3.cert_file (f:4): cannot be read: No such file or directory (os error 2)",
                "l3.cert_file (f:4): needs l3.key_file beside it",
                "l3.backoff_max (f:5): makes the first delay (l3.backoff_min) longer than the longest (l3.backoff_max)",
            ],
        ),
        (
            "l3.mode = 'sentinel'\nl3.sentinel_username = 'app'".to_owned(),
            &[
                "l3.sentinel_username (f:2): names a user without a password; accepted: a user together with l3.sentinel_password or l3.sentinel_password_file",
            ],
        ),
    ];
    for (text, messages) in table {
        assert_eq!(wrong(file(text)), *messages, "{text}");
    }
}

#[test]
fn what_is_not_toml_is_named_by_its_line() {
    let table: &[(&[u8], &[&str])] = &[
        (b"[l1]\nttl = \n", &["f:2: is not TOML: string values must be quoted, expected literal string"]),
        (b"[l1]\nttl = '1s'\nttl = '2s'", &["f:3: is not TOML: duplicate key"]),
        (
            b"[l1\nx = 1\n[l2]\n= 5",
            &[
                "f:1: is not TOML: unclosed table, expected `]`",
                "f:4: is not TOML: unquoted keys cannot be empty, expected letters, numbers, `-`, `_`",
            ],
        ),
        (b"a\n\xff", &["f:2: is not UTF-8"]),
    ];
    for (text, messages) in table {
        assert_eq!(wrong(config::from_toml("f", text)), *messages);
    }
    assert_eq!(file("\u{feff}l1.ttl = '1s'").unwrap().l1.ttl, Duration::from_secs(1));
    let large = vec![b'\n'; config::MAX_FILE_SIZE + 1];
    assert_eq!(wrong(config::from_toml("f", &large)), ["f: is larger than 1048576 bytes"]);
}

#[test]
fn environment_and_flags_are_named_as_sources() {
    let result = config::load(&sources(
        &[("STRATA_L1_MAXSIZE", "1MB"), ("STRATA_L1_TTL", "60"), ("STRATA_TARGETS", "{"), ("STRATA_X", "")],
        &["l1.max_sise=5MB", "l1.ttl", "l2.lease=1ms", "server.workers=many", "l1.enabled=1"],
    ));
    let expected = [
        format!("l1.ttl (STRATA_L1_TTL): \"60\" has no unit; accepted: a duration from 1ms to 1year, {SPAN}"),
        "STRATA_L1_MAXSIZE: is the variable of no key; did you mean `STRATA_L1_MAX_SIZE`?".to_owned(),
        "STRATA_X: is the variable of no key; accepted: STRATA_<SECTION>_<KEY>, such as STRATA_L1_MAX_SIZE".to_owned(),
        "targets (STRATA_TARGETS): is not a value of TOML: ".to_owned(),
        "l1.max_sise (--set): is not known; did you mean `l1.max_size`?".to_owned(),
        "l1.ttl (--set): has no value; accepted: KEY=VALUE, such as l1.max_size=5MB".to_owned(),
        format!("l2.lease (--set): \"1ms\" is out of range; accepted: a duration from 50ms to 1m, {SPAN}"),
        "server.workers (--set): \"many\" is not a whole number in range; accepted: a whole number from 0 to 256".to_owned(),
        "l1.enabled (--set): \"1\" is not true or false; accepted: true or false".to_owned(),
    ];
    let found = wrong(result);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for message in &expected {
        assert!(found.iter().any(|found| found.starts_with(message.as_str())), "{message}\n{found:#?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_does_not_hide_the_rest() {
    let mut sources = sources(&[], &["l1.ttl=x"]);
    sources.file = Some("/nonexistent/strata.toml".into());
    let found = wrong(config::load(&sources));
    assert_eq!(found[0], "/nonexistent/strata.toml: cannot be read: No such file or directory (os error 2)");
    assert_eq!(found.len(), 2);
}
