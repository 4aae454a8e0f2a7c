//! One client: reads and writes at random, and keeps a record of both.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, TryLockError};
use std::thread;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::commands::{Query, Write, query, understand, write};
use super::errors::Errors;
use super::field::{self, Field, Register};
use super::link::{Link, Outcome};
use super::losses::Moment;
use super::model::{Actor, Clock, Nanos, Read, Route, Turn};
use super::witness::{Sight, Witness};
use crate::support::{Value, arguments};

/// Out of a hundred operations, how many are writes.
const WRITES_AT_HOME: u32 = 60;
const WRITES_BY_PROXY: u32 = 20;
/// One in so many writes is a FLUSHALL.
const FLUSH: u32 = 1_500;
/// One in so many reads is of a register that was given up.
const LOOK_BACK: u32 = 12;

const PAUSE_MICROS: std::ops::Range<u64> = 100..900;
/// Before the next operation of a client that met an error.
const AFTER_ERROR: Duration = Duration::from_millis(40);

/// What a client has to tell when the round is over.
#[derive(Default)]
pub(super) struct Record {
    pub(super) reads: Vec<Read>,
    pub(super) writes: usize,
    pub(super) errors: Errors,
    /// Replies to acknowledged writes that no correct server gives.
    pub(super) odd: Vec<String>,
}

pub(super) struct Worker<'a> {
    actor: Actor,
    link: Box<dyn Link>,
    /// Where home may lose what it acknowledged.
    witness: Option<Witness>,
    field: &'a Field,
    clock: Clock,
    random: StdRng,
    turn: u64,
    record: Record,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        actor: Actor,
        link: Box<dyn Link>,
        witness: Option<Witness>,
        field: &'a Field,
        clock: Clock,
        random: StdRng,
    ) -> Self {
        Worker { actor, link, witness, field, clock, random, turn: 0, record: Record::default() }
    }

    /// Works until `over`.
    pub(super) fn run(mut self, over: &AtomicBool) -> Record {
        let writes = match self.actor.route {
            Route::Home => WRITES_AT_HOME,
            Route::Proxy(_) => WRITES_BY_PROXY,
        };
        while !over.load(Ordering::Relaxed) {
            let errors = self.record.errors.total();
            match self.random.random_range(0..100) {
                kind if kind >= writes => self.read(),
                _ if self.field.terms.flushes && self.random.random_ratio(1, FLUSH) => self.flush(),
                _ => self.write(),
            }
            let pause = Duration::from_micros(self.random.random_range(PAUSE_MICROS));
            thread::sleep(if self.record.errors.total() > errors { AFTER_ERROR } else { pause });
        }
        self.record
    }

    fn next_turn(&mut self, sent: Nanos) -> Turn {
        self.turn += 1;
        (sent, self.turn)
    }

    fn any_register(&mut self) -> (usize, Arc<Register>) {
        let slot = self.random.random_range(0..self.field.slots());
        (slot, self.field.current(slot))
    }

    /// Some reads in one batch.
    fn read(&mut self) {
        let count = if self.random.random_ratio(1, 5) { self.random.random_range(2..6) } else { 1 };
        let queries: Vec<(Arc<Register>, Query)> = (0..count)
            .map(|_| {
                let (slot, mut register) = self.any_register();
                if self.random.random_ratio(1, LOOK_BACK) {
                    register = self.field.previous(slot).unwrap_or(register);
                }
                let query = query(&register, &mut self.random);
                (register, query)
            })
            .collect();
        let commands: Vec<_> = queries.iter().map(|(_, query)| query.command.clone()).collect();
        let begin = self.clock.now();
        let outcomes = self.link.exchange(&commands);
        for ((register, query), (outcome, end)) in queries.iter().zip(outcomes) {
            self.note_read(register, query, &outcome, begin, end);
        }
    }

    fn note_read(&mut self, register: &Register, query: &Query, outcome: &Outcome, begin: Nanos, end: Nanos) {
        let turn = self.next_turn(begin);
        let reply = match outcome {
            Outcome::Said(reply) if !reply.is_error() => reply,
            Outcome::Said(_) | Outcome::Unsure | Outcome::NotSent => {
                return self.record.errors.count(outcome);
            }
        };
        self.field.count_answered();
        match understand(query, reply) {
            Ok(seen) => self.record.reads.push(Read {
                register: register.id,
                part: query.part,
                by: self.actor,
                turn,
                begin,
                end,
                what: query.what,
                seen,
            }),
            Err(odd) => self.record.odd.push(format!("{}: {odd}", register.name)),
        }
    }

    /// One write of one register, now and then with a read before and after it in the same batch.
    fn write(&mut self) {
        let field = self.field;
        let _writing = field.begin_write();
        let (slot, register) = self.any_register();
        let Some(mut book) = field.open(&register, self.clock) else {
            return;
        };
        let Write { commands, mut replies, what, content, ttl, conditional } =
            write(&register, book.content(), book.next(), &mut self.random);
        let around = self.random.random_ratio(1, 4);
        let queries: Vec<Query> =
            if around { (0..2).map(|_| query(&register, &mut self.random)).collect() } else { Vec::new() };

        let mut batch = commands;
        if let [before, after] = &queries[..] {
            batch.insert(0, before.command.clone());
            batch.push(after.command.clone());
        }
        let losses = field.losses.now();
        let begin = self.clock.now();
        let mut outcomes = self.link.exchange(&batch);
        let after = if around { outcomes.pop() } else { None };
        let before = if around { Some(outcomes.remove(0)) } else { None };

        if let (Some((outcome, end)), Some(query)) = (before, queries.first()) {
            self.note_read(&register, query, &outcome, begin, end);
        }
        let lost = conditional && matches!(outcomes.last(), Some((Outcome::Said(Value::Nil), _)));
        if let (true, Some(last)) = (lost, replies.last_mut()) {
            *last = Value::Nil;
        }
        let turn = self.next_turn(begin);
        let noted = field::Write { by: self.actor, turn, what, content, ttl };
        let fate = match self.fate(&outcomes, &replies, what, losses) {
            Fate::Done(_) if !lost && !self.holds(&register, &noted, losses) => Fate::Doubt,
            fate => fate,
        };
        match fate {
            Fate::Done(_) if lost => {}
            Fate::Done(at) => book.wrote(noted, begin, Some(at)),
            Fate::Doubt => {
                book.wrote(noted, begin, None);
                field.retire(slot, &register, &mut book);
            }
            Fate::Never => {}
        }
        drop(book);
        if let (Some((outcome, end)), Some(query)) = (after, queries.last()) {
            self.note_read(&register, query, &outcome, begin, end);
        }
    }

    /// Whether an acknowledged write is at home and will stay there.
    fn holds(&mut self, register: &Register, write: &field::Write, losses: Moment) -> bool {
        let Some(witness) = &mut self.witness else {
            return true;
        };
        match witness.look(register, &write.content, write.ttl.is_some(), &self.field.losses) {
            Sight::Lasts => true,
            Sight::Unsure => false,
            Sight::Other(found) => {
                if self.field.losses.none_since(losses) {
                    let (name, what) = (&register.name, write.what);
                    self.record.odd.push(format!("{what} of {name} was acknowledged and is lost: {found:?}"));
                }
                false
            }
        }
    }

    fn fate(&mut self, outcomes: &[(Outcome, Nanos)], replies: &[Value], what: &str, losses: Moment) -> Fate {
        let doubtful = |outcome: &Outcome| match outcome {
            Outcome::Said(value) => value.is_error(),
            Outcome::Unsure | Outcome::NotSent => true,
        };
        if let Some((outcome, _)) = outcomes.iter().find(|(outcome, _)| doubtful(outcome)) {
            self.record.errors.count(outcome);
            let never = outcomes.iter().all(|(outcome, _)| *outcome == Outcome::NotSent);
            return if never { Fate::Never } else { Fate::Doubt };
        }
        let expected = replies.iter().cloned().map(Outcome::Said);
        if !outcomes.iter().map(|(outcome, _)| outcome.clone()).eq(expected) {
            // A server that lost what was there before answers otherwise.
            if self.field.terms.replicas.is_none() || self.field.losses.none_since(losses) {
                self.record
                    .odd
                    .push(format!("{what} by {:?}: {outcomes:?} instead of {replies:?}", self.actor));
            }
            return Fate::Doubt;
        }
        self.record.writes += 1;
        outcomes.last().map_or(Fate::Never, |&(_, at)| Fate::Done(at))
    }

    /// Empties home if no fault is on.
    fn flush(&mut self) {
        let _calm = match self.field.calm.try_lock() {
            Ok(calm) => calm,
            Err(TryLockError::Poisoned(_) | TryLockError::WouldBlock) => return,
        };
        let _writing = self.field.begin_flush();
        if !matches!(self.link.exchange(&[arguments(&["PING"])])[..], [(Outcome::Said(Value::Simple(_)), _)])
        {
            return;
        }
        let words = if self.random.random() { &["FLUSHALL"][..] } else { &["FLUSHALL", "ASYNC"] };
        let begin = self.clock.now();
        let outcomes = self.link.exchange(&[arguments(words)]);
        let turn = self.next_turn(begin);
        match outcomes[..] {
            [(Outcome::Said(Value::Simple(_)), done)] => self.field.flushed(self.actor, turn, begin, done),
            // It may still come, at any time: nothing after it could be judged.
            _ => panic!(
                "FLUSHALL by {:?} was not acknowledged though nothing was broken: {outcomes:?}",
                self.actor
            ),
        }
    }
}

enum Fate {
    Done(Nanos),
    Doubt,
    Never,
}
