//! Sessions whose commands need more than being run: CLIENT REPLY, subscribers that speak RESP2, and whatever else a client can turn on.
//!
//! A plain session asks one question a command ([`Session::attentive`]) and otherwise pays for none of this.

use super::batch::Tally;
use super::dispatch::speaks_http;
use super::transaction::Watch;
use super::{ReplyMode, Session};
use crate::acl::Stage;
use crate::command::{Command, KeyRef, Unknown};
use crate::resp::Request;
use crate::tier::l1::Reader;

impl Session {
    /// Whether commands of this session go by way of [`Session::run_attentively`].
    pub(super) fn attentive(&self) -> bool {
        self.attentive || self.core.restricted.get() || !self.access.is_plain(&self.context.users)
    }

    /// To be called whenever what the answer depends on has changed.
    pub(super) fn attend(&mut self) {
        self.attentive = self.reply_mode != ReplyMode::On
            || self.transaction.is_some()
            || !matches!(self.watch, Watch::None);
    }

    /// Runs a command, asking in Redis' own order (`processCommand`) what may stand in its way.
    #[allow(clippy::too_many_arguments, reason = "the parts of a batch, as `run_one` has them")]
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
        // SKIP is over with this command, unless the command itself says it anew.
        let silent = self.reply_mode != ReplyMode::On;
        if self.reply_mode == ReplyMode::Skip {
            self.reply_mode = ReplyMode::On;
            self.attend();
        }
        if silent {
            self.core.replies.borrow_mut().set_silent(true);
        }
        let queues = |session: &Self| session.transaction.is_some() && !speaks_http(request.name());
        if self.may_go_on(request, command, keys) && !(queues(self) && self.queue(request, command, keys)) {
            // Who watches keys reads from where they are watched.
            let reader = reader.filter(|_| self.own().is_none());
            self.run_asked(request, command, hash, reader, now, tally, keys);
        }
        if silent {
            let silent = self.reply_mode == ReplyMode::Off;
            self.core.replies.borrow_mut().set_silent(silent);
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
                self.may_run(request, command, Stage::TopLevel, keys) && self.may_subscriber_run(command)
            }
            Err(unknown) => self.may_run_unknown(request, unknown),
        }
    }
}
