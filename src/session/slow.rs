//! What goes home is timed from its arrival to its reply, for the slow log. What is answered at once is not slow; it
//! is kept only if everything is.

use std::collections::VecDeque;

use super::shown::{has_secrets, shown};
use super::{Core, Session};
use crate::clock;
use crate::command::{Command, Flags};
use crate::proxy::slow_log::{Answered, Slow, keep, keep_raw};
use crate::proxy::watch::Reason;
use crate::resp::Request;

/// Open requests, and bytes of them, beyond which the memory for them is given back.
const KEEP: (usize, usize) = (16, 2048);
/// Bytes of answered requests in front of open ones are given back from here on.
const SLACK: usize = 64 * 1024;

#[derive(Debug)]
struct Timing {
    slot: u64,
    since: u64,
    /// Where in [`Timings::text`] it ends; it begins where the one before it ends.
    end: usize,
    answered: bool,
}

/// The requests of one client that home has not answered yet.
#[derive(Debug, Default)]
pub(super) struct Timings {
    /// By rising slot.
    open: VecDeque<Timing>,
    /// What the log would keep of them, one behind the other: nearly all are answered in time, and an allocation for
    /// each was a tenth of a pass-through SET.
    text: Vec<u8>,
    /// Where in `text` the first of them begins.
    begin: usize,
}

impl Timings {
    /// `keep` puts behind the text what the log would keep of the request.
    fn begin(&mut self, slot: u64, since: u64, keep: impl FnOnce(&mut Vec<u8>)) {
        keep(&mut self.text);
        self.open.push_back(Timing { slot, since, end: self.text.len(), answered: false });
    }

    /// The request at a slot was answered: `found` gets when it had come, and what is kept of it.
    fn end<T>(&mut self, slot: u64, found: impl FnOnce(u64, &[u8]) -> T) -> Option<T> {
        // Replies mostly come in order.
        let index = match self.open.front() {
            Some(first) if first.slot == slot => 0,
            _ => self.open.binary_search_by_key(&slot, |timing| timing.slot).ok()?,
        };
        let begin = if index == 0 { self.begin } else { self.open[index - 1].end };
        let timing = self.open.get_mut(index).filter(|timing| !timing.answered)?;
        timing.answered = true;
        let found = found(timing.since, &self.text[begin..timing.end]);
        self.forget_answered();
        Some(found)
    }

    fn forget_answered(&mut self) {
        while let Some(answered) = self.open.front().filter(|timing| timing.answered) {
            self.begin = answered.end;
            self.open.pop_front();
        }
        if self.open.is_empty() {
            self.begin = 0;
            self.text.clear();
            if self.open.capacity() > KEEP.0 {
                self.open = VecDeque::new();
            }
            if self.text.capacity() > KEEP.1 {
                self.text = Vec::new();
            }
        } else if self.begin > SLACK && self.begin > self.text.len() / 2 {
            self.text.drain(..self.begin);
            self.open.iter_mut().for_each(|timing| timing.end -= self.begin);
            self.begin = 0;
        }
    }
}

impl Session {
    /// Times a request whose reply is to come at `slot`.
    pub(super) fn time(&self, slot: u64, command: Option<&Command>, request: &Request<'_>, now: u64) {
        let slow = &self.context.proxy.shared.slow;
        // What home will refuse was not run; of what strata does not know nobody can say.
        let runs = |c: &Command| is_logged(c, slow.every()) && c.arity_ok(request.len());
        if slow.on() && command.map_or(!slow.every(), runs) {
            self.core.timings.borrow_mut().begin(slot, now, |text| keep_of(text, command, request));
        }
    }

    /// Logs a command that was answered at once, if everything is logged.
    pub(super) fn log_answered(&self, command: &Command, request: &Request<'_>, by: Answered, began: u64) {
        let shared = &self.context.proxy.shared;
        if shared.watch.has(Reason::EveryCommand) && is_logged(command, true) {
            let took = clock::now().saturating_sub(began);
            let mut kept = Vec::new();
            keep_of(&mut kept, Some(command), request);
            self.core.log(kept, took, by);
        }
    }
}

impl Core {
    /// The request at a slot was answered at `now`.
    pub(super) fn end_timing(&self, slot: u64, now: u64) {
        let slow = |since: u64, request: &[u8]| {
            let took = now.saturating_sub(since);
            self.context.proxy.shared.slow.wants(took).then(|| (request.to_vec(), took))
        };
        let late = self.timings.borrow_mut().end(slot, slow).flatten();
        if let Some((request, took)) = late {
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

/// Puts behind `out` what the log keeps of a request.
fn keep_of(out: &mut Vec<u8>, command: Option<&Command>, request: &Request<'_>) {
    match command {
        Some(command) if has_secrets(command) => keep(out, shown(command, request).into_iter()),
        _ => keep_raw(out, request),
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
        for slot in [3, 5, 9] {
            timings.begin(slot, slot * 10, |text| text.resize(text.len() + slot as usize, slot as u8));
        }
        let mut end = |slot| timings.end(slot, |since, request| (since, request.to_vec()));
        let kept = |slot: u8| Some((u64::from(slot) * 10, vec![slot; slot.into()]));
        assert_eq!(end(5), kept(5));
        assert_eq!((end(5), end(4)), (None, None));
        assert_eq!((end(3), end(9)), (kept(3), kept(9)));
        assert!(timings.open.is_empty() && timings.text.is_empty());
    }

    #[test]
    fn what_was_answered_takes_no_memory_while_others_are_open() {
        let mut timings = Timings::default();
        for slot in 0..10_000 {
            timings.begin(slot + 1, 0, |text| text.resize(text.len() + 100, slot as u8));
            if slot > 0 {
                assert_eq!(
                    timings.end(slot, |_, request| request.to_vec()),
                    Some(vec![(slot - 1) as u8; 100])
                );
            }
        }
        assert!(timings.text.len() <= 2 * SLACK, "{}", timings.text.len());
    }
}
