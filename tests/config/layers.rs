//! What the sources give, alone and together.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use strata::config::{self, Config, Endpoint, Eviction, HostPort, Mget, Secret, Sources, Tls, Topology};

use crate::{file, sources, wrong};

#[test]
fn the_file_of_the_repository_holds_the_defaults() {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/config.toml"));
    let loaded = config::load(&Sources { file: Some(path), ..Sources::default() });
    assert_eq!(loaded, Ok(Config::default()));
    assert_eq!(config::load(&Sources::default()), Ok(Config::default()));
}

#[test]
fn later_layers_win() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("strata.toml");
    let text =
        "[l1]\nmax_size = '1MB'\nttl = '1s'\nnegative_ttl = '2s'\npolicy = 'lru'\n[[policy]]\nmatch = 'a'";
    fs::write(&path, text).unwrap();
    let mut sources = sources(
        &[
            ("STRATA_L1_TTL", "10s"),
            ("STRATA_L1_NEGATIVE_TTL", "20s"),
            ("STRATA_LOG", "warn"),
            ("PATH", "/bin"),
        ],
        &["l1.negative_ttl=100s", "l1.negative_ttl=200s", "policy=[{match='b'}]"],
    );
    sources.file = Some(path);
    let config = config::load(&sources).unwrap();
    assert_eq!(config.l1.max_size, 1_000_000);
    assert_eq!(config.l1.ttl, Duration::from_secs(10));
    assert_eq!(config.l1.negative_ttl, Duration::from_secs(200));
    assert_eq!(config.l1.policy, Eviction::Lru);
    assert_eq!(config.server.log, "warn");
    let patterns: Vec<_> = config.policies.iter().map(|policy| policy.pattern.as_str()).collect();
    assert_eq!(patterns, ["b"]);
}

#[test]
fn words_mean_what_their_key_takes() {
    let config = config::load(&sources(
        &[
            ("STRATA_SERVER_WORKERS", "2"),
            ("STRATA_L1_ENABLED", "false"),
            ("STRATA_L2_URL", "redis://cache"),
            ("STRATA_L2_PASSWORD", "\"12345\""),
            ("STRATA_TARGETS_HIT_RATE", "{ l1 = 0.5, l2 = 1 }"),
            ("STRATA_TARGETS_HIT_RATE_OVERALL", "0.25"),
            ("STRATA_POLICY", "[{ match = 'a:*', mget = 'per-key' }]"),
            ("STRATA_L3_ENABLED", "false"),
        ],
        &["l1.max_size=100000", "server.password=007", "l1.policy='lru'", "targets.latency={l1=\"2ms\"}"],
    ))
    .unwrap();
    assert_eq!(config.server.workers, 2);
    assert!(!config.l1.enabled);
    assert_eq!(config.l1.max_size, 100_000);
    assert_eq!(config.l1.policy, Eviction::Lru);
    assert_eq!(config.l2.upstream.password, Some(Secret::new("\"12345\"")));
    assert_eq!(config.server.password, Some(Secret::new("007")));
    let rates = &config.targets.hit_rate;
    assert_eq!((rates.l1, rates.l2, rates.l3, rates.overall), (0.5, 1.0, 0.7, 0.25));
    assert_eq!(config.targets.latency.l1, Duration::from_millis(2));
    assert_eq!(config.policies[0].mget, Mget::PerKey);
}

#[test]
fn the_long_name_of_the_log_wins_over_the_short() {
    let names = [("STRATA_SERVER_LOG", "error"), ("STRATA_LOG", "debug")];
    assert_eq!(config::load(&sources(&names, &[])).unwrap().server.log, "error");
}

/// Kubernetes gives these to every pod beside a service that is called strata.
#[test]
fn variables_of_a_service_called_strata_are_ignored() {
    let env = [
        ("STRATA_SERVICE_HOST", "10.0.0.1"),
        ("STRATA_SERVICE_PORT_REDIS", "7379"),
        ("STRATA_PORT", "tcp://10.0.0.1:7379"),
        ("STRATA_PORT_7379_TCP_ADDR", "10.0.0.1"),
        ("STRATA_CONFIG", "elsewhere.toml"),
    ];
    assert_eq!(config::load(&sources(&env, &[])), Ok(Config::default()));
}

#[test]
fn urls_become_endpoints() {
    let config = file("[l2]\nurl = 'rediss://app:p%40ss@cache/7'\nserver_name = 'a.b'").unwrap();
    let tls = Tls { server_name: Some("a.b".to_owned()), ..Tls::default() };
    let endpoint = Endpoint::Tcp { host: "cache".to_owned(), port: 6379, tls: Some(tls) };
    assert_eq!(config.l2.upstream.topology, Topology::Single(endpoint));
    assert_eq!(config.l2.upstream.username.as_deref(), Some("app"));
    assert_eq!(config.l2.upstream.password, Some(Secret::new("p@ss")));
    assert_eq!(config.l2.upstream.database, 7);
    let embedded = file("l2.binary = '/opt/redis-server'").unwrap().l2.upstream.topology;
    assert_eq!(embedded, Topology::Single(Endpoint::Embedded { binary: "/opt/redis-server".into() }));
}

#[test]
fn l3_is_home_where_it_is_enabled() {
    let text = "l2.enabled = false\n[l3]\nenabled = true\nmode = 'standalone'\nnodes = ['[::1]:7000']\n\
        username = 'app'\npassword = 'p@ss'\ndatabase = 3\ntls = true\nserver_name = 'a.b'\nlease = '250ms'";
    let config = file(text).unwrap();
    let home = config.home();
    let tls = Tls { server_name: Some("a.b".to_owned()), ..Tls::default() };
    let endpoint = Endpoint::Tcp { host: "::1".to_owned(), port: 7000, tls: Some(tls) };
    assert_eq!((home.section, &home.topology), ("l3", &Topology::Single(endpoint)));
    assert_eq!((home.username.as_deref(), &home.password), (Some("app"), &Some(Secret::new("p@ss"))));
    assert_eq!((home.database, home.lease), (3, Duration::from_millis(250)));
    assert_eq!(Config::default().home().section, "l2");
}

#[test]
fn nodes_of_l3_make_its_topology() {
    let node = |host: &str, port| HostPort { host: host.to_owned(), port };
    let nodes = vec![node("10.0.0.1", 6379), node("::1", 1)];
    let sentinel = "l3 = { mode = 'sentinel', master = 'm', nodes = ['10.0.0.1:6379', '[::1]:1'], \
        sentinel_username = 'app', sentinel_password = 'pw' }";
    let topology = Topology::Sentinel {
        master: "m".to_owned(),
        sentinels: nodes.clone(),
        tls: None,
        username: Some("app".to_owned()),
        password: Some(Secret::new("pw")),
    };
    assert_eq!(file(sentinel).unwrap().l3.upstream.topology, topology);
    for nodes_given in ["10.0.0.1:6379, [::1]:1", "['10.0.0.1:6379', \"[::1]:1\"]"] {
        let config =
            config::load(&sources(&[("STRATA_L3_NODES", nodes_given)], &["l3.mode=cluster"])).unwrap();
        assert_eq!(config.l3.upstream.topology, Topology::Cluster { seeds: nodes.clone(), tls: None });
    }
}

#[test]
fn passwords_may_stand_in_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("password");
    let text = format!("server.password_file = '{}'", path.display());
    for (content, password) in [("pw", "pw"), ("pw\n", "pw"), ("pw\r\n", "pw"), (" p w \n", " p w ")] {
        fs::write(&path, content).unwrap();
        assert_eq!(file(&text).unwrap().server.password, Some(Secret::new(password)));
    }
    for (content, message) in [
        (&b""[..], "holds no password"),
        (b"\n", "holds no password"),
        (b"a\nb\n", "holds more than one line"),
        (b"\xff", "does not hold UTF-8"),
        (&[b'x'; 4097], "holds more than 4096 bytes"),
    ] {
        fs::write(&path, content).unwrap();
        assert_eq!(wrong(file(&text)), [format!("server.password_file (f:1): {message}")]);
    }
    fs::remove_file(&path).unwrap();
    let message = "server.password_file (f:1): cannot be read: No such file or directory (os error 2)";
    assert_eq!(wrong(file(&text)), [message]);
    let device = "server.password_file = '/dev/zero'";
    assert_eq!(wrong(file(device)), ["server.password_file (f:1): is not a file"]);
}

#[test]
fn a_later_password_replaces_one_given_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    let [config_path, password_path] = ["config", "password"].map(|name| directory.path().join(name));
    fs::write(&config_path, "[l2]\nurl = 'redis://:url@cache'\n[server]\npassword = 'file'").unwrap();
    fs::write(&password_path, "other").unwrap();
    let password_path = password_path.display().to_string();
    let mut sources =
        sources(&[("STRATA_L2_PASSWORD", "env"), ("STRATA_SERVER_PASSWORD_FILE", &password_path)], &[]);
    sources.file = Some(config_path);
    let config = config::load(&sources).unwrap();
    assert_eq!(config.l2.upstream.password, Some(Secret::new("env")));
    assert_eq!(config.server.password, Some(Secret::new("other")));
}
