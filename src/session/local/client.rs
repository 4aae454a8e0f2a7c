//! CLIENT and its subcommands.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{SYNTAX, about};
use crate::acl::{User, Users};
use crate::command::{Args, Command, Unknown, id};
use crate::resp::{Request, encode, parse_i64};
use crate::session::clients::{ClientInfo, Mark, is_label};
use crate::session::{ReplyMode, Session};

/// CLIENT HELP of Redis 7.0, a reply line a line.
const HELP: &str = include_str!("client_help.txt");

/// Kinds of clients, as LIST and KILL know them. Strata serves only the first two.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    PubSub,
    Other,
}

impl Kind {
    fn of(word: &[u8]) -> Option<Kind> {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        match word {
            _ if is("normal") => Some(Kind::Normal),
            _ if is("pubsub") => Some(Kind::PubSub),
            _ if is("slave") || is("replica") || is("master") => Some(Kind::Other),
            _ => None,
        }
    }

    fn is_of(self, client: &ClientInfo) -> bool {
        self == if client.is_subscribed() { Kind::PubSub } else { Kind::Normal }
    }
}

/// Whom CLIENT KILL is about: everybody who meets all conditions.
#[derive(Default)]
struct Victims<'a> {
    id: Option<u64>,
    kind: Option<Kind>,
    address: Option<&'a [u8]>,
    local: Option<&'a [u8]>,
    user: Option<Arc<User>>,
    skip_me: bool,
}

impl Victims<'_> {
    fn include(&self, client: &ClientInfo) -> bool {
        let at =
            |wanted: Option<&[u8]>, is: SocketAddr| wanted.is_none_or(|w| w == is.to_string().as_bytes());
        self.id.is_none_or(|id| id == client.id)
            && self.kind.is_none_or(|kind| kind.is_of(client))
            && at(self.address, client.address)
            && at(self.local, client.local)
            && self.user.as_ref().is_none_or(|user| user.number() == client.user.lock().number())
    }
}

impl Session {
    pub(super) fn run_client(&mut self, command: &'static Command, request: &Request<'_>, now: u64) {
        match command.id {
            id::CLIENT_ID => self.say(|out, _| encode::integer(out, self.info.id as i64)),
            id::CLIENT_INFO => {
                self.info.note(now, Some(command.id), 0);
                self.show_own_input(request);
                self.say_text(&[self.info.line(now).as_bytes(), b"\n"].concat());
            }
            id::CLIENT_LIST => {
                self.info.note(now, Some(command.id), 0);
                self.show_own_input(request);
                self.client_list(request, now);
            }
            id::CLIENT_KILL => self.client_kill(request),
            id::CLIENT_SETNAME => {
                if self.set_name(request.arg(2).unwrap_or_default()) {
                    self.ok();
                }
            }
            id::CLIENT_GETNAME => self.say(|out, proto| match &**self.info.name.lock() {
                [] => encode::null(out, proto),
                name => encode::bulk(out, name),
            }),
            id::CLIENT_NO_EVICT => match on_or_off(request.arg(2)) {
                Some(on) => {
                    self.info.mark(Mark::NoEvict, on);
                    self.ok();
                }
                None => self.reply_error(SYNTAX),
            },
            id::CLIENT_REPLY => self.client_reply(request),
            id::CLIENT_UNBLOCK => self.client_unblock(request),
            id::CLIENT_TRACKING => self.client_tracking(request),
            id::CLIENT_TRACKINGINFO => self.client_tracking_info(),
            id::CLIENT_GETREDIR => self.client_get_redirect(),
            id::CLIENT_CACHING => self.client_caching(request),
            id::CLIENT_PAUSE => self.client_pause(request),
            id::CLIENT_UNPAUSE => self.client_unpause(),
            id::CLIENT_HELP => self.say(|out, _| {
                encode::array(out, HELP.lines().count());
                HELP.lines().for_each(|line| encode::simple(out, line));
            }),
            _ => self.reply_error(Unknown::Subcommand.message(request)),
        }
    }

    /// Subcommands that Redis 7.0 does not know. Client libraries of today send SETINFO (7.2) unasked.
    pub(in crate::session) fn run_client_unknown(&mut self, request: &Request<'_>) {
        let word = |i| request.arg(i).unwrap_or_default();
        if !word(1).eq_ignore_ascii_case(b"SETINFO") {
            return self.reply_error(Unknown::Subcommand.message(request));
        }
        if request.len() != 4 {
            return self.reply_error("ERR wrong number of arguments for 'client|setinfo' command");
        }
        let (option, value) = (word(2), word(3));
        if !option.eq_ignore_ascii_case(b"LIB-NAME") && !option.eq_ignore_ascii_case(b"LIB-VER") {
            return self.reply_error(about("ERR Unrecognized option '", option, "'"));
        }
        if !is_label(value) {
            let text = about("ERR ", option, " cannot contain spaces, newlines or special characters.");
            return self.reply_error(text);
        }
        // CLIENT LIST of 7.0 has no place for it.
        let (option, value) = (option.escape_ascii(), value.escape_ascii());
        tracing::debug!(client = self.info.id, %option, %value, "client library");
        self.ok();
    }

    fn say_text(&self, text: &[u8]) {
        self.say(|out, proto| encode::verbatim(out, proto, "txt", text));
    }

    /// As in Redis, a client that looks at itself sees the command with which it does.
    fn show_own_input(&self, request: &Request<'_>) {
        self.info.input.store(request.raw().len() as u64, Relaxed);
    }

    fn client_list(&self, request: &Request<'_>, now: u64) {
        let is =
            |i: usize, name: &str| request.arg(i).is_some_and(|a| a.eq_ignore_ascii_case(name.as_bytes()));
        let mut chosen: Vec<Arc<ClientInfo>> = Vec::new();
        if request.len() == 4 && is(2, "type") {
            let word = request.arg(3).unwrap_or_default();
            match Kind::of(word) {
                None => return self.reply_error(about("ERR Unknown client type '", word, "'")),
                Some(kind) => {
                    chosen = self.context.clients.list();
                    chosen.retain(|client| kind.is_of(client));
                }
            }
        } else if request.len() > 3 && is(2, "id") {
            for word in request.iter().skip(3) {
                let Some(number) = parse_i64(word) else {
                    return self.reply_error("ERR Invalid client ID");
                };
                chosen.extend(u64::try_from(number).ok().and_then(|n| self.context.clients.get(n)));
            }
        } else if request.len() != 2 {
            return self.reply_error(SYNTAX);
        } else {
            chosen = self.context.clients.list();
        }
        let mut text = String::with_capacity(chosen.len() * 256);
        for client in chosen {
            text.push_str(&client.line(now));
            text.push('\n');
        }
        self.say_text(text.as_bytes());
    }

    fn client_kill(&mut self, request: &Request<'_>) {
        let old_form = request.len() == 3;
        let victims = if old_form {
            Victims { address: request.arg(2), ..Victims::default() }
        } else {
            match victims(request, &self.context.users) {
                Ok(victims) => victims,
                Err(error) => return self.reply_error(error),
            }
        };
        let (mut killed, mut me) = (0, false);
        for client in self.context.clients.list().iter().filter(|c| victims.include(c)) {
            if client.id != self.info.id {
                killed += i64::from(self.context.end(client));
            } else if !victims.skip_me {
                (killed, me) = (killed + 1, true);
            }
        }
        match old_form {
            true if killed == 0 => self.reply_error("ERR No such client"),
            true => self.ok(),
            false => self.say(|out, _| encode::integer(out, killed)),
        }
        if me {
            self.core.closing.set(true);
        }
    }

    fn client_reply(&mut self, request: &Request<'_>) {
        let word = request.arg(2).unwrap_or_default();
        if word.eq_ignore_ascii_case(b"ON") {
            self.reply_mode = ReplyMode::On;
            self.core.replies.borrow_mut().set_silent(false);
            self.ok();
        } else if word.eq_ignore_ascii_case(b"OFF") {
            self.reply_mode = ReplyMode::Off;
            self.core.replies.borrow_mut().set_silent(true);
        } else if !word.eq_ignore_ascii_case(b"SKIP") {
            self.reply_error(SYNTAX);
        } else if self.reply_mode != ReplyMode::Off {
            self.reply_mode = ReplyMode::Skip;
        }
        self.attend();
    }
}

pub(super) fn on_or_off(word: Option<&[u8]>) -> Option<bool> {
    match word? {
        word if word.eq_ignore_ascii_case(b"ON") => Some(true),
        word if word.eq_ignore_ascii_case(b"OFF") => Some(false),
        _ => None,
    }
}

/// The conditions of the newer form of CLIENT KILL.
///
/// # Errors
/// Redis' error for the first that is wrong.
fn victims<'a, A: Args + ?Sized>(request: &'a A, users: &Users) -> Result<Victims<'a>, Vec<u8>> {
    let mut victims = Victims { skip_me: true, ..Victims::default() };
    let mut i = 2;
    while let Some(option) = request.arg(i) {
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        let value = request.arg(i + 1).ok_or(SYNTAX)?;
        if is("id") {
            let number = parse_i64(value).and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
            victims.id = Some(number.ok_or("ERR client-id should be greater than 0")?);
        } else if is("type") {
            let kind = Kind::of(value).ok_or_else(|| about("ERR Unknown client type '", value, "'"))?;
            victims.kind = Some(kind);
        } else if is("addr") {
            victims.address = Some(value);
        } else if is("laddr") {
            victims.local = Some(value);
        } else if is("user") {
            let user = users.get(value).ok_or_else(|| about("ERR No such user '", value, "'"))?;
            victims.user = Some(user);
        } else if is("skipme") && value.eq_ignore_ascii_case(b"yes") {
            victims.skip_me = true;
        } else if is("skipme") && value.eq_ignore_ascii_case(b"no") {
            victims.skip_me = false;
        } else {
            return Err(SYNTAX.into());
        }
        i += 2;
    }
    Ok(victims)
}
