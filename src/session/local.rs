//! Commands that strata answers itself: those about the client's own connection.

use std::sync::atomic::Ordering::Relaxed;

use super::replies::Shape;
use super::{Context, ReplyMode, Session};
use crate::command::{Command, Unknown, id};
use crate::resp::{Proto, Request, encode, parse_i64};
use crate::router::Effect;

impl Session {
    /// Runs a command of the session itself. Its arity has not been checked.
    pub(super) fn run_local(&mut self, command: &'static Command, request: &Request<'_>, now: u64) {
        if !command.arity_ok(request.len()) {
            return self.reply_error(&command.arity_error());
        }
        match command.id {
            id::PING => self.ping(command, request),
            id::ECHO => self.say(|out, _| encode::bulk(out, request.arg(1).unwrap_or_default())),
            id::SELECT => self.select(request),
            id::HELLO => self.hello(request),
            id::AUTH => self.auth(request),
            id::QUIT => self.quit(),
            id::RESET => self.reset(),
            id::INFO => self.info(request, command, now),
            id::ACL_WHOAMI => self.say(|out, _| encode::bulk(out, b"default")),
            _ => self.run_client(command, request),
        }
    }

    /// Appends a reply.
    pub(super) fn say(&self, write: impl FnOnce(&mut Vec<u8>, Proto)) {
        write(self.core.replies.borrow_mut().now(), self.lane.proto);
    }

    pub(super) fn ok(&self) {
        self.say(|out, _| encode::simple(out, "OK"));
    }

    fn ping(&self, command: &Command, request: &Request<'_>) {
        match request.len() {
            1 => self.say(|out, _| encode::simple(out, "PONG")),
            2 => self.say(|out, _| encode::bulk(out, request.arg(1).unwrap_or_default())),
            _ => self.reply_error(&command.arity_error()),
        }
    }

    fn select(&mut self, request: &Request<'_>) {
        let number = request.arg(1).and_then(parse_i64);
        let databases = self.context.proxy.shared.facts.databases.load(Relaxed);
        match number {
            None => self.reply_error("ERR invalid DB index"),
            // Nobody knows how many there are before home was reached once.
            Some(n) if n != 0 && databases == 0 => self.reply_error(
                "ERR strata: home was not reached yet, so its databases are not known; try again",
            ),
            Some(n) => match u32::try_from(n) {
                Ok(db) if db < databases.max(1) => {
                    self.set_database(db);
                    self.ok();
                }
                _ => self.reply_error("ERR DB index is out of range"),
            },
        }
    }

    fn set_database(&mut self, db: u32) {
        self.lane.db = db;
        self.lane_since = crate::clock::now();
        self.info.db.store(db, Relaxed);
    }

    fn set_proto(&mut self, proto: Proto) {
        self.lane.proto = proto;
        self.lane_since = crate::clock::now();
        self.core.proto.set(proto);
        self.info.proto.store(if proto == Proto::Resp3 { 3 } else { 2 }, Relaxed);
    }

    fn quit(&mut self) {
        self.ok();
        self.core.closing.set(true);
    }

    fn reset(&mut self) {
        self.reply_mode = ReplyMode::On;
        self.core.replies.borrow_mut().set_silent(false);
        self.set_proto(Proto::Resp2);
        self.set_database(self.context.config.l2.database);
        self.set_authenticated(self.context.config.server.password.is_none());
        self.info.no_evict.store(false, Relaxed);
        self.info.labels.lock().name.clear();
        self.say(|out, _| encode::simple(out, "RESET"));
    }

    fn set_authenticated(&mut self, yes: bool) {
        self.authenticated = yes;
        self.limits.authenticated = yes;
    }

    fn auth(&mut self, request: &Request<'_>) {
        let (user, password) = match (request.arg(1), request.arg(2)) {
            (Some(password), None) => {
                if self.context.config.server.password.is_none() {
                    return self.reply_error(
                        "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
                    );
                }
                (&b"default"[..], password)
            }
            (Some(user), Some(password)) if request.len() == 3 => (user, password),
            _ => return self.reply_error("ERR syntax error"),
        };
        if self.check_password(user, password) {
            self.set_authenticated(true);
            self.ok();
        } else {
            self.reply_error("WRONGPASS invalid username-password pair or user is disabled.");
        }
    }

    /// Without a password any will do, as for Redis' `nopass`.
    fn check_password(&self, user: &[u8], password: &[u8]) -> bool {
        user == b"default"
            && self
                .context
                .config
                .server
                .password
                .as_ref()
                .is_none_or(|p| same(p.expose().as_bytes(), password))
    }

    fn hello(&mut self, request: &Request<'_>) {
        let proto = match request.arg(1).map(parse_i64) {
            None => self.lane.proto,
            Some(Some(2)) => Proto::Resp2,
            Some(Some(3)) => Proto::Resp3,
            Some(None) => return self.reply_error("ERR Protocol version is not an integer or out of range"),
            Some(Some(_)) => return self.reply_error("NOPROTO unsupported protocol version"),
        };
        let mut authenticated = self.authenticated;
        let mut name = None;
        let mut i = 2;
        while let Some(option) = request.arg(i) {
            if option.eq_ignore_ascii_case(b"AUTH") && i + 2 < request.len() {
                let (user, password) = (request.arg(i + 1), request.arg(i + 2));
                if !self.check_password(user.unwrap_or_default(), password.unwrap_or_default()) {
                    return self.reply_error("WRONGPASS invalid username-password pair or user is disabled.");
                }
                authenticated = true;
                i += 3;
            } else if option.eq_ignore_ascii_case(b"SETNAME") && i + 1 < request.len() {
                name = request.arg(i + 1);
                if !name.is_some_and(is_label) {
                    return self.reply_error(
                        "ERR Client names cannot contain spaces, newlines or special characters.",
                    );
                }
                i += 2;
            } else {
                let shown = String::from_utf8_lossy(option).into_owned();
                return self.reply_error(&format!("ERR Syntax error in HELLO option '{shown}'"));
            }
        }
        if !authenticated {
            return self.reply_error(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
            );
        }
        self.set_authenticated(true);
        if let Some(name) = name {
            self.info.labels.lock().name = name.to_vec();
        }
        self.set_proto(proto);
        self.say(|out, proto| {
            encode::map(out, proto, 7);
            for (key, value) in [(&b"server"[..], &b"redis"[..]), (b"version", b"7.0.15")] {
                encode::bulk(out, key);
                encode::bulk(out, value);
            }
            encode::bulk(out, b"proto");
            encode::integer(out, if proto == Proto::Resp3 { 3 } else { 2 });
            encode::bulk(out, b"id");
            encode::integer(out, self.info.id as i64);
            for (key, value) in [(&b"mode"[..], &b"standalone"[..]), (b"role", b"master")] {
                encode::bulk(out, key);
                encode::bulk(out, value);
            }
            encode::bulk(out, b"modules");
            encode::array(out, 0);
        });
    }

    fn info(&mut self, request: &Request<'_>, command: &'static Command, now: u64) {
        let slot = self.core.replies.borrow_mut().open(Shape::Info);
        self.send_to(slot, request, Some(command), Effect::None, now, &[]);
    }

    fn run_client(&mut self, _command: &'static Command, _request: &Request<'_>) {
        self.ok();
    }

    pub(super) fn run_client_unknown(&mut self, request: &Request<'_>, unknown: Unknown) {
        let mut text = Vec::new();
        encode::error(&mut text, unknown.message(request));
        self.say(|out, _| out.extend_from_slice(&text));
    }

    pub(super) fn run_cache(&mut self, _request: &Request<'_>, _now: u64) {
        self.ok();
    }
}

/// Names as Redis takes them: printable ASCII without spaces.
pub(super) fn is_label(name: &[u8]) -> bool {
    name.iter().all(|b| (b'!'..=b'~').contains(b))
}

/// Compares in a time that depends on the lengths only.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |d, (x, y)| d | (x ^ y)) == 0
}

/// Home's INFO, completed with strata's section.
pub(super) fn compose_info(_context: &Context, _proto: Proto, home: &[u8]) -> Vec<u8> {
    home.to_vec()
}
