//! Clients with caches of their own, through two proxies: nobody's cache stays behind, nor goes back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{LONG, connect, resp3};
use crate::support::{Client, Endpoint, RedisServer, Strata, Value, encode, seed, setting};

const KEYS: usize = 12;
const CACHES: usize = 8;

/// A client with a cache, driven by what comes on its connection and nothing else.
struct Cache {
    client: Client,
    options: &'static str,
    values: HashMap<String, u64>,
    /// The newest value seen of each key.
    newest: HashMap<String, u64>,
    served: u64,
}

impl Cache {
    fn new(endpoint: &Endpoint, options: &'static str) -> Cache {
        let mut client = resp3(endpoint);
        let on = format!("CLIENT TRACKING ON {options}");
        assert_eq!(super::call(&mut client, on.trim()), Value::Simple("OK".into()));
        let (values, newest) = Default::default();
        Cache { client, options, values, newest, served: 0 }
    }

    /// Whatever has come by now; `limit` is how long to wait for it.
    fn listen(&mut self, limit: Duration) {
        self.client.set_patience(limit);
        while let Ok(frame) = self.client.read() {
            self.hear(&frame);
        }
        self.client.set_patience(LONG);
    }

    fn hear(&mut self, frame: &Value) {
        let Value::Push(parts) = frame else { panic!("{frame:?}") };
        match &parts[1] {
            Value::Array(keys) => keys.iter().for_each(|key| {
                self.values.remove(&String::from_utf8_lossy(key.bytes().unwrap()).into_owned());
            }),
            _ => self.values.clear(),
        }
    }

    fn read(&mut self, key: &str) -> u64 {
        if let Some(value) = self.values.get(key) {
            self.served += 1;
            return *value;
        }
        if self.options == "OPTIN" {
            self.client.send_raw(&encode(&["CLIENT", "CACHING", "YES"])).unwrap();
            assert_eq!(self.reply(), Value::Simple("OK".into()));
        }
        self.client.send_raw(&encode(&["GET", key])).unwrap();
        let value = number(&self.reply());
        self.values.insert(key.to_owned(), value);
        let newest = self.newest.entry(key.to_owned()).or_default();
        assert!(value >= *newest, "{key} went back from {newest} to {value} ({})", self.options);
        *newest = value;
        value
    }

    /// The next reply; what is pushed before it is heard first.
    fn reply(&mut self) -> Value {
        loop {
            match self.client.read().expect("a reply") {
                push @ Value::Push(_) => self.hear(&push),
                reply => return reply,
            }
        }
    }
}

fn number(reply: &Value) -> u64 {
    match reply {
        Value::Nil => 0,
        reply => String::from_utf8_lossy(reply.bytes().unwrap()).parse().expect("a number"),
    }
}

#[test]
fn caches_of_clients_are_never_left_behind() {
    let seed = seed();
    println!("STRATA_SEED={seed}");
    let rounds: usize = setting("STRATA_TRACKING_ROUNDS", 6);
    let home = RedisServer::start(&[]);
    let proxies: Vec<_> = (0..2).map(|_| Strata::start(&home.tcp(), &[("server.workers", "2")])).collect();
    let endpoints: Vec<_> = proxies.iter().map(Strata::endpoint).chain([home.tcp()]).collect();
    let options = ["", "BCAST", "OPTIN", "BCAST PREFIX key"];
    let mut caches: Vec<_> =
        (0..CACHES).map(|n| Cache::new(&endpoints[n % 2], options[n / 2 % options.len()])).collect();
    let mut served = 0;
    for round in 0..rounds {
        let writing = AtomicBool::new(true);
        let written = AtomicU64::new(0);
        thread::scope(|scope| {
            for (n, endpoint) in endpoints.iter().enumerate() {
                let mut random = SmallRng::seed_from_u64(seed ^ (round * 10 + n) as u64);
                let (writing, written) = (&writing, &written);
                scope.spawn(move || {
                    let mut client = connect(endpoint);
                    while writing.load(SeqCst) {
                        let key = format!("key:{}", random.random_range(0..KEYS));
                        client.call(&["INCR", &key]).expect("home writes");
                        written.fetch_add(1, SeqCst);
                        thread::sleep(Duration::from_micros(random.random_range(0..1500)));
                    }
                });
            }
            for (n, cache) in caches.iter_mut().enumerate() {
                let mut random = SmallRng::seed_from_u64(seed ^ (round * 10 + n + 1000) as u64);
                let writing = &writing;
                scope.spawn(move || {
                    while writing.load(SeqCst) {
                        let key = format!("key:{}", random.random_range(0..KEYS));
                        cache.read(&key);
                        if random.random_bool(0.3) {
                            cache.listen(Duration::from_micros(200));
                        }
                    }
                });
            }
            thread::sleep(Duration::from_millis(400));
            writing.store(false, SeqCst);
        });
        assert!(written.load(SeqCst) > 0);
        compare(&home, &mut caches, round, seed);
        served = caches.iter().map(|cache| cache.served).sum();
    }
    assert!(served > 0, "no cache ever answered");
}

/// After all is quiet no cache holds anything that home does not.
fn compare(home: &RedisServer, caches: &mut [Cache], round: usize, seed: u64) {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut at_home = home.connect();
    loop {
        let mut behind = Vec::new();
        for cache in caches.iter_mut() {
            cache.listen(Duration::from_millis(20));
            for (key, value) in &cache.values {
                let now = number(&at_home.call(&["GET", key]).unwrap());
                if now != *value {
                    behind.push(format!("{} holds {key} = {value}, which is {now}", cache.options));
                }
            }
        }
        if behind.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "STRATA_SEED={seed}, round {round}: {behind:?}");
    }
}
