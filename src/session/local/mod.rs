//! Commands that strata answers itself: those about the client's own connection, INFO, and its own `CACHE`.

mod acl;
mod cache;
mod client;
mod cluster;
mod config;
mod hello;
mod info;
mod pause;
mod settings;
mod slowlog;
mod snapshot;
mod tracking;
mod unblock;
mod value;

use std::future::Future;
use std::sync::atomic::Ordering::Relaxed;

use super::parked::What;
use super::replies::Shape;
use super::{ReplyMode, Session};
use crate::backend::lane::Reply;
use crate::clock;
use crate::command::{Command, id};
use crate::proxy::{Client, LaneKey};
use crate::resp::{Proto, Request, encode, parse_i64};
use crate::router::Effect;

pub(super) use info::compose as compose_info;
pub(super) use settings::sets_password;

pub(super) const SYNTAX: &str = "ERR syntax error";
pub(super) const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";

impl Session {
    /// Runs a command of the session itself. Its arity has not been checked.
    pub(super) fn run_local(&mut self, command: &'static Command, request: &Request<'_>, now: u64) {
        if !command.arity_ok(request.len()) {
            return self.reply_error(command.arity_error());
        }
        match command.id {
            id::PING if self.core.restricted.get() && request.len() <= 2 => self.ping_subscriber(request),
            id::PING => self.ping(command, request, now),
            id::ECHO => self.say(|out, _| encode::bulk(out, request.arg(1).unwrap_or_default())),
            id::SELECT => self.select(request),
            id::HELLO => self.hello(request),
            id::AUTH => self.auth(request),
            id::QUIT => self.quit(),
            // Who heard what was published before is counted with those replies.
            id::RESET if self.info.is_subscribed() && self.core.replies.borrow().waiting() > 0 => {
                self.park(request, What::Later);
            }
            id::RESET => self.reset(),
            id::INFO => self.info(request, command, now),
            id::MONITOR => self.begin_monitoring(),
            id::SLOWLOG | id::SLOWLOG_GET | id::SLOWLOG_LEN | id::SLOWLOG_RESET | id::SLOWLOG_HELP => {
                self.run_slowlog(command, request);
            }
            id::CONFIG_GET => self.config_get(request),
            id::READONLY | id::READWRITE | id::ASKING => self.run_cluster(command, request),
            _ if command.name.starts_with("cluster") => self.run_cluster(command, request),
            _ if command.name.starts_with("acl") => self.run_acl(command, request, now),
            _ => self.run_client(command, request, now),
        }
    }

    /// Appends a reply.
    pub(super) fn say(&self, write: impl FnOnce(&mut Vec<u8>, Proto)) {
        write(self.core.replies.borrow_mut().now(), self.lane.proto);
    }

    pub(super) fn ok(&self) {
        self.say(|out, _| encode::simple(out, "OK"));
    }

    /// Replies with what `work` comes to. Until then the client's next commands wait, as they would while Redis is
    /// busy with this one; other clients don't.
    pub(super) fn reply_later(&mut self, work: impl Future<Output = Vec<u8>> + 'static) {
        let slot = self.core.replies.borrow_mut().open(Shape::Plain);
        self.core.busy.set(true);
        let core = self.core.clone();
        tokio::task::spawn_local(async move {
            let reply = work.await;
            core.busy.set(false);
            core.deliver(slot, Reply::Owned(reply.into()), clock::now());
        });
    }

    fn ping(&mut self, command: &'static Command, request: &Request<'_>, now: u64) {
        match request.len() {
            // Who wants to know whether home is busy asks like this.
            1 | 2 if self.context.proxy.may_be_busy() => {
                self.send(request, Some(command), Effect::None, now, &[]);
            }
            1 => self.say(|out, _| encode::simple(out, "PONG")),
            2 => self.say(|out, _| encode::bulk(out, request.arg(1).unwrap_or_default())),
            _ => self.reply_error(command.arity_error()),
        }
    }

    fn select(&mut self, request: &Request<'_>) {
        let Some(number) = request.arg(1).and_then(parse_i64) else {
            return self.reply_error(NOT_AN_INTEGER);
        };
        if i32::try_from(number).is_err() {
            let (low, high) = (i32::MIN, i32::MAX);
            return self
                .reply_error(format!("ERR value is out of range, value must between {low} and {high}"));
        }
        if number != 0 && self.context.proxy.is_cluster() {
            return self.reply_error("ERR SELECT is not allowed in cluster mode");
        }
        let databases = self.context.proxy.databases();
        match u32::try_from(number) {
            Ok(db) if db < databases.max(1) => {
                self.set_database(db);
                self.ok();
            }
            // Nobody knows how many there are before home was reached once.
            Ok(_) if databases == 0 => self.reply_error(
                "ERR strata: home was not reached yet, so its databases are not known; try again",
            ),
            _ => self.reply_error("ERR DB index is out of range"),
        }
    }

    fn set_database(&mut self, db: u32) {
        self.change_lane(LaneKey { db, ..self.lane });
        self.info.db.store(db, Relaxed);
    }

    fn set_proto(&mut self, proto: Proto) {
        self.change_lane(LaneKey { proto, ..self.lane });
        let number = if proto == Proto::Resp3 { 3 } else { 2 };
        self.info.proto.store(number, Relaxed);
        self.core.restrict();
    }

    fn change_lane(&mut self, lane: LaneKey) {
        if self.lane != lane {
            let from = std::mem::replace(&mut self.lane, lane);
            self.lane_since = clock::now();
            self.turning = true;
            self.follow(from);
        }
    }

    /// Who is told so is gone to everybody else as well.
    fn quit(&mut self) {
        self.ok();
        self.context.clients.remove(self.info.id);
        self.core.closing.set(true);
    }

    /// As in Redis, NO-EVICT stays, and CLIENT REPLY SKIP silences this very command.
    fn reset(&mut self) {
        if self.reply_mode == ReplyMode::Off {
            self.core.replies.borrow_mut().set_silent(false);
        }
        self.reply_mode = ReplyMode::On;
        self.end_monitoring();
        self.untrack();
        let later = self.reset_subscriptions();
        self.end_transaction();
        self.set_proto(Proto::Resp2);
        self.set_database(self.context.config.home().database);
        self.become_stranger();
        self.info.name.lock().clear();
        if !later {
            self.say(|out, _| encode::simple(out, "RESET"));
        }
    }

    pub(super) fn set_authenticated(&mut self, yes: bool) {
        self.authenticated = yes;
        self.limits.authenticated = yes;
    }
}

/// What C prints of a word with `%s`.
fn c_string(word: &[u8]) -> &[u8] {
    word.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// An error about a word of the client: `before`, the word, `after`.
fn about(before: &str, word: &[u8], after: &str) -> Vec<u8> {
    [before.as_bytes(), c_string(word), after.as_bytes()].concat()
}
