//! The Redis tiers of the configuration in force: L2, L3, and what is common to them.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;

/// `[l2]`: the Redis of this node. It is home where no L3 is enabled.
#[derive(Clone, Debug, PartialEq)]
pub struct L2 {
    /// Never false where no L3 is enabled: there would be no home.
    pub enabled: bool,
    /// Where it is and how it is treated; its topology is [`Topology::Single`].
    pub upstream: Upstream,
    /// `maxmemory` of an embedded one, in bytes.
    pub max_size: usize,
    /// Lifetime of what strata itself stores in it.
    pub ttl: Duration,
    /// Whether strata sets how much memory it may use, what it evicts, and what it keeps on disk.
    pub manage: bool,
}

impl Default for L2 {
    fn default() -> Self {
        let topology = Topology::Single(Endpoint::default());
        Self {
            enabled: true,
            upstream: Upstream::new("l2", topology),
            max_size: 100_000_000,
            ttl: Duration::from_secs(300),
            manage: false,
        }
    }
}

/// `[l3]`: home, where one Redis is not enough.
#[derive(Clone, Debug, PartialEq)]
pub struct L3 {
    /// Without it L2 is home.
    pub enabled: bool,
    /// Where it is and how it is treated; its nodes are never embedded.
    pub upstream: Upstream,
    /// Bytes it may hold.
    pub max_size: usize,
    /// Lifetime of what strata itself stores in it.
    pub ttl: Duration,
    /// Whether strata sets how much memory it may use, what it evicts, and what it keeps on disk.
    pub manage: bool,
    /// Whether string values are kept compressed at home, this tier or another, where no policy says otherwise.
    pub compression: Compression,
    /// zstd's level, 1 to 19.
    pub compression_level: usize,
    /// Bytes of the smallest value that is compressed; no integer is so long.
    pub compression_min_size: usize,
}

/// What is done to string values on their way home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Nothing.
    #[default]
    Off,
    /// They are compressed.
    Zstd,
}

impl Compression {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Zstd => "zstd",
        }
    }
}

impl Default for L3 {
    fn default() -> Self {
        let topology = Topology::Cluster { seeds: Vec::new(), tls: None };
        Self {
            enabled: false,
            upstream: Upstream::new("l3", topology),
            max_size: 10_000_000_000,
            ttl: Duration::from_secs(3600),
            manage: false,
            compression: Compression::Off,
            compression_level: 3,
            compression_min_size: 1_000,
        }
    }
}

/// What is common to the Redis tiers.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// The section of its keys: `l2` or `l3`.
    pub section: &'static str,
    /// Where its nodes are.
    pub topology: Topology,
    /// Connections of one node that clients may hold for themselves.
    pub max_connections: usize,
    /// ACL user; never given without a password.
    pub username: Option<String>,
    /// Never empty.
    pub password: Option<Secret>,
    /// The database a client is in until it sends SELECT; 0 in a cluster.
    pub database: u32,
    /// For connecting, TLS and authentication together.
    pub connect_timeout: Duration,
    /// From the sending of a request to its reply.
    pub request_timeout: Duration,
    /// Serving lease: copies are served for so long after the sending of the last answered probe.
    pub lease: Duration,
    /// Time between two health checks.
    pub health_interval: Duration,
    /// First delay before connecting again.
    pub backoff_min: Duration,
    /// Largest delay before connecting again; never less than `backoff_min`.
    pub backoff_max: Duration,
}

impl Upstream {
    pub(super) fn new(section: &'static str, topology: Topology) -> Self {
        Self {
            section,
            topology,
            max_connections: 50,
            username: None,
            password: None,
            database: 0,
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(10),
            lease: Duration::from_secs(1),
            health_interval: Duration::from_secs(30),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
        }
    }

    /// Time between two lease probes: a quarter of the lease.
    pub fn probe_interval(&self) -> Duration {
        self.lease / 4
    }
}

/// How the nodes of a tier are found. `Display` gives a line without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Single(Endpoint),
    /// A master with replicas, which sentinels watch.
    Sentinel {
        /// The name by which the sentinels know it.
        master: String,
        /// Not empty in a tier that is enabled.
        sentinels: Vec<HostPort>,
        /// TLS toward the sentinels and the servers; none: connections are in the clear.
        tls: Option<Tls>,
        /// ACL user at the sentinels; never given without a password.
        username: Option<String>,
        /// The sentinels' password. Never empty.
        password: Option<Secret>,
    },
    /// A Redis Cluster.
    Cluster {
        /// Some of its nodes. Not empty in a tier that is enabled.
        seeds: Vec<HostPort>,
        /// TLS toward all nodes; none: connections are in the clear.
        tls: Option<Tls>,
    },
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(endpoint) => endpoint.fmt(f),
            Self::Sentinel { master, sentinels, .. } => {
                write!(f, "{master} of sentinels {}", Listed(sentinels))
            }
            Self::Cluster { seeds, .. } => write!(f, "cluster of {}", Listed(seeds)),
        }
    }
}

struct Listed<'a>(&'a [HostPort]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, node) in self.0.iter().enumerate() {
            write!(f, "{}{node}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// A host with a port. `Display` puts brackets around an IPv6 address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// A name or an address; an IPv6 address is without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

/// Where a Redis is. `Display` gives its URL, which holds no user and no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A private child process.
    Embedded {
        /// The program: a path, or a name that is looked up in PATH.
        binary: PathBuf,
    },
    /// A server reached by TCP.
    Tcp {
        /// A name or an address; an IPv6 address is without brackets.
        host: String,
        /// Never 0.
        port: u16,
        /// Settings of TLS; none: the connection is in the clear.
        tls: Option<Tls>,
    },
    /// A server on this machine.
    Unix {
        /// An absolute path of at most 107 bytes.
        path: PathBuf,
    },
}

impl Default for Endpoint {
    fn default() -> Self {
        Self::Embedded { binary: PathBuf::from("redis-server") }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded { .. } => f.write_str("embedded"),
            Self::Unix { path } => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port, tls } => {
                let scheme = if tls.is_some() { "rediss" } else { "redis" };
                write!(f, "{scheme}://{}", HostPort { host: host.clone(), port: *port })
            }
        }
    }
}

/// TLS toward servers. All files are PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authorities to trust; none: those of the system.
    pub ca_file: Option<PathBuf>,
    /// What strata shows to a server that asks.
    pub identity: Option<Identity>,
    /// The name the server's certificate must bear; none: the host.
    pub server_name: Option<String>,
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, followed by its chain.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}
