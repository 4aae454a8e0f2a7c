//! CLIENT TRACKING: what a client that keeps a cache of its own reads is remembered, and what it is told.
//!
//! What it is told goes out behind the replies that are outstanding at that moment, which may have been read before
//! the change: else the client would keep them as true after it was told that they are not.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;

use super::{Core, Session};
use crate::command::{Access, Acl, Args, Command, Flags, KeyRef, extract};
use crate::proxy::{Client, Message};
use crate::resp::{Proto, encode};
use crate::session::clients::Mark;
use crate::tier::listeners::{Notice, Remembered};

/// The channel on which clients that speak RESP2 hear for others.
const CHANNEL: &[u8] = b"__redis__:invalidate";
/// More than this is not held back: the client is told to drop everything instead.
const MOST_DEFERRED: usize = 1024;

/// How a client tracks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mode {
    /// Who hears instead of it; 0: nobody.
    pub(super) redirect: u64,
    /// BCAST: it hears of prefixes, whatever it read.
    pub(super) broadcast: bool,
    /// OPTIN: only what follows CLIENT CACHING YES is remembered.
    pub(super) opt_in: bool,
    /// OPTOUT: what follows CLIENT CACHING NO is not.
    pub(super) opt_out: bool,
    /// NOLOOP: its own writes are no news to it.
    pub(super) no_loop: bool,
    /// CLIENT CACHING was just sent.
    pub(super) caching: bool,
    /// Who was to hear instead of it has gone.
    pub(super) broken: bool,
}

/// What is held back, in order.
pub(super) type Deferred = Vec<Bytes>;

/// What a session that tracks remembers about it besides its mode.
pub(super) type PrefixSet = BTreeSet<Box<[u8]>>;

impl Mode {
    /// Whether keys of this command are to be remembered, as Redis decides it; of scripts, which may or may not read
    /// the keys that they declare, always.
    pub(super) fn wants(self, command: &Command) -> bool {
        let chosen = if self.opt_in { self.caching } else { !(self.opt_out && self.caching) };
        chosen && Self::reads(command)
    }

    /// Whether it is the kind of command of which keys may be remembered.
    pub(super) fn reads(command: &Command) -> bool {
        let reads = command.flags.contains(Flags::READONLY) || command.acl.contains(Acl::SCRIPTING);
        reads && !command.flags.contains(Flags::PUBSUB)
    }
}

impl Session {
    /// Remembers the keys that a command is about to read. Returns what has to be said behind its reply, where nobody
    /// can promise to say it when they change.
    pub(super) fn remember_reads<A: Args + ?Sized>(
        &self,
        command: &Command,
        args: &A,
        now: u64,
        keys: &mut Vec<KeyRef>,
    ) -> Option<Notice> {
        if let Some(at_home) = &self.at_home {
            return self.remember_at_home(at_home, command, args, keys);
        }
        if let Some(at_masters) = &self.at_masters {
            return self.remember_at_masters(at_masters, command, args, keys);
        }
        let mode = self.core.tracking.get().filter(|mode| mode.wants(command))?;
        extract(command, args, keys).ok()?;
        let names = keys.iter().filter(|k| !k.access.contains(Access::NOT_KEY));
        let names = names.filter_map(|k| args.arg(k.index as usize));
        let shared = &self.context.proxy.shared;
        let unguarded: Vec<&[u8]> = if !mode.broadcast {
            let id = self.info.id;
            shared.tell(|listeners, tell| {
                names.filter(|name| listeners.remember(id, name, now, tell) == Remembered::No).collect()
            })
        } else if shared.listeners.covered(now) {
            Vec::new()
        } else {
            let hears = |name: &[u8]| self.prefixes.iter().any(|prefix| name.starts_with(prefix));
            names.filter(|name| hears(name)).collect()
        };
        (!unguarded.is_empty()).then(|| Notice::keys(&unguarded))
    }

    /// CLIENT CACHING is for one command, or transaction.
    pub(super) fn forget_caching(&self, command: Option<&Command>) {
        if self.transaction.is_some() {
            return;
        }
        let about_clients = command.is_some_and(|c| c.name.split('|').next() == Some("client"));
        if let Some(mode) = self.core.tracking.get().filter(|mode| mode.caching && !about_clients) {
            self.core.tracking.set(Some(Mode { caching: false, ..mode }));
        }
    }

    /// Begins to track, or changes how.
    pub(super) fn track(&mut self, mode: Mode, prefixes: &[&[u8]]) {
        let listeners = &self.context.proxy.shared.listeners;
        listeners.enter(self.info.id, self.info.worker, mode.broadcast);
        self.note_mode(mode, prefixes);
        for prefix in &self.prefixes {
            self.context.proxy.shared.listeners.add_prefix(self.info.id, prefix);
        }
    }

    /// Notes how the client tracks from now on, and which prefixes it hears of besides those it has heard of so far.
    pub(super) fn note_mode(&mut self, mode: Mode, prefixes: &[&[u8]]) {
        let everything: &[&[u8]] = if mode.broadcast { &[b""] } else { &[] };
        let prefixes = if prefixes.is_empty() { everything } else { prefixes };
        self.prefixes.extend(prefixes.iter().map(|prefix| Box::from(*prefix)));
        self.core.tracking.set(Some(mode));
        self.core.mark_tracking();
        self.attend();
    }

    /// Ends it; at the session's end, too.
    pub(super) fn untrack(&mut self) {
        if self.core.tracking.take().is_some() {
            self.leave_listeners();
            self.untrack_at_home();
            self.untrack_at_masters();
            self.prefixes.clear();
            self.core.mark_tracking();
            self.attend();
        }
    }

    /// The client is not to be told of changes here.
    pub(super) fn leave_listeners(&self) {
        let listeners = &self.context.proxy.shared.listeners;
        listeners.leave(self.info.id, self.prefixes.iter().map(|prefix| &**prefix));
    }
}

impl Core {
    /// Shows in CLIENT LIST how the client tracks.
    fn mark_tracking(&self) {
        let mode = self.tracking.get();
        self.info.mark(Mark::Tracking, mode.is_some());
        self.info.mark(Mark::BrokenRedirect, mode.is_some_and(|m| m.broken));
        self.info.mark(Mark::Broadcast, mode.is_some_and(|m| m.broadcast));
        let redirect = mode.map_or(-1, |m| i64::try_from(m.redirect).unwrap_or(i64::MAX));
        self.info.redirect.store(redirect, Relaxed);
    }

    fn proto(&self) -> Proto {
        if self.info.proto.load(Relaxed) == 3 { Proto::Resp3 } else { Proto::Resp2 }
    }

    /// Tells this client, or the one that hears instead of it.
    pub(super) fn tell_tracker(&self, notice: &Notice) {
        // It may have stopped meanwhile.
        let Some(mode) = self.tracking.get() else { return };
        if self.replies.borrow().shape(self.tracking_since.get()).is_some() {
            return;
        }
        let keys = match notice {
            Notice::Keys(keys) => keys.clone(),
            Notice::All => {
                let mut null = Vec::new();
                encode::null(&mut null, self.proto());
                null.into()
            }
        };
        if mode.redirect == 0 {
            if self.proto() == Proto::Resp3 {
                self.follow(&invalidation(&keys));
            }
            return;
        }
        let Some(target) = self.context.clients.get(mode.redirect) else {
            return self.redirection_broken(mode);
        };
        match self.context.proxy.session(target.id) {
            Some(client) => client.redirected(&keys),
            None => self.context.proxy.shared.post(target.worker, Message::Redirected(target.id, keys)),
        }
    }

    fn redirection_broken(&self, mode: Mode) {
        self.tracking.set(Some(Mode { broken: true, ..mode }));
        self.mark_tracking();
        if self.proto() == Proto::Resp3 {
            let mut out = Vec::new();
            encode::push(&mut out, Proto::Resp3, 2);
            encode::bulk(&mut out, b"tracking-redir-broken");
            encode::integer(&mut out, i64::try_from(mode.redirect).unwrap_or(i64::MAX));
            self.follow(&out.into());
        }
    }

    /// Hears for another client.
    pub(super) fn tell_redirected(&self, keys: &Bytes) {
        match self.proto() {
            Proto::Resp3 => self.push(&invalidation(keys)),
            // As in Redis, being subscribed to anything will do.
            Proto::Resp2 if self.info.is_subscribed() => {
                let mut out = Vec::with_capacity(keys.len() + 64);
                encode::array(&mut out, 3);
                encode::bulk(&mut out, b"message");
                encode::bulk(&mut out, CHANNEL);
                out.extend_from_slice(keys);
                self.push(&out.into());
            }
            Proto::Resp2 => {}
        }
    }

    /// Sends what must not overtake the replies that are outstanding.
    fn follow(&self, bytes: &Bytes) {
        match &mut *self.deferred.borrow_mut() {
            None => self.replies.borrow_mut().follow(bytes),
            Some(deferred) if deferred.len() < MOST_DEFERRED => deferred.push(bytes.clone()),
            Some(deferred) => {
                let mut everything = Vec::new();
                encode::null(&mut everything, Proto::Resp3);
                *deferred = vec![invalidation(&everything)];
            }
        }
        self.wake();
    }

    /// EXEC's reply will be made behind all others: what follows it has to wait until then.
    pub(super) fn defer(&self) {
        self.deferred.borrow_mut().get_or_insert_default();
    }

    /// EXEC's reply was made.
    pub(super) fn end_deferral(&self) {
        let deferred = self.deferred.borrow_mut().take();
        deferred.iter().flatten().for_each(|bytes| self.follow(bytes));
    }
}

/// The push that names keys.
fn invalidation(keys: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(keys.len() + 32);
    encode::push(&mut out, Proto::Resp3, 2);
    encode::bulk(&mut out, b"invalidate");
    out.extend_from_slice(keys);
    out.into()
}
