//! The commands between MULTI and EXEC.

use std::sync::atomic::Ordering::Relaxed;

use super::Session;
use super::local::sets_password;
use super::parked::What;
use super::pause::writes;
use crate::command::{Command, CommandId, Flags, KeyRef, Unknown, id, lookup};
use crate::proxy::{Counting, Effects, Inside, LaneKey, Touched, turns};
use crate::resp::{Proto, Request, encode, parse_i64, with_request};
use crate::router::{Effect, Route, route};

pub(super) const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
/// Commands that are not queued.
const AT_ONCE: [CommandId; 6] = [id::EXEC, id::DISCARD, id::MULTI, id::WATCH, id::QUIT, id::RESET];

/// The commands between MULTI and EXEC.
pub(super) struct Queue {
    /// MULTI and the commands that home gets, as they came.
    pub(super) block: Vec<u8>,
    /// How many of these there are without MULTI.
    pub(super) sent: u32,
    /// All commands.
    pub(super) count: usize,
    pub(super) here: Vec<Here>,
    /// Bytes of `here`.
    here_size: usize,
    pub(super) effects: Effects,
    /// A pause of writes is about it.
    pub(super) replicates: bool,
    /// A command was refused: EXEC will be, too.
    pub(super) doomed: bool,
    /// Where the client will be once it has been executed so far.
    lane: LaneKey,
    /// Something in it must not happen on a connection that others share.
    pub(super) apart: bool,
    /// EXEC's reply is dropped.
    pub(super) silent: bool,
    /// The state of the users by which its commands were allowed.
    users: u64,
    /// Keys of its commands that work inside the bytes; known from EXEC on.
    pub(super) touched: Touched,
}

/// What EXEC is about to run, in order: the commands that home gets, and those that strata answers itself.
pub(super) struct Queued<'q> {
    /// The rest of the block, MULTI left out.
    block: &'q [u8],
    here: std::iter::Peekable<std::slice::Iter<'q, Here>>,
    index: usize,
}

impl<'q> Iterator for Queued<'q> {
    type Item = &'q [u8];

    fn next(&mut self) -> Option<&'q [u8]> {
        let index = self.index;
        self.index += 1;
        match self.here.next_if(|here| here.index == index) {
            Some(here) => {
                if here.twin {
                    self.step();
                }
                Some(&here.raw)
            }
            None => self.step(),
        }
    }
}

impl<'q> Queued<'q> {
    fn step(&mut self) -> Option<&'q [u8]> {
        let end = with_request(self.block, |request| request.raw().len())?;
        let (first, rest) = self.block.split_at(end);
        self.block = rest;
        Some(first)
    }
}

/// A command that strata answers itself, at EXEC.
pub(super) struct Here {
    /// Its place among all.
    pub(super) index: usize,
    pub(super) raw: Box<[u8]>,
    /// It is not run: this error is its reply.
    pub(super) refused: Option<String>,
    /// Home gets its like, so that what follows is run where it should be. Home's reply is dropped.
    pub(super) twin: bool,
}

/// What is made of EXEC's reply once it is here.
pub(super) struct Replay {
    pub(super) count: usize,
    pub(super) here: Vec<Here>,
    pub(super) silent: bool,
}

impl Queue {
    /// `users` is the state of the users by which its commands are allowed.
    pub(super) fn new(lane: LaneKey, users: u64) -> Self {
        Queue {
            block: MULTI.to_vec(),
            sent: 0,
            count: 0,
            here: Vec::new(),
            here_size: 0,
            effects: Effects::default(),
            replicates: false,
            doomed: false,
            lane,
            apart: false,
            silent: false,
            users,
            touched: Touched::default(),
        }
    }

    /// Bytes it takes.
    pub(super) fn size(&self) -> usize {
        self.block.len() + self.here_size + self.here.len() * size_of::<Here>() + self.effects.size()
    }

    /// Its commands, in order.
    pub(super) fn commands(&self) -> Queued<'_> {
        let block = self.block.get(MULTI.len()..).unwrap_or_default();
        Queued { block, here: self.here.iter().peekable(), index: 0 }
    }

    fn send(&mut self, raw: &[u8]) {
        self.block.extend_from_slice(raw);
        self.sent += 1;
        self.count += 1;
    }

    fn keep(&mut self, raw: &[u8]) {
        self.here.push(Here { index: self.count, raw: raw.into(), refused: None, twin: false });
        self.here_size += raw.len();
        self.count += 1;
    }

    /// A command that the user may no longer run.
    fn refuse(&mut self, raw: &[u8], error: String) {
        self.keep(raw);
        if let Some(here) = self.here.last_mut() {
            here.refused = Some(error);
        }
    }

    /// A command that takes the client to another protocol or database: home follows.
    fn turn(&mut self, raw: &[u8], to: LaneKey) {
        self.keep(raw);
        for request in turns(self.lane, to) {
            self.block.extend_from_slice(&request);
            self.sent += 1;
            self.apart = true;
            if let Some(here) = self.here.last_mut() {
                here.twin = true;
            }
        }
        self.lane = to;
    }

    pub(super) fn into_replay(self) -> Replay {
        Replay { count: self.count, here: self.here, silent: self.silent }
    }
}

impl Session {
    /// Queues a command of an open transaction, or refuses it; false if it is one that acts at once.
    pub(super) fn queue(
        &mut self,
        request: &Request<'_>,
        command: Result<&'static Command, Unknown>,
        keys: &mut Vec<KeyRef>,
    ) -> bool {
        let command = match command {
            Ok(command) => command,
            Err(_) if request.name().eq_ignore_ascii_case(b"cache") => {
                self.enqueue(request, |queue, raw| queue.keep(raw));
                return true;
            }
            Err(unknown) => {
                self.queue_unknown(request, unknown);
                return true;
            }
        };
        if !command.arity_ok(request.len()) {
            self.reject(Some(command), command.arity_error());
        } else if command.flags.contains(Flags::NO_MULTI) {
            self.reject(Some(command), "ERR Command not allowed inside a transaction");
        } else if self.context.proxy.may_be_busy() && !command.flags.contains(Flags::ALLOW_BUSY) {
            self.park(request, What::Vet(None));
        } else if AT_ONCE.contains(&command.id) {
            return false;
        } else if command.id == id::CONFIG_SET && sets_password(request) {
            self.reject(Some(command), "ERR strata: CONFIG SET requirepass has to be sent outside of MULTI");
        } else {
            self.queue_known(request, command, keys);
        }
        true
    }

    /// Asks again, where users were changed meanwhile, whether the commands may be run, as Redis does at EXEC.
    pub(super) fn review_queue(&mut self) {
        let seen = self.access.seen();
        let Some(before) = self.transaction.take_if(|queue| queue.users != seen && !queue.doomed) else {
            return;
        };
        self.transaction = Some(Box::new(Queue::new(self.lane, seen)));
        let silent = self.core.replies.borrow_mut().set_silent(true);
        let mut keys = Vec::new();
        for raw in before.commands() {
            with_request(raw, |request| self.queue_again(request, &mut keys));
        }
        self.core.replies.borrow_mut().set_silent(silent);
    }

    fn queue_again(&mut self, request: &Request<'_>, keys: &mut Vec<KeyRef>) {
        let command = self.resolve(request);
        match command.map(|command| (command, self.refused_at_exec(request, command, keys))) {
            Ok((_, Some(error))) => self.enqueue(request, |queue, raw| queue.refuse(raw, error)),
            Ok((command, None)) => self.queue_known(request, command, keys),
            // CACHE, and what CLIENT knows beside the table.
            Err(_)
                if [&b"cache"[..], b"client"]
                    .iter()
                    .any(|name| request.name().eq_ignore_ascii_case(name)) =>
            {
                self.enqueue(request, |queue, raw| queue.keep(raw));
            }
            Err(_) => self.queue_for_home(request, None, Effect::WritesUnnamed, &[]),
        }
    }

    /// Queues what the table does not know, if home does.
    fn queue_unknown(&mut self, request: &Request<'_>, unknown: Unknown) {
        let client = request.name().eq_ignore_ascii_case(b"client");
        let setinfo = client && request.arg(1).is_some_and(|word| word.eq_ignore_ascii_case(b"setinfo"));
        let may_pass = |container: &Command| !client && self.may_pass_unknown(container);
        if setinfo {
            self.enqueue(request, |queue, raw| queue.keep(raw));
        } else if lookup(request.name()).is_some_and(|container| !may_pass(container)) {
            self.reject(None, unknown.message(request));
        } else {
            self.park(request, What::Vet(Some(unknown)));
        }
    }

    /// Queues a command of the table.
    pub(super) fn queue_known(
        &mut self,
        request: &Request<'_>,
        command: &'static Command,
        keys: &mut Vec<KeyRef>,
    ) {
        let effect = match route(command, request, keys) {
            Route::Local | Route::Refused | Route::Stream | Route::Transaction => {
                let to = self.destination(request, command);
                return self.enqueue(request, |queue, raw| match to {
                    Some(to) => queue.turn(raw, to),
                    None => queue.keep(raw),
                });
            }
            Route::Cached | Route::MultiGet => Effect::Reads,
            Route::Direct(effect) | Route::Wait(effect) | Route::Leased(effect) => effect,
        };
        self.queue_for_home(request, Some(command), effect, keys);
    }

    /// Queues a command that home will run.
    pub(super) fn queue_for_home(
        &mut self,
        request: &Request<'_>,
        command: Option<&'static Command>,
        effect: Effect,
        keys: &[KeyRef],
    ) {
        let context = self.context.clone();
        let inside = command.and_then(|c| context.proxy.inside(c, request, &mut Vec::new()));
        if let Some(Inside::Refused(text)) = inside {
            return self.reject(command, text);
        }
        let slot = match context.proxy.slot_of(command, request, keys) {
            Ok(slot) => slot,
            Err(crossed) => return self.reject(command, crossed.to_string()),
        };
        self.enqueue(request, |queue, raw| {
            queue.effects.at(slot);
            queue.send(raw);
            queue.replicates |= command.is_none_or(|c| writes(c, request));
            queue.effects.add(&context.proxy, request, command, effect, keys);
            if let Some(what) = command.and_then(|command| Counting::of(command, request)) {
                queue.effects.counts(queue.sent - 1, what);
            }
            // It can make home say what is no reply.
            queue.apart |= command.is_some_and(|c| c.id == id::DEBUG);
        });
    }

    fn enqueue(&mut self, request: &Request<'_>, add: impl FnOnce(&mut Queue, &[u8])) {
        let bound = self.context.config.server.max_query_buffer;
        let Some(queue) = &mut self.transaction else { return };
        // What is doomed need not be kept.
        if !queue.doomed {
            add(queue, request.raw());
        }
        self.info.multi.store(queue.count as i64, Relaxed);
        self.info.multi_size.store(queue.size() as u64, Relaxed);
        if queue.size() > bound {
            let text = "the client's transaction exceeds server.max_query_buffer";
            tracing::warn!(client = self.info.id, bytes = queue.size(), "{text}");
            self.info.killed.store(true, Relaxed);
            return self.core.closing.set(true);
        }
        self.say(|out, _| encode::simple(out, "QUEUED"));
    }

    /// Where SELECT and HELLO take the client, if they do.
    fn destination(&self, request: &Request<'_>, command: &Command) -> Option<LaneKey> {
        let lane = self.transaction.as_ref()?.lane;
        let number = parse_i64(request.arg(1)?)?;
        match (command.id, number) {
            (id::HELLO, 2) => Some(LaneKey { proto: Proto::Resp2, ..lane }),
            (id::HELLO, 3) => Some(LaneKey { proto: Proto::Resp3, ..lane }),
            (id::SELECT, _) => {
                let databases = self.context.proxy.databases();
                let db = u32::try_from(number).ok().filter(|db| *db < databases)?;
                Some(LaneKey { db, ..lane })
            }
            _ => None,
        }
    }

    /// Refuses a command before it is run: a transaction that is open will be refused, too.
    pub(super) fn reject(&mut self, command: Option<&'static Command>, error: impl AsRef<[u8]>) {
        if let Some(queue) = &mut self.transaction {
            queue.doomed = true;
            queue.block = Vec::new();
        }
        let error = error.as_ref();
        if command.is_none_or(|c| c.id != id::EXEC) {
            return self.reply_error(error);
        }
        self.end_transaction();
        let whole = error.starts_with(b"EXECABORT ");
        let before: &[u8] = if whole { b"" } else { b"EXECABORT Transaction discarded because of: " };
        self.reply_error([before, error].concat());
    }
}
