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
use super::faults::Fault;
use super::field::Field;
use super::link::{Copies, Forgetful, Link};
use super::logs::{LogRecord, Prolonger};
use super::model::{Actor, Clock, MILLISECOND, Nanos, Route, SECOND};
use super::report::{Report, Round};
use super::stage::Stage;
use super::witness::Witness;
use crate::support::{Arguments, Value, wait_until};

const CLIENTS_A_PROXY: usize = 4;
const CLIENTS_AT_HOME: usize = 3;

/// At most: what happened in a round is kept in memory until it is checked.
const ROUND: Duration = Duration::from_secs(25);
/// Before the first fault, for the latencies of a proxy that nothing is wrong with.
const CALM_START: Duration = Duration::from_secs(2);
/// How long home may take to answer when all is over.
const HOME_IS_WELL: Duration = Duration::from_secs(20);
/// Between faults, twice.
const CALM_MILLIS: std::ops::Range<u64> = 200..800;

/// The serving lease of a proxy as it comes, and what the scheduling of a busy machine is granted.
const LIMITS: Limits = Limits { lease: SECOND, slack: 200 * MILLISECOND, doubts_vanish: false };

/// What clients that don't go home speak to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Between {
    Nothing,
    Strata,
    /// A cache that keeps replies for 3 s whatever happens: to be found out.
    Forgetful,
}

/// The servers of a run. To be dropped after its report was judged: what the proxies said is shown on failure.
pub(super) struct Run {
    stage: Box<dyn Stage>,
    between: Between,
    clock: Clock,
    with_faults: bool,
    /// Faults of the deck in hand that are still to come.
    faults: Vec<Fault>,
}

impl Run {
    /// `start` is told whether proxies are wanted.
    pub(super) fn start<S: Stage + 'static>(
        start: impl FnOnce(bool) -> S,
        between: Between,
        with_faults: bool,
    ) -> Run {
        let stage = Box::new(start(between == Between::Strata));
        Run { stage, between, clock: Clock::start(), with_faults, faults: Vec::new() }
    }

    /// Lets all clients work and faults happen for `duration`, and checks what was read.
    pub(super) fn go(&mut self, seed: u64, duration: Duration) -> Report {
        let rounds = duration.as_nanos().div_ceil(ROUND.as_nanos()).max(1) as u32;
        let mut report = Report::new(seed);
        for number in 0..rounds {
            let random = StdRng::seed_from_u64(seed.wrapping_add(u64::from(number)));
            let round = self.round(number as usize, random, duration / rounds);
            let doubts_vanish = self.stage.terms().replicas.is_some();
            report.add(round, Limits { doubts_vanish, ..LIMITS });
        }
        report
    }

    fn round(&mut self, number: usize, mut random: StdRng, duration: Duration) -> Round {
        let field = Field::new(number, self.stage.terms());
        let over = AtomicBool::new(false);
        let links = self.links();
        let clock = self.clock;
        let mut round = Round::default();
        let prolongers = self.prolongers(&field, &mut random);
        let (records, logs): (Vec<Record>, Vec<LogRecord>) = thread::scope(|scope| {
            let prolongers: Vec<_> = (prolongers.into_iter())
                .map(|prolonger| {
                    let over = &over;
                    scope.spawn(move || prolonger.run(over))
                })
                .collect();
            let clients: Vec<_> = links
                .into_iter()
                .map(|(actor, link)| {
                    let random = StdRng::seed_from_u64(random.random());
                    let worker = Worker::new(actor, link, self.witness(), &field, clock, random);
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
            let logs = prolongers.into_iter().map(|client| client.join().expect("a client ends well"));
            let logs = logs.collect();
            faults.expect("faults can be inflicted");
            (records, logs)
        });
        round.collect(&field, records);
        round.collect_logs(&field, logs, |words| self.ask_home(words));
        round
    }

    /// One fault after the other until `end`, with calm between.
    fn trouble(&mut self, field: &Field, random: &mut StdRng, end: Nanos, round: &mut Round) {
        let clock = self.clock;
        let left = || Duration::from_nanos(end.saturating_sub(clock.now()));
        let before = self.stage.home_reads();
        thread::sleep(CALM_START.min(left()));
        round.calm_answers = field.answered.load(Ordering::Relaxed);
        let looks = before + field.losses.looks();
        round.calm_home_reads = self.stage.home_reads().saturating_sub(looks);
        while self.with_faults && !left().is_zero() {
            if self.faults.is_empty() {
                self.faults = self.stage.shuffled(random);
            }
            let Some(fault) = self.faults.pop() else { break };
            let no_flush = field.calm.lock().unwrap_or_else(PoisonError::into_inner);
            let begin = clock.now();
            self.stage.inflict(fault, field, clock, random);
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
        for proxy in 0..self.stage.proxies() {
            let copies = Arc::new(Mutex::new(HashMap::new()));
            for index in 0..CLIENTS_A_PROXY {
                let actor = Actor { client: links.len(), route: Route::Proxy(proxy) };
                links.push((actor, self.through(proxy, if index % 2 == 0 { 2 } else { 3 }, &copies)));
            }
        }
        for _ in 0..CLIENTS_AT_HOME {
            let actor = Actor { client: links.len(), route: Route::Home };
            links.push((actor, self.stage.home(self.clock)));
        }
        links
    }

    fn through(&self, proxy: usize, protocol: u8, copies: &Arc<Mutex<Copies>>) -> Box<dyn Link> {
        let link = self.stage.through(proxy, protocol, self.clock);
        match self.between {
            Between::Forgetful => Box::new(Forgetful::new(link, self.clock, copies, 3 * SECOND)),
            Between::Nothing | Between::Strata => link,
        }
    }

    fn witness(&self) -> Option<Witness> {
        self.stage.terms().replicas.map(|_| Witness::new(self.stage.home(self.clock)))
    }

    /// One client of each proxy and one at home.
    fn prolongers<'a>(&self, field: &'a Field, random: &mut StdRng) -> Vec<Prolonger<'a>> {
        let ways = (0..self.stage.proxies()).map(|proxy| self.stage.through(proxy, 2, self.clock));
        let ways = ways.chain([self.stage.home(self.clock)]).enumerate();
        let mut random = || StdRng::seed_from_u64(random.random());
        ways.map(|(client, link)| Prolonger {
            client,
            link,
            witness: self.witness(),
            field,
            random: random(),
        })
        .collect()
    }

    /// A read of home that waits until home is well.
    fn ask_home(&self, words: &Arguments) -> Option<Value> {
        let mut witness = Witness::new(self.stage.home(self.clock));
        let mut said = None;
        wait_until(HOME_IS_WELL, || {
            said = witness.ask(words);
            said.is_some()
        });
        said
    }
}
