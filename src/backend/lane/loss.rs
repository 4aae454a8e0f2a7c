//! What becomes of a lane's requests when its connection is lost, or cannot be had.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::{Core, Course, Failure, Lane, Outcome, Pending, Phase, State, Stray, Ticket, Why};
use crate::backend::connection::DialError;
use crate::breaker::Unreachable;
use crate::clock;

impl<T: Ticket> Lane<T> {
    /// The number of the connection that there is, or will be next.
    pub fn connection(&self) -> u64 {
        self.0.state.borrow().connection
    }
}

/// A request without a reply.
struct Left<T> {
    ticket: T,
    /// Its bytes, where a lane keeps them.
    request: Bytes,
    /// Some of it was written.
    begun: bool,
    parts: u32,
    due: u64,
    course: Course,
}

impl<T> Left<T> {
    fn astray(self, failure: Failure) -> Stray<T> {
        let Left { ticket, request, parts, due, course, .. } = self;
        Stray { ticket, request, parts, due, course, why: Why::Failed(failure) }
    }
}

impl<T> State<T> {
    /// Everything without a reply, in order. Nothing is left.
    fn take_all(&mut self) -> Vec<Left<T>> {
        let flushed = self.out_start + self.written as u64;
        let mut begin = self.answered.max(self.out_start);
        let mut left = Vec::new();
        for mut p in std::mem::take(&mut self.pending) {
            let at = std::mem::replace(&mut begin, p.end);
            if let Some(ticket) = p.ticket.take() {
                let request = self.request(at, &p);
                let parts = p.done + p.parts - u32::from(p.course.asking);
                left.push(Left { ticket, request, begun: at < flushed, parts, due: p.due, course: p.course });
            }
        }
        self.out_start += self.out.len() as u64;
        self.answered = self.out_start;
        (self.out, self.written) = (Vec::new(), 0);
        left
    }
}

impl<T: Ticket> Core<T> {
    /// What was to go by a connection that could not be opened.
    pub(super) fn fail_all(&self, error: &DialError) {
        let failed: Vec<_> = {
            let mut state = self.state.borrow_mut();
            state.phase = Phase::Idle;
            self.note_unanswered(state.pending.len());
            state.take_all()
        };
        let retry_in = self.node.breaker.check().err().map_or(Duration::ZERO, |u| u.retry_in);
        let failure = match error.busy() {
            Some(words) => Failure::Busy(words.to_owned()),
            None => Failure::Unreachable(Unreachable { reason: error.to_string(), retry_in }),
        };
        for left in failed {
            self.give_up(left, failure.clone());
        }
        self.tell_passed(clock::now());
    }

    /// A request that was not executed, or may be executed again, goes on to another node if there may be one.
    fn give_up(&self, left: Left<T>, failure: Failure) {
        let again = !left.begun || left.ticket.repeatable();
        match &self.onward {
            Some(onward) if again && !matches!(failure, Failure::Busy(_)) => {
                onward.onward(left.astray(failure), clock::now());
            }
            _ => {
                self.counters.home_failures.add(1);
                left.ticket.complete(Outcome::Failed(failure), clock::now());
            }
        }
    }

    /// The connection to a node of a cluster is gone: what may be executed now goes on, in order.
    fn lost_among(&self, reason: &str) {
        let left = {
            let mut state = self.state.borrow_mut();
            state.phase = Phase::Idle;
            self.note_unanswered(state.pending.len());
            state.take_all()
        };
        if left.iter().any(|left| left.begun) {
            tracing::warn!(node = %self.node.dial.address, requests = left.len(), reason, "connection lost");
        }
        for left in left {
            self.give_up(left, Failure::Lost(reason.to_owned()));
        }
        self.tell_passed(clock::now());
    }

    /// The connection is gone: what had begun to be written fails, the rest stays for the next connection.
    pub(super) fn lost(&self, reason: &str) {
        if self.onward.is_some() && !self.own {
            return self.lost_among(reason);
        }
        let mut failed = Vec::new();
        {
            let mut state = self.state.borrow_mut();
            let before = state.pending.len();
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
            self.note_unanswered(before - kept.len());
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
    pub(super) fn abandon(&self) {
        let left = std::mem::take(&mut self.state.borrow_mut().pending);
        // Nobody wants to know any more.
        self.load.settled.add(left.len() as u64);
        for ticket in left.into_iter().filter_map(|p| p.ticket) {
            let lost = Failure::Lost("its client left".to_owned());
            ticket.complete(Outcome::Failed(lost), clock::now());
        }
    }
}
