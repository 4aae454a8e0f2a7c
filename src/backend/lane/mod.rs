//! A lane: one pipelined connection to a node, shared by the clients of a worker.
//!
//! Requests are appended as raw bytes and written once a wake-up; replies are cut out of the read buffer
//! without decoding and go, in order, to the tickets of their requests. A lane belongs to one protocol and one
//! database for life. It dials when there is something to send, and again at once after a loss; what was surely
//! not written goes out on the new connection, everything else fails.

mod task;
mod ticket;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use super::breaker::Unreachable;
use super::connection::DialError;
use super::node::Node;
use super::pool::Lease;
use crate::clock;
use crate::metrics::Counters;
use crate::resp::Proto;

pub use ticket::{Failure, Outcome, Reply, Ticket};

/// Buffers above this are given back once they are empty.
const KEEP_CAPACITY: usize = 256 * 1024;
/// Unwritten bytes above which clients should stop asking.
const CONGESTED: usize = 64 << 20;
/// A lane without traffic for this long closes its connection.
const IDLE: Duration = Duration::from_secs(300);

struct Pending<T> {
    /// None once its time ran out; the reply is then dropped.
    ticket: Option<T>,
    /// Replies that come before the last one.
    parts: u32,
    /// When its time runs out; rising within a lane.
    due: u64,
    /// Position in the stream of requests behind this one's last byte.
    end: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Idle,
    Dialing,
    Up,
    /// The connection was a client's own and is lost: there will be no other.
    Gone,
}

/// What becomes of a connection that was lent to one client, once the lane is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Leave {
    /// It is closed, whatever it is waiting for.
    Close,
    /// What was asked is answered; then it may be lent again, if it is as it was.
    Finish { reusable: bool },
}

struct State<T> {
    phase: Phase,
    out: Vec<u8>,
    /// Bytes of `out` that were written.
    written: usize,
    /// Position in the stream of requests of the first byte of `out`.
    out_start: u64,
    pending: VecDeque<Pending<T>>,
    last_use: u64,
    last_read: u64,
    abort: Option<String>,
    close_idle: bool,
    leave: Option<Leave>,
    waiting: Vec<Waker>,
    hears: Option<Hears>,
}

/// What is called with each push that comes by a connection of a client's own; whether that was all to be done with it.
pub type Hears = Rc<dyn Fn(&[u8]) -> bool>;

struct Core<T> {
    node: Arc<Node>,
    proto: Proto,
    db: u16,
    counters: Arc<Counters>,
    /// The connection was lent to one client.
    own: bool,
    state: RefCell<State<T>>,
    waker: RefCell<Option<Waker>>,
    woken: Cell<bool>,
}

/// A handle; the connection ends when the last one is dropped.
pub struct Lane<T: Ticket>(Rc<Core<T>>);

impl<T: Ticket> Lane<T> {
    /// A lane to `node`; its task runs on the current local set.
    pub fn new(node: Arc<Node>, proto: Proto, db: u16, counters: Arc<Counters>) -> Self {
        let core = Core::new(node, (proto, db), counters, false);
        tokio::task::spawn_local(task::run(Rc::downgrade(&core)));
        Lane(core)
    }

    /// A lane over one connection, for the client that has leased it; when that is lost everything fails.
    pub fn over(lease: Lease, node: Arc<Node>, counters: Arc<Counters>) -> Self {
        let core = Core::new(node, (Proto::Resp2, 0), counters, true);
        core.state.borrow_mut().phase = Phase::Up;
        tokio::task::spawn_local(task::run_leased(core.clone(), lease));
        Lane(core)
    }

    /// Ends the lane of a leased connection once everything is answered. It may be lent again if it is `reusable`:
    /// it watches nothing, and its protocol and database are those it was lent with.
    pub fn finish(&self, reusable: bool) {
        self.0.state.borrow_mut().leave = Some(Leave::Finish { reusable });
        self.0.wake();
    }

    /// Has `hears` called with each push. Not to touch the lane.
    pub fn on_push(&self, hears: Hears) {
        self.0.state.borrow_mut().hears = Some(hears);
    }

    /// Ends the connection now; what it has not answered fails.
    pub fn abort(&self, reason: &str) {
        self.0.state.borrow_mut().abort = Some(reason.to_owned());
        self.0.wake();
    }

    /// Whether this was a client's own connection, and is no more.
    pub fn is_gone(&self) -> bool {
        let state = self.0.state.borrow();
        state.phase == Phase::Gone || state.abort.is_some()
    }

    /// Sends one request that has one reply. Contiguous calls without an await between them stay contiguous.
    ///
    /// While the node is known to be down the ticket fails before this returns.
    pub fn send(&self, request: &[u8], ticket: T, now: u64) {
        self.send_parts(request, 0, ticket, now);
    }

    /// Sends requests that are one: written by one connection, answered by `parts` replies and a last one. Nothing
    /// comes between them, and they are never sent twice, not even in part.
    pub fn send_parts(&self, requests: &[u8], parts: u32, ticket: T, now: u64) {
        let due = now.saturating_add(clock::nanos(self.0.node.request_timeout));
        self.send_block(requests, parts, ticket, now, due);
    }

    /// The same, to be answered until `due`.
    pub fn send_block(&self, requests: &[u8], parts: u32, ticket: T, now: u64, due: u64) {
        let mut state = self.0.state.borrow_mut();
        if state.phase == Phase::Gone {
            drop(state);
            let lost = Failure::Lost("it was lost before".to_owned());
            return ticket.complete(Outcome::Failed(lost), now);
        }
        if state.phase == Phase::Idle {
            if let Err(down) = self.0.node.breaker.check() {
                drop(state);
                self.0.counters.home_failures.add(1);
                ticket.complete(Outcome::Failed(Failure::Unreachable(down)), now);
                return;
            }
            state.phase = Phase::Dialing;
        }
        state.out.extend_from_slice(requests);
        let end = state.out_start + state.out.len() as u64;
        state.pending.push_back(Pending { ticket: Some(ticket), parts, due, end });
        state.last_use = now;
        drop(state);
        self.0.wake();
    }

    /// Whether so much is waiting to be written that clients should stop asking.
    pub fn congested(&self) -> bool {
        let state = self.0.state.borrow();
        state.out.len() - state.written > CONGESTED
    }

    /// Wakes `waker` when the lane is no longer congested.
    pub fn on_drain(&self, waker: Waker) {
        self.0.state.borrow_mut().waiting.push(waker);
    }

    /// When the oldest request without a reply was sent.
    pub fn oldest(&self) -> Option<u64> {
        let due = self.0.state.borrow().pending.front()?.due;
        Some(due.saturating_sub(clock::nanos(self.0.node.request_timeout)))
    }

    /// Requests without a reply.
    pub fn depth(&self) -> usize {
        self.0.state.borrow().pending.len()
    }

    /// Fails what has waited longer than the node's bound, and closes what is dead or idle.
    pub fn tick(&self, now: u64) {
        let timeout = self.0.node.request_timeout;
        let bound = clock::nanos(timeout);
        let mut late = Vec::new();
        {
            let mut state = self.0.state.borrow_mut();
            for p in &mut state.pending {
                if p.due > now {
                    break;
                }
                late.extend(p.ticket.take());
            }
            let silent = self.0.own || state.last_read.saturating_add(bound) <= now;
            if !late.is_empty() && silent {
                state.abort = Some(format!("no answer for {timeout:?}"));
            }
            let unused = now.saturating_sub(state.last_use) > clock::nanos(IDLE);
            state.close_idle = unused && state.pending.is_empty() && state.phase == Phase::Up && !self.0.own;
            if state.abort.is_none() && !state.close_idle && late.is_empty() {
                return;
            }
        }
        self.0.wake();
        for ticket in late {
            self.0.counters.home_failures.add(1);
            ticket.complete(Outcome::Failed(Failure::Timeout(timeout)), now);
        }
    }
}

impl<T: Ticket> Drop for Lane<T> {
    fn drop(&mut self) {
        self.0.state.borrow_mut().leave.get_or_insert(Leave::Close);
        self.0.wake();
    }
}

impl<T> Core<T> {
    fn new(node: Arc<Node>, (proto, db): (Proto, u16), counters: Arc<Counters>, own: bool) -> Rc<Self> {
        let state = State {
            phase: Phase::Idle,
            out: Vec::new(),
            written: 0,
            out_start: 0,
            pending: VecDeque::new(),
            last_use: clock::now(),
            last_read: 0,
            abort: None,
            close_idle: false,
            leave: None,
            waiting: Vec::new(),
            hears: None,
        };
        let state = RefCell::new(state);
        Rc::new(Core {
            node,
            proto,
            db,
            counters,
            own,
            state,
            waker: RefCell::new(None),
            woken: Cell::new(false),
        })
    }

    fn wake(&self) {
        if !self.woken.replace(true)
            && let Some(waker) = self.waker.borrow().as_ref()
        {
            waker.wake_by_ref();
        }
    }

    /// Registers the lane's task, which thereby has seen everything up to now.
    fn listen(&self, cx: &Context<'_>) {
        self.woken.set(false);
        let mut waker = self.waker.borrow_mut();
        match waker.as_mut() {
            Some(w) => w.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
    }
}

impl<T: Ticket> Core<T> {
    /// What was to go by a connection that could not be opened.
    fn fail_all(&self, error: &DialError) {
        let failed: Vec<_> = {
            let mut state = self.state.borrow_mut();
            state.phase = Phase::Idle;
            state.out_start += state.out.len() as u64;
            (state.out, state.written) = (Vec::new(), 0);
            state.pending.drain(..).filter_map(|p| p.ticket).collect()
        };
        let retry_in = self.node.breaker.check().err().map_or(Duration::ZERO, |u| u.retry_in);
        for ticket in failed {
            self.counters.home_failures.add(1);
            let failure = match error.busy() {
                Some(words) => Failure::Busy(words.to_owned()),
                None => Failure::Unreachable(Unreachable { reason: error.to_string(), retry_in }),
            };
            ticket.complete(Outcome::Failed(failure), clock::now());
        }
    }

    /// The connection is gone: what had begun to be written fails, the rest stays for the next connection.
    fn lost(&self, reason: &str) {
        let mut failed = Vec::new();
        {
            let mut state = self.state.borrow_mut();
            let flushed = state.out_start + state.written as u64;
            let (old, old_start) = (std::mem::take(&mut state.out), state.out_start);
            let mut kept = VecDeque::new();
            let mut start = old_start;
            for mut p in std::mem::take(&mut state.pending) {
                let begin = start;
                start = p.end.max(old_start);
                match p.ticket.take() {
                    None => {}
                    Some(ticket) if self.own || begin < flushed || p.end <= flushed => failed.push(ticket),
                    Some(ticket) => {
                        let (from, to) = ((begin - old_start) as usize, (p.end - old_start) as usize);
                        state.out.extend_from_slice(&old[from..to]);
                        let end = state.out.len() as u64;
                        kept.push_back(Pending { ticket: Some(ticket), end, ..p });
                    }
                }
            }
            state.out_start = start;
            state.written = 0;
            let base = state.out_start;
            state.pending.extend(kept.into_iter().map(|p| Pending { end: base + p.end, ..p }));
            state.phase = match state.pending.is_empty() {
                _ if self.own => Phase::Gone,
                true => Phase::Idle,
                false => Phase::Dialing,
            };
        }
        if !failed.is_empty() {
            tracing::warn!(node = %self.node.dial.address, requests = failed.len(), reason, "connection lost");
        }
        for ticket in failed {
            self.counters.home_failures.add(1);
            ticket.complete(Outcome::Failed(Failure::Lost(reason.to_owned())), clock::now());
        }
    }

    /// The client that had leased the connection is gone: what it asked is settled, unanswered.
    fn abandon(&self) {
        let left = std::mem::take(&mut self.state.borrow_mut().pending);
        for ticket in left.into_iter().filter_map(|p| p.ticket) {
            let lost = Failure::Lost("its client left".to_owned());
            ticket.complete(Outcome::Failed(lost), clock::now());
        }
    }

    /// What home says out of turn by a client's own connection is part of an answer, unless somebody listens.
    fn push(&self, push: &[u8]) {
        let hears = self.state.borrow().hears.clone();
        if hears.is_some_and(|hears| hears(push)) {
            return;
        }
        if let Some(Pending { ticket: Some(ticket), .. }) = self.state.borrow().pending.front() {
            ticket.push(push);
        }
    }

    /// Whose `reply` is, the next one: Some(None) if nobody waits for it, None if it answers nothing.
    fn next_ticket(&self, reply: &[u8]) -> Option<Option<T>> {
        let mut state = self.state.borrow_mut();
        let first = state.pending.front_mut()?;
        if first.parts > 0 {
            first.parts -= 1;
            if let Some(ticket) = &mut first.ticket {
                ticket.part(reply);
            }
            return Some(None);
        }
        state.pending.pop_front().map(|p| p.ticket)
    }
}
