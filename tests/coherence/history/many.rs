//! A run whose home is a cluster. Its nodes announce relays, so that all that goes to them can be broken on its way.

use std::ops::Range;
use std::thread;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::faults::{Fault, moment, on_a_proxy, on_the_way, silence};
use super::field::Field;
use super::link::{Direct, Link};
use super::model::{Clock, MILLISECOND, Terms};
use super::stage::Stage;
use super::ways::Ways;
use crate::support::{Cluster, Direction, RedisServer, Relay, Shape, Strata, slot_of};

const MASTERS: usize = 3;
/// Of each master: when one has taken its place, there is still another.
const REPLICAS: usize = 2;
const NODES: usize = MASTERS * (1 + REPLICAS);

/// After this long without an answer the nodes replace a master, in ms.
const NODE_TIMEOUT: &str = "3000";

/// How long a reply may still be under way that a node gave before it knew better.
const UNDER_WAY: u64 = 150 * MILLISECOND;

/// As is right for copies.
const SHARED_OPTIONS: [(&str, &str); 2] = [("maxmemory", "64mb"), ("maxmemory-policy", "allkeys-lru")];

/// Slots moved at a time, and the pauses between the steps of each.
const SLOTS: usize = 6;
const STEP_MILLIS: Range<u64> = 1..25;

/// The cluster and the proxies in front of it.
pub(super) struct Many {
    cluster: Cluster,
    /// Empty where clients speak to the nodes themselves.
    proxies: Vec<Strata>,
    /// The copies that the proxies of a node share: one for each two proxies, if any.
    shared: Vec<RedisServer>,
    /// How many proxies there are, or would be.
    ways: usize,
}

/// Proxies that share their copies.
const SHARERS: usize = 2;

impl Many {
    /// Starts the cluster, with `proxies` proxies if `strata`, which share copies if `sharing`.
    pub(super) fn start(proxies: usize, strata: bool, sharing: bool) -> Many {
        let options = vec![("cluster-node-timeout".to_owned(), NODE_TIMEOUT.to_owned())];
        let shape = Shape { masters: MASTERS, replicas: REPLICAS, options, relays: true, ..Shape::default() };
        let cluster = Cluster::start_as(shape);
        let nodes = if strata && sharing { proxies.div_ceil(SHARERS) } else { 0 };
        let shared: Vec<RedisServer> = (0..nodes).map(|_| RedisServer::start(&SHARED_OPTIONS)).collect();
        let start = |proxy: usize| {
            let url = shared.get(proxy / SHARERS).map(|l2| l2.unix().url());
            let mut settings = vec![("l3.request_timeout", "2s")];
            if let Some(url) = &url {
                settings.extend([("l2.enabled", "true"), ("l2.url", url)]);
            }
            cluster.strata(&settings)
        };
        let started = (0..proxies).filter(|_| strata).map(start).collect();
        Many { cluster, proxies: started, shared, ways: proxies }
    }

    /// The masters that have slots now.
    fn any_master(&self, random: &mut StdRng) -> usize {
        *self.cluster.masters().choose(random).expect("there are masters")
    }

    /// A master is killed, or stopped until it goes on as a replica.
    fn replace_master(&mut self, kill: bool, field: &Field, clock: Clock, random: &mut StdRng) {
        let master = self.any_master(random);
        let replicas = self.cluster.replicas(master);
        if kill {
            self.cluster.kill(master);
        } else {
            self.cluster.pause(master);
        }
        self.cluster.wait_any_promoted(&replicas);
        field.losses.require_replicas(REPLICAS - 1);
        thread::sleep(moment(random));
        let begin = clock.now();
        if kill {
            self.cluster.start_again(master);
        } else {
            self.cluster.resume(master);
            self.cluster.wait_replica(master);
            field.losses.home_was_wrong(begin, clock.now() + UNDER_WAY, true);
        }
        self.cluster.wait_ok();
        field.losses.require_replicas(REPLICAS);
    }

    fn pause_master(&mut self, field: &Field, clock: Clock, random: &mut StdRng) {
        let master = self.any_master(random);
        self.cluster.pause(master);
        thread::sleep(Duration::from_millis(random.random_range(1_200..1_800)));
        let begin = clock.now();
        self.cluster.resume(master);
        self.cluster.wait_ok();
        if !self.cluster.masters().contains(&master) {
            field.losses.home_was_wrong(begin, clock.now() + UNDER_WAY, true);
        }
    }

    fn failover(&mut self, field: &Field, clock: Clock, random: &mut StdRng) {
        let master = self.any_master(random);
        let replica = *self.cluster.replicas(master).choose(random).expect("the master has replicas");
        let begin = clock.now();
        self.cluster.failover(replica);
        // The old master may answer reads until it has heard of the new one.
        field.losses.home_was_wrong(begin, clock.now() + UNDER_WAY, false);
    }

    fn move_slots(&mut self, field: &Field, random: &mut StdRng) {
        let pause = |random: &mut StdRng| {
            thread::sleep(Duration::from_millis(random.random_range(STEP_MILLIS)));
        };
        for _ in 0..SLOTS {
            let register = field.current(random.random_range(0..field.slots()));
            let slot = slot_of(&register.key(""));
            let from = self.cluster.owner(slot);
            let others: Vec<usize> = self.cluster.masters().into_iter().filter(|&to| to != from).collect();
            let to = *others.choose(random).expect("there are other masters");
            self.cluster.begin_move(slot, to);
            pause(random);
            while self.cluster.move_keys(slot, to, 1) > 0 {
                pause(random);
            }
            pause(random);
            // Between the last look and the end of the slot's move, keys can only come into being at its new node.
            self.cluster.end_move(slot, to);
        }
        self.cluster.wait_ok();
    }
}

impl Stage for Many {
    fn terms(&self) -> Terms {
        Terms { replicas: Some(REPLICAS), ..Terms::CLUSTER }
    }

    fn proxies(&self) -> usize {
        self.ways
    }

    fn through(&self, proxy: usize, protocol: u8, clock: Clock) -> Box<dyn Link> {
        match self.proxies.get(proxy) {
            Some(strata) => Box::new(Direct::new(strata.endpoint(), protocol, clock)),
            None => {
                let node = |number| {
                    let node = self.cluster.node(number);
                    (node.address(), node.relay().endpoint())
                };
                Box::new(Ways::new((0..NODES).map(node).collect(), protocol, clock))
            }
        }
    }

    fn home(&self, clock: Clock) -> Box<dyn Link> {
        let node = |number| {
            let node = self.cluster.node(number);
            (node.address(), node.server.unix())
        };
        Box::new(Ways::new((0..NODES).map(node).collect(), 2, clock))
    }

    fn home_reads(&self) -> u64 {
        let nodes = self.cluster.running();
        let of = |&number: &usize| -> u64 {
            let server = &self.cluster.node(number).server;
            super::commands::READS.iter().map(|kind| server.calls(kind)).sum()
        };
        nodes.iter().map(of).sum()
    }

    fn shuffled(&self, random: &mut StdRng) -> Vec<Fault> {
        // What hits a replica hits nobody: a way to any of the masters of now will be one for some time.
        let masters = self.cluster.masters();
        let mut way = || *masters.choose(random).unwrap_or(&0);
        let mut faults = vec![
            Fault::Cut(way()),
            Fault::Silence(way(), None),
            Fault::Silence(way(), Some(Direction::Requests)),
            Fault::Silence(way(), Some(Direction::Replies)),
            Fault::HalfOpen(way()),
            Fault::HalfOpen(way()),
            Fault::Slow(way()),
            Fault::KillMaster,
            Fault::ReplaceMaster,
            Fault::PauseMaster,
            Fault::Failover,
            Fault::MoveSlots,
            Fault::MoveSlots,
        ];
        if !self.proxies.is_empty() {
            faults.push(Fault::PauseProxy(random.random_range(0..self.ways)));
            faults.push(Fault::KillProxy(random.random_range(0..self.ways)));
        }
        if !self.shared.is_empty() {
            faults.push(Fault::KillL2(random.random_range(0..self.shared.len())));
            faults.push(Fault::PauseL2(random.random_range(0..self.shared.len())));
        }
        faults.shuffle(random);
        faults
    }

    fn inflict(&mut self, fault: Fault, field: &Field, clock: Clock, random: &mut StdRng) {
        let relays: Vec<&Relay> = (0..NODES).map(|number| self.cluster.node(number).relay()).collect();
        if on_the_way(fault, &relays, random) || on_a_proxy(fault, &mut self.proxies, random) {
            return;
        }
        match fault {
            Fault::MoveSlots => return self.move_slots(field, random),
            Fault::KillL2(node) => {
                self.shared[node].kill();
                thread::sleep(moment(random));
                return self.shared[node].start_again();
            }
            Fault::PauseL2(node) => {
                self.shared[node].pause();
                thread::sleep(silence(random));
                return self.shared[node].resume();
            }
            _ => {}
        }
        field.losses.fault_begins();
        match fault {
            Fault::KillMaster => self.replace_master(true, field, clock, random),
            Fault::ReplaceMaster => self.replace_master(false, field, clock, random),
            Fault::PauseMaster => self.pause_master(field, clock, random),
            Fault::Failover => self.failover(field, clock, random),
            _ => unreachable!("{fault:?} is none of a cluster's"),
        }
        field.losses.fault_ends();
    }
}
