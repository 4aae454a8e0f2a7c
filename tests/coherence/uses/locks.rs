//! Locks with SET NX PX: never two holders.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{PROXIES, Stage, connect};
use crate::support::{Client, Endpoint, Value};

const CLIENTS: usize = 9;
const LOCKS: usize = 3;
/// What home's clock may be ahead of this process': both count milliseconds.
const DRIFT: Duration = Duration::from_millis(3);
const RELEASE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// For how long a client could be sure that a lock was its own.
struct Held {
    lock: usize,
    by: String,
    from: Instant,
    until: Instant,
}

struct Locker<'a> {
    number: usize,
    endpoint: Endpoint,
    client: Option<Client>,
    random: StdRng,
    held: &'a Mutex<Vec<Held>>,
    turn: usize,
}

impl Locker<'_> {
    fn ask(&mut self, words: &[&str]) -> Option<Value> {
        if self.client.is_none() {
            self.client = connect(&self.endpoint);
        }
        let reply = self.client.as_mut()?.call(words);
        if reply.is_err() {
            self.client = None;
        }
        reply.ok().filter(|reply| !reply.is_error())
    }

    fn run(mut self, over: &AtomicBool) {
        while !over.load(Relaxed) {
            self.turn += 1;
            self.try_lock();
            thread::sleep(Duration::from_micros(self.random.random_range(100..2_000)));
        }
    }

    fn try_lock(&mut self) {
        let lock = self.random.random_range(0..LOCKS);
        let (key, by) = (format!("lock:{lock}"), format!("{}:{}", self.number, self.turn));
        let millis: u64 = self.random.random_range(20..400);
        let asked = Instant::now();
        let set = self.ask(&["SET", &key, &by, "NX", "PX", &millis.to_string()]);
        if set != Some(Value::Simple("OK".into())) {
            return;
        }
        let (from, end) = (Instant::now(), asked + Duration::from_millis(millis) - DRIFT);
        // Whoever is not sure that it is still his reads in vain.
        thread::sleep(Duration::from_millis(self.random.random_range(0..30)));
        let holder = self.ask(&["GET", &key]);
        let until = Instant::now();
        if until < end
            && let Some(holder) = holder
        {
            assert_eq!(holder, Value::Bulk(by.clone().into_bytes()), "{key} was taken from its holder");
        }
        let until = until.min(end);
        if from < until {
            self.held.lock().expect("nobody failed").push(Held { lock, by: by.clone(), from, until });
        }
        // Others let it expire.
        if self.random.random_ratio(3, 4) {
            self.ask(&["EVAL", RELEASE, "1", &key, &by]);
        }
    }
}

#[test]
fn a_lock_never_has_two_holders_whatever_breaks() {
    let mut stage = Stage::start();
    let held = Mutex::new(Vec::new());
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let locker = Locker {
                number,
                endpoint: stage.way(number % (PROXIES + 1)),
                client: None,
                random: StdRng::seed_from_u64(stage.random.random()),
                held: &held,
                turn: 0,
            };
            let over = &over;
            scope.spawn(move || locker.run(over));
        }
        stage.trouble();
        over.store(true, Relaxed);
    });
    let mut held = held.into_inner().expect("nobody failed");
    held.sort_by_key(|held| (held.lock, held.from));
    for pair in held.windows(2).filter(|pair| pair[0].lock == pair[1].lock) {
        let (first, second) = (&pair[0], &pair[1]);
        let both = first.until.saturating_duration_since(second.from);
        assert!(both.is_zero(), "{} and {} held lock {} for {both:?}", first.by, second.by, first.lock);
    }
    println!("{} locks were held", held.len());
    assert!(held.len() > 100, "{} locks were held", held.len());
}
