//! Where a command goes that no copy answers at once: the routes, as the session takes them.

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use super::Session;
use super::batch::Tally;
use super::parked::What;
use super::replies::Shape;
use crate::command::{Command, KeyRef, Spread, Unknown, id, lookup};
use crate::proxy::{Ask, Own};
use crate::resp::{Request, encode};
use crate::router::{Effect, Route, route};
use crate::tier::l1::Reader;

const NO_AUTH: &str = "NOAUTH Authentication required.";

impl Session {
    /// Everything but a hit. What goes home is timed.
    pub(super) fn run_slow(
        &mut self,
        request: &Request<'_>,
        command: Result<&'static Command, Unknown>,
        reader: Option<&Reader<'_>>,
        now: u64,
        tally: &mut Tally,
        keys: &mut Vec<KeyRef>,
    ) {
        let slot = self.core.replies.borrow().next_slot();
        self.take_way(request, command, reader, now, tally, keys);
        if self.core.replies.borrow().shape(slot).is_some() {
            self.time(slot, command.ok(), request, now);
        }
    }

    fn take_way(
        &mut self,
        request: &Request<'_>,
        command: Result<&'static Command, Unknown>,
        reader: Option<&Reader<'_>>,
        now: u64,
        tally: &mut Tally,
        keys: &mut Vec<KeyRef>,
    ) {
        if command.is_err() && speaks_http(request.name()) {
            return self.shun(now);
        }
        if !self.authenticated && !command.is_ok_and(|c| c.flags.contains(crate::command::Flags::NO_AUTH)) {
            return self.refuse_stranger(request, command);
        }
        let command = match command {
            Ok(command) => command,
            // Perhaps home knows more commands than Redis 7.0 (a module's, a newer version's): what they touch
            // is not known.
            Err(unknown) => {
                if request.name().eq_ignore_ascii_case(b"cache") {
                    return self.run_cache(request);
                }
                keys.clear();
                return match unknown {
                    Unknown::Command => self.send(request, None, Effect::WritesUnnamed, now, keys),
                    Unknown::Subcommand => self.run_unknown_subcommand(request, now, keys),
                };
            }
        };
        if let Some(error) = self.admin_refusal(command, request) {
            return self.reply_error(error);
        }
        if command.id == id::CONFIG_SET && self.follow_config(request) {
            return;
        }
        if self.must_settle(command.runs_script()) || self.must_leave_own(command) {
            return self.park(request, What::Later);
        }
        if self.goes_inside(request, command, keys) {
            return;
        }
        let arity_ok = command.arity_ok(request.len());
        match route(command, request, keys) {
            Route::Local => self.run_local(command, request, now),
            Route::Refused | Route::Stream | Route::Transaction | Route::Wait(_) | Route::Leased(_)
                if !arity_ok =>
            {
                self.reject(Some(command), command.arity_error());
            }
            Route::Transaction => self.run_transaction(request, command, now),
            Route::Wait(_) => self.park(request, What::Wait),
            // Lanes reach a node whatever script it runs; and who is asked to end one is not known.
            Route::Leased(effect) if self.concerns_all(command) => {
                self.send(request, Some(command), effect, now, keys);
            }
            Route::Leased(_) => self.park(request, What::Lease),
            Route::Stream => self.park(request, What::Subscription),
            Route::Refused => self.reply_error(refused_error(command)),
            Route::Direct(effect) => self.send(request, Some(command), effect, now, keys),
            // Who watches keys reads from where they are watched.
            Route::Cached | Route::MultiGet if self.passes_copies() => {
                self.send(request, Some(command), Effect::Reads, now, keys);
            }
            Route::Cached => self.run_cached(request, command, reader, now, tally, keys),
            Route::MultiGet => self.run_multi_get(request, command, reader, now, tally, keys),
        }
    }

    /// Whether earlier replies have to be here first, because they come by the lane of scripts and this one does not,
    /// or the other way round.
    pub(super) fn must_settle(&mut self, script: bool) -> bool {
        if self.on_scripts == script || self.passes_copies() {
            return false;
        }
        let settled = self.core.replies.borrow().waiting() == 0;
        if settled {
            self.on_scripts = script;
        }
        !settled
    }

    /// Whether a command goes to several nodes of home.
    fn concerns_all(&self, command: &Command) -> bool {
        command.spread != Spread::One && self.context.proxy.is_cluster()
    }

    /// Whether earlier replies have to be here first, because they come by the client's own connection, and this command
    /// may go to several nodes.
    fn must_leave_own(&mut self, command: &Command) -> bool {
        if self.own().is_none() || !self.concerns_all(command) {
            return false;
        }
        self.turning = true;
        self.core.replies.borrow().waiting() > 0
    }

    fn run_unknown_subcommand(&mut self, request: &Request<'_>, now: u64, keys: &[KeyRef]) {
        if request.name().eq_ignore_ascii_case(b"client") {
            return self.run_client_unknown(request);
        }
        if lookup(request.name()).is_some_and(|container| !self.may_pass_unknown(container)) {
            return self.reply_error(Unknown::Subcommand.message(request));
        }
        self.send(request, None, Effect::WritesUnnamed, now, keys);
    }

    fn run_cached(
        &mut self,
        request: &Request<'_>,
        command: &'static Command,
        reader: Option<&Reader<'_>>,
        now: u64,
        tally: &mut Tally,
        keys: &[KeyRef],
    ) {
        let context = self.context.clone();
        let proxy = &context.proxy;
        let follows = self.follows_keys(request, keys);
        // One key at a fixed place has been looked up before.
        if command.only_key().is_none()
            && !follows
            && let (Some(copies), Some(reader)) = (proxy.vouched(now), reader)
        {
            let found = self.with_ask(request, Some(command), 0, follows, now, |ask| {
                let key = request.arg(keys[0].index as usize)?;
                let identity = proxy.identity(ask, command, key)?;
                match keys {
                    [_] => proxy.copy(reader, &identity, now),
                    _ => copies.spanning(reader, &identity, now),
                }
            });
            if let Some(reply) = found {
                tally.hits += 1;
                return self.core.replies.borrow_mut().now().extend_from_slice(reply);
            }
        }
        if let Some(reader) = reader.filter(|_| !follows && proxy.renews()) {
            let found = self.with_ask(request, Some(command), 0, follows, now, |ask| {
                proxy.read_ahead(reader, ask, command, keys)
            });
            if let Some(reply) = found {
                tally.hits += 1;
                return self.core.replies.borrow_mut().now().extend_from_slice(reply);
            }
        }
        tally.misses += 1;
        let slot = self.open();
        self.with_ask(request, Some(command), slot, follows, now, |ask| proxy.read(ask, command, keys));
    }

    pub(super) fn follows_keys(&self, request: &Request<'_>, keys: &[KeyRef]) -> bool {
        let Some(copies) = &self.context.proxy.shared.copies else {
            return false;
        };
        let hash = |k: &KeyRef| copies.l1().hash(request.arg(k.index as usize).unwrap_or_default());
        self.follows(keys.iter().map(hash))
    }

    fn run_multi_get(
        &mut self,
        request: &Request<'_>,
        command: &'static Command,
        reader: Option<&Reader<'_>>,
        now: u64,
        tally: &mut Tally,
        keys: &[KeyRef],
    ) {
        let context = self.context.clone();
        let proxy = &context.proxy;
        let follows = self.follows_keys(request, keys);
        if let Some(reader) = reader.filter(|_| !follows) {
            for key in keys.iter().filter_map(|k| request.arg(k.index as usize)) {
                reader.prefetch_slot(proxy.shared.copies.as_ref().map_or(0, |c| c.l1().hash(key)));
            }
            let whole = self.with_ask(request, Some(command), 0, follows, now, |ask| {
                let mut replies = self.core.replies.borrow_mut();
                proxy.multi_get_copies(reader, ask, keys, replies.now())
            });
            if whole {
                tally.hits += 1;
                return;
            }
        }
        tally.misses += 1;
        let slot = self.open();
        self.with_ask(request, Some(command), slot, follows, now, |ask| proxy.multi_get(ask, keys));
    }

    /// Straight home.
    pub(super) fn send(
        &mut self,
        request: &Request<'_>,
        command: Option<&'static Command>,
        effect: Effect,
        now: u64,
        keys: &[KeyRef],
    ) {
        let slot = self.open();
        self.send_to(slot, request, command, effect, now, keys);
    }

    pub(super) fn send_to(
        &self,
        slot: u64,
        request: &Request<'_>,
        command: Option<&'static Command>,
        effect: Effect,
        now: u64,
        keys: &[KeyRef],
    ) {
        self.with_ask(request, command, slot, true, now, |ask| self.context.proxy.direct(ask, effect, keys));
    }

    pub(super) fn open(&self) -> u64 {
        self.core.replies.borrow_mut().open(Shape::Plain)
    }

    pub(super) fn with_ask<R>(
        &self,
        request: &Request<'_>,
        command: Option<&'static Command>,
        slot: u64,
        follows: bool,
        now: u64,
        run: impl FnOnce(&Ask<'_>) -> R,
    ) -> R {
        self.with_ask_by(self.own(), request, command, slot, follows, now, run)
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of a question, which differ from place to place")]
    pub(super) fn with_ask_by<R>(
        &self,
        own: Option<&Rc<Own>>,
        request: &Request<'_>,
        command: Option<&'static Command>,
        slot: u64,
        follows: bool,
        now: u64,
        run: impl FnOnce(&Ask<'_>) -> R,
    ) -> R {
        run(&Ask {
            own,
            client: &self.client,
            session: self.info.id,
            slot,
            seen: self.core.seen.get(),
            lane: self.lane.for_scripts(command.is_some_and(Command::runs_script)),
            lane_since: self.lane_since,
            follows,
            command,
            request,
            now,
        })
    }

    /// What Redis checks before it asks who somebody is, and then that it will not say more.
    pub(super) fn refuse_stranger(&self, request: &Request<'_>, command: Result<&'static Command, Unknown>) {
        match command {
            Err(_) if request.name().eq_ignore_ascii_case(b"cache") => self.reply_error(NO_AUTH),
            Err(unknown) => self.reply_error(unknown.message(request)),
            Ok(command) if !command.arity_ok(request.len()) => self.reply_error(command.arity_error()),
            Ok(_) => self.reply_error(NO_AUTH),
        }
    }

    /// Ends the session at once, without a word.
    pub(super) fn shun(&self, now: u64) {
        self.context.clients.suspect(&self.info, now);
        self.info.killed.store(true, Relaxed);
        self.core.closing.set(true);
    }

    /// Replies with an error, code first.
    pub(super) fn reply_error(&self, text: impl AsRef<[u8]>) {
        self.context.proxy.counters.errors.add(1);
        encode::error(self.core.replies.borrow_mut().now(), text);
    }
}

fn refused_error(command: &Command) -> String {
    let name = command.name.to_uppercase().replace('|', " ");
    format!("ERR strata: {name} is about a connection between servers and cannot pass through a proxy")
}

/// Whether a browser may have been made to send this (`POST /path`, `Host: name`), as Redis looks for it.
pub(super) fn speaks_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}
