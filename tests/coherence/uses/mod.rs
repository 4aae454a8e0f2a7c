//! What applications build on strata, while things break: locks, and caches of their own.
//!
//! Smaller than the history checker: what is checked follows from what each client itself knows, and from when writes
//! were acknowledged. All times are of one monotonic clock in this process. `STRATA_USES_SECONDS` says how long each test
//! takes.

mod caches;
mod locks;

use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::support::{Client, Direction, Endpoint, RedisServer, Relay, Strata, seed, setting};

const PROXIES: usize = 2;
/// Longer than the lease of 1 s.
const SILENCE_MILLIS: std::ops::Range<u64> = 1_200..1_900;
const CALM_MILLIS: std::ops::Range<u64> = 300..1_200;
/// A reply takes longer only where something is broken for good.
const PATIENCE: Duration = Duration::from_secs(6);

/// Home, and two stratas with a relay each between.
struct Stage {
    home: RedisServer,
    relays: Vec<Relay>,
    proxies: Vec<Strata>,
    random: StdRng,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Cut,
    Silence,
    PauseHome,
    KillHome,
    PauseProxy,
    DropConnections,
}

impl Stage {
    /// Home writes to disk before it acknowledges, and so loses nothing when it is killed.
    fn start() -> Stage {
        let seed = seed();
        println!("STRATA_SEED={seed}");
        let home = RedisServer::start(&[("appendonly", "yes"), ("appendfsync", "always")]);
        let relays: Vec<Relay> = (0..PROXIES).map(|_| Relay::start(&home.tcp())).collect();
        let settings = [("server.workers", "2")];
        let proxies = relays.iter().map(|relay| Strata::start(&relay.endpoint(), &settings)).collect();
        Stage { home, relays, proxies, random: StdRng::seed_from_u64(seed) }
    }

    /// The way through a strata, or straight to home.
    fn way(&self, number: usize) -> Endpoint {
        self.proxies.get(number).map_or_else(|| self.home.unix(), Strata::endpoint)
    }

    /// Faults and calm in turn, for as long as a test takes.
    fn trouble(&mut self) {
        let end = Instant::now() + Duration::from_secs(setting("STRATA_USES_SECONDS", 10));
        loop {
            let calm = Duration::from_millis(self.random.random_range(CALM_MILLIS));
            thread::sleep(calm.min(end.saturating_duration_since(Instant::now())));
            if Instant::now() >= end {
                return;
            }
            self.inflict();
        }
    }

    fn inflict(&mut self) {
        let silence = Duration::from_millis(self.random.random_range(SILENCE_MILLIS));
        let moment = Duration::from_millis(self.random.random_range(20..300));
        let proxy = self.random.random_range(0..PROXIES);
        let all = [
            Fault::Cut,
            Fault::Silence,
            Fault::PauseHome,
            Fault::KillHome,
            Fault::PauseProxy,
            Fault::DropConnections,
        ];
        match all.choose(&mut self.random) {
            Some(Fault::Silence) => {
                let ways = [Direction::Requests, Direction::Replies];
                ways.into_iter().for_each(|way| self.relays[proxy].stall(way, true));
                thread::sleep(silence);
                ways.into_iter().for_each(|way| self.relays[proxy].stall(way, false));
            }
            Some(Fault::PauseHome) => {
                self.home.pause();
                thread::sleep(silence);
                self.home.resume();
            }
            Some(Fault::KillHome) => {
                self.home.kill();
                thread::sleep(moment);
                self.home.start_again();
            }
            Some(Fault::PauseProxy) => {
                self.proxies[proxy].pause();
                thread::sleep(silence);
                self.proxies[proxy].resume();
            }
            Some(Fault::DropConnections) => drop(self.home.kill_tcp_clients()),
            Some(Fault::Cut) | None => {
                self.relays[proxy].refuse(true);
                self.relays[proxy].cut();
                thread::sleep(moment);
                self.relays[proxy].refuse(false);
            }
        }
    }
}

/// A connection, if one can be made.
fn connect(endpoint: &Endpoint) -> Option<Client> {
    let mut client = Client::connect(endpoint).ok()?;
    client.set_patience(PATIENCE);
    Some(client)
}
