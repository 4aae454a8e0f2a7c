//! Sessions whose commands need more than being run: CLIENT REPLY, subscribers that speak RESP2, and whatever else a client can turn on.
//!
//! A plain session asks one question a command ([`Session::attentive`]) and otherwise pays for none of this.

use super::batch::Tally;
use super::dispatch::speaks_http;
use super::transaction::Watch;
use super::{ReplyMode, Session};
use crate::acl::Stage;
use crate::command::{Command, Flags, KeyRef, Unknown};
use crate::proxy::slow_log::Answered;
use crate::proxy::watch::Reason;
use crate::resp::Request;
use crate::tier::l1::Reader;

const MONITORS: &str = "ERR Replica can't interact with the keyspace";

impl Session {
    /// Whether commands of this session go by way of [`Session::run_attentively`].
    pub(super) fn attentive(&self) -> bool {
        self.attentive
            || self.alert
            || self.core.restricted.get()
            || !self.access.is_plain(&self.context.users)
    }

    /// To be called whenever what the answer depends on has changed.
    pub(super) fn attend(&mut self) {
        self.attentive = self.reply_mode != ReplyMode::On
            || self.transaction.is_some()
            || !matches!(self.watch, Watch::None)
            || self.core.tracking.get().is_some();
    }

    /// Looks, before a group of commands, whether something of the process concerns every session.
    pub(super) fn look_around(&mut self) {
        // Whoever changed something has had his answer by now: as by Redis, this client hears of it before its next.
        if self.core.tracking.get().is_some() {
            while let Some(notices) = self.context.inbox.take_notices() {
                self.context.pass_on(notices);
            }
        }
        let watch = &self.context.proxy.shared.watch;
        self.alert = watch.any() || self.monitoring;
        self.one_by_one = self.hurried || self.alert && watch.has(Reason::Pause);
    }

    /// Runs a command, asking in Redis' own order (`processCommand`) what may stand in its way.
    #[allow(clippy::too_many_arguments, reason = "as in batch")]
    pub(super) fn run_attentively(
        &mut self,
        request: &Request<'_>,
        command: Result<&'static Command, Unknown>,
        hash: Option<u64>,
        reader: Option<&Reader<'_>>,
        now: u64,
        tally: &mut Tally,
        keys: &mut Vec<KeyRef>,
    ) {
        self.review_user();
        if self.core.closing.get() {
            return;
        }
        let known = self.runnable(request, command);
        if known.is_some_and(|known| self.hold_back(known, request)) {
            return;
        }
        // SKIP is over with this command, unless the command itself says it anew.
        let silent = self.reply_mode != ReplyMode::On;
        if self.reply_mode == ReplyMode::Skip {
            self.reply_mode = ReplyMode::On;
            self.attend();
        }
        if silent {
            self.core.replies.borrow_mut().set_silent(true);
        }
        if !self.may_go_on(request, command, keys) {
            // It was told why.
        } else if known.is_some_and(|known| self.refused_to_monitors(known)) {
            self.reply_error(MONITORS);
        } else if self.transaction.is_none()
            || speaks_http(request.name())
            || !self.queue(request, command, keys)
        {
            // Who watches keys reads from where they are watched.
            let reader = reader.filter(|_| !self.passes_copies());
            self.run_watched(request, command, hash, reader, now, tally, keys);
        }
        if silent {
            let silent = self.reply_mode == ReplyMode::Off;
            self.core.replies.borrow_mut().set_silent(silent);
        }
    }

    /// The command, if nothing that Redis checks before it runs one is wrong with it.
    fn runnable(
        &self,
        request: &Request<'_>,
        command: Result<&'static Command, Unknown>,
    ) -> Option<&'static Command> {
        let allowed = |c: &Command| self.authenticated || c.flags.contains(Flags::NO_AUTH);
        command.ok().filter(|c| allowed(c) && c.arity_ok(request.len()))
    }

    /// Runs a command for those who watch: it is shown, logged, and what it reads is remembered.
    #[allow(clippy::too_many_arguments, reason = "as in batch")]
    fn run_watched(
        &mut self,
        request: &Request<'_>,
        command: Result<&'static Command, Unknown>,
        hash: Option<u64>,
        reader: Option<&Reader<'_>>,
        now: u64,
        tally: &mut Tally,
        keys: &mut Vec<KeyRef>,
    ) {
        let known = self.runnable(request, command);
        // Before it is looked up, or sent: whatever changes from now on is told.
        let unguarded = known.and_then(|known| self.remember_reads(known, request, now, keys));
        let (slot, hits) = (self.core.replies.borrow().next_slot(), tally.hits);
        self.run_asked(request, command, hash, reader, now, tally, keys);
        if let Some(known) = known {
            self.feed_monitors(known, request);
        }
        if let Some(notice) = unguarded {
            self.core.tell_tracker(&notice);
        }
        self.forget_caching(known);
        if let Some(known) = known.filter(|_| self.core.replies.borrow().shape(slot).is_none()) {
            let by = if tally.hits > hits { Answered::L1 } else { Answered::Strata };
            self.log_answered(known, request, by, now);
        }
    }

    /// Whether rules let a command pass. A stranger's, and one that is no command or has the wrong number of arguments,
    /// is refused later, in other words.
    fn may_go_on(
        &mut self,
        request: &Request<'_>,
        command: Result<&'static Command, Unknown>,
        keys: &mut Vec<KeyRef>,
    ) -> bool {
        match command {
            _ if !self.authenticated => true,
            Ok(command) if !command.arity_ok(request.len()) => true,
            Ok(command) => {
                let stage = if self.transaction.is_some() { Stage::Multi } else { Stage::TopLevel };
                self.may_run(request, command, stage, keys) && self.may_subscriber_run(command)
            }
            Err(unknown) => self.may_run_unknown(request, unknown),
        }
    }
}
