//! Clients with caches of their own: what such a cache holds, while its connection is there, is never older than the
//! lease allows.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{PROXIES, Stage, connect};
use crate::support::{Client, Endpoint, Value, encode};

const KEYS: usize = 8;
const OPTIONS: [&str; 5] = ["", "BCAST", "OPTOUT", "NOLOOP", "BCAST NOLOOP"];
/// The serving lease of a strata as it comes, and what the scheduling of a busy machine is granted.
const BOUND: Duration = Duration::from_millis(1_000 + 400);
/// A write that comes late, because it was held up on its way, changes nothing.
const WRITE: &str = "if tonumber(redis.call('GET', KEYS[1]) or '0') < tonumber(ARGV[1]) \
    then redis.call('SET', KEYS[1], ARGV[1]) end return 1";

/// When which version of a key was acknowledged; both rise.
type Acknowledged = Mutex<Vec<(Instant, u64)>>;

struct Cache<'a> {
    endpoint: Endpoint,
    options: &'static str,
    client: Option<Client>,
    values: HashMap<usize, u64>,
    newest: [u64; KEYS],
    acknowledged: &'a [Acknowledged],
    hits: u64,
    reads: u64,
}

impl Cache<'_> {
    fn run(mut self, over: &AtomicBool, mut random: StdRng) -> (u64, u64) {
        while !over.load(Relaxed) {
            if self.read(random.random_range(0..KEYS)).is_none() {
                (self.client, self.values) = (None, HashMap::new());
                thread::sleep(Duration::from_millis(30));
            }
            thread::sleep(Duration::from_micros(random.random_range(100..1_000)));
        }
        (self.hits, self.reads)
    }

    /// None: the connection is of no more use, or home is not.
    fn read(&mut self, key: usize) -> Option<()> {
        let asked = Instant::now();
        if self.client.is_none() {
            let mut client = connect(&self.endpoint)?;
            client.hello(3).ok()?;
            self.client = Some(client);
            let on = format!("CLIENT TRACKING ON {}", self.options);
            (self.ask(on.trim())? == Value::Simple("OK".into())).then_some(())?;
        }
        // Whatever strata had to say before it answers has been heard then.
        self.ask("PING").filter(|pong| !pong.is_error())?;
        let cached = self.values.get(&key).copied();
        let version = match cached {
            Some(version) => version,
            None => {
                let version = version(&self.ask(&format!("GET key:{key}"))?)?;
                self.values.insert(key, version);
                version
            }
        };
        self.hits += u64::from(cached.is_some());
        self.reads += 1;
        self.judge(key, version, asked, cached.is_some());
        Some(())
    }

    fn judge(&mut self, key: usize, version: u64, asked: Instant, cached: bool) {
        let how = if cached { "cached" } else { "read" };
        let options = self.options;
        let acknowledged = self.acknowledged[key].lock().expect("nobody failed");
        let old = acknowledged.partition_point(|(at, _)| *at + BOUND <= asked);
        if let Some((at, least)) = acknowledged[..old].last() {
            let ago = asked - *at;
            assert!(
                version >= *least,
                "key {key} is {how} as {version}; {least} was written {ago:?} ago ({options})"
            );
        }
        let newest = &mut self.newest[key];
        assert!(version >= *newest, "key {key} is {how} as {version} after {newest} ({options})");
        *newest = version;
    }

    /// The next reply; what is pushed before it is heard first.
    fn ask(&mut self, command: &str) -> Option<Value> {
        let words: Vec<&str> = command.split(' ').collect();
        self.client.as_mut()?.send_raw(&encode(&words)).ok()?;
        loop {
            match self.client.as_mut()?.read().ok()? {
                Value::Push(parts) => self.hear(&parts),
                reply => return Some(reply),
            }
        }
    }

    fn hear(&mut self, parts: &[Value]) {
        match parts.get(1) {
            Some(Value::Array(keys)) => {
                for name in keys.iter().filter_map(Value::bytes) {
                    let name = String::from_utf8_lossy(name).into_owned();
                    let number = name.strip_prefix("key:").and_then(|number| number.parse().ok());
                    self.values.remove(&number.unwrap_or(usize::MAX));
                }
            }
            _ => self.values.clear(),
        }
    }
}

fn version(reply: &Value) -> Option<u64> {
    match reply {
        Value::Nil => Some(0),
        reply => String::from_utf8_lossy(reply.bytes()?).parse().ok(),
    }
}

/// Writes ever higher versions of one key, by one way and then the next.
fn write(key: usize, ways: &[Endpoint], acknowledged: &Acknowledged, over: &AtomicBool, mut random: StdRng) {
    let mut clients: Vec<Option<Client>> = ways.iter().map(|_| None).collect();
    let mut version = 0u64;
    while !over.load(Relaxed) {
        version += 1;
        let way = random.random_range(0..ways.len());
        if clients[way].is_none() {
            clients[way] = connect(&ways[way]);
        }
        let (name, text) = (format!("key:{key}"), version.to_string());
        let reply = clients[way].as_mut().map(|client| client.call(&["EVAL", WRITE, "1", &name, &text]));
        match reply {
            Some(Ok(Value::Integer(1))) => {
                acknowledged.lock().expect("nobody failed").push((Instant::now(), version));
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => clients[way] = None,
        }
        thread::sleep(Duration::from_millis(random.random_range(1..25)));
    }
}

#[test]
fn what_a_client_s_own_cache_holds_is_never_older_than_the_lease_whatever_breaks() {
    let mut stage = Stage::start();
    let acknowledged: Vec<Acknowledged> = (0..KEYS).map(|_| Mutex::default()).collect();
    let ways: Vec<Endpoint> = (0..=PROXIES).map(|number| stage.way(number)).collect();
    let (over, hits, reads) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for (key, acknowledged) in acknowledged.iter().enumerate() {
            let (ways, over) = (&ways, &over);
            let random = StdRng::seed_from_u64(stage.random.random());
            scope.spawn(move || write(key, ways, acknowledged, over, random));
        }
        for number in 0..PROXIES * OPTIONS.len() {
            let cache = Cache {
                endpoint: stage.way(number % PROXIES),
                options: OPTIONS[number / PROXIES],
                client: None,
                values: HashMap::new(),
                newest: [0; KEYS],
                acknowledged: &acknowledged,
                hits: 0,
                reads: 0,
            };
            let random = StdRng::seed_from_u64(stage.random.random());
            let (over, hits, reads) = (&over, &hits, &reads);
            scope.spawn(move || {
                let (of_these, all) = cache.run(over, random);
                assert!(of_these > 0, "a cache never answered");
                hits.fetch_add(of_these, Relaxed);
                reads.fetch_add(all, Relaxed);
            });
        }
        stage.trouble();
        over.store(true, Relaxed);
    });
    let written: usize = acknowledged.iter().map(|key| key.lock().expect("nobody failed").len()).sum();
    println!("{written} writes, {} reads, {} of them from caches", reads.into_inner(), hits.into_inner());
    assert!(written > 100, "{written} writes");
}
