//! What a run found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::checker::{Limits, Violation, Wrong, check};
use super::client::Record;
use super::errors::Errors;
use super::faults::Fault;
use super::field::Field;
use super::logs::{self, LogRecord};
use super::model::{History, MILLISECOND, Nanos, Read, SECOND};

use crate::support::{Arguments, Value};

/// Violations told in full.
const TOLD: usize = 5;

/// After a fault, how long until latencies count as those of a calm time.
const SETTLING: Nanos = 2 * SECOND;

/// One round as it happened.
#[derive(Default)]
pub(super) struct Round {
    pub(super) faults: Vec<(Fault, Nanos, Nanos)>,
    /// Reads answered, and reads home executed, before the first fault.
    pub(super) calm_answers: usize,
    pub(super) calm_home_reads: u64,
    histories: Vec<History>,
    writes: usize,
    added: usize,
    races: usize,
    errors: Errors,
    odd: Vec<String>,
}

impl Round {
    /// Takes in what clients recorded.
    pub(super) fn collect(&mut self, field: &Field, records: Vec<Record>) {
        let mut reads: Vec<Read> = Vec::new();
        for record in records {
            reads.extend(record.reads);
            self.writes += record.writes;
            self.errors.add(record.errors);
            self.odd.extend(record.odd);
        }
        self.histories = field.histories(reads);
    }

    /// Takes in what was added to logs, and compares it with what home has at the end.
    pub(super) fn collect_logs(
        &mut self,
        field: &Field,
        records: Vec<LogRecord>,
        ask: impl FnMut(&Arguments) -> Option<Value>,
    ) {
        let mut added = Vec::new();
        for record in records {
            added.extend(record.added);
            self.races += record.races;
            self.errors.add(record.errors);
            self.odd.extend(record.odd);
        }
        self.added = added.len();
        self.odd.extend(logs::check(&added, field, ask));
    }

    /// Whether no fault is on at `at` or was shortly before.
    fn calm(&self, at: Nanos) -> bool {
        !self.faults.iter().any(|&(_, begin, end)| at >= begin && at < end + SETTLING)
    }
}

pub(super) struct Report {
    seed: u64,
    rounds: usize,
    registers: usize,
    pub(super) reads: usize,
    writes: usize,
    added: usize,
    races: usize,
    errors: Errors,
    late: usize,
    calm_answers: usize,
    calm_home_reads: u64,
    /// How far the reads of overtaken states were behind, in calm times and in others.
    stale_in_calm: Vec<Nanos>,
    stale_in_trouble: Vec<Nanos>,
    faults: BTreeMap<String, usize>,
    odd: Vec<String>,
    violations: Vec<Violation>,
}

impl Report {
    pub(super) fn new(seed: u64) -> Report {
        Report {
            seed,
            rounds: 0,
            registers: 0,
            reads: 0,
            writes: 0,
            added: 0,
            races: 0,
            errors: Errors::default(),
            late: 0,
            calm_answers: 0,
            calm_home_reads: 0,
            stale_in_calm: Vec::new(),
            stale_in_trouble: Vec::new(),
            faults: BTreeMap::new(),
            odd: Vec::new(),
            violations: Vec::new(),
        }
    }

    /// Checks a round and keeps what is worth telling.
    pub(super) fn add(&mut self, mut round: Round, limits: Limits) {
        self.rounds += 1;
        self.writes += round.writes;
        self.added += round.added;
        self.races += round.races;
        self.errors.add(std::mem::take(&mut round.errors));
        self.calm_answers += round.calm_answers;
        self.calm_home_reads += round.calm_home_reads;
        self.odd.append(&mut round.odd);
        for (fault, ..) in &round.faults {
            *self.faults.entry(format!("{fault:?}")).or_default() += 1;
        }
        for history in &round.histories {
            let verdict = check(history, limits);
            self.registers += 1;
            self.reads += history.reads.len();
            self.late += verdict.late;
            self.violations.extend(verdict.violations);
            for stale in verdict.stale {
                let times =
                    if round.calm(stale.at) { &mut self.stale_in_calm } else { &mut self.stale_in_trouble };
                times.push(stale.by);
            }
        }
    }

    pub(super) fn passed(&self) -> bool {
        self.violations.is_empty() && self.odd.is_empty()
    }

    /// The kinds of violations there were.
    pub(super) fn kinds(&self) -> BTreeSet<Wrong> {
        self.violations.iter().map(|violation| violation.wrong).collect()
    }

    /// Reads before anything broke that home did not execute.
    pub(super) fn answered_by_copies(&self) -> u64 {
        (self.calm_answers as u64).saturating_sub(self.calm_home_reads)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to, "STRATA_SEED={}, {} rounds, {} registers", self.seed, self.rounds, self.registers)?;
        writeln!(to, "{} reads, {} writes, {}", self.reads, self.writes, self.errors)?;
        writeln!(to, "{} added under WATCH, {} times too late", self.added, self.races)?;
        writeln!(to, "copies answered {} of {} reads in calm", self.answered_by_copies(), self.calm_answers)?;
        writeln!(to, "overtaken when read, in calm: {}", distribution(&self.stale_in_calm))?;
        writeln!(to, "overtaken when read, in trouble: {}", distribution(&self.stale_in_trouble))?;
        writeln!(to, "older than the lease, within the slack: {}", self.late)?;
        writeln!(to, "faults: {:?}", self.faults)?;
        for odd in self.odd.iter().take(TOLD) {
            writeln!(to, "impossible reply: {odd}")?;
        }
        let mut counts = BTreeMap::new();
        for violation in &self.violations {
            *counts.entry(violation.wrong).or_insert(0_usize) += 1;
        }
        writeln!(to, "violations: {counts:?}")?;
        self.violations.iter().take(TOLD).try_for_each(|violation| writeln!(to, "{}", violation.story))
    }
}

fn distribution(times: &[Nanos]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let Some(&most) = sorted.last() else {
        return "none".to_owned();
    };
    let milliseconds = |time: Nanos| time as f64 / MILLISECOND as f64;
    let at = |share: usize| milliseconds(sorted[(sorted.len() - 1) * share / 100]);
    let count = sorted.len();
    format!("{count} times by p50 {:.2} p99 {:.2} max {:.2} ms", at(50), at(99), milliseconds(most))
}
