//! A selector: commands, keys and channels that go together. Every user has one, and may have more.

use std::collections::BTreeMap;

use super::{c_string, has_spaces};
use crate::command::{
    Access, Acl, Args, COUNT, Command, CommandId, Flags, KeyRef, all, extract, id, lookup, resolve,
};
use crate::tier::glob;

/// Why a rule is refused, in the words of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// No such command, subcommand or category.
    #[error("Unknown command or category name in ACL")]
    Unknown,
    /// No rule at all.
    #[error("Syntax error")]
    Syntax,
    /// A key pattern where all keys are allowed already.
    #[error(
        "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. \
         Try 'resetkeys' to start with an empty list of patterns"
    )]
    AfterAllKeys,
    /// A channel pattern where all channels are allowed already.
    #[error(
        "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. \
         Try 'resetchannels' to start with an empty list of channels"
    )]
    AfterAllChannels,
    /// A password that the user does not have is to be removed.
    #[error("The password you are trying to remove from the user does not exist")]
    NoSuchPassword,
    /// What follows `#` or `!` is no SHA-256.
    #[error(
        "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
    )]
    BadHash,
    /// `+config|get|x`.
    #[error("Allowing first-arg of a subcommand is not supported")]
    FirstArgument,
}

/// What a request must not do. In rising order: of several selectors, the one that came furthest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// Run this command.
    Command,
    /// Use the key that is this argument.
    Key(usize),
    /// Use the channel that is this argument.
    Channel(usize),
}

/// Whether a request may be run.
pub type Verdict = Result<(), Denied>;

/// What may be done with the keys of a pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Permission {
    pub(super) read: bool,
    pub(super) write: bool,
}

impl Permission {
    const ALL: Permission = Permission { read: true, write: true };

    /// What using a key so takes.
    fn needed(access: Access) -> Self {
        let changes = Access::INSERT.union(Access::DELETE).union(Access::UPDATE);
        Permission { read: access.contains(Access::ACCESS), write: access.intersects(changes) }
    }

    fn covers(self, needed: Permission) -> bool {
        (self.read || !needed.read) && (self.write || !needed.write)
    }
}

/// A set with a place for every command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commands([u64; COUNT.div_ceil(64)]);

impl Commands {
    const NONE: Commands = Commands([0; COUNT.div_ceil(64)]);
    const ALL: Commands = Commands([u64::MAX; COUNT.div_ceil(64)]);

    pub(super) fn has(&self, command: &Command) -> bool {
        let index = command.id.index();
        self.0[index / 64] & 1 << (index % 64) != 0
    }

    fn put(&mut self, command: &Command, allow: bool) {
        let index = command.id.index();
        let (word, bit) = (&mut self.0[index / 64], 1 << (index % 64));
        if allow { *word |= bit } else { *word &= !bit }
    }
}

/// See the module's text. What it allows is what all of its fields allow together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selector {
    pub(super) commands: Commands,
    /// Commands that are not known yet are allowed: it was made from `+@all`.
    pub(super) future_commands: bool,
    /// Nothing was taken away since `+@all`.
    all_commands: bool,
    /// First arguments with which a command is allowed that is not allowed otherwise.
    pub(super) first_arguments: BTreeMap<CommandId, Vec<Box<[u8]>>>,
    pub(super) all_keys: bool,
    pub(super) keys: Vec<(Box<[u8]>, Permission)>,
    pub(super) all_channels: bool,
    pub(super) channels: Vec<Box<[u8]>>,
}

impl Default for Selector {
    /// Allows nothing.
    fn default() -> Self {
        Selector {
            commands: Commands::NONE,
            future_commands: false,
            all_commands: false,
            first_arguments: BTreeMap::new(),
            all_keys: false,
            keys: Vec::new(),
            all_channels: false,
            channels: Vec::new(),
        }
    }
}

impl Selector {
    /// Whether everything is allowed.
    pub(super) fn allows_all(&self) -> bool {
        self.all_commands && self.all_keys && self.all_channels
    }

    /// Whether it allows whatever a command may do that nobody here knows.
    pub(super) fn allows_unknown(&self) -> bool {
        self.future_commands && self.all_keys && self.all_channels
    }

    /// Whether it allows all that a script could do: everything, but for what scripts cannot do.
    pub(super) fn allows_scripts(&self) -> bool {
        let callable = |command: &&Command| !command.flags.contains(Flags::NOSCRIPT);
        self.allows_unknown() && all().iter().filter(callable).all(|command| self.commands.has(command))
    }

    /// Whether every key may be read.
    pub(super) fn reads_all_keys(&self) -> bool {
        self.all_keys || self.keys.iter().any(|(pattern, may)| may.read && **pattern == *b"*")
    }

    /// Whether a request may be run. `keys` are its keys.
    pub(super) fn check<A: Args + ?Sized>(&self, command: &Command, args: &A, keys: &[KeyRef]) -> Verdict {
        if !self.allows_command(command, args) {
            return Err(Denied::Command);
        }
        for key in keys {
            let index = key.index as usize;
            if !self.allows_key(args.arg(index).unwrap_or_default(), key.access) {
                return Err(Denied::Key(index));
            }
        }
        if self.all_channels {
            return Ok(());
        }
        let Some(use_of) = channels(command) else { return Ok(()) };
        let last = if use_of.all { args.len() } else { 2.min(args.len()) };
        match (1..last).find(|&i| !self.allows_channel(args.arg(i).unwrap_or_default(), use_of.patterns)) {
            Some(index) => Err(Denied::Channel(index)),
            None => Ok(()),
        }
    }

    fn allows_command<A: Args + ?Sized>(&self, command: &Command, args: &A) -> bool {
        // Redis has no place yet for what a rule could not name: it is allowed by `+@all`, whatever came after.
        let learned = command.id.index() >= COUNT;
        let named = if learned { self.future_commands } else { self.commands.has(command) };
        if self.all_commands || command.flags.contains(Flags::NO_AUTH) || named {
            return true;
        }
        let Some(words) = self.first_arguments.get(&command.id) else {
            return false;
        };
        args.arg(1).is_some_and(|first| words.iter().any(|word| word.eq_ignore_ascii_case(c_string(first))))
    }

    fn allows_key(&self, key: &[u8], access: Access) -> bool {
        let needed = Permission::needed(access);
        let fits =
            |(pattern, may): &(Box<[u8]>, Permission)| may.covers(needed) && glob::matches(pattern, key);
        self.all_keys || self.keys.iter().any(fits)
    }

    /// A pattern is subscribed to only if it is allowed itself, letter by letter.
    fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        let fits =
            |pattern: &[u8]| if is_pattern { pattern == channel } else { glob::matches(pattern, channel) };
        self.all_channels || self.channels.iter().any(|pattern| fits(pattern))
    }

    /// Follows one rule, which is not empty.
    ///
    /// # Errors
    /// Why it is none; nothing changed then.
    pub(super) fn apply(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        let word = c_string(rule).to_ascii_lowercase();
        match (&*word, rule) {
            (b"allkeys" | b"~*", _) => self.set_keys(true),
            (b"resetkeys", _) => self.set_keys(false),
            (b"allchannels" | b"&*", _) => self.set_channels(true),
            (b"resetchannels", _) => self.set_channels(false),
            (b"allcommands" | b"+@all", _) => self.set_commands(true),
            (b"nocommands" | b"-@all", _) => self.set_commands(false),
            (_, [b'~' | b'%', ..]) => return self.add_key(rule),
            (_, [b'&', pattern @ ..]) => return self.add_channel(pattern),
            ([b'+', b'@', name @ ..], _) => return self.put_category(name, true),
            ([b'-', b'@', name @ ..], _) => return self.put_category(name, false),
            ([b'+', ..], _) => return self.add_command(&c_string(rule)[1..]),
            ([b'-', name @ ..], _) => self.put(command(name)?, false),
            _ => return Err(RuleError::Syntax),
        }
        Ok(())
    }

    fn set_keys(&mut self, all: bool) {
        self.all_keys = all;
        self.keys.clear();
    }

    fn set_channels(&mut self, all: bool) {
        self.all_channels = all;
        self.channels.clear();
    }

    fn set_commands(&mut self, all: bool) {
        self.commands = if all { Commands::ALL } else { Commands::NONE };
        (self.future_commands, self.all_commands) = (all, all);
        self.first_arguments.clear();
    }

    /// `~pattern`, or `%` with what may be done and `~pattern`.
    fn add_key(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        if self.all_keys {
            return Err(RuleError::AfterAllKeys);
        }
        let (may, pattern) = match rule {
            [b'%', rest @ ..] => permission(rest)?,
            _ => (Permission::ALL, &rule[1..]),
        };
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        match self.keys.iter_mut().find(|(known, _)| **known == *pattern) {
            Some((_, known)) => {
                known.read |= may.read;
                known.write |= may.write;
            }
            None => self.keys.push((pattern.into(), may)),
        }
        Ok(())
    }

    fn add_channel(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_channels {
            return Err(RuleError::AfterAllChannels);
        }
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        if !self.channels.iter().any(|known| **known == *pattern) {
            self.channels.push(pattern.into());
        }
        Ok(())
    }

    fn add_command(&mut self, name: &[u8]) -> Result<(), RuleError> {
        let Some(bar) = name.iter().rposition(|byte| *byte == b'|') else {
            self.put(command(name)?, true);
            return Ok(());
        };
        let (of, argument) = (command(&name[..bar])?, &name[bar + 1..]);
        if of.name.contains('|') {
            return Err(RuleError::FirstArgument);
        }
        if argument.is_empty() {
            return Err(RuleError::Syntax);
        }
        if of.is_container() {
            self.put(command(name)?, true);
            return Ok(());
        }
        let words = self.first_arguments.entry(of.id).or_default();
        if !words.iter().any(|word| word.eq_ignore_ascii_case(argument)) {
            words.push(argument.into());
        }
        Ok(())
    }

    fn put_category(&mut self, name: &[u8], allow: bool) -> Result<(), RuleError> {
        let category = category_of(name).ok_or(RuleError::Unknown)?;
        for command in all().iter().filter(|command| command.acl.intersects(category)) {
            self.put(command, allow);
        }
        Ok(())
    }

    /// Allows or forbids a command, a container with all that is in it.
    pub(super) fn put(&mut self, command: &Command, allow: bool) {
        self.first_arguments.remove(&command.id);
        self.all_commands &= allow;
        for command in std::iter::once(command).chain(command.subcommands()) {
            self.commands.put(command, allow);
        }
    }
}

/// The keys of a request as a check wants them: none if they cannot be told, since then nothing is done at home.
pub(super) fn keys_of<A: Args + ?Sized>(command: &Command, args: &A, keys: &mut Vec<KeyRef>) {
    if extract(command, args, keys).is_err() {
        keys.clear();
    }
}

/// The flag of a category, by its name in any case.
pub(super) fn category_of(name: &[u8]) -> Option<Acl> {
    let mut named = Acl::all().iter_names();
    named.find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name)).map(|(_, category)| category)
}

/// A command, or a subcommand as `container|subcommand`.
fn command(name: &[u8]) -> Result<&'static Command, RuleError> {
    let found = match name.iter().position(|byte| *byte == b'|') {
        None => lookup(name),
        Some(bar) => {
            let words = [&name[..bar], &name[bar + 1..]];
            resolve(&words[..]).ok().filter(|command| command.name.contains('|'))
        }
    };
    found.ok_or(RuleError::Unknown)
}

/// What `RW~` allows, and the pattern after it. Without a `~` the pattern is empty.
fn permission(rest: &[u8]) -> Result<(Permission, &[u8]), RuleError> {
    let mut may = Permission::default();
    let mut pattern = &rest[rest.len()..];
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            b'r' | b'R' if !may.read => may.read = true,
            b'w' | b'W' if !may.write => may.write = true,
            b'~' if may != Permission::default() => {
                pattern = &rest[at + 1..];
                break;
            }
            _ => return Err(RuleError::Syntax),
        }
    }
    if may == Permission::default() { Err(RuleError::Syntax) } else { Ok((may, pattern)) }
}

/// Which arguments of a command are channels that have to be allowed.
struct ChannelUse {
    patterns: bool,
    /// All arguments are; otherwise the first.
    all: bool,
}

/// Leaving a channel is always allowed.
fn channels(command: &Command) -> Option<ChannelUse> {
    match command.id {
        id::SUBSCRIBE | id::SSUBSCRIBE => Some(ChannelUse { patterns: false, all: true }),
        id::PSUBSCRIBE => Some(ChannelUse { patterns: true, all: true }),
        id::PUBLISH | id::SPUBLISH => Some(ChannelUse { patterns: false, all: false }),
        _ => None,
    }
}
