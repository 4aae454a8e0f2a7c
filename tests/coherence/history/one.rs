//! A run whose home is one server. It appends every write to disk before it acknowledges it.

use std::thread;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::faults::{Fault, moment, on_a_proxy, on_the_way, silence};
use super::field::Field;
use super::link::{Direct, Link};
use super::model::{Clock, Terms};
use super::stage::Stage;
use crate::support::{Direction, Endpoint, RedisServer, Relay, Strata};

const PROXIES: usize = 2;

/// Home, and the ways to it.
pub(super) struct One {
    home: RedisServer,
    /// One in front of home for each proxy.
    relays: Vec<Relay>,
    /// Empty where clients speak to the relays themselves.
    proxies: Vec<Strata>,
    /// Copies that the proxies share.
    l2: Option<RedisServer>,
}

impl One {
    /// Starts home and relays, with a proxy each if `strata`.
    pub(super) fn start(strata: bool) -> One {
        let home = RedisServer::start(&[("appendonly", "yes"), ("appendfsync", "always")]);
        let relays: Vec<Relay> = (0..PROXIES).map(|_| Relay::start(&home.tcp())).collect();
        let started = relays.iter().filter(|_| strata).map(|relay| Strata::start(&relay.endpoint(), &[]));
        let proxies = started.collect();
        One { home, relays, proxies, l2: None }
    }

    /// The same with one proxy more, and an L2 for all of them, which is full. Their L1 forgets soon, so that much is
    /// read from L2.
    pub(super) fn start_over_l2(strata: bool) -> One {
        let mut one = One::start(false);
        one.relays.push(Relay::start(&one.home.tcp()));
        let l2 = RedisServer::start(&[("maxmemory", "3mb"), ("maxmemory-policy", "allkeys-lru")]);
        let started = one.relays.iter().filter(|_| strata).map(|relay| {
            let home = relay.endpoint().url().replace("redis://", "");
            let settings = [
                ("l2.url", &*l2.tcp().url()),
                ("l2.namespace", "history"),
                ("l3.enabled", "true"),
                ("l3.mode", "standalone"),
                ("l3.nodes", &*home),
                ("l1.ttl", "20ms"),
            ];
            Strata::start_bare(&settings)
        });
        One { proxies: started.collect(), l2: Some(l2), ..one }
    }

    fn trouble_l2(&mut self, fault: Fault, random: &mut StdRng) -> bool {
        let Some(l2) = &mut self.l2 else { return false };
        match fault {
            Fault::PauseL2(_) => {
                l2.pause();
                thread::sleep(silence(random));
                l2.resume();
            }
            Fault::KillL2(_) => {
                l2.kill();
                thread::sleep(moment(random));
                l2.start_again();
            }
            Fault::FlushL2 => drop(l2.connect().call(&["FLUSHALL"]).expect("L2 is flushed")),
            _ => return false,
        }
        true
    }

    /// Where clients of this proxy connect.
    fn endpoint(&self, proxy: usize) -> Endpoint {
        self.proxies.get(proxy).map_or_else(|| self.relays[proxy].endpoint(), Strata::endpoint)
    }
}

impl Stage for One {
    fn terms(&self) -> Terms {
        Terms::ONE
    }

    fn proxies(&self) -> usize {
        self.relays.len()
    }

    fn through(&self, proxy: usize, protocol: u8, clock: Clock) -> Box<dyn Link> {
        Box::new(Direct::new(self.endpoint(proxy), protocol, clock))
    }

    fn home(&self, clock: Clock) -> Box<dyn Link> {
        Box::new(Direct::new(self.home.unix(), 2, clock))
    }

    fn home_reads(&self) -> u64 {
        super::commands::READS.iter().map(|kind| self.home.calls(kind)).sum()
    }

    fn shuffled(&self, random: &mut StdRng) -> Vec<Fault> {
        let mut proxy = || random.random_range(0..self.relays.len());
        let mut faults = vec![
            Fault::Cut(proxy()),
            Fault::Silence(proxy(), None),
            Fault::Silence(proxy(), Some(Direction::Requests)),
            Fault::Silence(proxy(), Some(Direction::Replies)),
            Fault::HalfOpen(proxy()),
            Fault::Slow(proxy()),
            Fault::PauseHome,
            Fault::RestartHome,
            Fault::KillHome,
            Fault::DropConnections,
        ];
        if !self.proxies.is_empty() {
            faults.extend([Fault::PauseProxy(proxy()), Fault::KillProxy(proxy())]);
        }
        if self.l2.is_some() {
            faults.extend([Fault::PauseL2(0), Fault::KillL2(0), Fault::FlushL2]);
        }
        faults.shuffle(random);
        faults
    }

    fn inflict(&mut self, fault: Fault, _field: &Field, _clock: Clock, random: &mut StdRng) {
        let relays: Vec<&Relay> = self.relays.iter().collect();
        if on_the_way(fault, &relays, random) || on_a_proxy(fault, &mut self.proxies, random) {
            return;
        }
        if self.trouble_l2(fault, random) {
            return;
        }
        match fault {
            Fault::PauseHome => {
                self.home.pause();
                thread::sleep(silence(random));
                self.home.resume();
            }
            Fault::RestartHome => {
                self.home.stop();
                thread::sleep(moment(random));
                self.home.start_again();
            }
            Fault::KillHome => {
                self.home.kill();
                thread::sleep(moment(random));
                self.home.start_again();
            }
            Fault::DropConnections => drop(self.home.kill_tcp_clients()),
            _ => unreachable!("{fault:?} is none of one server's"),
        }
    }
}
