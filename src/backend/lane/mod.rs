//! A lane: one pipelined connection to a node, shared by the clients of a worker.
//!
//! Requests are appended as raw bytes and written once a wake-up; replies are cut out of the read buffer
//! without decoding and go, in order, to the tickets of their requests. A lane belongs to one protocol and one
//! database for life. It dials when there is something to send, and again at once after a loss; what was surely
//! not written goes out on the new connection, everything else fails.
//!
//! In a cluster a lane keeps what it sent until it is answered: what its node does not answer goes on to another
//! ([`Onward`]).
//!
//! Long because the state of a lane and all that may be done with it are one.

mod answer;
mod loss;
mod stray;
mod task;
mod ticket;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::load::Load;
use super::node::Node;
use super::pool::Lease;
use crate::clock;
use crate::metrics::Counters;
use crate::resp::Proto;

pub use stray::{Block, Course, Onward, Stray, Why};
pub use ticket::{Failure, Outcome, Reply, Ticket};

/// Buffers above this are given back once they are empty.
const KEEP_CAPACITY: usize = 256 * 1024;
/// Unwritten bytes above which clients should stop asking.
const CONGESTED: usize = 64 << 20;
/// Tells a node that the request behind it is not astray.
const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";
/// A lane without traffic for this long closes its connection.
const IDLE: Duration = Duration::from_secs(300);

struct Pending<T> {
    /// None once its time ran out; the reply is then dropped.
    ticket: Option<T>,
    /// Replies that are still to come before the last one.
    parts: u32,
    /// Those that have come.
    done: u32,
    /// When it was sent; 0 if it comes from another lane, or may wait at the node.
    sent: u64,
    /// When its time runs out; rising within a lane, but for what comes from another.
    due: u64,
    /// Position in the stream of requests behind this one's last byte.
    end: u64,
    course: Course,
    /// What a part said that sends the whole elsewhere.
    redirect: Option<Box<[u8]>>,
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
    /// The same behind the last request that was answered.
    answered: u64,
    pending: VecDeque<Pending<T>>,
    /// Requests so far.
    sent: u64,
    /// Somebody waits until so many are no longer pending.
    watched: u64,
    /// Connections, and attempts at one, that are over.
    connection: u64,
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
    load: Arc<Load>,
    /// The connection was lent to one client.
    own: bool,
    /// Takes what is not answered; None: no cluster.
    onward: Option<Box<dyn Onward<T>>>,
    state: RefCell<State<T>>,
    waker: RefCell<Option<Waker>>,
    woken: Cell<bool>,
}

/// A handle; the connection ends when the last one is dropped.
pub struct Lane<T: Ticket>(Rc<Core<T>>);

impl<T: Ticket> Lane<T> {
    /// A lane to `node`; its task runs on the current local set.
    pub fn new(node: Arc<Node>, proto: Proto, db: u16, counters: Arc<Counters>) -> Self {
        Self::shared(Core::new(node, (proto, db), counters, false, None))
    }

    /// The same to a node of a cluster: what it does not answer goes `onward`.
    pub fn among(
        node: Arc<Node>,
        proto: Proto,
        counters: Arc<Counters>,
        onward: impl Onward<T> + 'static,
    ) -> Self {
        Self::shared(Core::new(node, (proto, 0), counters, false, Some(Box::new(onward))))
    }

    fn shared(core: Rc<Core<T>>) -> Self {
        tokio::task::spawn_local(task::run(Rc::downgrade(&core)));
        Lane(core)
    }

    /// A lane over one connection, for the client that has leased it; when that is lost everything fails.
    ///
    /// In a cluster what the node does not answer goes `onward`.
    pub fn over(
        lease: Lease,
        node: Arc<Node>,
        counters: Arc<Counters>,
        onward: Option<Box<dyn Onward<T>>>,
    ) -> Self {
        let core = Core::new(node, (Proto::Resp2, 0), counters, true, onward);
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
        self.send_on(&Block { requests, parts, due, course: Course::default() }, ticket, now);
    }

    /// The same on its way through a cluster.
    pub fn send_on(&self, block: &Block<'_>, ticket: T, now: u64) {
        let mut state = self.0.state.borrow_mut();
        if state.phase == Phase::Gone {
            drop(state);
            let lost = Failure::Lost("it was lost before".to_owned());
            return ticket.complete(Outcome::Failed(lost), now);
        }
        let Block { requests, parts, due, course } = *block;
        if state.phase == Phase::Idle {
            if let Err(down) = self.0.node.breaker.check() {
                drop(state);
                let failure = Failure::Unreachable(down);
                match &self.0.onward {
                    None => {
                        self.0.counters.home_failures.add(1);
                        ticket.complete(Outcome::Failed(failure), now);
                    }
                    Some(onward) => {
                        let (request, why) = (Bytes::copy_from_slice(requests), Why::Failed(failure));
                        onward.onward(Stray { ticket, request, parts, due, course, why }, now);
                    }
                }
                return;
            }
            state.phase = Phase::Dialing;
        }
        if course.asking {
            state.out.extend_from_slice(ASKING);
        }
        state.out.extend_from_slice(requests);
        let end = state.out_start + state.out.len() as u64;
        let usual = clock::nanos(self.0.node.request_timeout);
        self.0.load.sent.add(1);
        let parts = parts + u32::from(course.asking);
        state.pending.push_back(Pending {
            ticket: Some(ticket),
            parts,
            done: 0,
            sent: if course.hops == 0 && due.saturating_sub(now) <= usual { now } else { 0 },
            due,
            end,
            course,
            redirect: None,
        });
        state.sent += 1;
        state.last_use = now;
        drop(state);
        self.0.wake();
    }

    /// Bound on one request.
    pub fn request_timeout(&self) -> Duration {
        self.0.node.request_timeout
    }

    /// A number that [`Lane::has_passed`] once all requests of before are answered, if any is not.
    pub fn mark(&self) -> Option<u64> {
        let state = self.0.state.borrow();
        (!state.pending.is_empty()).then_some(state.sent)
    }

    /// See [`Lane::mark`].
    pub fn has_passed(&self, mark: u64) -> bool {
        self.0.state.borrow().passed() >= mark
    }

    /// Tells [`Onward::passed`] once this mark (or an earlier one) has passed.
    pub fn watch(&self, mark: u64) {
        let mut state = self.0.state.borrow_mut();
        state.watched = state.watched.min(mark);
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
                if p.due <= now {
                    late.extend(p.ticket.take());
                } else if p.course.hops == 0 {
                    break;
                }
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
    fn new(
        node: Arc<Node>,
        (proto, db): (Proto, u16),
        counters: Arc<Counters>,
        own: bool,
        onward: Option<Box<dyn Onward<T>>>,
    ) -> Rc<Self> {
        let state = State {
            phase: Phase::Idle,
            out: Vec::new(),
            written: 0,
            out_start: 0,
            answered: 0,
            pending: VecDeque::new(),
            sent: 0,
            watched: u64::MAX,
            connection: 0,
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
            load: node.load.mine(),
            node,
            proto,
            db,
            counters,
            own,
            onward,
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
}
