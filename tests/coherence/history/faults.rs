//! What goes wrong during a run.

use std::thread;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::support::{Direction, Endpoint, RedisServer, Relay, Strata};

/// Longer than the lease of 1 s.
const SILENCE_MILLIS: std::ops::Range<u64> = 1_300..2_100;

/// Home, and the ways to it.
pub(super) struct Fleet {
    pub(super) home: RedisServer,
    /// One in front of home for each proxy.
    relays: Vec<Relay>,
    /// Empty where clients speak to the relays themselves.
    proxies: Vec<Strata>,
    /// Copies that the proxies share.
    l2: Option<RedisServer>,
}

impl Fleet {
    /// Starts home and `proxies` relays, with a proxy each if `strata`, and an L2 for all of them if `shared`.
    pub(super) fn start(proxies: usize, strata: bool, shared: bool) -> Fleet {
        let home = RedisServer::start(&[("appendonly", "yes"), ("appendfsync", "always")]);
        let relays: Vec<Relay> = (0..proxies).map(|_| Relay::start(&home.tcp())).collect();
        let l2 =
            shared.then(|| RedisServer::start(&[("maxmemory", "3mb"), ("maxmemory-policy", "allkeys-lru")]));
        let started = relays.iter().filter(|_| strata).map(|relay| match &l2 {
            None => Strata::start(&relay.endpoint(), &[]),
            Some(l2) => under_l2(&relay.endpoint(), l2),
        });
        let proxies = started.collect();
        Fleet { home, relays, proxies, l2 }
    }

    /// How many ways to home there are besides the direct one.
    pub(super) fn relays(&self) -> usize {
        self.relays.len()
    }

    /// Where clients of this proxy connect.
    pub(super) fn endpoint(&self, proxy: usize) -> Endpoint {
        self.proxies.get(proxy).map_or_else(|| self.relays[proxy].endpoint(), Strata::endpoint)
    }
}

/// A proxy whose L1 forgets soon, so that much is read from L2.
fn under_l2(home: &Endpoint, l2: &RedisServer) -> Strata {
    let home = home.url().replace("redis://", "");
    let settings = [
        ("l2.url", &*l2.tcp().url()),
        ("l2.namespace", "history"),
        ("l3.enabled", "true"),
        ("l3.mode", "standalone"),
        ("l3.nodes", &*home),
        ("l1.ttl", "20ms"),
    ];
    Strata::start_bare(&settings)
}

/// One kind of fault, and which proxy it hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connections between a proxy and home break, and for a moment new ones do too.
    Cut(usize),
    /// They stay open and carry nothing one way, or both ways.
    Silence(usize, Option<Direction>),
    /// They are slow.
    Slow(usize),
    /// Home stops for longer than the lease.
    PauseHome,
    RestartHome,
    KillHome,
    /// Home closes the connections of all proxies.
    DropConnections,
    /// A proxy stops for longer than the lease.
    PauseProxy(usize),
    KillProxy(usize),
    PauseL2,
    KillL2,
    FlushL2,
}

/// Every kind once, in random order.
pub(super) fn shuffled(fleet: &Fleet, random: &mut StdRng) -> Vec<Fault> {
    let mut proxy = || random.random_range(0..fleet.relays.len());
    let mut faults = vec![
        Fault::Cut(proxy()),
        Fault::Silence(proxy(), None),
        Fault::Silence(proxy(), Some(Direction::Requests)),
        Fault::Silence(proxy(), Some(Direction::Replies)),
        Fault::Slow(proxy()),
        Fault::PauseHome,
        Fault::RestartHome,
        Fault::KillHome,
        Fault::DropConnections,
    ];
    if !fleet.proxies.is_empty() {
        faults.push(Fault::PauseProxy(proxy()));
    }
    if fleet.l2.is_some() {
        faults.extend([Fault::KillProxy(proxy()), Fault::PauseL2, Fault::KillL2, Fault::FlushL2]);
    }
    faults.shuffle(random);
    faults
}

impl Fault {
    /// Inflicts the fault and takes it back.
    pub(super) fn inflict(self, fleet: &mut Fleet, random: &mut StdRng) {
        let silence = Duration::from_millis(random.random_range(SILENCE_MILLIS));
        let moment = Duration::from_millis(random.random_range(20..400));
        match self {
            Fault::Cut(proxy) => {
                let relay = &fleet.relays[proxy];
                relay.refuse(true);
                relay.cut();
                thread::sleep(moment);
                relay.refuse(false);
            }
            Fault::Silence(proxy, direction) => {
                let ways = direction.map_or(vec![Direction::Requests, Direction::Replies], |way| vec![way]);
                let relay = &fleet.relays[proxy];
                ways.iter().for_each(|&way| relay.stall(way, true));
                thread::sleep(silence);
                // What was held is lost, or comes late.
                if random.random() {
                    relay.cut();
                }
                ways.iter().for_each(|&way| relay.stall(way, false));
            }
            Fault::Slow(proxy) => {
                fleet.relays[proxy].delay(moment / 8);
                thread::sleep(silence / 2);
                fleet.relays[proxy].delay(Duration::ZERO);
            }
            Fault::PauseHome => {
                fleet.home.pause();
                thread::sleep(silence);
                fleet.home.resume();
            }
            Fault::RestartHome => {
                fleet.home.stop();
                thread::sleep(moment);
                fleet.home.start_again();
            }
            Fault::KillHome => {
                fleet.home.kill();
                thread::sleep(moment);
                fleet.home.start_again();
            }
            Fault::DropConnections => drop(fleet.home.kill_tcp_clients()),
            Fault::PauseProxy(proxy) => {
                fleet.proxies[proxy].pause();
                thread::sleep(silence);
                fleet.proxies[proxy].resume();
            }
            Fault::KillProxy(proxy) => {
                fleet.proxies[proxy].kill();
                thread::sleep(moment);
                fleet.proxies[proxy].start_again();
            }
            Fault::PauseL2 | Fault::KillL2 | Fault::FlushL2 => {
                let Some(l2) = &mut fleet.l2 else { return };
                match self {
                    Fault::PauseL2 => {
                        l2.pause();
                        thread::sleep(silence);
                        l2.resume();
                    }
                    Fault::KillL2 => {
                        l2.kill();
                        thread::sleep(moment);
                        l2.start_again();
                    }
                    _ => drop(l2.connect().call(&["FLUSHALL"]).expect("L2 is flushed")),
                }
            }
        }
    }
}
