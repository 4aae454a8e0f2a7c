//! What a reply is to; and, in a cluster, whether it is an answer at all.

use bytes::Bytes;

use super::{ASKING, Core, KEEP_CAPACITY, Pending, State, Stray, Ticket, Why};
use crate::backend::cluster::Redirect;
use crate::backend::connection::Address;
use crate::config::HostPort;
use crate::resp::reply;

/// Answered bytes that are worth being moved over.
const COMPACT: usize = 64 * 1024;

/// What a reply is to.
pub(super) enum Answered<T> {
    /// A part, or a request whose time ran out.
    Nobody,
    Ticket(T),
    Stray(Box<Stray<T>>),
}

impl<T: Ticket> Core<T> {
    /// What `reply` is to, the next one; None: to nothing.
    pub(super) fn next(&self, reply: &[u8], now: u64) -> Option<Answered<T>> {
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        let first = state.pending.front_mut()?;
        if first.parts > 0 {
            first.parts -= 1;
            // Of what is sent ahead nobody waits for the answer.
            if std::mem::take(&mut first.course.asking) {
                return Some(Answered::Nobody);
            }
            if self.onward.is_some() && first.redirect.is_none() && Redirect::may_be(reply) {
                first.redirect = self.redirect(reply).map(|_| reply.into());
            }
            first.done += 1;
            if let Some(ticket) = &mut first.ticket {
                ticket.part(reply);
            }
            return Some(Answered::Nobody);
        }
        let mut done = state.pending.pop_front()?;
        let begin = std::mem::replace(&mut state.answered, done.end);
        self.note(&done, reply, now);
        let Some(ticket) = done.ticket.take() else { return Some(Answered::Nobody) };
        if self.onward.is_none() {
            return Some(Answered::Ticket(ticket));
        }
        let may_be = Redirect::may_be(reply) || done.redirect.is_some() && reply::is_error(reply);
        let said = done.redirect.take();
        let stray = may_be.then(|| {
            let words = said.map_or_else(|| Bytes::copy_from_slice(reply), Bytes::from);
            Some((Why::Redirected(self.redirect(&words)?, words), state.request(begin, &done)))
        });
        state.forget();
        let Some((why, request)) = stray.flatten() else { return Some(Answered::Ticket(ticket)) };
        let Pending { done: parts, due, course, .. } = done;
        Some(Answered::Stray(Box::new(Stray { ticket, request, parts, due, course, why })))
    }

    fn note(&self, answered: &Pending<T>, reply: &[u8], now: u64) {
        self.load.settled.add(1);
        if reply.first() == Some(&b'-') && !(self.onward.is_some() && Redirect::may_be(reply)) {
            self.load.errors.add(1);
        }
        if answered.sent != 0 {
            self.load.latency.record(now.saturating_sub(answered.sent), 1);
        }
    }

    /// Counts requests that will not be answered.
    pub(super) fn note_unanswered(&self, requests: usize) {
        self.load.settled.add(requests as u64);
        self.load.errors.add(requests as u64);
    }

    fn redirect(&self, reply: &[u8]) -> Option<Redirect> {
        let Address::Tcp { host, port, .. } = &self.node.dial.address else { return None };
        Redirect::of(reply, &HostPort { host: host.clone(), port: *port })
    }

    /// Says that what was waited for has come.
    pub(super) fn tell_passed(&self, now: u64) {
        let Some(onward) = &self.onward else { return };
        {
            let mut state = self.state.borrow_mut();
            if state.passed() < state.watched {
                return;
            }
            state.watched = u64::MAX;
        }
        onward.passed(now);
    }
}

impl<T> State<T> {
    /// Requests that are no longer pending.
    pub(super) fn passed(&self) -> u64 {
        self.sent - self.pending.len() as u64
    }

    /// The bytes of a request that begins there.
    pub(super) fn request(&self, begin: u64, pending: &Pending<T>) -> Bytes {
        let at =
            |position: u64| usize::try_from(position.saturating_sub(self.out_start)).unwrap_or(usize::MAX);
        let block = self.out.get(at(begin)..at(pending.end)).unwrap_or_default();
        Bytes::copy_from_slice(block.strip_prefix(ASKING).unwrap_or(block))
    }

    /// Lets go of what has been answered.
    fn forget(&mut self) {
        let answered = usize::try_from(self.answered.saturating_sub(self.out_start)).unwrap_or(usize::MAX);
        if answered >= self.out.len() {
            self.out_start += self.out.len() as u64;
            self.out.clear();
            self.out.shrink_to(KEEP_CAPACITY);
            self.written = 0;
        } else if answered >= COMPACT && answered >= self.out.len() / 2 {
            self.out.drain(..answered);
            self.out_start += answered as u64;
            self.written -= answered;
        }
    }
}
