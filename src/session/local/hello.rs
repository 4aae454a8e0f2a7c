//! AUTH and HELLO.

use super::{SYNTAX, about};
use crate::acl::{Denial, Reason, Stage};
use crate::command::{by_id, id};
use crate::resp::{Proto, Request, encode, parse_i64};
use crate::session::Session;
use crate::session::clients::is_label;

/// What HELLO says before home was asked.
const SERVER: &str = "redis";
const VERSION: &str = "7.0.15";
const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?";
const HELLO_FIRST: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time";
pub(super) const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

impl Session {
    pub(super) fn auth(&mut self, request: &Request<'_>) {
        let (user, password) = match (request.arg(1), request.arg(2)) {
            (Some(_), None) if self.context.users.default_user().no_password() => {
                return self.reply_error(NO_PASSWORD);
            }
            (Some(password), None) => (&b"default"[..], password),
            (Some(user), Some(password)) if request.len() == 3 => (user, password),
            _ => return self.reply_error(SYNTAX),
        };
        if self.authenticate(request, user, password) {
            self.ok();
        }
    }

    /// Says so, and notes it, if it is wrong.
    fn authenticate(&mut self, request: &Request<'_>, name: &[u8], password: &[u8]) -> bool {
        if let Some(user) = self.context.users.authenticate(name, password) {
            self.become_user(user);
            return true;
        }
        let (object, user) = (request.name().to_vec(), name.to_vec());
        let denial = Denial { reason: Reason::Auth, stage: Stage::TopLevel, object, user };
        let command = if request.name().eq_ignore_ascii_case(b"auth") { id::AUTH } else { id::HELLO };
        self.note_denial(denial, by_id(command));
        self.reply_error(WRONG_PASSWORD);
        false
    }

    /// Options take effect one by one, as in Redis 7.0: those before a bad one stay.
    pub(super) fn hello(&mut self, request: &Request<'_>) {
        let proto = match request.arg(1).map(parse_i64) {
            None => self.lane.proto,
            Some(Some(2)) => Proto::Resp2,
            Some(Some(3)) => Proto::Resp3,
            Some(None) => return self.reply_error("ERR Protocol version is not an integer or out of range"),
            Some(Some(_)) => return self.reply_error("NOPROTO unsupported protocol version"),
        };
        let mut i = 2;
        while let Some(option) = request.arg(i) {
            let (first, second) = (request.arg(i + 1), request.arg(i + 2));
            if let (true, Some(user), Some(password)) = (option.eq_ignore_ascii_case(b"AUTH"), first, second)
            {
                if !self.authenticate(request, user, password) {
                    return;
                }
                i += 3;
            } else if let (true, Some(name)) = (option.eq_ignore_ascii_case(b"SETNAME"), first) {
                if !self.set_name(name) {
                    return;
                }
                i += 2;
            } else {
                return self.reply_error(about("ERR Syntax error in HELLO option '", option, "'"));
            }
        }
        if !self.authenticated {
            return self.reply_error(HELLO_FIRST);
        }
        self.set_proto(proto);
        self.context.proxy.speaks(self.info.id, proto);
        self.greet();
    }

    fn greet(&self) {
        let home = self.context.proxy.shared.facts.server();
        let (server, version) = home.as_ref().map_or((SERVER, VERSION), |(s, v)| (s.as_str(), v.as_str()));
        self.say(|out, proto| {
            let pair = |out: &mut Vec<u8>, key: &str, value: &str| {
                encode::bulk(out, key.as_bytes());
                encode::bulk(out, value.as_bytes());
            };
            encode::map(out, proto, 7);
            pair(out, "server", server);
            pair(out, "version", version);
            encode::bulk(out, b"proto");
            encode::integer(out, if proto == Proto::Resp3 { 3 } else { 2 });
            encode::bulk(out, b"id");
            encode::integer(out, self.info.id as i64);
            pair(out, "mode", self.mode());
            pair(out, "role", "master");
            encode::bulk(out, b"modules");
            encode::array(out, 0);
        });
    }

    /// Says so if the name is bad.
    pub(super) fn set_name(&self, name: &[u8]) -> bool {
        let good = is_label(name);
        if good {
            *self.info.name.lock() = name.to_vec();
        } else {
            self.reply_error(BAD_NAME);
        }
        good
    }
}
