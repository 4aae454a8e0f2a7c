//! A run: servers, clients and faults, round after round.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::checker::Limits;
use super::client::{Record, Worker};
use super::faults::{Fault, Fleet, shuffled};
use super::field::Field;
use super::link::{Direct, Forgetful, Link};
use super::model::{Actor, Clock, MILLISECOND, Nanos, Route, SECOND};
use super::report::{Report, Round};

const PROXIES: usize = 2;
const PROXIES_OVER_L2: usize = 3;
const CLIENTS_A_PROXY: usize = 4;
const CLIENTS_AT_HOME: usize = 3;

/// At most: what happened in a round is kept in memory until it is checked.
const ROUND: Duration = Duration::from_secs(25);
/// Before the first fault, for the latencies of a proxy that nothing is wrong with.
const CALM_START: Duration = Duration::from_secs(2);
/// Between faults, twice.
const CALM_MILLIS: std::ops::Range<u64> = 200..800;

/// The serving lease of a proxy as it comes, and what the scheduling of a busy machine is granted.
const LIMITS: Limits = Limits { lease: SECOND, slack: 200 * MILLISECOND };

/// What clients that don't go home speak to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Between {
    Nothing,
    Strata,
    /// The same with an L2 that they share.
    StrataOverL2,
    /// A cache that keeps replies for 3 s whatever happens: to be found out.
    Forgetful,
}

/// The servers of a run. To be dropped after its report was judged: what the proxies said is shown on failure.
pub(super) struct Run {
    fleet: Fleet,
    between: Between,
    clock: Clock,
    with_faults: bool,
    /// Faults of the deck in hand that are still to come.
    faults: Vec<Fault>,
}

impl Run {
    pub(super) fn start(between: Between, with_faults: bool) -> Run {
        let shared = between == Between::StrataOverL2;
        let proxies = if shared { PROXIES_OVER_L2 } else { PROXIES };
        let fleet = Fleet::start(proxies, shared || between == Between::Strata, shared);
        Run { fleet, between, clock: Clock::start(), with_faults, faults: Vec::new() }
    }

    /// Lets all clients work and faults happen for `duration`, and checks what was read.
    pub(super) fn go(&mut self, seed: u64, duration: Duration) -> Report {
        let rounds = duration.as_nanos().div_ceil(ROUND.as_nanos()).max(1) as u32;
        let mut report = Report::new(seed);
        for number in 0..rounds {
            let random = StdRng::seed_from_u64(seed.wrapping_add(u64::from(number)));
            let round = self.round(number as usize, random, duration / rounds);
            report.add(round, LIMITS);
        }
        report
    }

    fn round(&mut self, number: usize, mut random: StdRng, duration: Duration) -> Round {
        let field = Field::new(number);
        let over = AtomicBool::new(false);
        let links = self.links();
        let clock = self.clock;
        let mut round = Round::default();
        let records: Vec<Record> = thread::scope(|scope| {
            let clients: Vec<_> = links
                .into_iter()
                .map(|(actor, link)| {
                    let worker =
                        Worker::new(actor, link, &field, clock, StdRng::seed_from_u64(random.random()));
                    let over = &over;
                    scope.spawn(move || worker.run(over))
                })
                .collect();
            // Clients have to stop even if a fault can't be inflicted, or nobody would hear of it.
            let end = clock.now() + u64::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX / 2);
            let faults =
                catch_unwind(AssertUnwindSafe(|| self.trouble(&field, &mut random, end, &mut round)));
            over.store(true, Ordering::Relaxed);
            let records =
                clients.into_iter().map(|client| client.join().expect("a client ends well")).collect();
            faults.expect("faults can be inflicted");
            records
        });
        round.collect(&field, records);
        round
    }

    /// One fault after the other until `end`, with calm between.
    fn trouble(&mut self, field: &Field, random: &mut StdRng, end: Nanos, round: &mut Round) {
        let clock = self.clock;
        let left = || Duration::from_nanos(end.saturating_sub(clock.now()));
        let before = home_reads(&self.fleet);
        thread::sleep(CALM_START.min(left()));
        round.calm_answers = field.answered.load(Ordering::Relaxed);
        round.calm_home_reads = home_reads(&self.fleet).saturating_sub(before);
        while self.with_faults && !left().is_zero() {
            if self.faults.is_empty() {
                self.faults = shuffled(&self.fleet, random);
            }
            let Some(fault) = self.faults.pop() else { break };
            let no_flush = field.calm.lock().unwrap_or_else(PoisonError::into_inner);
            let begin = clock.now();
            fault.inflict(&mut self.fleet, random);
            round.faults.push((fault, begin, clock.now()));
            // Proxies may need a moment to find home again.
            thread::sleep(Duration::from_millis(random.random_range(CALM_MILLIS)).min(left()));
            drop(no_flush);
            thread::sleep(Duration::from_millis(random.random_range(CALM_MILLIS)).min(left()));
        }
        thread::sleep(left());
    }

    /// Every client with its way.
    fn links(&self) -> Vec<(Actor, Box<dyn Link>)> {
        let mut links: Vec<(Actor, Box<dyn Link>)> = Vec::new();
        for proxy in 0..self.fleet.relays() {
            let copies = Arc::new(Mutex::new(HashMap::new()));
            for index in 0..CLIENTS_A_PROXY {
                let actor = Actor { client: links.len(), route: Route::Proxy(proxy) };
                let protocol = if index % 2 == 0 { 2 } else { 3 };
                let direct = Direct::new(self.fleet.endpoint(proxy), protocol, self.clock);
                links.push((
                    actor,
                    match self.between {
                        Between::Forgetful => Box::new(Forgetful::new(direct, &copies, 3 * SECOND)),
                        Between::Nothing | Between::Strata | Between::StrataOverL2 => Box::new(direct),
                    },
                ));
            }
        }
        for _ in 0..CLIENTS_AT_HOME {
            let actor = Actor { client: links.len(), route: Route::Home };
            links.push((actor, Box::new(Direct::new(self.fleet.home.unix(), 2, self.clock))));
        }
        links
    }
}

/// How many reads of the kinds clients make home has executed.
fn home_reads(fleet: &Fleet) -> u64 {
    let kinds = ["get", "getrange", "strlen", "exists", "hget", "hmget", "hgetall", "mget"];
    kinds.into_iter().map(|kind| fleet.home.calls(kind)).sum()
}
