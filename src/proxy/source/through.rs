//! A read of keys that a source may have rows of.
//!
//! It goes the way it would without sources, with a [`Through`] for its client. If the reply says, or may say, that one
//! of the keys is absent, it is not given to the client; when the rows are at home the read goes there again. Until its
//! reply has come the client's next commands wait as they do for L2: what it writes next must not be seen by what it
//! read first.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::L4;
use crate::backend::lane::Reply;
use crate::clock;
use crate::command::{Command, KeyRef, id};
use crate::proxy::on_behalf::OnBehalf;
use crate::proxy::{Ask, Client, Effects, LaneKey, Own, Proxy, error_reply};
use crate::resp::{encode, reply, with_request};
use crate::router::Effect;
use crate::source::Match;

/// Readers have numbers of their own, above those of sessions.
const FIRST: u64 = 1 << 63;
/// So often a read is sent home at most.
const MOST_ROUNDS: u32 = 8;
/// Where replies go: to the read itself, and to the same with a look at which keys there are.
const READ: u64 = 0;
const CHECK: u64 = 1;

static NEXT: AtomicU64 = AtomicU64::new(FIRST);

/// Whether a session's number is a reader's, which is waited for already.
fn is_reader(session: u64) -> bool {
    session >= FIRST
}

/// By which way a read goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Manner {
    /// Its reply may become a copy.
    Copied,
    /// MGET.
    Many,
    /// Straight home.
    Straight,
}

/// See the module's text.
pub(super) struct Through {
    this: Weak<Through>,
    proxy: Rc<Proxy>,
    l4: Arc<L4>,
    client: Rc<dyn Client>,
    slot: u64,
    /// What it is called where replies of others' flights come to.
    number: u64,
    lane: LaneKey,
    /// What home is to know of the client's reads it knows by this connection.
    own: Option<Rc<Own>>,
    follows: bool,
    manner: Manner,
    command: &'static Command,
    request: Box<[u8]>,
    keys: Box<[KeyRef]>,
    /// The keys that have sources, each with its place among all.
    wanted: Box<[(usize, Match)]>,
    /// When it was sent last.
    sent: Cell<u64>,
    rounds: Cell<u32>,
    /// Its keys were found to be there.
    there: Cell<bool>,
}

impl Proxy {
    /// Has a read waited for that may find keys absent of which there are rows. False: there are none.
    #[inline]
    pub(in crate::proxy) fn through(self: &Rc<Self>, ask: &Ask<'_>, manner: Manner, keys: &[KeyRef]) -> bool {
        match &self.shared.l4 {
            None => false,
            Some(l4) => self.goes_through(l4, ask, manner, keys),
        }
    }

    fn goes_through(self: &Rc<Self>, l4: &Arc<L4>, ask: &Ask<'_>, manner: Manner, keys: &[KeyRef]) -> bool {
        let Some(command) = ask.command else { return false };
        if is_reader(ask.session) || ask.lane.db != l4.database {
            return false;
        }
        let arg = |key: &KeyRef| ask.request.arg(key.index as usize).unwrap_or_default();
        let sources = keys.iter().enumerate();
        let wanted: Box<[_]> =
            sources.filter_map(|(place, key)| Some((place, l4.matching(arg(key))?))).collect();
        // What is split comes here again in parts.
        if wanted.is_empty() || self.way(ask, keys).is_err() {
            return false;
        }
        let through = Rc::new_cyclic(|this| Through {
            this: this.clone(),
            proxy: self.clone(),
            l4: l4.clone(),
            client: ask.client.clone(),
            slot: ask.slot,
            number: NEXT.fetch_add(1, Relaxed),
            lane: ask.lane,
            own: ask.own.cloned(),
            follows: ask.follows,
            manner,
            command,
            request: ask.request.raw().into(),
            keys: keys.into(),
            wanted,
            sent: Cell::new(ask.now),
            rounds: Cell::new(0),
            there: Cell::new(false),
        });
        self.enter(through.number, through.clone());
        ask.client.look_up(true);
        let client: Rc<dyn Client> = through.clone();
        through.go(&Ask { client: &client, session: through.number, slot: READ, ..*ask });
        true
    }
}

impl Through {
    fn go(&self, ask: &Ask<'_>) {
        match self.manner {
            Manner::Copied => self.proxy.read(ask, self.command, &self.keys),
            Manner::Many => self.proxy.multi_get(ask, &self.keys),
            Manner::Straight => self.proxy.direct(ask, Effect::Reads, &self.keys),
        }
    }

    /// Sends it home, as what it is or with a look.
    fn send(&self, now: u64, how: impl FnOnce(&Self, &Ask<'_>)) {
        let Some(this) = self.this.upgrade() else { return };
        let client: Rc<dyn Client> = this.clone();
        self.sent.set(now);
        with_request(&self.request, |request| {
            // Only what begins now has seen what was loaded.
            let (seen, lane_since) = (now, now);
            let ask = Ask {
                client: &client,
                session: self.number,
                slot: READ,
                seen,
                lane: self.lane,
                lane_since,
                own: self.own.as_ref(),
                follows: self.follows,
                command: Some(self.command),
                request,
                now,
            };
            how(self, &ask);
        });
    }

    /// The reply to the read itself.
    fn replied(&self, reply: Reply<'_>, now: u64) {
        if !may_be_absent(self.command, self.keys.len(), reply.bytes()) {
            return self.release(reply, now);
        }
        let shown: Vec<bool> = match self.manner {
            Manner::Many => {
                reply::elements(reply.bytes()).map(|element| !reply::is_absent(element)).collect()
            }
            Manner::Copied | Manner::Straight => Vec::new(),
        };
        let suspects = self.wanted.iter().filter(|(place, _)| shown.get(*place) != Some(&true));
        let absent: Vec<Match> = suspects.map(|(_, wanted)| wanted.clone()).collect();
        let unknown = self.unknown(absent, now);
        if unknown.is_empty() {
            return self.release(reply, now);
        }
        if self.keys.len() == 1 && tells_absence(self.command, reply.bytes()) {
            return self.missing(unknown, reply, now);
        }
        if self.there.get() {
            return self.release(reply, now);
        }
        self.send(now, Self::check);
    }

    /// Those of the keys of which it is not known that there are no rows.
    fn unknown(&self, mut absent: Vec<Match>, now: u64) -> Vec<Match> {
        let all = absent.len();
        absent.retain(|wanted| !self.l4.nothing.knows(&wanted.key, now));
        self.l4.figures.known_nothing.fetch_add((all - absent.len()) as u64, Relaxed);
        absent
    }

    /// The read again, and which keys there are at the same moment.
    fn check(&self, ask: &Ask<'_>) {
        let mut block = Vec::with_capacity(self.request.len() + 128);
        let mut effects = Effects::default();
        encode::command(&mut block, &[b"MULTI"]);
        for (_, wanted) in &self.wanted {
            encode::command(&mut block, &[b"EXISTS", &wanted.key]);
        }
        let exists = self.wanted.len();
        effects.add(&self.proxy, ask.request, ask.command, Effect::Reads, &self.keys);
        let slot = self.proxy.slot_of(ask.command, ask.request, &self.keys).ok().flatten();
        effects.at(slot);
        self.proxy.pack(ask.command, ask.request, &[], exists, &mut block, &mut effects);
        encode::command(&mut block, &[b"EXEC"]);
        let commands = u32::try_from(exists + 1).unwrap_or(u32::MAX);
        self.proxy.transact(&Ask { slot: CHECK, ..*ask }, None, &block, commands, effects);
    }

    fn checked(&self, reply: Reply<'_>, now: u64) {
        let mut elements = reply::elements(reply.bytes());
        let mut absent = Vec::new();
        for (_, wanted) in &self.wanted {
            let there = elements.next().and_then(reply::parse_integer);
            match there {
                Some(0) => absent.push(wanted.clone()),
                Some(_) => {}
                None => return self.release(reply, now),
            }
        }
        let Some(last) = elements.next() else { return self.release(reply, now) };
        let unknown = self.unknown(absent, now);
        if !unknown.is_empty() {
            return self.missing(unknown, Reply::Borrowed(last), now);
        }
        if self.own.is_none() {
            return self.release(Reply::Borrowed(last), now);
        }
        // The look went by the lane that all share, because EXEC ends a WATCH. What is read by its own connection counts.
        self.there.set(true);
        self.send(now, Self::go);
    }

    /// These keys are absent at home, and there may be rows of them. If there are none this is the reply.
    fn missing(&self, absent: Vec<Match>, reply: Reply<'_>, now: u64) {
        let Some(this) = self.this.upgrade() else { return };
        self.rounds.set(self.rounds.get() + 1);
        if self.rounds.get() > MOST_ROUNDS {
            let name = absent.first().map_or("", |wanted| self.l4.sources.name(wanted.source));
            let text =
                format!("ERR strata: source {name}: the key vanishes from home as soon as it is loaded");
            return self.fail(&text, now);
        }
        let reply = reply.into_bytes();
        tokio::task::spawn_local(async move {
            let brought = this.proxy.bring(&this.l4, absent, this.sent.get()).await;
            let now = clock::now();
            match brought {
                Ok(true) => this.send(now, Self::go),
                Ok(false) => this.release(Reply::Owned(reply), now),
                Err(text) => this.fail(&text, now),
            }
        });
    }

    fn fail(&self, text: &str, now: u64) {
        self.l4.figures.failed.fetch_add(1, Relaxed);
        self.proxy.counters.errors.add(1);
        self.release(Reply::Owned(error_reply(text)), now);
    }

    fn release(&self, reply: Reply<'_>, now: u64) {
        self.proxy.leave(self.number);
        self.client.deliver(self.slot, reply, now);
        self.client.look_up(false);
    }
}

/// Whether a reply may be what it is because a key is absent. Of several keys one may be where nothing shows it.
fn may_be_absent(command: &Command, keys: usize, reply: &[u8]) -> bool {
    let like = |reply: &[u8]| {
        reply::is_absent(reply)
            || reply::parse_integer(reply).is_some_and(|n| n <= 0)
            || reply.starts_with(b"$0\r\n")
    };
    match command.id {
        _ if reply::is_error(reply) => false,
        id::EXISTS | id::TOUCH => reply::parse_integer(reply).is_none_or(|n| n < keys as i64),
        id::MGET => reply::elements(reply).any(reply::is_absent),
        _ => keys > 1 || like(reply) || reply::elements(reply).any(like),
    }
}

/// Whether a reply to a command about one key says that there is no such key: where it exists the command never
/// replies so.
fn tells_absence(command: &Command, reply: &[u8]) -> bool {
    match command.id {
        id::TTL | id::PTTL | id::EXPIRETIME | id::PEXPIRETIME => reply::parse_integer(reply) == Some(-2),
        id::GET | id::EXISTS | id::TYPE | id::DUMP | id::TOUCH => reply::is_absent(reply),
        id::HGETALL | id::HKEYS | id::HVALS | id::HLEN => reply::is_absent(reply),
        _ => false,
    }
}

impl OnBehalf for Through {
    fn whole(&self) -> (&Rc<dyn Client>, u64) {
        (&self.client, self.slot)
    }

    fn replied_to(&self, part: u64, reply: Reply<'_>, now: u64) {
        match part {
            READ => self.replied(reply, now),
            _ => self.checked(reply, now),
        }
    }
}
