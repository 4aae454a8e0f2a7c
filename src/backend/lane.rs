//! A lane: one pipelined connection to a node, shared by the clients of a worker.
//!
//! Requests are appended as raw bytes and written once a wake-up; replies are cut out of the read buffer
//! without decoding and go, in order, to the tickets of their requests. A lane belongs to one protocol and one
//! database for life. It dials when there is something to send, and again at once after a loss; what was surely
//! not written goes out on the new connection, everything else fails.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::breaker::Unreachable;
use super::connection::Stream;
use super::node::Node;
use crate::clock;
use crate::metrics::Counters;
use crate::resp::{Proto, ReplyScanner, Scan};

/// Replies from this size on are handed over as a shared slice of the read buffer, smaller ones are copied.
const OWNED_REPLY: usize = 32 * 1024;
/// Free space wanted before a read.
const READ_SPACE: usize = 16 * 1024;
/// Buffers above this are given back once they are empty.
const KEEP_CAPACITY: usize = 256 * 1024;
/// Unwritten bytes above which clients should stop asking.
const CONGESTED: usize = 64 << 20;
/// A lane without traffic for this long closes its connection.
const IDLE: Duration = Duration::from_secs(300);

/// What becomes of a request.
pub enum Outcome<'a> {
    /// Home answered.
    Reply(Reply<'a>),
    /// It did not.
    Failed(Failure),
}

/// One complete reply, as raw bytes.
pub enum Reply<'a> {
    /// A small one, still in the read buffer.
    Borrowed(&'a [u8]),
    /// A large one, cut out of it.
    Owned(Bytes),
}

impl Reply<'_> {
    /// The raw bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Reply::Borrowed(b) => b,
            Reply::Owned(b) => b,
        }
    }

    /// The raw bytes in an allocation of their own.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Reply::Borrowed(b) => Bytes::copy_from_slice(b),
            Reply::Owned(b) => b,
        }
    }
}

/// Why home did not answer.
#[derive(Debug, Clone)]
pub enum Failure {
    /// Not sent: the node is known to be down.
    Unreachable(Unreachable),
    /// Sent, and the connection ended before the reply: executed or not, nobody knows.
    Lost(String),
    /// Sent (or queued), and not answered within the bound.
    Timeout(Duration),
}

/// The claim to one reply.
pub trait Ticket: 'static {
    /// Called exactly once, at `now`; from within [`Lane::send`] only while the node is known to be down.
    fn complete(self, outcome: Outcome<'_>, now: u64);
}

struct Pending<T> {
    /// None once its time ran out; the reply is then dropped.
    ticket: Option<T>,
    asked_at: u64,
    /// Position in the stream of requests behind this one's last byte.
    end: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Idle,
    Dialing,
    Up,
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
    waiting: Vec<Waker>,
}

struct Core<T> {
    node: Arc<Node>,
    proto: Proto,
    db: u16,
    counters: Arc<Counters>,
    state: RefCell<State<T>>,
    waker: RefCell<Option<Waker>>,
    woken: Cell<bool>,
}

/// A handle; the connection ends when the last one is dropped.
pub struct Lane<T: Ticket>(Rc<Core<T>>);

impl<T: Ticket> Lane<T> {
    /// A lane to `node`; its task runs on the current local set.
    pub fn new(node: Arc<Node>, proto: Proto, db: u16, counters: Arc<Counters>) -> Self {
        let core = Rc::new(Core {
            node,
            proto,
            db,
            counters,
            state: RefCell::new(State {
                phase: Phase::Idle,
                out: Vec::new(),
                written: 0,
                out_start: 0,
                pending: VecDeque::new(),
                last_use: clock::now(),
                last_read: 0,
                abort: None,
                close_idle: false,
                waiting: Vec::new(),
            }),
            waker: RefCell::new(None),
            woken: Cell::new(false),
        });
        tokio::task::spawn_local(run(Rc::downgrade(&core)));
        Lane(core)
    }

    /// Sends one request that has one reply. Contiguous calls without an await between them stay contiguous.
    ///
    /// While the node is known to be down the ticket fails before this returns.
    pub fn send(&self, request: &[u8], ticket: T, now: u64) {
        let mut state = self.0.state.borrow_mut();
        if state.phase == Phase::Idle {
            if let Err(down) = self.0.node.breaker.check() {
                drop(state);
                self.0.counters.home_failures.add(1);
                ticket.complete(Outcome::Failed(Failure::Unreachable(down)), now);
                return;
            }
            state.phase = Phase::Dialing;
        }
        state.out.extend_from_slice(request);
        let end = state.out_start + state.out.len() as u64;
        state.pending.push_back(Pending { ticket: Some(ticket), asked_at: now, end });
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
                if p.asked_at.saturating_add(bound) > now {
                    break;
                }
                late.extend(p.ticket.take());
            }
            let silent = state.last_read.saturating_add(bound) <= now;
            if !late.is_empty() && silent {
                state.abort = Some(format!("no answer for {timeout:?}"));
            }
            let unused = now.saturating_sub(state.last_use) > clock::nanos(IDLE);
            state.close_idle = unused && state.pending.is_empty() && state.phase == Phase::Up;
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
        self.0.wake();
    }
}

impl<T> Core<T> {
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

/// Why [`drive`] came back.
enum End {
    Idle,
    Lost(String),
}

async fn run<T: Ticket>(weak: Weak<Core<T>>) {
    loop {
        if !demanded(&weak).await {
            return;
        }
        let Some(core) = weak.upgrade() else { return };
        let dialed = core.node.dial.open(core.proto, core.db, "strata-lane").await;
        match dialed {
            Err(e) => {
                core.node.down(&e.to_string());
                core.fail_all(&e.to_string());
            }
            Ok(stream) => {
                core.node.up();
                core.counters.home_connects.add(1);
                {
                    let mut state = core.state.borrow_mut();
                    state.phase = Phase::Up;
                    state.last_read = clock::now();
                    (state.abort, state.close_idle) = (None, false);
                }
                drop(core);
                let end = drive(&weak, stream).await;
                let Some(core) = weak.upgrade() else { return };
                match end {
                    End::Idle => core.state.borrow_mut().phase = Phase::Idle,
                    End::Lost(reason) => core.lost(&reason),
                }
            }
        }
    }
}

/// Waits until there is something to send; false when the lane's last handle is gone.
async fn demanded<T: Ticket>(weak: &Weak<Core<T>>) -> bool {
    poll_fn(|cx| {
        let Some(core) = weak.upgrade() else {
            return Poll::Ready(false);
        };
        core.listen(cx);
        // Besides this one, only the handle holds the core.
        if Rc::strong_count(&core) == 1 {
            return Poll::Ready(false);
        }
        if core.state.borrow().phase == Phase::Dialing { Poll::Ready(true) } else { Poll::Pending }
    })
    .await
}

impl<T: Ticket> Core<T> {
    fn fail_all(&self, reason: &str) {
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
            let reason = reason.to_owned();
            let unreachable = Failure::Unreachable(Unreachable { reason, retry_in });
            ticket.complete(Outcome::Failed(unreachable), clock::now());
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
                    Some(ticket) if begin < flushed || p.end <= flushed => failed.push(ticket),
                    Some(ticket) => {
                        let (from, to) = ((begin - old_start) as usize, (p.end - old_start) as usize);
                        state.out.extend_from_slice(&old[from..to]);
                        kept.push_back((ticket, p.asked_at, state.out.len() as u64));
                    }
                }
            }
            state.out_start = start;
            state.written = 0;
            let base = state.out_start;
            state.pending.extend(kept.into_iter().map(|(ticket, asked_at, end)| Pending {
                ticket: Some(ticket),
                asked_at,
                end: base + end,
            }));
            state.phase = if state.pending.is_empty() { Phase::Idle } else { Phase::Dialing };
        }
        if !failed.is_empty() {
            tracing::warn!(node = %self.node.dial.address, requests = failed.len(), reason, "connection lost");
        }
        for ticket in failed {
            self.counters.home_failures.add(1);
            ticket.complete(Outcome::Failed(Failure::Lost(reason.to_owned())), clock::now());
        }
    }

    fn next_ticket(&self) -> Option<Option<T>> {
        self.state.borrow_mut().pending.pop_front().map(|p| p.ticket)
    }
}

struct Inbound {
    buffer: BytesMut,
    scanner: ReplyScanner,
    /// More free space than usual is wanted: the rest of a large reply.
    need: usize,
}

/// Carries requests and replies until the connection ends.
async fn drive<T: Ticket>(weak: &Weak<Core<T>>, mut stream: Box<dyn Stream>) -> End {
    let mut inbound = Inbound { buffer: BytesMut::new(), scanner: ReplyScanner::new(), need: 0 };
    poll_fn(|cx| {
        let Some(core) = weak.upgrade() else {
            return Poll::Ready(End::Idle);
        };
        if Rc::strong_count(&core) == 1 {
            return Poll::Ready(End::Idle);
        }
        core.listen(cx);
        {
            let mut state = core.state.borrow_mut();
            if let Some(reason) = state.abort.take() {
                return Poll::Ready(End::Lost(reason));
            }
            if state.close_idle && state.pending.is_empty() {
                return Poll::Ready(End::Idle);
            }
        }
        let end = match core.write(&mut stream, cx) {
            Err(e) => Some(e.to_string()),
            Ok(()) => match core.read(&mut stream, &mut inbound, cx) {
                Poll::Pending => None,
                Poll::Ready(reason) => Some(reason),
            },
        };
        match end {
            None => Poll::Pending,
            Some(reason) => Poll::Ready(End::Lost(reason)),
        }
    })
    .await
}

impl<T: Ticket> Core<T> {
    fn write(&self, stream: &mut Box<dyn Stream>, cx: &mut Context<'_>) -> io::Result<()> {
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        while state.written < state.out.len() {
            match Pin::new(&mut *stream).poll_write(cx, &state.out[state.written..]) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => state.written += n,
                Poll::Ready(Err(e)) => return Err(e),
            }
        }
        // TLS keeps what it could not send; a plain socket has nothing to flush.
        if let Poll::Ready(Err(e)) = Pin::new(&mut *stream).poll_flush(cx) {
            return Err(e);
        }
        if state.written == state.out.len() && state.written > 0 {
            state.out_start += state.written as u64;
            state.written = 0;
            state.out.clear();
            state.out.shrink_to(KEEP_CAPACITY);
        }
        if !state.waiting.is_empty() && state.out.len() - state.written <= CONGESTED / 2 {
            state.waiting.drain(..).for_each(Waker::wake);
        }
        Ok(())
    }

    /// Reads and hands out replies until nothing more is there; ready only with the reason of the end.
    fn read(
        &self,
        stream: &mut Box<dyn Stream>,
        inbound: &mut Inbound,
        cx: &mut Context<'_>,
    ) -> Poll<String> {
        loop {
            let space = READ_SPACE.max(inbound.need.min(1 << 30));
            inbound.buffer.reserve(space);
            let read = ready!(pin!(stream.read_buf(&mut inbound.buffer)).poll(cx));
            match read {
                Err(e) => return Poll::Ready(e.to_string()),
                Ok(0) => return Poll::Ready("home closed the connection".into()),
                Ok(_) => {}
            }
            let now = clock::now();
            self.state.borrow_mut().last_read = now;
            if let Err(reason) = self.hand_out(inbound, now) {
                return Poll::Ready(reason);
            }
        }
    }

    fn hand_out(&self, inbound: &mut Inbound, now: u64) -> Result<(), String> {
        let mut base = 0;
        inbound.need = 0;
        loop {
            if base == inbound.buffer.len() {
                break;
            }
            match inbound.scanner.step(&inbound.buffer, base) {
                Scan::Incomplete { need } => {
                    inbound.need = need;
                    break;
                }
                Scan::Error(e) => return Err(format!("home sent what is not RESP: {e}")),
                Scan::Complete { end } => {
                    if inbound.buffer[base] == b'>' {
                        base = end;
                        continue;
                    }
                    let Some(ticket) = self.next_ticket() else {
                        let shown =
                            String::from_utf8_lossy(&inbound.buffer[base..end.min(base + 120)]).into_owned();
                        return Err(format!("home sent a reply to nothing: {}", shown.trim_end()));
                    };
                    if end - base >= OWNED_REPLY {
                        inbound.buffer.advance(base);
                        let reply = inbound.buffer.split_to(end - base).freeze();
                        base = 0;
                        complete(ticket, Reply::Owned(reply), now);
                    } else {
                        complete(ticket, Reply::Borrowed(&inbound.buffer[base..end]), now);
                        base = end;
                    }
                }
            }
        }
        inbound.buffer.advance(base);
        if inbound.buffer.is_empty() && inbound.buffer.capacity() > KEEP_CAPACITY {
            inbound.buffer = BytesMut::new();
        }
        Ok(())
    }
}

fn complete<T: Ticket>(ticket: Option<T>, reply: Reply<'_>, now: u64) {
    if let Some(ticket) = ticket {
        ticket.complete(Outcome::Reply(reply), now);
    }
}
