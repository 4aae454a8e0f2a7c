//! The task of a lane: dials when there is something to send, then carries bytes both ways until the connection ends.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::answer::Answered;
use super::{CONGESTED, Core, KEEP_CAPACITY, Leave, Outcome, Phase, Reply, Ticket};
use crate::backend::connection::Stream;
use crate::backend::pool::Lease;
use crate::clock;
use crate::resp::{ReplyScanner, Scan};

/// Replies from this size on are handed over as a shared slice of the read buffer, smaller ones are copied.
const OWNED_REPLY: usize = 32 * 1024;
/// Free space wanted before a read.
const READ_SPACE: usize = 16 * 1024;
/// The same where a client has the connection for itself: replies come one by one, and many may wait for theirs.
const OWN_READ_SPACE: usize = 1024;

/// Why [`drive`] came back.
enum End {
    Idle,
    Lost(String),
}

pub(super) async fn run<T: Ticket>(weak: Weak<Core<T>>) {
    loop {
        if !demanded(&weak).await {
            return;
        }
        let Some(core) = weak.upgrade() else { return };
        let dialed = core.node.dial.open(core.proto, core.db, "strata-lane").await;
        match dialed {
            Err(e) => {
                core.node.failed(&e);
                core.state.borrow_mut().connection += 1;
                core.fail_all(&e);
            }
            Ok(mut stream) => {
                core.node.up();
                core.counters.home_connects.add(1);
                {
                    let mut state = core.state.borrow_mut();
                    state.phase = Phase::Up;
                    state.last_read = clock::now();
                    (state.abort, state.close_idle) = (None, false);
                }
                drop(core);
                let end = drive(&weak, &mut stream).await;
                let Some(core) = weak.upgrade() else { return };
                core.state.borrow_mut().connection += 1;
                match end {
                    End::Idle => core.state.borrow_mut().phase = Phase::Idle,
                    End::Lost(reason) => core.lost(&reason),
                }
            }
        }
    }
}

/// Carries what one client sends by a connection of its own.
pub(super) async fn run_leased<T: Ticket>(core: Rc<Core<T>>, mut lease: Lease) {
    core.state.borrow_mut().last_read = clock::now();
    match drive(&Rc::downgrade(&core), lease.stream()).await {
        End::Idle => {
            let leave = core.state.borrow().leave;
            if leave == Some(Leave::Finish { reusable: true }) {
                lease.prove_clean();
            }
            core.abandon();
        }
        End::Lost(reason) => core.lost(&reason),
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

struct Inbound {
    buffer: BytesMut,
    scanner: ReplyScanner,
    /// More free space than usual is wanted: the rest of a large reply.
    need: usize,
}

/// Carries requests and replies until the connection ends.
async fn drive<T: Ticket>(weak: &Weak<Core<T>>, stream: &mut Box<dyn Stream>) -> End {
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
            if state.close_idle && state.pending.is_empty() || state.leave == Some(Leave::Close) {
                return Poll::Ready(End::Idle);
            }
        }
        let end = match core.write(stream, cx) {
            Err(e) => Some(e.to_string()),
            Ok(()) => match core.read(stream, &mut inbound, cx) {
                Poll::Pending => None,
                Poll::Ready(reason) => Some(reason),
            },
        };
        match end {
            None if core.has_finished() => Poll::Ready(End::Idle),
            None => Poll::Pending,
            Some(reason) => Poll::Ready(End::Lost(reason)),
        }
    })
    .await
}

impl<T: Ticket> Core<T> {
    fn has_finished(&self) -> bool {
        let state = self.state.borrow();
        matches!(state.leave, Some(Leave::Finish { .. })) && state.pending.is_empty()
    }

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
        if self.onward.is_none() && state.written == state.out.len() && state.written > 0 {
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
        let usual = if self.own { OWN_READ_SPACE } else { READ_SPACE };
        loop {
            let space = usual.max(inbound.need.min(1 << 30));
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
                        if self.own {
                            self.push(&inbound.buffer[base..end]);
                        }
                        base = end;
                        continue;
                    }
                    let Some(answered) = self.next(&inbound.buffer[base..end], now) else {
                        let shown =
                            String::from_utf8_lossy(&inbound.buffer[base..end.min(base + 120)]).into_owned();
                        return Err(format!("home sent a reply to nothing: {}", shown.trim_end()));
                    };
                    if end - base >= OWNED_REPLY {
                        inbound.buffer.advance(base);
                        let reply = inbound.buffer.split_to(end - base).freeze();
                        base = 0;
                        self.complete(answered, Reply::Owned(reply), now);
                    } else {
                        self.complete(answered, Reply::Borrowed(&inbound.buffer[base..end]), now);
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

    fn complete(&self, answered: Answered<T>, reply: Reply<'_>, now: u64) {
        match (answered, &self.onward) {
            (Answered::Ticket(ticket), _) => ticket.complete(Outcome::Reply(reply), now),
            (Answered::Stray(stray), Some(onward)) => onward.onward(*stray, now),
            (Answered::Nobody | Answered::Stray(_), _) => {}
        }
        self.tell_passed(now);
    }
}
