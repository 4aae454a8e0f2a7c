//! From settings to the configuration in force: values are put in place in rising order, then what
//! must be seen together is checked. Nothing stops at the first error.

mod l4;
mod upstream;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, ConfigErrors, Origin};
use super::layers::{Section, Setting, section_path};
use super::model::{Config, Policy};
use super::raw::{A_PATTERN, MAX_PATTERN, Raw};
use super::{MAX_POLICIES, Secret, sources, users};

/// Bytes of a password in a file.
const MAX_PASSWORD: u64 = 4096;

/// Applies `settings`, of which a later one wins, to the defaults.
/// `variables` are those of the environment, which users' passwords may be in.
pub(super) fn resolve(
    settings: Vec<Setting>,
    variables: &[(String, String)],
    errors: &mut ConfigErrors,
) -> Config {
    let mut resolver = Resolver { raw: Raw::default(), origins: BTreeMap::new(), variables, errors };
    for setting in settings {
        resolver.apply(setting);
    }
    resolver.check_server();
    resolver.check_tiers();
    resolver.check_l4();
    resolver.raw.config
}

struct Resolver<'e> {
    raw: Raw,
    /// Of the keys that were given, and could be read.
    origins: BTreeMap<&'static str, Origin>,
    variables: &'e [(String, String)],
    errors: &'e mut ConfigErrors,
}

/// One of several ways to say the same.
struct Candidate<T> {
    key: &'static str,
    origin: Origin,
    value: T,
}

impl Resolver<'_> {
    fn apply(&mut self, setting: Setting) {
        match setting {
            Setting::Key { key, value, origin } => match key.slot.set(&mut self.raw, &value) {
                Ok(()) => {
                    self.origins.insert(key.name, origin);
                }
                Err(wrong) => {
                    self.errors.push_with(|| {
                        ConfigError::new(key.name, origin, wrong).accepted(key.slot.accepted())
                    });
                }
            },
            Setting::Policies(list) => self.apply_policies(list),
            Setting::Sources(list) => self.raw.config.l4.sources = sources::sources(list, self.errors),
            Setting::Users(list) => self.raw.config.users = users::users(list, self.variables, self.errors),
        }
    }

    fn apply_policies(&mut self, list: Vec<Section<Policy>>) {
        if let Some(first) = list.get(MAX_POLICIES) {
            let error = ConfigError::new("policy", first.origin.clone(), "is one too many");
            self.errors.push(error.accepted(format!("at most {MAX_POLICIES} policies")));
            return;
        }
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        self.raw.config.policies.clear();
        for (index, rules) in list.into_iter().enumerate() {
            let policy = self.policy(index, &rules);
            if let Some(first) = seen.get(&policy.pattern).filter(|_| !policy.pattern.is_empty()) {
                let wrong = format!("is never used: policy[{}] matches the same keys before it", first + 1);
                self.errors.push(ConfigError::new(
                    section_path("policy", index, "match"),
                    rules.match_origin(),
                    wrong,
                ));
            }
            seen.entry(policy.pattern.clone()).or_insert(index);
            self.raw.config.policies.push(policy);
        }
    }

    fn policy(&mut self, index: usize, rules: &Section<Policy>) -> Policy {
        let mut policy = Policy::default();
        for (key, value, origin) in &rules.settings {
            if let Err(wrong) = key.slot.set(&mut policy, value) {
                let path = section_path("policy", index, key.name);
                let error = ConfigError::new(path, origin.clone(), wrong);
                self.errors.push_with(|| error.accepted(key.slot.accepted()));
            } else if key.name == "match" && !(1..=MAX_PATTERN).contains(&policy.pattern.len()) {
                let wrong = if policy.pattern.is_empty() { "is empty" } else { "is too long" };
                let error = ConfigError::new(section_path("policy", index, "match"), origin.clone(), wrong);
                self.errors.push(error.accepted(A_PATTERN));
            }
        }
        if !rules.settings.iter().any(|(key, ..)| key.name == "match") {
            let error =
                ConfigError::new(section_path("policy", index, "match"), rules.origin.clone(), "is missing");
            self.errors.push(error.accepted(A_PATTERN));
        }
        policy
    }

    fn check_server(&mut self) {
        let password = self.raw.config.server.password.take();
        let file = self.raw.server_password_file.clone();
        let candidates =
            self.password_candidates(["server.password", "server.password_file"], password, file);
        self.raw.config.server.password = self.password(candidates);
        let server = &self.raw.config.server;
        if server.max_bulk > server.max_query_buffer {
            self.fail("server.max_bulk", "is more than server.max_query_buffer lets a client send");
        }
    }

    fn password_candidates(
        &self,
        [key, file_key]: [&'static str; 2],
        text: Option<Secret>,
        file: String,
    ) -> Vec<Candidate<Given>> {
        let text = text.map(|secret| self.candidate(key, Given::Text(secret)));
        let file = Some(file).filter(|file| !file.is_empty());
        let file = file.map(|file| self.candidate(file_key, Given::File(file.into())));
        text.into_iter().chain(file).collect()
    }

    fn password(&mut self, candidates: Vec<Candidate<Given>>) -> Option<Secret> {
        let Candidate { key, value, .. } = self.pick(candidates)?;
        match value {
            Given::Text(secret) => Some(secret),
            Given::File(path) => match read_password(&path) {
                Ok(secret) => Some(secret),
                Err(wrong) => {
                    self.fail(key, wrong);
                    None
                }
            },
        }
    }

    /// The one of the latest source. Two of one source contradict each other.
    fn pick<T>(&mut self, candidates: Vec<Candidate<T>>) -> Option<Candidate<T>> {
        let mut picked: Option<Candidate<T>> = None;
        for candidate in candidates {
            match picked.as_ref().map(|other| (other, other.origin.layer().cmp(&candidate.origin.layer()))) {
                Some((other, std::cmp::Ordering::Equal)) => {
                    let wrong = format!("is given by {} ({}) already", other.key, other.origin);
                    let error = ConfigError::new(candidate.key, candidate.origin, wrong);
                    self.errors.push(error.accepted("one of them"));
                }
                Some((_, std::cmp::Ordering::Greater)) => {}
                Some((_, std::cmp::Ordering::Less)) | None => picked = Some(candidate),
            }
        }
        picked
    }

    fn candidate<T>(&self, key: &'static str, value: T) -> Candidate<T> {
        Candidate { key, origin: self.origin(key), value }
    }

    fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    fn fail(&mut self, key: &'static str, wrong: impl Into<String>) {
        let origin = self.origin(key);
        self.errors.push(ConfigError::new(key, origin, wrong));
    }
}

impl Section<Policy> {
    fn match_origin(&self) -> Origin {
        let found = self.settings.iter().find(|(key, ..)| key.name == "match");
        found.map_or(&self.origin, |(.., origin)| origin).clone()
    }
}

/// How a password was given.
enum Given {
    Text(Secret),
    File(PathBuf),
}

fn file_exists(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err("is not a file".to_owned()),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

/// A password is the one line of its file. What is no regular file is refused: reading it may never end.
pub(super) fn read_password(path: &Path) -> Result<Secret, String> {
    file_exists(path)?;
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_PASSWORD + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_PASSWORD {
        return Err(format!("holds more than {MAX_PASSWORD} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "does not hold UTF-8".to_owned())?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    match line.strip_suffix('\r').unwrap_or(line) {
        "" => Err("holds no password".to_owned()),
        line if line.contains('\n') => Err("holds more than one line".to_owned()),
        line => Ok(Secret::new(line)),
    }
}
