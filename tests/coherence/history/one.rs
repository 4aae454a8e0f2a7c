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
}

impl One {
    /// Starts home and relays, with a proxy each if `strata`.
    pub(super) fn start(strata: bool) -> One {
        let home = RedisServer::start(&[("appendonly", "yes"), ("appendfsync", "always")]);
        let relays: Vec<Relay> = (0..PROXIES).map(|_| Relay::start(&home.tcp())).collect();
        let started = relays.iter().filter(|_| strata).map(|relay| Strata::start(&relay.endpoint(), &[]));
        let proxies = started.collect();
        One { home, relays, proxies }
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
        PROXIES
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
        let mut proxy = || random.random_range(0..PROXIES);
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
        faults.shuffle(random);
        faults
    }

    fn inflict(&mut self, fault: Fault, _field: &Field, _clock: Clock, random: &mut StdRng) {
        let relays: Vec<&Relay> = self.relays.iter().collect();
        if on_the_way(fault, &relays, random) || on_a_proxy(fault, &mut self.proxies, random) {
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
