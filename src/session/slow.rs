//! What goes home is timed from its arrival to its reply, for the slow log. What is answered at once is not slow; it
//! is kept only if everything is.

use std::collections::VecDeque;

use super::shown::{has_secrets, shown};
use super::{Core, Session};
use crate::clock;
use crate::command::{Command, Flags};
use crate::proxy::slow_log::{Answered, Slow, kept, kept_of};
use crate::proxy::watch::Reason;
use crate::resp::Request;

/// Open requests beyond whose number the memory for them is given back.
const KEEP: usize = 16;

#[derive(Debug)]
struct Timing {
    slot: u64,
    since: u64,
    /// What the log keeps of the request; none once it was answered.
    request: Option<Vec<u8>>,
}

/// The requests of one client that home has not answered yet.
#[derive(Debug, Default)]
pub(super) struct Timings {
    /// By rising slot.
    open: VecDeque<Timing>,
}

impl Timings {
    fn begin(&mut self, slot: u64, since: u64, request: Vec<u8>) {
        self.open.push_back(Timing { slot, since, request: Some(request) });
    }

    /// The request at a slot was answered: when it had come, and what it was.
    fn end(&mut self, slot: u64) -> Option<(u64, Vec<u8>)> {
        // Replies mostly come in order.
        let index = match self.open.front() {
            Some(first) if first.slot == slot => 0,
            _ => self.open.binary_search_by_key(&slot, |timing| timing.slot).ok()?,
        };
        let timing = self.open.get_mut(index)?;
        let ended = (timing.since, timing.request.take()?);
        while self.open.front().is_some_and(|timing| timing.request.is_none()) {
            self.open.pop_front();
        }
        if self.open.is_empty() && self.open.capacity() > KEEP {
            self.open = VecDeque::new();
        }
        Some(ended)
    }
}

impl Session {
    /// Times a request whose reply is to come at `slot`.
    pub(super) fn time(&self, slot: u64, command: Option<&Command>, request: &Request<'_>, now: u64) {
        let slow = &self.context.proxy.shared.slow;
        // What home will refuse was not run; of what strata does not know nobody can say.
        let runs = |c: &Command| is_logged(c, slow.every()) && c.arity_ok(request.len());
        if slow.on() && command.map_or(!slow.every(), runs) {
            let kept = command.map_or_else(|| kept_of(request), |c| keep(c, request));
            self.core.timings.borrow_mut().begin(slot, now, kept);
        }
    }

    /// Logs a command that was answered at once, if everything is logged.
    pub(super) fn log_answered(&self, command: &Command, request: &Request<'_>, by: Answered, began: u64) {
        let shared = &self.context.proxy.shared;
        if shared.watch.has(Reason::EveryCommand) && is_logged(command, true) {
            let took = clock::now().saturating_sub(began);
            self.core.log(keep(command, request), took, by);
        }
    }
}

impl Core {
    /// The request at a slot was answered at `now`.
    pub(super) fn end_timing(&self, slot: u64, now: u64) {
        let Some((since, request)) = self.timings.borrow_mut().end(slot) else { return };
        let took = now.saturating_sub(since);
        if self.context.proxy.shared.slow.wants(took) {
            self.log(request, took, Answered::Home);
        }
    }

    fn log(&self, request: Vec<u8>, took: u64, answered: Answered) {
        self.context.proxy.shared.slow.add(Slow {
            id: 0,
            at: clock::unix_seconds(),
            micros: took / 1_000,
            request,
            address: self.info.address.to_string(),
            name: self.info.name.lock().clone(),
            answered,
        });
    }
}

/// What the log keeps of a request.
fn keep(command: &Command, request: &Request<'_>) -> Vec<u8> {
    match has_secrets(command) {
        true => kept(shown(command, request).into_iter()),
        false => kept_of(request),
    }
}

/// What waits for others is not slow, and is logged only if everything is. EXEC is the other way round: Redis logs the
/// commands of a transaction instead, of which nobody here knows how long each took.
fn is_logged(command: &Command, every: bool) -> bool {
    let only = if every { Flags::SKIP_SLOWLOG } else { Flags::BLOCKING };
    !command.flags.contains(only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timings_end_in_any_order() {
        let mut timings = Timings::default();
        let request = |n: u8| vec![n];
        for slot in [3, 5, 9] {
            timings.begin(slot, slot * 10, request(slot as u8));
        }
        assert_eq!(timings.end(5), Some((50, request(5))));
        assert_eq!((timings.end(5), timings.end(4)), (None, None));
        assert_eq!(timings.end(3), Some((30, request(3))));
        assert_eq!(timings.open.len(), 1);
        assert_eq!(timings.end(9), Some((90, request(9))));
        assert!(timings.open.is_empty());
    }
}
