//! The database below home: where it is, and as whom strata comes.

use std::path::{Path, PathBuf};

use super::{Given, Resolver, file_exists};
use crate::config::error::ConfigError;
use crate::config::location;
use crate::config::tiers::{Identity, Tls};
use crate::config::{Secret, raw};

const A_URL: &str = "\"postgres://user@host:5432/database\", or with several hosts: \
    \"postgres://user@db1:5432,db2:5432/database?sslmode=require\"";

impl Resolver<'_> {
    pub(super) fn check_l4(&mut self) {
        let l4 = &self.raw.config.l4;
        if l4.backoff_min > l4.backoff_max {
            let wrong = "makes the first delay (l4.backoff_min) longer than the longest (l4.backoff_max)";
            self.fail("l4.backoff_max", wrong);
        }
        let in_url = self.check_url();
        let own = self.raw.config.l4.password.take();
        let file = self.raw.l4.password_file.clone();
        let mut candidates =
            Vec::from_iter(in_url.map(|secret| self.candidate("l4.url", Given::Text(secret))));
        candidates.extend(self.password_candidates(["l4.password", "l4.password_file"], own, file));
        self.raw.config.l4.password = self.password(candidates);
        self.raw.config.l4.tls = self.l4_tls();
    }

    /// Takes a password out of the URL.
    fn check_url(&mut self) -> Option<Secret> {
        let given = self.raw.config.l4.url.clone();
        if given.is_empty() {
            if self.raw.config.l4.enabled {
                let error = ConfigError::new("l4.url", self.origin("l4.url"), "is missing");
                self.errors.push(error.accepted(A_URL));
            }
            return None;
        }
        match location::postgres(&given) {
            Ok((url, password)) => {
                self.raw.config.l4.url = url;
                password
            }
            Err(wrong) => {
                self.raw.config.l4.url.clear();
                let error = ConfigError::new("l4.url", self.origin("l4.url"), wrong);
                self.errors.push(error.accepted(A_URL));
                None
            }
        }
    }

    fn l4_tls(&mut self) -> Tls {
        let raw = self.raw.l4.clone();
        let files = [("ca_file", &raw.ca_file), ("cert_file", &raw.cert_file), ("key_file", &raw.key_file)];
        for (name, text) in files.into_iter().filter(|(_, text)| !text.is_empty()) {
            if let Err(wrong) = file_exists(Path::new(text)) {
                self.fail(raw::name("l4", name), wrong);
            }
        }
        match (raw.cert_file.is_empty(), raw.key_file.is_empty()) {
            (false, true) => self.fail("l4.cert_file", "needs l4.key_file beside it"),
            (true, false) => self.fail("l4.key_file", "needs l4.cert_file beside it"),
            _ => {}
        }
        let identity = Identity { cert_file: raw.cert_file.into(), key_file: raw.key_file.into() };
        Tls {
            ca_file: Some(PathBuf::from(raw.ca_file)).filter(|file| !file.as_os_str().is_empty()),
            identity: Some(identity).filter(|identity| !identity.cert_file.as_os_str().is_empty()),
            server_name: Some(raw.server_name).filter(|name| !name.is_empty()),
        }
    }
}
