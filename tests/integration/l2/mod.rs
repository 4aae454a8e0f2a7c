//! L2 as a tier of copies that processes share, L3 being home. Each rule has a test that fails without it.

#![allow(clippy::unwrap_used, reason = "what is not as expected fails the test, in helpers too")]

mod copies;
mod faults;
mod late;
mod over_cluster;
mod pace;
mod rules;
mod stampede;
mod surface;
mod values;

use std::time::Duration;

use crate::support::{Client, RedisServer, Relay, Strata, Value, wait_until};

/// For what has to happen, however loaded the machine is.
const LONG: Duration = Duration::from_secs(15);
/// How long is waited for what must not happen.
const SHORT: Duration = Duration::from_millis(150);

/// Home, L2, and strata processes, each with a relay to either.
struct Scene {
    home: RedisServer,
    l2: RedisServer,
    nodes: Vec<Member>,
}

struct Member {
    to_home: Relay,
    to_l2: Relay,
    strata: Strata,
}

impl Scene {
    fn start(processes: usize, settings: &[(&str, &str)]) -> Scene {
        Scene::start_with(processes, &[], settings)
    }

    /// With options of L2.
    fn start_with(processes: usize, l2: &[(&str, &str)], settings: &[(&str, &str)]) -> Scene {
        let (home, l2) = (RedisServer::start(&[]), RedisServer::start(l2));
        let mut scene = Scene { home, l2, nodes: Vec::new() };
        for _ in 0..processes {
            scene.add(settings);
        }
        // Each start begins an epoch.
        scene.nodes.iter().for_each(|member| member.await_vouched());
        scene
    }

    fn add(&mut self, settings: &[(&str, &str)]) {
        self.add_with("", settings);
    }

    /// With a configuration file.
    fn add_with(&mut self, file: &str, settings: &[(&str, &str)]) {
        let (to_home, to_l2) = (Relay::start(&self.home.tcp()), Relay::start(&self.l2.tcp()));
        let (home, l2) = (to_home.endpoint().url(), to_l2.endpoint().url());
        let home = home.strip_prefix("redis://").unwrap();
        let mut all = vec![
            ("l3.enabled", "true"),
            ("l3.mode", "standalone"),
            ("l3.nodes", home),
            // Each has its own way home.
            ("l2.namespace", "scene"),
            ("l1.rest", "false"),
            // What L1 has kept is gone when it is asked for again.
            ("l1.ttl", "1ms"),
            // A busy machine is no reason to pass L2 by, nor to read at home what somebody else reads.
            ("l2.answer_within", "10s"),
            ("l2.fill_within", "10s"),
            ("l3.lease", "30s"),
            ("l2.connect_timeout", "20s"),
            ("l3.connect_timeout", "20s"),
        ];
        all.extend(settings);
        let strata = Strata::start_with(&l2, file, &all);
        self.nodes.push(Member { to_home, to_l2, strata });
    }

    fn client(&self, node: usize) -> Client {
        self.nodes[node].strata.connect()
    }

    /// The words of one client that never touch a proxy.
    fn at_home(&self, words: &[&str]) -> Value {
        let reply = self.home.connect().call(words).expect("home answers");
        assert!(!reply.is_error(), "{words:?}: {reply:?}");
        reply
    }

    /// Writes at home, and waits until all processes have deleted the key in L2.
    fn set(&self, key: &str, value: &str) {
        let deletes = || self.nodes.iter().map(|member| member.stat("deletes")).collect::<Vec<u64>>();
        let before = deletes();
        self.at_home(&["SET", key, value]);
        let told = wait_until(LONG, || deletes().iter().zip(&before).all(|(now, before)| now > before));
        assert!(told, "not all delete {key}");
        self.quiet();
    }

    /// Waits until L2 has confirmed all deletes.
    fn quiet(&self) {
        let outstanding = |member: &Member| member.stat("deletes_outstanding");
        assert!(wait_until(LONG, || self.nodes.iter().all(|member| outstanding(member) == 0)));
    }

    /// Reads by way of one process until L2 has the copy.
    fn fill(&self, node: usize, words: &[&str]) -> Value {
        let mut reply = Value::Nil;
        let filled = wait_until(LONG, || {
            reply = self.client(node).call(words).unwrap();
            self.copies(words[1]) > 0
        });
        assert!(filled, "{words:?} is never in L2: {:?}", self.nodes[node].l2_lines());
        self.quiet();
        reply
    }

    /// Reads by way of one process until the reply comes from L2, and returns it.
    fn read_in_l2(&self, node: usize, words: &[&str]) -> Value {
        let mut client = self.client(node);
        let mut reply = Value::Nil;
        let hit = wait_until(LONG, || {
            let before = self.nodes[node].stat("hits");
            reply = client.call(words).unwrap();
            self.nodes[node].stat("hits") > before
        });
        assert!(hit, "{words:?} never comes from L2: {:?}", self.nodes[node].l2_lines());
        reply
    }

    /// How many requests of a key L2 has replies to.
    fn copies(&self, key: &str) -> usize {
        let mut client = self.l2.connect();
        let names = client.call(&["KEYS", &format!("strata:l2:*:{key}")]).unwrap().elements().unwrap();
        let fields = names
            .iter()
            .filter_map(Value::bytes)
            .flat_map(|name| client.call(&[&b"HKEYS"[..], name]).unwrap().elements().unwrap_or_default());
        fields.filter(|field| matches!(field.bytes().and_then(|f| f.first()), Some(b'2' | b'3'))).count()
    }

    /// Whether L2 has this key's hash, with or without copies.
    fn knows(&self, key: &str) -> bool {
        let names = self.l2.connect().call(&["KEYS", &format!("strata:l2:*:{key}")]).unwrap();
        !names.elements().unwrap().is_empty()
    }
}

impl Member {
    fn await_vouched(&self) {
        assert!(wait_until(LONG, || self.state() == "up"), "L2 is not vouched for: {:?}", self.l2_lines());
    }

    /// What INFO says of L2.
    fn info(&self, name: &str) -> String {
        info(&self.strata, name)
    }

    /// Waits until L1 has nothing, not even what ended.
    fn forgets(&self) {
        // What waits for the guard is there when a script's reply has waited for it.
        assert_eq!(self.strata.connect().call(&["EVAL", "return 1", "0"]).unwrap(), Value::Integer(1));
        assert!(wait_until(LONG, || field(&self.strata, "l1_entries") == "0"));
    }

    fn state(&self) -> String {
        self.info("state")
    }

    fn stat(&self, name: &str) -> u64 {
        self.info(name).parse().unwrap()
    }

    fn l2_lines(&self) -> Vec<String> {
        let reply = self.strata.connect().call(&["INFO", "strata"]).unwrap();
        let text = String::from_utf8_lossy(reply.bytes().unwrap()).into_owned();
        text.lines().filter_map(|line| line.strip_prefix("strata_l2_")).map(str::to_owned).collect()
    }
}

/// What INFO says of a process' L2.
fn info(strata: &Strata, name: &str) -> String {
    field(strata, &format!("l2_{name}"))
}

/// What INFO says of a process.
fn field(strata: &Strata, name: &str) -> String {
    let reply = strata.connect().call(&["INFO", "strata"]).unwrap();
    let text = String::from_utf8_lossy(reply.bytes().unwrap()).into_owned();
    let name = format!("strata_{name}:");
    text.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_default().to_owned()
}

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

fn ok() -> Value {
    Value::Simple("OK".into())
}
