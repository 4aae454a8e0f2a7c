//! All users, as every session sees them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::{Mutex, RwLock};

use super::has_spaces;
use super::log::{Denial, Entry, Log};
use super::selector::RuleError;
use super::user::{User, join_selectors};
use crate::config::{Config, Secret, User as Account};

/// The name of the user that every client is at first.
const DEFAULT: &[u8] = b"default";
/// What that user may do unless it is told otherwise.
const OPEN: [&[u8]; 5] = [b"on", b"nopass", b"~*", b"&*", b"+@all"];

/// Why a user is not made or changed. The words are those of ACL SETUSER, without the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetError {
    /// The name.
    Name,
    /// The place of the argument that opens a selector which is not closed.
    Open(usize),
    /// A rule, and what is wrong with it.
    Rule(Vec<u8>, RuleError),
}

/// See the module's text.
#[derive(Debug)]
pub struct Users {
    all: RwLock<BTreeMap<Box<[u8]>, Arc<User>>>,
    /// Number of the next user.
    next: AtomicU64,
    /// Moves on with every change.
    generation: AtomicU64,
    log: Mutex<Log>,
}

impl Users {
    /// The default user, open or with a password, and no others.
    fn new(password: Option<&Secret>) -> Self {
        let mut user = User::new(DEFAULT, 0);
        // Rules of the program's own cannot be refused: a test follows them.
        let _ = OPEN.into_iter().try_for_each(|rule| user.apply(rule));
        if let Some(password) = password {
            let _ = user.apply(b"resetpass").and_then(|()| user.apply(&given(password)));
        }
        let all = BTreeMap::from([(Box::from(DEFAULT), Arc::new(user))]);
        Users {
            all: RwLock::new(all),
            next: AtomicU64::new(1),
            generation: AtomicU64::new(0),
            log: Mutex::default(),
        }
    }

    /// The users of a configuration.
    ///
    /// # Errors
    /// All that is wrong with them, in words for the operator that show no password.
    pub fn configured(config: &Config) -> Result<Self, String> {
        let users = Self::new(config.server.password.as_ref());
        let mut wrong = Vec::new();
        for (index, account) in config.users.iter().enumerate() {
            let twice = account.name.as_bytes() == DEFAULT && config.server.password.is_some();
            let outcome = match twice {
                true => Err("has its password from server.password already: say it in one place".to_owned()),
                false => users.configure(account),
            };
            wrong.extend(outcome.err().map(|e| format!("user[{}] ({}): {e}", index + 1, account.name)));
        }
        if wrong.is_empty() { Ok(users) } else { Err(wrong.join("\n")) }
    }

    /// As a `user` line of redis.conf: who it names starts from nothing, the default user too.
    fn configure(&self, account: &Account) -> Result<(), String> {
        let mut words: Vec<&[u8]> = vec![b"reset"];
        words.extend(account.rules.expose().split_ascii_whitespace().map(str::as_bytes));
        let password = account.password.as_ref().map(given);
        words.extend(password.as_deref());
        self.set(account.name.as_bytes(), &words).map_err(|error| match error {
            SetError::Name => "the name of a user can't hold spaces".to_owned(),
            SetError::Open(at) => {
                let word = String::from_utf8_lossy(words[at]);
                format!("{word:?} in its rules opens a parenthesis that is not closed")
            }
            SetError::Rule(rule, error) => {
                let secret = rule.first().is_some_and(|kind| b"><#!".contains(kind));
                let rule = if secret { "a password".into() } else { String::from_utf8_lossy(&rule) };
                format!("{rule:?} in its rules: {error}")
            }
        })
    }

    /// Which state of the users this is: what was read of them before another is out of date.
    pub fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// One user.
    pub fn get(&self, name: &[u8]) -> Option<Arc<User>> {
        self.all.read().get(name).cloned()
    }

    /// The user that a client is before it says who it is.
    pub fn default_user(&self) -> Arc<User> {
        // It cannot be removed; without it nobody may do anything.
        self.get(DEFAULT).unwrap_or_else(|| Arc::new(User::new(DEFAULT, 0)))
    }

    /// All of them, by name.
    pub fn list(&self) -> Vec<Arc<User>> {
        self.all.read().values().cloned().collect()
    }

    /// Makes a user, or changes one: by all of the rules, or not at all.
    ///
    /// # Errors
    /// Why not.
    pub fn set(&self, name: &[u8], words: &[&[u8]]) -> Result<(), SetError> {
        if has_spaces(name) {
            return Err(SetError::Name);
        }
        let mut all = self.all.write();
        let mut user = match all.get(name) {
            Some(user) => User::clone(user),
            None => User::new(name, self.next.fetch_add(1, Relaxed)),
        };
        for rule in join_selectors(words.iter().copied()).map_err(SetError::Open)? {
            user.apply(&rule).map_err(|error| SetError::Rule(rule, error))?;
        }
        all.insert(name.into(), Arc::new(user));
        self.generation.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Removes a user, which is returned; not the default one.
    pub fn remove(&self, name: &[u8]) -> Option<Arc<User>> {
        let removed = if name == DEFAULT { None } else { self.all.write().remove(name) };
        if removed.is_some() {
            self.generation.fetch_add(1, Relaxed);
        }
        removed
    }

    /// Who somebody is who gives this name and password.
    pub fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<Arc<User>> {
        self.get(name).filter(|user| user.is_authenticated_by(password))
    }

    /// Whether who has not said who he is may do something.
    pub fn open(&self) -> bool {
        let user = self.default_user();
        user.enabled() && user.no_password()
    }

    /// Whether the default user needs no password, be it enabled or not: what protected mode asks.
    pub fn anybody(&self) -> bool {
        self.default_user().no_password()
    }

    /// Notes a denial.
    pub fn note(&self, denial: Denial, client: String, now: u64) {
        self.log.lock().note(denial, client, now);
    }

    /// What was denied, newest first.
    pub fn denied(&self, count: usize) -> Vec<Entry> {
        self.log.lock().newest(count)
    }

    /// Forgets what was denied.
    pub fn forget_denied(&self) {
        self.log.lock().clear();
    }
}

/// The rule that gives a password.
fn given(password: &Secret) -> Vec<u8> {
    [b">", password.expose().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::resolve;
    use crate::config::from_toml;

    fn users(toml: &str) -> Result<Users, String> {
        Users::configured(&from_toml("f", toml.as_bytes()).expect("a configuration"))
    }

    fn line(users: &Users, name: &str) -> String {
        String::from_utf8(users.get(name.as_bytes()).expect("a user").line()).expect("text")
    }

    #[test]
    fn the_default_user_is_open_until_there_is_a_password() {
        let open = users("").unwrap();
        assert_eq!(line(&open, "default"), "user default on nopass ~* &* +@all");
        assert!(open.open() && open.default_user().unrestricted());
        let closed = users("server.password = 'pw'").unwrap();
        assert!(!closed.open() && closed.default_user().unrestricted());
        assert!(closed.authenticate(b"default", b"pw").is_some());
        assert!(closed.authenticate(b"default", b"pw2").is_none());
        assert!(closed.authenticate(b"nobody", b"pw").is_none());
    }

    #[test]
    fn users_are_configured_as_in_redis_conf() {
        let toml = "user = [{ name = 'a', rules = 'on ~a:* +get (+set ~b)', password = 'pw' }, { name = 'default' }]";
        let users = users(toml).unwrap();
        let digest = "30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4";
        let expected = format!(
            "user a on sanitize-payload #{digest} ~a:* resetchannels -@all +get (~b resetchannels -@all +set)"
        );
        assert_eq!(line(&users, "a"), expected);
        assert_eq!(line(&users, "default"), "user default off sanitize-payload resetchannels -@all");
        assert!(!users.open());
    }

    #[test]
    fn what_is_wrong_is_told_at_once_and_shows_no_password() {
        let toml = "server.password = 'x'\nuser = [{ name = 'a', rules = '+nothing' }, { name = 'default' }, \
                    { name = 'b', rules = '(+get' }, { name = 'c', rules = '#hunter2' }]";
        let wrong = users(toml).unwrap_err();
        let expected = "user[1] (a): \"+nothing\" in its rules: Unknown command or category name in ACL\n\
            user[2] (default): has its password from server.password already: say it in one place\n\
            user[3] (b): \"(+get\" in its rules opens a parenthesis that is not closed\n\
            user[4] (c): \"a password\" in its rules: The password hash must be exactly 64 characters and contain \
            only lowercase hexadecimal characters";
        assert_eq!(wrong, expected);
    }

    #[test]
    fn a_change_is_whole_or_none_and_moves_the_generation() {
        let users = users("").unwrap();
        let before = users.generation();
        users.set(b"a", &[b"+get", b"~x"]).unwrap();
        assert_eq!(users.generation(), before + 1);
        let refused = users.set(b"a", &[b"+set", b"+nothing"]);
        assert_eq!(refused, Err(SetError::Rule(b"+nothing".to_vec(), RuleError::Unknown)));
        assert_eq!(users.generation(), before + 1);
        assert_eq!(line(&users, "a"), "user a off ~x resetchannels -@all +get");
        let first = users.remove(b"a").unwrap().number();
        users.set(b"a", &[]).unwrap();
        assert_ne!(users.get(b"a").unwrap().number(), first);
        assert!(users.remove(b"default").is_none() && users.remove(b"nobody").is_none());
        assert_eq!(users.set(b"a b", &[]), Err(SetError::Name));
    }

    fn verdict(rules: &str, request: &str) -> crate::acl::Verdict {
        let users = users("").unwrap();
        let rules: Vec<&[u8]> = rules.split(' ').map(str::as_bytes).collect();
        users.set(b"u", &rules).unwrap();
        let words: Vec<&str> = request.split(' ').collect();
        let command = resolve(words.as_slice()).unwrap();
        users.get(b"u").unwrap().check(command, words.as_slice(), &mut Vec::new())
    }

    #[test]
    fn requests_are_judged_by_command_keys_and_channels() {
        use crate::acl::Denied::{Channel, Command, Key};
        let rules = "~a* %R~r* %W~w* &c* +@all -@dangerous -select +select|0 (+keys ~x)";
        for (request, expected) in [
            ("get a1", Ok(())),
            ("get b", Err(Key(1))),
            ("mget a1 r1 w1", Err(Key(3))),
            ("set w1 v", Ok(())),
            ("set w1 v get", Err(Key(1))),
            ("set r1 v", Err(Key(1))),
            ("copy r1 w1", Ok(())),
            ("keys *", Ok(())),
            ("flushall", Err(Command)),
            ("select 0", Ok(())),
            ("select 1", Err(Command)),
            ("auth x", Ok(())),
            ("publish c1 m", Ok(())),
            ("publish d m", Err(Channel(1))),
            ("subscribe c1 d", Err(Channel(2))),
            ("psubscribe c*", Ok(())),
            ("psubscribe c1", Err(Channel(1))),
            ("unsubscribe d", Ok(())),
        ] {
            assert_eq!(verdict(rules, request), expected, "{request}");
        }
    }

    #[test]
    fn what_is_learned_from_home_is_what_no_rule_could_name() {
        use crate::acl::Denied::{Command, Key};
        use crate::command::{Access, Acl, Begin, Description, Find, Flags, KeySpec, Learned, Unknown};
        let learned = Learned::default();
        let key = KeySpec { access: Access::RW, begin: Begin::Index(1), find: Find::Range(0, 1, 0) };
        let describe = |n: usize| Description {
            name: format!("new{n}"),
            arity: -2,
            flags: Flags::WRITE,
            acl: Acl::WRITE | Acl::DANGEROUS,
            legacy: (1, 1, 1),
            key_specs: vec![key],
            module: false,
            container: false,
        };
        learned.replace((0..100).map(describe).collect());
        let users = users("").unwrap();
        for (rules, key, expected) in [
            ("+@all ~a*", "a", Ok(())),
            ("+@all ~a*", "b", Err(Key(1))),
            ("+@all -@dangerous -get ~*", "b", Ok(())),
            ("-@all +@write ~*", "a", Err(Command)),
            ("+get ~*", "a", Err(Command)),
        ] {
            let rules: Vec<&[u8]> = rules.split(' ').map(str::as_bytes).collect();
            users.set(b"u", &[&b"reset"[..]]).unwrap();
            users.set(b"u", &rules).unwrap();
            for name in ["new0", "new99"] {
                let command = learned.resolve(&[name, key][..], Unknown::Command).unwrap();
                let user = users.get(b"u").unwrap();
                assert_eq!(user.check(command, &[name, key][..], &mut Vec::new()), expected, "{rules:?}");
            }
        }
    }

    #[test]
    fn what_scripts_can_do_is_more_than_what_is_asked_of_them() {
        let may = |rules: &str| {
            let users = users("").unwrap();
            let rules: Vec<&[u8]> = rules.split(' ').map(str::as_bytes).collect();
            users.set(b"u", &rules).unwrap();
            users.get(b"u").unwrap().may_do_what_scripts_can()
        };
        assert!(may("+@all ~* &*") && may("+@all -multi -debug ~* &*"));
        assert!(!may("+@all ~a* &*") && !may("+@all -get ~* &*") && !may("+@all ~*"));
    }
}
