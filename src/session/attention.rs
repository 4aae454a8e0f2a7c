//! Sessions whose commands need more than being run: CLIENT REPLY, and whatever else a client can turn on.
//!
//! A plain session asks one question a command ([`Session::attentive`]) and otherwise pays for none of this.

use super::batch::Tally;
use super::dispatch::speaks_http;
use super::transaction::Watch;
use super::{ReplyMode, Session};
use crate::command::{Command, KeyRef, Unknown};
use crate::resp::Request;

impl Session {
    /// Whether commands of this session go by way of [`Session::run_attentively`].
    pub(super) fn attentive(&self) -> bool {
        self.attentive
    }

    /// To be called whenever what the answer depends on has changed.
    pub(super) fn attend(&mut self) {
        self.attentive = self.reply_mode != ReplyMode::On
            || self.transaction.is_some()
            || !matches!(self.watch, Watch::None);
    }

    /// Runs a command, asking in Redis' own order (`processCommand`) what may stand in its way.
    pub(super) fn run_attentively(
        &mut self,
        request: &Request<'_>,
        command: Result<&'static Command, Unknown>,
        now: u64,
        keys: &mut Vec<KeyRef>,
    ) {
        // SKIP is over with this command, unless the command itself says it anew.
        let silent = self.reply_mode != ReplyMode::On;
        if self.reply_mode == ReplyMode::Skip {
            self.reply_mode = ReplyMode::On;
            self.attend();
        }
        if silent {
            self.core.replies.borrow_mut().set_silent(true);
        }
        if self.transaction.is_none() || speaks_http(request.name()) || !self.queue(request, command, keys) {
            self.run_slow(request, command, None, now, &mut Tally::default(), keys);
        }
        if silent {
            let silent = self.reply_mode == ReplyMode::Off;
            self.core.replies.borrow_mut().set_silent(silent);
        }
    }
}
