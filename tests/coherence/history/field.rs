//! The registers of a round, and who may write them.
//!
//! A register has one writer at a time, and whoever is next begins only after the one before was answered: so the order of the writes
//! is home's order, whichever ways they take. A write in doubt (an error, a time-out) may reach home at any time
//! later. So it is the last of its register: the register is read on, never written again, and a new one, with new keys,
//! takes its place. No two registers ever share a key, so what comes late harms nobody.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::losses::Losses;
use super::model::{Actor, Cause, Clock, Content, History, MILLISECOND, Nanos, Read, State, Terms, Turn};

/// How much earlier than its time to live ends a value may vanish: home's clock is read once a command and counts
/// milliseconds.
const EXPIRY_EARLY: Nanos = 2 * MILLISECOND;

/// What a register is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One string.
    Text,
    /// One hash, whose two fields are always written together.
    Hash,
    /// Two strings, always written together.
    Pair,
}

const KINDS: [(Kind, usize); 3] = [(Kind::Text, 16), (Kind::Hash, 8), (Kind::Pair, 8)];

/// One register; its keys are named after it.
pub(super) struct Register {
    pub(super) id: usize,
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) terms: Terms,
    book: Mutex<Book>,
}

impl Register {
    fn new(id: usize, kind: Kind, round: usize, terms: Terms) -> Arc<Register> {
        let expiry_late = terms.expiry_late;
        let book =
            Book { states: vec![State::initial()], free_at: 0, retired: false, closed: None, expiry_late };
        Arc::new(Register { id, kind, name: format!("{{{round}:{id}}}"), terms, book: Mutex::new(book) })
    }

    /// One of its keys: all are in one slot of a cluster.
    pub(super) fn key(&self, suffix: &str) -> Vec<u8> {
        format!("{}{suffix}", self.name).into_bytes()
    }
}

/// What its writers know of a register.
pub(super) struct Book {
    states: Vec<State>,
    /// Not to be written before: a time to live runs.
    free_at: Nanos,
    retired: bool,
    /// Reads that end later prove nothing any more.
    closed: Option<Nanos>,
    expiry_late: Nanos,
}

impl Book {
    pub(super) fn content(&self) -> &Content {
        match self.states.last() {
            Some(state) => &state.content,
            None => &None,
        }
    }

    /// The version the next write makes.
    pub(super) fn next(&self) -> usize {
        self.states.len()
    }

    /// Notes a write, acknowledged at `done` or in doubt, and the expiry it brings about.
    pub(super) fn wrote(&mut self, write: Write, begin: Nanos, done: Option<Nanos>) {
        let Write { by, turn, what, content, ttl } = write;
        self.states.push(State { content, cause: Cause::Write { by, turn }, what, begin, done });
        let Some(ttl) = ttl else { return };
        let expired = done.map(|done| done + ttl + self.expiry_late);
        self.states.push(State {
            content: None,
            cause: Cause::Expiry { told: done.unwrap_or(begin) },
            what: "expired",
            begin: begin + ttl - EXPIRY_EARLY,
            done: expired,
        });
        self.free_at = expired.map_or(Nanos::MAX, |expired| expired + MILLISECOND);
    }

    /// Notes a write to all registers, which waits for no time to live: the register was absent since the one or the other.
    fn flushed(&mut self, write: Write, begin: Nanos, done: Nanos) {
        if self.retired {
            // Whether the write in doubt came before is not known.
            self.closed.get_or_insert(begin);
            return;
        }
        let running = self.free_at > begin;
        let expiry = self.states.pop_if(|state| running && matches!(state.cause, Cause::Expiry { .. }));
        self.wrote(write, expiry.map_or(begin, |expiry| begin.min(expiry.begin)), Some(done));
        self.free_at = 0;
    }
}

/// A write as it is noted.
pub(super) struct Write {
    pub(super) by: Actor,
    pub(super) turn: Turn,
    pub(super) what: &'static str,
    pub(super) content: Content,
    /// More than `EXPIRY_EARLY`.
    pub(super) ttl: Option<Nanos>,
}

struct Slot {
    current: Arc<Register>,
    previous: Option<Arc<Register>>,
}

/// All registers of a round.
pub(super) struct Field {
    slots: Vec<RwLock<Slot>>,
    all: Mutex<Vec<Arc<Register>>>,
    /// Held for reading by every write, for writing by a FLUSHALL: that one writes all registers.
    writing: RwLock<()>,
    /// Held while a fault is inflicted. A FLUSHALL needs it: were it in doubt, it could come late to any register.
    pub(super) calm: Mutex<()>,
    pub(super) round: usize,
    pub(super) terms: Terms,
    pub(super) losses: Losses,
    /// FLUSHALLs so far.
    pub(super) flushes: AtomicUsize,
    /// Answered reads so far.
    pub(super) answered: AtomicUsize,
}

impl Field {
    pub(super) fn new(round: usize, terms: Terms) -> Field {
        let kinds = KINDS.into_iter().flat_map(|(kind, count)| std::iter::repeat_n(kind, count));
        let all: Vec<_> = kinds.enumerate().map(|(id, kind)| Register::new(id, kind, round, terms)).collect();
        let slots =
            all.iter().map(|register| RwLock::new(Slot { current: Arc::clone(register), previous: None }));
        Field {
            slots: slots.collect(),
            all: Mutex::new(all),
            writing: RwLock::new(()),
            calm: Mutex::new(()),
            round,
            terms,
            losses: Losses::new(terms.replicas.unwrap_or(0)),
            flushes: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
        }
    }

    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn current(&self, slot: usize) -> Arc<Register> {
        Arc::clone(&read(&self.slots[slot]).current)
    }

    /// The register that was in the slot before, if any.
    pub(super) fn previous(&self, slot: usize) -> Option<Arc<Register>> {
        read(&self.slots[slot]).previous.clone()
    }

    /// Keeps FLUSHALL out.
    pub(super) fn begin_write(&self) -> RwLockReadGuard<'_, ()> {
        read(&self.writing)
    }

    /// Keeps all writes out.
    pub(super) fn begin_flush(&self) -> RwLockWriteGuard<'_, ()> {
        write(&self.writing)
    }

    /// The book of a register nobody else writes and that may be written now.
    pub(super) fn open<'a>(&self, register: &'a Register, clock: Clock) -> Option<MutexGuard<'a, Book>> {
        let book = register.book.try_lock().ok()?;
        (!book.retired && book.free_at < clock.now()).then_some(book)
    }

    /// Puts a new register in the place of one whose last write is in doubt.
    pub(super) fn retire(&self, slot: usize, register: &Arc<Register>, book: &mut Book) {
        book.retired = true;
        let mut all = lock(&self.all);
        let successor = Register::new(all.len(), register.kind, self.round, self.terms);
        all.push(Arc::clone(&successor));
        *write(&self.slots[slot]) = Slot { current: successor, previous: Some(Arc::clone(register)) };
    }

    /// Notes a FLUSHALL. Only while no write is under way.
    pub(super) fn flushed(&self, by: Actor, turn: Turn, begin: Nanos, done: Nanos) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        for register in lock(&self.all).iter() {
            let flush = Write { by, turn, what: "FLUSHALL", content: None, ttl: None };
            lock(&register.book).flushed(flush, begin, done);
        }
    }

    /// The histories of all registers, when all is over.
    pub(super) fn histories(&self, reads: Vec<Read>) -> Vec<History> {
        let all = lock(&self.all);
        let books: Vec<_> = all.iter().map(|register| lock(&register.book)).collect();
        let named = all.iter().zip(&books);
        let mut histories: Vec<History> = named
            .map(|(register, book)| History {
                name: format!("{:?} {}", register.kind, register.name),
                states: book.states.clone(),
                reads: Vec::new(),
            })
            .collect();
        for read in reads {
            let open = books[read.register].closed.is_none_or(|closed| read.end < closed);
            if open && !self.losses.excuse(&read) {
                histories[read.register].reads.push(read);
            }
        }
        histories
    }

    pub(super) fn count_answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::checker::{Limits, check};
    use super::super::model::{Part, Route, SECOND, Seen};
    use super::*;

    const BY: Actor = Actor { client: 1, route: Route::Proxy(0) };

    fn write(turn: u64, sent: Nanos, content: Content, ttl: Option<Nanos>) -> Write {
        Write { by: BY, turn: (sent, turn), what: "SET", content, ttl }
    }

    fn read(turn: u64, begin: Nanos, content: Content) -> Read {
        let (end, seen) = (begin + MILLISECOND, Seen::Content(content));
        Read { register: 0, part: Part::All, by: BY, turn: (begin, turn), begin, end, what: "GET", seen }
    }

    #[test]
    fn a_flush_while_a_time_to_live_ends_leaves_both_ways_to_become_absent() {
        let held: Content = Some(Box::from(&b"1"[..]));
        let field = Field::new(0, Terms::ONE);
        let register = field.current(0);
        let at = |millis: Nanos| millis * MILLISECOND;
        let clock = Clock::start();
        let mut book = field.open(&register, clock).unwrap();
        book.wrote(write(1, at(10), held.clone(), Some(at(100))), at(10), Some(at(12)));
        assert!(field.open(&register, clock).is_none());
        drop(book);
        field.flushed(BY, (at(115), 4), at(115), at(120));

        let reads = vec![read(2, at(109), None), read(3, at(113), held), read(5, at(130), None)];
        let limits = Limits { lease: SECOND, slack: 0, doubts_vanish: false };
        let history = &field.histories(reads)[0];
        assert_eq!(history.states.len(), 3);
        let wrong = check(history, limits).violations;
        // The second read came after the first had shown that the time was over.
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].story.starts_with("WentBack:"), "{wrong:?}");
    }

    #[test]
    fn a_register_in_doubt_is_replaced_and_a_flush_closes_it() {
        let field = Field::new(0, Terms::ONE);
        let register = field.current(3);
        let mut book = field.open(&register, Clock::start()).unwrap();
        book.wrote(write(1, 10, None, None), 10, None);
        field.retire(3, &register, &mut book);
        drop(book);
        assert!(field.open(&register, Clock::start()).is_none());
        assert_ne!(field.current(3).name, register.name);
        assert_eq!(field.previous(3).unwrap().id, register.id);

        field.flushed(BY, (100, 2), 100, 200);
        let reads = [1, 150].map(|begin| Read { register: register.id, ..read(3, begin, None) });
        let history = &field.histories(reads.to_vec())[register.id];
        assert_eq!(history.states.len(), 2);
        // Both end after the flush began.
        assert!(history.reads.is_empty());
    }
}
