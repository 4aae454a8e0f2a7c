//! Reads through home to rows of PostgreSQL. Each rule has a test that fails without it.

#![allow(clippy::unwrap_used, reason = "what is not as expected fails the test, in helpers too")]

mod above;
mod changes;
mod failing;
mod many;
mod reads;
mod surface;
mod transactions;

use std::time::Duration;

use strata::config::from_toml;
use strata::source::{self, Migration};

use crate::support::{Client, Postgres, RedisServer, Strata, Value, wait_until};

/// For what has to happen, however loaded the machine is.
const LONG: Duration = Duration::from_secs(30);

/// Rows, and what counts the statements that read factors.
const TABLES: &str = "
    CREATE TABLE factor (id int PRIMARY KEY, value text);
    CREATE TABLE person (id int PRIMARY KEY, name text, age int, mail text);
    CREATE SEQUENCE asked;
    INSERT INTO factor SELECT n, 'value ' || n FROM generate_series(1, 1000) AS n;
    INSERT INTO person VALUES (1, 'Ada', 36, NULL), (2, '', 7, 'two@example.org');
";

/// The sources of every test.
const SOURCES: &str = "
    [[l4.source]]
    name = 'factors'
    match = 'factor:{id}'
    query = \"SELECT value FROM factor WHERE id = $1 AND nextval('asked') > 0\"
    ttl = '1h'
    negative_ttl = '1h'
    watch = ['factor']

    [[l4.source]]
    name = 'people'
    match = 'person:{id}'
    query = 'SELECT name, age, mail FROM person WHERE id = $1'
    reply = 'hash'
    ttl = '1h'
    negative_ttl = '0s'
    watch = ['person']

    [[l4.source]]
    name = 'slow'
    match = 'slow:{id}'
    query = 'SELECT value FROM factor WHERE id = $1 AND pg_advisory_xact_lock_shared(7) IS NOT NULL'
    ttl = '1h'
    watch = ['factor']
";

/// A PostgreSQL with the tables, home, and processes in front of them.
struct Scene {
    postgres: Postgres,
    home: RedisServer,
    strata: Vec<Strata>,
    file: String,
}

impl Scene {
    fn start(processes: usize) -> Scene {
        Scene::start_with(processes, &[], &[])
    }

    /// With options of home, and settings.
    fn start_with(processes: usize, home: &[(&str, &str)], settings: &[(&str, &str)]) -> Scene {
        let (postgres, file) = database();
        let home = RedisServer::start(home);
        let mut scene = Scene { postgres, home, strata: Vec::new(), file };
        for _ in 0..processes {
            scene.add(settings);
        }
        scene
    }

    fn add(&mut self, settings: &[(&str, &str)]) {
        let strata = Strata::start_with(&self.home.tcp().url(), &self.file, settings);
        await_following(&strata, self.file.matches("[[l4.source]]").count());
        self.strata.push(strata);
    }

    fn client(&self, process: usize) -> Client {
        self.strata[process].connect()
    }

    /// The words of a client that never touches a proxy.
    fn at_home(&self, words: &[&str]) -> Value {
        let reply = self.home.connect().call(words).expect("home answers");
        assert!(!reply.is_error(), "{words:?}: {reply:?}");
        reply
    }

    /// How many statements have asked for a factor that there is.
    fn asked(&self) -> u64 {
        let said = self.postgres.ask("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM asked");
        said.unwrap().parse().unwrap()
    }

    /// Waits until what was loaded stays for longer than its lease.
    fn await_confirmed(&self, key: &str) {
        let left = || self.at_home(&["PTTL", key]).integer().unwrap();
        assert!(wait_until(LONG, || left() > 120_000), "{key} is not confirmed: {} ms left", left());
    }

    /// Waits until a read by way of a process has this reply.
    fn await_reply(&self, process: usize, words: &[&str], expected: &Value) {
        let mut client = self.client(process);
        let mut reply = Value::Nil;
        let there = wait_until(LONG, || {
            reply = client.call(words).unwrap();
            reply == *expected
        });
        assert!(there, "{words:?} gives {reply:?}, not {expected:?}");
    }

    /// Waits until every process has told home of a change of so many keys.
    fn await_changes(&self, keys: u64) {
        for strata in &self.strata {
            let told =
                || field(strata, "l4_changed_keys") >= keys && field(strata, "l4_changes_outstanding") == 0;
            assert!(wait_until(LONG, told), "the change is not heard of");
        }
    }
}

/// A database with the tables and what `strata migrate` installs, and the configuration for it.
fn database() -> (Postgres, String) {
    let postgres = Postgres::start(&[]);
    postgres.execute(TABLES);
    let file = configuration(&postgres, SOURCES);
    migrate(&file);
    (postgres, file)
}

fn configuration(postgres: &Postgres, sources: &str) -> String {
    // On a busy machine statements may take their time; a lease ends what nobody confirms.
    let l4 = "enabled = true\nconnect_timeout = '20s'\nstatement_timeout = '20s'\nload_lease = '60s'\n";
    format!("[l4]\nurl = '{}'\n{l4}{sources}", postgres.url())
}

fn migrate(file: &str) {
    let config = from_toml("the test's", file.as_bytes()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(source::migrate(&config.l4, &Migration::default())).unwrap();
}

/// What happened before it began is not known: everything of its sources is dropped at first.
fn await_following(strata: &Strata, sources: usize) {
    let ready = || {
        words(strata, "l4_follower") == "up"
            && stat(strata, "sweeps") >= sources as i64
            && stat(strata, "changes_outstanding") == 0
    };
    assert!(wait_until(LONG, ready), "changes are not followed");
}

/// What CACHE STATS says of a process' sources.
fn stat(strata: &Strata, name: &str) -> i64 {
    let stats = strata.connect().call(&["CACHE", "STATS", "l4"]).unwrap().elements().unwrap();
    let at = stats.iter().step_by(2).position(|item| *item == bulk(name)).unwrap();
    stats[at * 2 + 1].integer().unwrap()
}

/// What INFO says of a process.
fn words(strata: &Strata, name: &str) -> String {
    let reply = strata.connect().call(&["INFO", "strata"]).unwrap();
    let text = String::from_utf8_lossy(reply.bytes().unwrap()).into_owned();
    let name = format!("strata_{name}:");
    text.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_default().to_owned()
}

fn field(strata: &Strata, name: &str) -> u64 {
    words(strata, name).parse().unwrap()
}

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

fn error(reply: &Value) -> &str {
    match reply {
        Value::Error(text) => text,
        other => panic!("{other:?} is no error"),
    }
}
