//! ACL: strata's own users.

use ring::rand::{SecureRandom, SystemRandom};

use super::{NOT_AN_INTEGER, about, c_string};
use std::sync::Arc;

use crate::acl::{Channels, Denied, Entry, SetError, User, categories, commands_in};
use crate::command::{Command, Unknown, id, resolve};
use crate::proxy::{Message, Revoked, Space};
use crate::resp::{Proto, Request, encode, parse_i64};
use crate::session::Session;

/// ACL HELP of Redis 7.0, a reply line a line.
const HELP: &str = include_str!("acl_help.txt");
const NO_FILE: &str = "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users in the Redis configuration.";
/// Entries that ACL LOG shows if it is not said how many.
const SHOWN: i64 = 10;
/// Bits of GENPASS: if it is not said how many, and at most.
const BITS: (i64, i64) = (256, 4096);
/// Bytes of a word that an error repeats.
const MAX_WORD: usize = 128;

impl Session {
    pub(super) fn run_acl(&mut self, command: &'static Command, request: &Request<'_>, now: u64) {
        let words = || request.iter().skip(2);
        match command.id {
            id::ACL_WHOAMI => self.say(|out, _| encode::bulk(out, self.access.user().name())),
            id::ACL_USERS => self.say(|out, _| {
                let users = self.context.users.list();
                encode::array(out, users.len());
                users.iter().for_each(|user| encode::bulk(out, user.name()));
            }),
            id::ACL_LIST => self.say(|out, _| {
                let users = self.context.users.list();
                encode::array(out, users.len());
                users.iter().for_each(|user| encode::bulk(out, &user.line()));
            }),
            id::ACL_GETUSER => self.acl_get_user(request),
            id::ACL_CAT if request.len() <= 3 => self.acl_cat(request),
            id::ACL_LOG if request.len() <= 3 => self.acl_log(request, now),
            id::ACL_GENPASS if request.len() <= 3 => self.acl_generate(request),
            id::ACL_DRYRUN => self.acl_dry_run(request),
            id::ACL_SETUSER => self.acl_set_user(request),
            id::ACL_DELUSER => {
                let names: Vec<&[u8]> = words().collect();
                self.acl_delete_users(&names);
            }
            // There is no ACL file: users are in the configuration.
            id::ACL_LOAD | id::ACL_SAVE => self.reply_error(NO_FILE),
            id::ACL_HELP => self.say(|out, _| {
                encode::array(out, HELP.lines().count());
                HELP.lines().for_each(|line| encode::simple(out, line));
            }),
            id::ACL_CAT | id::ACL_LOG | id::ACL_GENPASS => {
                let word = c_string(request.arg(1).unwrap_or_default());
                let before = "ERR unknown subcommand or wrong number of arguments for '";
                self.reply_error(about(before, &word[..word.len().min(MAX_WORD)], "'. Try ACL HELP."));
            }
            _ => self.reply_error(Unknown::Subcommand.message(request)),
        }
    }

    fn acl_get_user(&self, request: &Request<'_>) {
        let Some(user) = self.context.users.get(request.arg(2).unwrap_or_default()) else {
            return self.say(encode::null);
        };
        self.say(|out, proto| write_user(out, proto, &user));
    }

    fn acl_cat(&self, request: &Request<'_>) {
        let names: Vec<String> = match request.arg(2) {
            None => categories().collect(),
            Some(word) => match commands_in(c_string(word)) {
                Some(commands) => commands.map(|command| command.name.to_owned()).collect(),
                None => {
                    let word = c_string(word);
                    let word = &word[..word.len().min(MAX_WORD)];
                    return self.reply_error(about("ERR Unknown category '", word, "'"));
                }
            },
        };
        self.say(|out, _| {
            encode::array(out, names.len());
            names.iter().for_each(|name| encode::bulk(out, name.as_bytes()));
        });
    }

    fn acl_log(&self, request: &Request<'_>, now: u64) {
        let count = match request.arg(2) {
            Some(word) if word.eq_ignore_ascii_case(b"reset") => {
                self.context.users.forget_denied();
                return self.ok();
            }
            Some(word) => match parse_i64(word) {
                Some(count) => count,
                None => return self.reply_error(NOT_AN_INTEGER),
            },
            None => SHOWN,
        };
        let entries = self.context.users.denied(usize::try_from(count).unwrap_or(0));
        self.say(|out, proto| {
            encode::array(out, entries.len());
            entries.iter().for_each(|entry| write_entry(out, proto, entry, now));
        });
    }

    fn acl_generate(&self, request: &Request<'_>) {
        let bits = match request.arg(2).map(parse_i64) {
            None => BITS.0,
            Some(None) => return self.reply_error(NOT_AN_INTEGER),
            Some(Some(bits)) if (1..=BITS.1).contains(&bits) => bits,
            Some(Some(_)) => {
                let most = BITS.1;
                return self.reply_error(format!(
                    "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to {most}"
                ));
            }
        };
        let digits = bits.unsigned_abs().div_ceil(4) as usize;
        let mut random = vec![0; digits.div_ceil(2)];
        if SystemRandom::new().fill(&mut random).is_err() {
            return self.reply_error("ERR strata: the system gives no random numbers");
        }
        let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        self.say(|out, _| encode::bulk(out, &text.as_bytes()[..digits]));
    }

    fn acl_dry_run(&self, request: &Request<'_>) {
        let name = request.arg(2).unwrap_or_default();
        let Some(user) = self.context.users.get(name) else {
            return self.reply_error(about("ERR User '", name, "' not found"));
        };
        let words: Vec<&[u8]> = request.iter().skip(3).collect();
        let Ok(command) = resolve(words.as_slice()) else {
            return self.reply_error(about("ERR Command '", words[0], "' not found"));
        };
        if !command.arity_ok(words.len()) {
            let name = command.name;
            return self.reply_error(format!("ERR wrong number of arguments for '{name}' command"));
        }
        let before = "This user has no permissions to ";
        let told = match user.check(command, words.as_slice(), &mut Vec::new()) {
            Ok(()) => return self.ok(),
            Err(Denied::Command) => format!("{before}run the '{}' command", command.name).into_bytes(),
            Err(Denied::Key(at)) => about(&format!("{before}access the '"), words[at], "' key"),
            Err(Denied::Channel(at)) => about(&format!("{before}access the '"), words[at], "' channel"),
        };
        self.say(|out, _| encode::bulk(out, &told));
    }

    fn acl_set_user(&mut self, request: &Request<'_>) {
        let name = request.arg(2).unwrap_or_default();
        let words: Vec<&[u8]> = request.iter().skip(3).collect();
        let users = self.context.users.clone();
        let before = users.get(name);
        match users.set(name, &words) {
            Ok(()) => {
                let user = before.as_ref().map_or(0, |user| user.number());
                let left =
                    before.zip(users.get(name)).and_then(|(before, now)| Channels::left(&before, &now));
                match left.filter(|_| self.context.proxy.shared.subscriptions.any()) {
                    Some(left) => self.revoke(user, left),
                    None => self.ok(),
                }
            }
            Err(SetError::Name) => {
                self.reply_error("ERR Usernames can't contain spaces or null characters");
            }
            Err(SetError::Open(at)) => {
                self.reply_error(about(
                    "ERR Unmatched parenthesis in acl selector starting at '",
                    words[at],
                    "'.",
                ));
            }
            Err(SetError::Rule(rule, error)) => {
                self.reply_error(about("ERR Error in ACL SETUSER modifier '", &rule, &format!("': {error}")));
            }
        }
    }

    /// Cuts those who hear what their user may no longer hear, and says OK then.
    fn revoke(&mut self, user: u64, left: Channels) {
        let (done, mut all_done) = tokio::sync::mpsc::channel(1);
        let may = Box::new(move |space, name: &[u8]| left.include(name, space == Space::Patterns));
        let revoked = Arc::new(Revoked { user, by: self.info.id, may, done });
        for inbox in self.context.proxy.shared.inboxes.read().iter() {
            // A worker that is gone has no clients.
            let _ = inbox.send(Message::Revoked(revoked.clone()));
        }
        drop(revoked);
        self.reply_later(async move {
            // Nobody says anything: it ends when all have let go.
            let _ = all_done.recv().await;
            b"+OK\r\n".to_vec()
        });
    }

    /// Who was one of them is cut; this very client once it was answered.
    fn acl_delete_users(&mut self, names: &[&[u8]]) {
        let (mut deleted, mut me) = (0, false);
        for name in names {
            if *name == b"default" {
                return self.reply_error("ERR The 'default' user cannot be removed");
            }
            let Some(user) = self.context.users.remove(name) else { continue };
            deleted += 1;
            for client in self.context.clients.list() {
                let is_user = client.user.lock().number() == user.number();
                if is_user && client.id == self.info.id {
                    me = true;
                } else if is_user {
                    self.context.end(&client);
                }
            }
        }
        self.say(|out, _| encode::integer(out, deleted));
        if me {
            self.become_stranger();
            self.core.closing.set(true);
        }
    }
}

fn pair(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    encode::bulk(out, name.as_bytes());
    encode::bulk(out, value);
}

fn write_user(out: &mut Vec<u8>, proto: Proto, user: &User) {
    encode::map(out, proto, 6);
    encode::bulk(out, b"flags");
    let flags = user.flags();
    encode::set(out, proto, flags.len());
    flags.iter().for_each(|flag| encode::bulk(out, flag.as_bytes()));
    encode::bulk(out, b"passwords");
    encode::array(out, user.passwords().count());
    user.passwords().for_each(|digest| encode::bulk(out, digest.as_bytes()));
    let mut selectors = user.selectors();
    let own = selectors.next().unwrap_or_default();
    let write = |out: &mut Vec<u8>, [commands, keys, channels]: [Vec<u8>; 3]| {
        pair(out, "commands", &commands);
        pair(out, "keys", &keys);
        pair(out, "channels", &channels);
    };
    write(out, own);
    encode::bulk(out, b"selectors");
    let others: Vec<_> = selectors.collect();
    encode::array(out, others.len());
    for selector in others {
        encode::map(out, proto, 3);
        write(out, selector);
    }
}

fn write_entry(out: &mut Vec<u8>, proto: Proto, entry: &Entry, now: u64) {
    encode::map(out, proto, 7);
    encode::bulk(out, b"count");
    encode::integer(out, entry.count);
    pair(out, "reason", entry.denial.reason.name().as_bytes());
    pair(out, "context", entry.denial.stage.name().as_bytes());
    pair(out, "object", &entry.denial.object);
    pair(out, "username", &entry.denial.user);
    encode::bulk(out, b"age-seconds");
    // Redis counts in milliseconds.
    encode::double(out, proto, (now.saturating_sub(entry.at) / 1_000_000) as f64 / 1000.0);
    pair(out, "client-info", entry.client.as_bytes());
}
