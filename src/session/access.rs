//! Who the client is, and what it may do.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Session;
use crate::acl::{Denial, Denied, Reason, Stage, User, Users};
use crate::clock;
use crate::command::{Admin, Command, KeyRef, Unknown, extract, id};
use crate::config::AdminCommands;
use crate::resp::{Request, parse_i64};

const NO_SCRIPTS: &str = "NOPERM strata: a script acts with the rights of strata's own user, not with this user's; server.trust_scripts = true allows it";
const NO_BY: &str = "ERR BY option of SORT denied due to insufficient ACL permissions.";
const NO_GET: &str = "ERR GET option of SORT denied due to insufficient ACL permissions.";

/// Why a user may not run a request.
enum Refusal {
    /// Its rules deny it.
    Denied(Denied),
    /// They allow it, but not what it would do; the error.
    Other(&'static str),
}

/// The session's user, as it was when the session last looked.
pub(super) struct Access {
    user: Arc<User>,
    /// The state of the users that was seen.
    seen: u64,
    /// It has said who it is, or needed not to when it came.
    logged_in: bool,
    /// There is something that the user may not do.
    restricted: bool,
}

impl Access {
    /// That of a client which has not said who it is.
    pub(super) fn of_stranger(users: &Users) -> Self {
        let seen = users.generation();
        let user = users.default_user();
        let (logged_in, restricted) = (user.enabled() && user.no_password(), !user.unrestricted());
        Access { user, seen, logged_in, restricted }
    }

    /// Whether who has this may send commands.
    pub(super) fn open(&self) -> bool {
        self.logged_in
    }

    pub(super) fn user(&self) -> &Arc<User> {
        &self.user
    }

    /// The state of the users that it is of.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// Whether nothing has to be asked before a command.
    pub(super) fn is_plain(&self, users: &Users) -> bool {
        !self.restricted && self.seen == users.generation()
    }
}

impl Session {
    /// Makes the client this user, who has shown to be it.
    pub(super) fn become_user(&mut self, user: Arc<User>) {
        *self.info.user.lock() = user.clone();
        self.access.restricted = !user.unrestricted();
        self.access.user = user;
        self.access.logged_in = true;
        self.set_authenticated(true);
    }

    /// Makes the client what it was when it came.
    pub(super) fn become_stranger(&mut self) {
        self.access = Access::of_stranger(&self.context.users);
        *self.info.user.lock() = self.access.user.clone();
        self.set_authenticated(self.access.open());
    }

    /// Follows what was changed about users since the last command. Who was deleted is cut.
    pub(super) fn review_user(&mut self) {
        let users = self.context.users.clone();
        let generation = users.generation();
        if self.access.seen == generation {
            return;
        }
        self.access.seen = generation;
        match users.get(self.access.user.name()).filter(|user| user.number() == self.access.user.number()) {
            Some(user) => {
                self.access.restricted = !user.unrestricted();
                self.access.user = user;
                self.set_authenticated(self.access.logged_in || users.open());
            }
            None => {
                self.become_stranger();
                self.info.killed.store(true, Relaxed);
                self.core.closing.set(true);
            }
        }
    }

    /// Whether the user, and the setting for commands about the server, let a request pass that has the right number
    /// of arguments. If not the client is told why. The one place that asks: whoever queues or runs commands calls it.
    /// `keys` is left with anything.
    pub(super) fn may_run(
        &mut self,
        request: &Request<'_>,
        command: &'static Command,
        stage: Stage,
        keys: &mut Vec<KeyRef>,
    ) -> bool {
        if self.access.restricted && !self.rules_allow(request, command, stage, keys) {
            return false;
        }
        let refusal = self.admin_refusal(command, request);
        if let Some(error) = &refusal {
            self.reject(Some(command), error);
        }
        refusal.is_none()
    }

    fn rules_allow(
        &mut self,
        request: &Request<'_>,
        command: &'static Command,
        stage: Stage,
        keys: &mut Vec<KeyRef>,
    ) -> bool {
        match self.verdict(request, command, keys) {
            Ok(()) => return true,
            Err(Refusal::Denied(denied)) => self.deny(request, command, denied, stage),
            Err(Refusal::Other(error)) => self.reject(Some(command), error),
        }
        false
    }

    /// What the error is, in the place of its reply, of a command that was allowed when it was queued and is not
    /// any more.
    pub(super) fn refused_at_exec(
        &self,
        request: &Request<'_>,
        command: &'static Command,
        keys: &mut Vec<KeyRef>,
    ) -> Option<String> {
        if !self.access.restricted {
            return None;
        }
        let denied = match self.verdict(request, command, keys).err()? {
            Refusal::Denied(denied) => denied,
            Refusal::Other(error) => return Some(error.to_owned()),
        };
        self.log_denied(request, command, denied, Stage::Multi);
        let reason = match denied {
            Denied::Command => "no permission to execute the command or subcommand",
            Denied::Key(_) => "no permission to touch the specified keys",
            Denied::Channel(_) => "no permission to access one of the channels used as arguments",
        };
        Some(format!(
            "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. \
             This command is no longer allowed for the following reason: {reason}"
        ))
    }

    fn verdict(
        &self,
        request: &Request<'_>,
        command: &'static Command,
        keys: &mut Vec<KeyRef>,
    ) -> Result<(), Refusal> {
        let user = &self.access.user;
        user.check(command, request, keys).map_err(Refusal::Denied)?;
        let scripts = [id::EVAL, id::EVALSHA, id::EVAL_RO, id::EVALSHA_RO, id::FCALL, id::FCALL_RO];
        let trusted = || self.context.config.server.trust_scripts || user.may_do_what_scripts_can();
        // Where it is not even said how many keys there are, home runs nothing.
        if scripts.contains(&command.id) && !trusted() && extract(command, request, keys).is_ok() {
            return Err(Refusal::Other(NO_SCRIPTS));
        }
        if [id::SORT, id::SORT_RO].contains(&command.id)
            && let Some(error) = reads_beyond(request)
            && !user.may_read_beyond(command, request, keys)
        {
            return Err(Refusal::Other(error));
        }
        Ok(())
    }

    fn log_denied(&self, request: &Request<'_>, command: &'static Command, denied: Denied, stage: Stage) {
        let object = |index| request.arg(index).unwrap_or_default().to_vec();
        let (reason, object) = match denied {
            Denied::Command => (Reason::Command, command.name.as_bytes().to_vec()),
            Denied::Key(index) => (Reason::Key, object(index)),
            Denied::Channel(index) => (Reason::Channel, object(index)),
        };
        let user = self.access.user.name().to_vec();
        self.note_denial(Denial { reason, stage, object, user }, command);
    }

    fn deny(&mut self, request: &Request<'_>, command: &'static Command, denied: Denied, stage: Stage) {
        self.log_denied(request, command, denied, stage);
        self.reject(
            Some(command),
            match denied {
                Denied::Command => {
                    format!("NOPERM this user has no permissions to run the '{}' command", command.name)
                }
                Denied::Key(_) => {
                    "NOPERM this user has no permissions to access one of the keys used as arguments"
                        .to_owned()
                }
                Denied::Channel(_) => {
                    "NOPERM this user has no permissions to access one of the channels used as arguments"
                        .to_owned()
                }
            },
        );
    }

    pub(super) fn note_denial(&self, denial: Denial, command: &Command) {
        let now = clock::now();
        self.info.note(now, Some(command.id), 0);
        self.context.users.note(denial, self.info.line(now), now);
    }

    /// Whether the user may send what the table does not know. If not it is told that there is no such command,
    /// as Redis would: what `CACHE` shows and drops is of all keys.
    pub(super) fn may_run_unknown(&mut self, request: &Request<'_>, unknown: Unknown) -> bool {
        if !self.access.restricted || self.access.user.may_do_unknown() || is_library_note(request) {
            return true;
        }
        if request.name().eq_ignore_ascii_case(b"cache") {
            self.reject(None, "NOPERM this user has no permissions to run the 'cache' command");
        } else {
            self.reject(None, unknown.message(request));
        }
        false
    }

    /// What a command about the server is refused with, if `server.admin_commands` does not let it pass.
    pub(super) fn admin_refusal(&self, command: &Command, request: &Request<'_>) -> Option<String> {
        let setting = self.context.config.server.admin_commands;
        let refused = match (command.admin, setting) {
            (Admin::No | Admin::Own, _) | (_, AdminCommands::Pass) => false,
            (Admin::Reads, AdminCommands::Read) => forgets(command, request),
            (Admin::Reads | Admin::Changes, _) => true,
        };
        (refused && command.arity_ok(request.len())).then(|| {
            let name = command.name.to_uppercase().replace('|', " ");
            let setting = setting.name();
            format!("NOPERM strata: {name} is refused, because server.admin_commands is \"{setting}\"; \"pass\" lets it pass")
        })
    }

    /// Whether a subcommand that nobody here knows may be sent home: of a container that changes the server it may
    /// be anything. Users are strata's own, and what it is of a cluster.
    pub(super) fn may_pass_unknown(&self, container: &Command) -> bool {
        let changes = || container.subcommands().iter().any(|row| row.admin == Admin::Changes);
        ![id::ACL, id::CLUSTER].contains(&container.id)
            && (self.context.config.server.admin_commands == AdminCommands::Pass || !changes())
    }
}

/// Whether the words of a command that reads ask to forget what there is to read.
fn forgets(command: &Command, request: &Request<'_>) -> bool {
    let log = command.id == id::ACL_LOG && request.len() == 3;
    log && request.arg(2).is_some_and(|word| word.eq_ignore_ascii_case(b"reset"))
}

/// What client libraries say of themselves unasked.
fn is_library_note(request: &Request<'_>) -> bool {
    let is = |index, word: &str| request.arg(index).is_some_and(|a| a.eq_ignore_ascii_case(word.as_bytes()));
    is(0, "client") && is(1, "setinfo")
}

/// The error for the first option of a SORT by which it reads keys that it does not name, if it has one. What is
/// wrong before it is for home to say.
fn reads_beyond(request: &Request<'_>) -> Option<&'static str> {
    let mut index = 2;
    while let Some(word) = request.arg(index) {
        let is = |option: &str| word.eq_ignore_ascii_case(option.as_bytes());
        let operands = request.len() - index - 1;
        if is("by") && operands >= 1 {
            if request.arg(index + 1).is_some_and(|pattern| pattern.contains(&b'*')) {
                return Some(NO_BY);
            }
            index += 1;
        } else if is("get") && operands >= 1 {
            return Some(NO_GET);
        } else if is("limit") && operands >= 2 && are_integers(request, index + 1) {
            index += 2;
        } else if is("store") && operands >= 1 {
            index += 1;
        } else if !["asc", "desc", "alpha"].into_iter().any(is) {
            return None;
        }
        index += 1;
    }
    None
}

/// Whether an argument and the one after it are numbers.
fn are_integers(request: &Request<'_>, index: usize) -> bool {
    [index, index + 1].into_iter().all(|i| request.arg(i).and_then(parse_i64).is_some())
}
