//! The commands of one read, run in order.
//!
//! A group of commands is parsed first, so that the places their copies are in can be fetched from memory while
//! the others are parsed; then they are run one by one.

use super::Session;
use crate::clock;
use crate::command::{Args, Command, KeyRef, Unknown, resolve};
use crate::proxy::tail;
use crate::resp::{ProtocolError, Request, RequestParser, Span, Step};
use crate::tier::copies::{Copies, kind};
use crate::tier::flight::Identity;
use crate::tier::l1::Reader;

/// Commands of a group.
const GROUP: usize = 64;

/// Buffers of a worker, lent to the session that is running.
pub struct Scratch {
    /// What a session without unfinished input reads into.
    pub(super) buffer: Vec<u8>,
    /// What a session without unread replies writes into.
    pub(super) spare: Vec<u8>,
    spans: Vec<Span>,
    group: Vec<Parsed>,
    keys: Vec<KeyRef>,
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch {
            buffer: vec![0; 64 * 1024],
            spare: Vec::new(),
            spans: Vec::new(),
            group: Vec::with_capacity(GROUP),
            keys: Vec::new(),
        }
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}

impl Scratch {
    /// Adds a command to the group, and asks for the place of its copy in the table. Its arguments are those from
    /// `first` on.
    #[inline]
    fn note(
        &mut self,
        buf: &[u8],
        start: usize,
        end: usize,
        first: usize,
        command: Result<&'static Command, Unknown>,
        store: Option<(&Copies, &Reader<'_>)>,
    ) {
        let hash = store.and_then(|(copies, reader)| {
            let request = Request::new(buf, start, end, &self.spans[first..]);
            let key = request.arg(command.ok().filter(|c| c.cacheable())?.only_key()?)?;
            let hash = copies.l1().hash(key);
            reader.prefetch_slot(hash);
            Some(hash)
        });
        let spans = (first as u32, self.spans.len() as u32);
        self.group.push(Parsed { start: start as u32, end: end as u32, spans, command, hash });
    }
}

impl Args for Request<'_> {
    fn len(&self) -> usize {
        Request::len(self)
    }
    fn arg(&self, index: usize) -> Option<&[u8]> {
        Request::arg(self, index)
    }
}

/// One command of a group.
struct Parsed {
    start: u32,
    end: u32,
    spans: (u32, u32),
    command: Result<&'static Command, Unknown>,
    /// Hash of its only key, if a copy might answer it.
    hash: Option<u64>,
}

impl Parsed {
    fn request<'a>(&self, buf: &'a [u8], spans: &'a [Span]) -> Request<'a> {
        let spans = &spans[self.spans.0 as usize..self.spans.1 as usize];
        Request::new(buf, self.start as usize, self.end as usize, spans)
    }
}

/// Why a group ended.
enum Stop {
    Full,
    Incomplete,
    Inline(usize),
    Error(ProtocolError),
}

impl Session {
    /// Runs every complete command of `buf`; returns how many bytes are used.
    pub(super) fn run(&mut self, buf: &[u8], scratch: &mut Scratch) -> usize {
        let mut base = 0;
        loop {
            if self.core.closing.get() {
                return buf.len();
            }
            if self.must_wait() {
                self.paused = true;
                return base;
            }
            let context = self.context.clone();
            let copies = context.proxy.shared.copies.as_deref();
            let reader = copies.map(|c| c.l1().reader());
            self.look_around();
            let begin = base;
            let stop = self.parse_group(buf, &mut base, scratch, copies.zip(reader.as_ref()));
            if let Some(next) = self.run_group(buf, scratch, reader.as_ref()) {
                // What is behind it is parsed again.
                self.parser = RequestParser::new();
                (self.paused, self.behind_l2) = (true, true);
                return next;
            }
            if self.held_back {
                self.paused = true;
                return begin;
            }
            match stop {
                Stop::Full => {}
                Stop::Incomplete => return base,
                Stop::Inline(_) if self.core.looking.get() > 0 => {
                    self.parser = RequestParser::new();
                    (self.paused, self.behind_l2) = (true, true);
                    return base;
                }
                Stop::Inline(end) => {
                    self.run_inline(scratch, reader.as_ref());
                    if self.held_back {
                        self.paused = true;
                        return base;
                    }
                    base = end;
                }
                Stop::Error(e) => {
                    tracing::debug!(client = self.info.id, error = %e, "protocol error");
                    e.encode(self.core.replies.borrow_mut().now());
                    self.core.closing.set(true);
                }
            }
        }
    }

    fn parse_group(
        &mut self,
        buf: &[u8],
        base: &mut usize,
        scratch: &mut Scratch,
        store: Option<(&Copies, &Reader<'_>)>,
    ) -> Stop {
        scratch.group.clear();
        scratch.spans.clear();
        let mut last: Option<&'static Command> = None;
        // Behind a script, in a transaction, on a connection of the client's own, and while clients are paused, each
        // command is looked at by itself: it may have to wait.
        let alone = self.on_scripts || self.one_by_one || self.transaction.is_some() || self.passes_copies();
        let most = if alone { 1 } else { GROUP };
        let inside = self.context.proxy.compresses();
        while scratch.group.len() < most {
            let before = scratch.spans.len();
            if let (Some(same), Some(command)) = (scratch.group.last(), last) {
                let (start, known) = (same.start as usize, same.spans.0 as usize..same.spans.1 as usize);
                if let Some(end) = self.parser.repeat(buf, *base, start, known, &mut scratch.spans) {
                    scratch.note(buf, *base, end, before, Ok(command), store);
                    *base = end;
                    continue;
                }
            }
            match self.parser.step(buf, *base, &mut scratch.spans, &self.limits) {
                Step::Command { end } => {
                    let request = Request::new(buf, *base, end, &scratch.spans[before..]);
                    let command = match last {
                        Some(c) if request.name().eq_ignore_ascii_case(c.name.as_bytes()) => Ok(c),
                        _ => self.resolve(&request),
                    };
                    // A container's name says nothing yet, with a subcommand neither.
                    last = command.ok().filter(|c| !c.is_container() && c.name.len() == request.name().len());
                    scratch.note(buf, *base, end, before, command, store);
                    *base = end;
                    if command.map_or(true, |c| c.turns || inside && c.works_inside()) {
                        return Stop::Full;
                    }
                }
                Step::Nothing { end } => *base = end,
                Step::Inline { end } => return Stop::Inline(end),
                Step::Incomplete { need } => {
                    self.need = need;
                    return Stop::Incomplete;
                }
                Step::Error(e) => return Stop::Error(e),
            }
        }
        Stop::Full
    }

    /// Returns where the command begins, if there is one, that must not be run before it is decided what becomes of
    /// those that L2 was asked for.
    fn run_group(&mut self, buf: &[u8], scratch: &mut Scratch, reader: Option<&Reader<'_>>) -> Option<usize> {
        let group = std::mem::take(&mut scratch.group);
        let (mut run, mut behind) = (group.len(), None);
        if let (Some(reader), true) = (reader, group.len() > 1) {
            for hash in group.iter().filter_map(|p| p.hash) {
                reader.prefetch_record(hash);
            }
        }
        if let Some(last) = group.last() {
            let now = clock::now();
            let mut tally = Tally::default();
            if let Some(reader) = reader {
                tally.hits = self.run_hits(buf, &group, &scratch.spans, reader, now);
            }
            for (at, p) in group.iter().enumerate().skip(tally.hits as usize) {
                if self.core.looking.get() > 0 && !self.may_overtake(p) {
                    (run, behind) = (at, Some(p.start as usize));
                    break;
                }
                let request = p.request(buf, &scratch.spans);
                self.run_one(&request, p.command, p.hash, reader, now, &mut tally, &mut scratch.keys);
            }
            self.settle(&tally, run as u64, now);
            self.info.note(now, last.command.ok().map(|c| c.id), run as u64);
        }
        scratch.group = group;
        behind
    }

    /// Whether a command may go home, or be answered, before it is decided what becomes of reads that L2 was asked for:
    /// if it is a read, too, and none of the same key.
    fn may_overtake(&self, p: &Parsed) -> bool {
        p.hash.is_some_and(|hash| !self.follows([hash])) && self.transaction.is_none()
    }

    /// Answers commands of a group from copies, up to the first that none answers; returns how many. What could
    /// stand in the way of a hit is asked once for all of them.
    fn run_hits(&self, buf: &[u8], group: &[Parsed], spans: &[Span], reader: &Reader<'_>, now: u64) -> u64 {
        let settled = self.core.unsettled.borrow().is_empty();
        if self.attentive() || !self.authenticated || !settled || self.context.proxy.vouched(now).is_none() {
            return 0;
        }
        let mut replies = self.core.replies.borrow_mut();
        let out = replies.now();
        let hit = |p: &&Parsed| match (p.command, p.hash) {
            (Ok(command), Some(hash)) => {
                self.copy_to(out, &p.request(buf, spans), command, hash, reader, now)
            }
            _ => false,
        };
        group.iter().take_while(hit).count() as u64
    }

    fn run_inline(&mut self, scratch: &mut Scratch, reader: Option<&Reader<'_>>) {
        // The parser holds the encoded command; it is lent out for the time of the run.
        let parser = std::mem::take(&mut self.parser);
        let now = clock::now();
        let mut tally = Tally::default();
        let request = parser.inline();
        let command = self.resolve(&request);
        self.run_one(&request, command, None, reader, now, &mut tally, &mut scratch.keys);
        self.settle(&tally, 1, now);
        self.info.note(now, command.ok().map(|c| c.id), 1);
        self.parser = parser;
    }

    fn settle(&self, tally: &Tally, commands: u64, began: u64) {
        let counters = &self.context.proxy.counters;
        counters.commands.add(commands);
        if tally.hits + tally.misses > 0 {
            self.context.proxy.tally(tally.hits, tally.misses);
        }
        if tally.hits > 0 {
            counters.l1_get.record(clock::now().saturating_sub(began) / commands, tally.hits);
        }
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "the parts of a batch, kept apart so that a hit moves nothing"
    )]
    fn run_one(
        &mut self,
        request: &Request<'_>,
        command: Result<&'static Command, Unknown>,
        hash: Option<u64>,
        reader: Option<&Reader<'_>>,
        now: u64,
        tally: &mut Tally,
        keys: &mut Vec<KeyRef>,
    ) {
        if self.core.closing.get() {
            return;
        }
        if self.attentive() {
            return self.run_attentively(request, command, hash, reader, now, tally, keys);
        }
        self.run_asked(request, command, hash, reader, now, tally, keys);
    }

    /// Runs a command that nothing stands in the way of, from its copy if there is one.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "as above")]
    pub(super) fn run_asked(
        &mut self,
        request: &Request<'_>,
        command: Result<&'static Command, Unknown>,
        hash: Option<u64>,
        reader: Option<&Reader<'_>>,
        now: u64,
        tally: &mut Tally,
        keys: &mut Vec<KeyRef>,
    ) {
        if let (Ok(command), Some(hash), Some(reader), true) = (command, hash, reader, self.authenticated)
            && self.hit(request, command, hash, reader, now)
        {
            tally.hits += 1;
            return;
        }
        self.run_slow(request, command, reader, now, tally, keys);
    }

    /// The row of a request: of the table, or of what home can do besides.
    pub(super) fn resolve(&self, request: &Request<'_>) -> Result<&'static Command, Unknown> {
        let learned = &self.context.proxy.shared.facts.learned;
        resolve(request).or_else(|unknown| learned.resolve(request, unknown))
    }

    /// Whether this client has requests about one of these keys on their way home.
    pub(super) fn follows(&self, hashes: impl IntoIterator<Item = u64>) -> bool {
        let unsettled = self.core.unsettled.borrow();
        !unsettled.is_empty() && hashes.into_iter().any(|hash| unsettled.contains(hash))
    }

    /// Answers from a copy.
    pub(super) fn hit(
        &self,
        request: &Request<'_>,
        command: &Command,
        hash: u64,
        reader: &Reader<'_>,
        now: u64,
    ) -> bool {
        if self.context.proxy.vouched(now).is_none() || self.follows([hash]) {
            return false;
        }
        let mut replies = self.core.replies.borrow_mut();
        self.copy_to(replies.now(), request, command, hash, reader, now)
    }

    /// Appends the copy that answers a request, if there is one.
    #[inline]
    fn copy_to(
        &self,
        out: &mut Vec<u8>,
        request: &Request<'_>,
        command: &Command,
        hash: u64,
        reader: &Reader<'_>,
        now: u64,
    ) -> bool {
        let index = command.only_key().unwrap_or(1);
        let (Some(key), Some(kind)) = (request.arg(index), kind(command.id, self.lane.proto, self.lane.db))
        else {
            return false;
        };
        let identity = Identity { hash, key, kind, tail: tail(command, request) };
        let copy = self.context.proxy.copy(reader, &identity, now);
        copy.map(|reply| out.extend_from_slice(reply)).is_some()
    }
}

/// Hits and misses of a group.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) hits: u64,
    pub(super) misses: u64,
}
