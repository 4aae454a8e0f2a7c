//! A user: whether and how it logs in, and its selectors.

use ring::digest::{SHA256, digest};

use super::c_string;
use super::selector::{Denied, RuleError, Selector, Verdict, keys_of};
use crate::command::{Args, Command, KeyRef};
use crate::resp::split_args;

/// Hexadecimal digits of a digest.
const DIGITS: usize = 64;

/// What its user wants done with what RESTORE brings. Home decides: it is kept to be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Payload {
    #[default]
    Unsaid,
    Sanitized,
    Trusted,
}

/// One user. Changed by making another with the same number.
#[derive(Clone)]
pub struct User {
    name: Box<[u8]>,
    /// Tells it from another of the same name that was deleted.
    number: u64,
    pub(super) enabled: bool,
    pub(super) no_password: bool,
    pub(super) payload: Payload,
    /// SHA-256 of its passwords, in hexadecimal digits.
    pub(super) digests: Vec<Box<str>>,
    /// The first is the user's own; never empty.
    pub(super) selectors: Vec<Selector>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "User({}, {:?})", self.number, String::from_utf8_lossy(&self.name))
    }
}

impl User {
    /// A user as ACL SETUSER makes it: off, and allowed nothing.
    pub(super) fn new(name: &[u8], number: u64) -> Self {
        User {
            name: name.into(),
            number,
            enabled: false,
            no_password: false,
            payload: Payload::default(),
            digests: Vec::new(),
            selectors: vec![Selector::default()],
        }
    }

    /// Its name: no spaces, no NUL.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Its number: no two users ever have the same.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether it may log in.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// Whether any password will do.
    pub fn no_password(&self) -> bool {
        self.no_password
    }

    /// Whether it may do everything, so that nothing needs to be asked.
    pub fn unrestricted(&self) -> bool {
        self.selectors.iter().any(Selector::allows_all)
    }

    /// Whether it may hear every channel.
    pub(super) fn all_channels(&self) -> bool {
        self.selectors.iter().any(|selector| selector.all_channels)
    }

    /// The patterns of channels that it may hear.
    pub(super) fn channels(&self) -> impl Iterator<Item = &[u8]> {
        self.selectors.iter().flat_map(|selector| selector.channels.iter().map(|pattern| &**pattern))
    }

    /// Whether it may do what nobody here knows the reach of: commands that are not in the table.
    pub fn may_do_unknown(&self) -> bool {
        self.selectors.iter().any(Selector::allows_unknown)
    }

    /// Whether it may do all that a script can do.
    pub fn may_do_what_scripts_can(&self) -> bool {
        self.selectors.iter().any(Selector::allows_scripts)
    }

    /// Whether it may log in with this password. The time it takes does not depend on how near the password is.
    pub fn is_authenticated_by(&self, password: &[u8]) -> bool {
        let given = hex_digest(password);
        let matches = |own: &str| {
            let pairs = own.bytes().zip(given.bytes());
            std::hint::black_box(pairs.fold(0, |difference, (a, b)| difference | (a ^ b))) == 0
        };
        self.enabled && (self.no_password || self.digests.iter().any(|own| matches(own)))
    }

    /// Whether it may run a request.
    ///
    /// # Errors
    /// What it must not do: of several selectors, the denial that came furthest.
    pub fn check<A: Args + ?Sized>(&self, command: &Command, args: &A, keys: &mut Vec<KeyRef>) -> Verdict {
        keys_of(command, args, keys);
        let mut worst = Denied::Command;
        for selector in &self.selectors {
            match selector.check(command, args, keys) {
                Ok(()) => return Ok(()),
                Err(denied) => worst = worst.max(denied),
            }
        }
        Err(worst)
    }

    /// Whether it may run a request that reads keys which it does not name (SORT BY and GET).
    pub fn may_read_beyond<A: Args + ?Sized>(
        &self,
        command: &Command,
        args: &A,
        keys: &mut Vec<KeyRef>,
    ) -> bool {
        keys_of(command, args, keys);
        self.selectors.iter().any(|s| s.reads_all_keys() && s.check(command, args, keys).is_ok())
    }

    /// Follows one rule of ACL SETUSER; selectors are joined before ([`join_selectors`]).
    ///
    /// # Errors
    /// Why it is none.
    pub fn apply(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        let word = c_string(rule).to_ascii_lowercase();
        match (&*word, rule) {
            (_, []) => {}
            (b"on", _) => self.enabled = true,
            (b"off", _) => self.enabled = false,
            (b"nopass", _) => self.set_passwords(true),
            (b"resetpass", _) => self.set_passwords(false),
            (b"sanitize-payload", _) => self.payload = Payload::Sanitized,
            (b"skip-sanitize-payload", _) => self.payload = Payload::Trusted,
            (b"clearselectors", _) => self.selectors.truncate(1),
            (b"reset", _) => self.reset(),
            (_, [b'>', password @ ..]) => self.add_password(&hex_digest(password)),
            (_, [b'#', digest @ ..]) => self.add_password(checked(digest)?),
            (_, [b'<', password @ ..]) => return self.remove_password(&hex_digest(password)),
            (_, [b'!', digest @ ..]) => return self.remove_password(checked(digest)?),
            (_, [b'(', inner @ .., b')']) => {
                let mut selector = Selector::default();
                // Quotes that do not close make an empty selector, as in Redis.
                for rule in split_args(c_string(inner)).unwrap_or_default() {
                    selector.apply(&rule)?;
                }
                self.selectors.push(selector);
            }
            _ => return self.own().apply(rule),
        }
        Ok(())
    }

    /// The selector that is the user's own.
    fn own(&mut self) -> &mut Selector {
        if self.selectors.is_empty() {
            self.selectors.push(Selector::default());
        }
        &mut self.selectors[0]
    }

    fn set_passwords(&mut self, any: bool) {
        self.no_password = any;
        self.digests.clear();
    }

    fn reset(&mut self) {
        *self = User { payload: Payload::Sanitized, ..User::new(&self.name, self.number) };
    }

    fn add_password(&mut self, digest: &str) {
        if !self.digests.iter().any(|known| **known == *digest) {
            self.digests.push(digest.into());
        }
        self.no_password = false;
    }

    fn remove_password(&mut self, digest: &str) -> Result<(), RuleError> {
        let at = self.digests.iter().position(|known| **known == *digest).ok_or(RuleError::NoSuchPassword)?;
        self.digests.remove(at);
        Ok(())
    }
}

/// Joins the words of selectors that stand in several arguments: `(+get`, `~a)` is one rule.
///
/// # Errors
/// The place of the argument whose parenthesis is not closed.
pub fn join_selectors<'a>(words: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Vec<u8>>, usize> {
    let mut rules: Vec<Vec<u8>> = Vec::new();
    let mut open = None;
    for (index, word) in words.into_iter().enumerate() {
        let opens = word.starts_with(b"(") && !word.ends_with(b")");
        match (open, rules.last_mut()) {
            // As in Redis, what was open is forgotten.
            (Some(_), Some(rule)) if opens => {
                *rule = word.to_vec();
                open = Some(index);
            }
            (Some(_), Some(rule)) => {
                rule.push(b' ');
                rule.extend_from_slice(word);
                if word.ends_with(b")") {
                    open = None;
                }
            }
            _ => {
                open = opens.then_some(index);
                rules.push(word.to_vec());
            }
        }
    }
    open.map_or(Ok(rules), Err)
}

fn hex_digest(password: &[u8]) -> String {
    digest(&SHA256, password).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A digest as it is given.
fn checked(digest: &[u8]) -> Result<&str, RuleError> {
    let digits = digest.len() == DIGITS && digest.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    std::str::from_utf8(digest).ok().filter(|_| digits).ok_or(RuleError::BadHash)
}
