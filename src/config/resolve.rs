//! From settings to the configuration in force: values are put in place in rising order, then what
//! must be seen together is checked. Nothing stops at the first error.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, ConfigErrors, Origin};
use super::layers::{Section, Setting, section_path};
use super::location::{self, Location, Place};
use super::model::{Config, Endpoint, Identity, Policy, Tls};
use super::raw::{A_PATTERN, MAX_PATTERN, Raw};
use super::secret::mask_url;
use super::{MAX_POLICIES, Secret, users};

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
    resolver.check_l2();
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

    fn check_l2(&mut self) {
        let l2 = &self.raw.config.l2;
        let (enabled, backoff) = (l2.enabled, l2.backoff_min <= l2.backoff_max);
        if !enabled {
            self.fail("l2.enabled", "leaves no home: another than L2 is not available in this version yet");
        }
        if !backoff {
            let key =
                if self.origins.contains_key("l2.backoff_min") { "l2.backoff_min" } else { "l2.backoff_max" };
            self.fail(key, "makes the first delay (l2.backoff_min) longer than the longest (l2.backoff_max)");
        }
        match location::parse(&self.raw.l2.url) {
            Ok(location) => self.put_location(location),
            Err(wrong) => {
                let wrong = format!("{:?} {wrong}", mask_url(&self.raw.l2.url));
                let origin = self.origin("l2.url");
                self.errors.push(ConfigError::new("l2.url", origin, wrong).accepted(location::ACCEPTED));
            }
        }
    }

    fn put_location(&mut self, location: Location) {
        let Location { place, username, password, database } = location;
        let embedded = place == Place::Embedded;
        self.put_database(database);
        self.put_authentication(username, password, embedded);
        let tls = self.tls(matches!(place, Place::Tcp { tls: true, .. }));
        self.raw.config.l2.endpoint = match place {
            Place::Embedded => {
                if self.raw.l2.binary.is_empty() {
                    self.fail("l2.binary", "is empty");
                }
                Endpoint::Embedded { binary: PathBuf::from(&self.raw.l2.binary) }
            }
            Place::Tcp { host, port, .. } => Endpoint::Tcp { host, port, tls },
            Place::Unix { path } => Endpoint::Unix { path },
        };
    }

    fn put_database(&mut self, in_url: Option<u32>) {
        let mut candidates = Vec::new();
        candidates.extend(in_url.map(|value| self.candidate("l2.url", value)));
        // Its default, written beside a URL that names a database, is no contradiction.
        let of_key = self.candidate("l2.database", u32::try_from(self.raw.l2.database).unwrap_or_default());
        if of_key.value != 0 || of_key.origin.layer() > self.origin("l2.url").layer() {
            candidates.push(of_key);
        }
        self.raw.config.l2.database = self.pick(candidates).map_or(0, |database| database.value);
    }

    fn put_authentication(&mut self, username: Option<String>, password: Option<Secret>, embedded: bool) {
        let raw = self.raw.l2.clone();
        let mut users: Vec<_> = username.map(|name| self.candidate("l2.url", name)).into_iter().collect();
        if !raw.username.is_empty() {
            users.push(self.candidate("l2.username", raw.username));
        }
        let mut passwords: Vec<_> =
            password.map(|secret| self.candidate("l2.url", Given::Text(secret))).into_iter().collect();
        let keys = ["l2.password", "l2.password_file"];
        passwords.extend(self.password_candidates(keys, raw.password, raw.password_file));
        if embedded {
            let keys: Vec<_> = users.iter().map(|c| c.key).chain(passwords.iter().map(|c| c.key)).collect();
            for key in keys {
                self.fail(key, "has no meaning for an embedded Redis, which nobody else can reach");
            }
            return;
        }
        let user = self.pick(users);
        if let Some(user) = user.as_ref().filter(|_| passwords.is_empty()) {
            let error = ConfigError::new(user.key, user.origin.clone(), "names a user without a password");
            self.errors.push(error.accepted("a user together with l2.password or l2.password_file"));
        }
        self.raw.config.l2.username = user.map(|user| user.value);
        self.raw.config.l2.password = self.password(passwords);
    }

    fn tls(&mut self, wanted: bool) -> Option<Tls> {
        let raw = self.raw.l2.clone();
        let given = [
            ("l2.ca_file", &raw.ca_file),
            ("l2.cert_file", &raw.cert_file),
            ("l2.key_file", &raw.key_file),
            ("l2.server_name", &raw.server_name),
        ];
        for (key, text) in given.into_iter().filter(|(_, text)| !text.is_empty()) {
            if !wanted {
                self.fail(key, "has no meaning for an l2.url that is not rediss://");
            } else if key != "l2.server_name"
                && let Err(wrong) = file_exists(Path::new(text))
            {
                self.fail(key, wrong);
            }
        }
        match (raw.cert_file.is_empty(), raw.key_file.is_empty()) {
            (false, true) => self.fail("l2.cert_file", "needs l2.key_file beside it"),
            (true, false) => self.fail("l2.key_file", "needs l2.cert_file beside it"),
            _ => {}
        }
        let identity = Identity { cert_file: raw.cert_file.into(), key_file: raw.key_file.into() };
        wanted.then(|| Tls {
            ca_file: Some(PathBuf::from(raw.ca_file)).filter(|file| !file.as_os_str().is_empty()),
            identity: Some(identity).filter(|identity| !identity.cert_file.as_os_str().is_empty()),
            server_name: Some(raw.server_name).filter(|name| !name.is_empty()),
        })
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
