//! The Redis tiers: where they are, and as whom strata comes.

use std::path::{Path, PathBuf};

use super::{Candidate, Given, Resolver, file_exists};
use crate::config::Secret;
use crate::config::error::ConfigError;
use crate::config::location::{self, Location, Place};
use crate::config::raw::{self, RawUpstream};
use crate::config::secret::mask_url;
use crate::config::slot::A_LIST_OF_PLACES;
use crate::config::tiers::{Endpoint, HostPort, Identity, Tls, Topology, Upstream};

impl Resolver<'_> {
    pub(super) fn check_tiers(&mut self) {
        if !self.raw.config.l2.enabled && !self.raw.config.l3.enabled {
            self.fail("l2.enabled", "leaves no home: l3.enabled is false, too");
        }
        self.check_backoff("l2");
        self.check_backoff("l3");
        self.check_l2();
        self.check_l3();
    }

    fn check_backoff(&mut self, section: &'static str) {
        let upstream = self.upstream(section);
        if upstream.backoff_min <= upstream.backoff_max {
            return;
        }
        let [min, max] = ["backoff_min", "backoff_max"].map(|name| raw::name(section, name));
        let key = if self.origins.contains_key(min) { min } else { max };
        self.fail(key, format!("makes the first delay ({min}) longer than the longest ({max})"));
    }

    fn check_l2(&mut self) {
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
        self.put_database(database);
        let username = username.map(|name| self.candidate("l2.url", name));
        let password = password.map(|secret| self.candidate("l2.url", Given::Text(secret)));
        if place == Place::Embedded {
            self.refuse_authentication();
        } else {
            let keys = ["username", "password", "password_file"];
            let raw = &self.raw.l2;
            let given = (raw.username.clone(), raw.password.clone(), raw.password_file.clone());
            let (username, password) = self.authentication("l2", keys, given, (username, password));
            self.upstream("l2").username = username;
            self.upstream("l2").password = password;
        }
        let tls = self.tls("l2", matches!(place, Place::Tcp { tls: true, .. }));
        let endpoint = match place {
            Place::Embedded => {
                if self.raw.l2.binary.is_empty() {
                    self.fail("l2.binary", "is empty");
                }
                Endpoint::Embedded { binary: PathBuf::from(&self.raw.l2.binary) }
            }
            Place::Tcp { host, port, .. } => Endpoint::Tcp { host, port, tls },
            Place::Unix { path } => Endpoint::Unix { path },
        };
        self.upstream("l2").topology = Topology::Single(endpoint);
    }

    fn put_database(&mut self, in_url: Option<u32>) {
        let mut candidates = Vec::new();
        candidates.extend(in_url.map(|value| self.candidate("l2.url", value)));
        // Its default, written beside a URL that names a database, is no contradiction.
        let of_key = self.candidate("l2.database", u32::try_from(self.raw.l2.database).unwrap_or_default());
        if of_key.value != 0 || of_key.origin.layer() > self.origin("l2.url").layer() {
            candidates.push(of_key);
        }
        self.upstream("l2").database = self.pick(candidates).map_or(0, |database| database.value);
    }

    fn refuse_authentication(&mut self) {
        let raw = &self.raw.l2;
        let given = [
            ("l2.username", !raw.username.is_empty()),
            ("l2.password", raw.password.is_some()),
            ("l2.password_file", !raw.password_file.is_empty()),
        ];
        for (key, _) in given.into_iter().filter(|(_, given)| *given) {
            self.fail(key, "has no meaning for an embedded Redis, which nobody else can reach");
        }
    }

    fn check_l3(&mut self) {
        let enabled = self.raw.config.l3.enabled;
        let RawUpstream { mode, nodes, master, database, username, password, password_file, .. } =
            self.raw.l3.clone();
        if mode == "cluster" && database != 0 {
            self.fail("l3.database", "is not 0: a cluster has no other");
        }
        let keys = ["username", "password", "password_file"];
        let own = self.authentication("l3", keys, (username, password, password_file), (None, None));
        let sentinels = self.sentinel_authentication(mode == "sentinel");
        if mode != "sentinel" && !master.is_empty() {
            self.fail("l3.master", format!("has no meaning for l3.mode = {mode:?}"));
        }
        let tls = self.tls("l3", self.raw.l3.tls);
        let upstream = self.upstream("l3");
        upstream.database = u32::try_from(database).unwrap_or_default();
        (upstream.username, upstream.password) = own;
        if enabled {
            self.check_l3_enabled(mode, &nodes, &master);
        }
        // Of a tier that is off and names no node nothing is known.
        if !nodes.is_empty() {
            self.upstream("l3").topology = topology(mode, nodes, master, tls, sentinels);
        }
    }

    fn check_l3_enabled(&mut self, mode: &'static str, nodes: &[HostPort], master: &str) {
        if nodes.is_empty() {
            let error = ConfigError::new("l3.nodes", self.origin("l3.nodes"), "is empty");
            self.errors.push(error.accepted(A_LIST_OF_PLACES));
        }
        if mode == "standalone" && nodes.len() > 1 {
            self.fail("l3.nodes", "names more than one node, which l3.mode = \"standalone\" cannot use");
        }
        if mode == "sentinel" && master.is_empty() {
            self.fail("l3.master", "is empty: the sentinels know the master by a name, such as \"mymaster\"");
        }
    }

    fn sentinel_authentication(&mut self, wanted: bool) -> (Option<String>, Option<Secret>) {
        let keys = ["sentinel_username", "sentinel_password", "sentinel_password_file"];
        let RawUpstream { sentinel_username, sentinel_password, sentinel_password_file, mode, .. } =
            self.raw.l3.clone();
        if wanted {
            let given = (sentinel_username, sentinel_password, sentinel_password_file);
            return self.authentication("l3", keys, given, (None, None));
        }
        let given =
            [!sentinel_username.is_empty(), sentinel_password.is_some(), !sentinel_password_file.is_empty()];
        for (key, _) in keys.into_iter().zip(given).filter(|(_, given)| *given) {
            self.fail(raw::name("l3", key), format!("has no meaning for l3.mode = {mode:?}"));
        }
        (None, None)
    }

    /// From the keys of a user, a password and its file, with what was given for them, and from a URL.
    fn authentication(
        &mut self,
        section: &'static str,
        keys: [&str; 3],
        (username, password, file): (String, Option<Secret>, String),
        in_url: (Option<Candidate<String>>, Option<Candidate<Given>>),
    ) -> (Option<String>, Option<Secret>) {
        let [user_key, password_key, file_key] = keys.map(|name| raw::name(section, name));
        let mut users: Vec<_> = in_url.0.into_iter().collect();
        if !username.is_empty() {
            users.push(self.candidate(user_key, username));
        }
        let mut passwords: Vec<_> = in_url.1.into_iter().collect();
        passwords.extend(self.password_candidates([password_key, file_key], password, file));
        let user = self.pick(users);
        if let Some(user) = user.as_ref().filter(|_| passwords.is_empty()) {
            let error = ConfigError::new(user.key, user.origin.clone(), "names a user without a password");
            self.errors.push(error.accepted(format!("a user together with {password_key} or {file_key}")));
        }
        (user.map(|user| user.value), self.password(passwords))
    }

    fn tls(&mut self, section: &'static str, wanted: bool) -> Option<Tls> {
        let raw = self.raw_upstream(section).clone();
        let given = [
            ("ca_file", &raw.ca_file),
            ("cert_file", &raw.cert_file),
            ("key_file", &raw.key_file),
            ("server_name", &raw.server_name),
        ];
        for (name, text) in given.into_iter().filter(|(_, text)| !text.is_empty()) {
            let key = raw::name(section, name);
            if !wanted && section == "l2" {
                self.fail(key, "has no meaning for an l2.url that is not rediss://");
            } else if !wanted {
                self.fail(key, format!("has no meaning without {section}.tls = true"));
            } else if name != "server_name"
                && let Err(wrong) = file_exists(Path::new(text))
            {
                self.fail(key, wrong);
            }
        }
        let [cert, key] = ["cert_file", "key_file"].map(|name| raw::name(section, name));
        match (raw.cert_file.is_empty(), raw.key_file.is_empty()) {
            (false, true) => self.fail(cert, format!("needs {key} beside it")),
            (true, false) => self.fail(key, format!("needs {cert} beside it")),
            _ => {}
        }
        let identity = Identity { cert_file: raw.cert_file.into(), key_file: raw.key_file.into() };
        wanted.then(|| Tls {
            ca_file: Some(PathBuf::from(raw.ca_file)).filter(|file| !file.as_os_str().is_empty()),
            identity: Some(identity).filter(|identity| !identity.cert_file.as_os_str().is_empty()),
            server_name: Some(raw.server_name).filter(|name| !name.is_empty()),
        })
    }

    fn upstream(&mut self, section: &'static str) -> &mut Upstream {
        let config = &mut self.raw.config;
        if section == "l3" { &mut config.l3.upstream } else { &mut config.l2.upstream }
    }

    fn raw_upstream(&self, section: &'static str) -> &RawUpstream {
        if section == "l3" { &self.raw.l3 } else { &self.raw.l2 }
    }
}

/// Of at least one node.
fn topology(
    mode: &str,
    nodes: Vec<HostPort>,
    master: String,
    tls: Option<Tls>,
    (username, password): (Option<String>, Option<Secret>),
) -> Topology {
    match (mode, nodes.as_slice()) {
        ("sentinel", _) => Topology::Sentinel { master, sentinels: nodes, tls, username, password },
        ("standalone", [HostPort { host, port }, ..]) => {
            Topology::Single(Endpoint::Tcp { host: host.clone(), port: *port, tls })
        }
        _ => Topology::Cluster { seeds: nodes, tls },
    }
}
