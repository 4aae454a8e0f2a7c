//! What the keys of a Redis tier say of its place and of authentication, before it is put together.

use crate::config::Secret;
use crate::config::model::Config;
use crate::config::tiers::{Endpoint, HostPort, Identity, Tls, Topology, Upstream};

/// The modes of `[l3]`.
pub(in crate::config) const MODES: &[&str] = &["standalone", "sentinel", "cluster"];

/// The parts of a topology and of the authentication of `[l2]` or `[l3]`. Each has keys for some of them.
#[derive(Clone, Debug)]
pub(in crate::config) struct RawUpstream {
    pub(in crate::config) url: String,
    pub(in crate::config) binary: String,
    /// One of [`MODES`].
    pub(in crate::config) mode: &'static str,
    pub(in crate::config) nodes: Vec<HostPort>,
    pub(in crate::config) master: String,
    pub(in crate::config) tls: bool,
    pub(in crate::config) username: String,
    pub(in crate::config) password: Option<Secret>,
    pub(in crate::config) password_file: String,
    pub(in crate::config) sentinel_username: String,
    pub(in crate::config) sentinel_password: Option<Secret>,
    pub(in crate::config) sentinel_password_file: String,
    pub(in crate::config) database: usize,
    pub(in crate::config) ca_file: String,
    pub(in crate::config) cert_file: String,
    pub(in crate::config) key_file: String,
    pub(in crate::config) server_name: String,
}

impl Default for RawUpstream {
    fn default() -> Self {
        Self {
            url: "embedded".to_owned(),
            binary: "redis-server".to_owned(),
            mode: "cluster",
            nodes: Vec::new(),
            master: String::new(),
            tls: false,
            username: String::new(),
            password: None,
            password_file: String::new(),
            sentinel_username: String::new(),
            sentinel_password: None,
            sentinel_password_file: String::new(),
            database: 0,
            ca_file: String::new(),
            cert_file: String::new(),
            key_file: String::new(),
            server_name: String::new(),
        }
    }
}

impl RawUpstream {
    /// Of the tiers of a configuration: L2, L3.
    pub(in crate::config) fn of(config: &Config) -> [Self; 2] {
        [&config.l2.upstream, &config.l3.upstream].map(Self::from)
    }

    /// `name` is one of [`MODES`].
    pub(in crate::config) fn set_mode(&mut self, name: &str) {
        self.mode = MODES.iter().find(|mode| **mode == name).copied().unwrap_or(self.mode);
    }

    fn set_endpoint(&mut self, endpoint: &Endpoint) {
        self.mode = "standalone";
        self.url = endpoint.to_string();
        match endpoint {
            Endpoint::Embedded { binary } => self.binary = binary.display().to_string(),
            Endpoint::Tcp { host, port, tls } => {
                self.nodes = vec![HostPort { host: host.clone(), port: *port }];
                self.set_tls(tls.as_ref());
            }
            Endpoint::Unix { .. } => {}
        }
    }

    fn set_tls(&mut self, tls: Option<&Tls>) {
        let Some(Tls { ca_file, identity, server_name }) = tls else {
            return;
        };
        self.tls = true;
        self.ca_file = ca_file.as_ref().map_or(String::new(), |file| file.display().to_string());
        if let Some(Identity { cert_file, key_file }) = identity {
            self.cert_file = cert_file.display().to_string();
            self.key_file = key_file.display().to_string();
        }
        self.server_name = server_name.clone().unwrap_or_default();
    }
}

impl From<&Upstream> for RawUpstream {
    fn from(upstream: &Upstream) -> Self {
        let mut raw = Self {
            username: upstream.username.clone().unwrap_or_default(),
            password: upstream.password.clone(),
            database: upstream.database as usize,
            ..Self::default()
        };
        match &upstream.topology {
            Topology::Single(endpoint) => raw.set_endpoint(endpoint),
            Topology::Sentinel { master, sentinels, tls, username, password } => {
                raw.mode = "sentinel";
                raw.master = master.clone();
                raw.nodes = sentinels.clone();
                raw.set_tls(tls.as_ref());
                raw.sentinel_username = username.clone().unwrap_or_default();
                raw.sentinel_password = password.clone();
            }
            Topology::Cluster { seeds, tls } => {
                raw.mode = "cluster";
                raw.nodes = seeds.clone();
                raw.set_tls(tls.as_ref());
            }
        }
        raw
    }
}
