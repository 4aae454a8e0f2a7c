//! The configuration in force: plain values, checked and complete. The defaults are here too.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::l4::L4;
use super::secret::{Rules, Secret};
use super::tiers::{L2, L3, Upstream};

/// Everything strata can be told. [`super::load`] makes one whose values are in the bounds of `config.toml`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The endpoint clients connect to.
    pub server: Server,
    /// Copies in the memory of the process.
    pub l1: L1,
    /// The Redis of this node: home, or copies above [`Config::l3`].
    pub l2: L2,
    /// The Redis that is home where it is enabled.
    pub l3: L3,
    /// The database below home.
    pub l4: L4,
    /// Rules for the keys that match a glob; the first that matches wins. At most 1000.
    pub policies: Vec<Policy>,
    /// Who may do what, besides the default user. At most 1000.
    pub users: Vec<User>,
    /// What becomes of commands over several nodes of home.
    pub cluster: Cluster,
    /// Figures that are reported as met or missed.
    pub targets: Targets,
}

impl Config {
    /// The tier that holds the truth: L3 where it is enabled, else L2.
    pub fn home(&self) -> &Upstream {
        if self.l3.enabled { &self.l3.upstream } else { &self.l2.upstream }
    }
}

/// `[server]`
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Where clients connect. Port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Worker threads; 0: one a core.
    pub workers: usize,
    /// Client connections served at once.
    pub max_clients: usize,
    /// What AUTH asks of clients; none: they need not authenticate. Never empty.
    pub password: Option<Secret>,
    /// Whether clients that are not on this machine are refused while none needs a password.
    pub protected_mode: bool,
    /// What becomes of commands about the server.
    pub admin_commands: AdminCommands,
    /// Whether users with restricted rules who may run scripts may run any: a script acts with strata's rights.
    pub trust_scripts: bool,
    /// Whether strata is, to its clients, the one node of a cluster.
    pub cluster_facade: bool,
    /// After so long without a command a client is disconnected; zero: never.
    pub timeout: Duration,
    /// Idle time before TCP keepalive probes; zero: none are sent.
    pub tcp_keepalive: Duration,
    /// Bytes a client may have sent that are not executed yet.
    pub max_query_buffer: usize,
    /// Bytes of one argument; never more than `max_query_buffer`.
    pub max_bulk: usize,
    /// Bytes of replies a client may leave unread before it is disconnected.
    pub output_buffer_limit: usize,
    /// How long a client that asks for more may leave more than half of that unread without taking anything.
    pub output_buffer_patience: Duration,
    /// Keys remembered for clients that keep caches of their own; 0: any number.
    pub tracking_table_max_keys: usize,
    /// Requests that took so long or longer are kept in the slow log.
    pub slowlog_log_slower_than: Duration,
    /// Requests kept in the slow log; 0: none.
    pub slowlog_max_len: usize,
    /// The same of messages and replies for a subscriber.
    pub pubsub_buffer_limit: usize,
    /// Bytes that a subscriber may leave unread for `pubsub_buffer_soft_time` at most.
    pub pubsub_buffer_soft_limit: usize,
    /// See `pubsub_buffer_soft_limit`.
    pub pubsub_buffer_soft_time: Duration,
    /// Bytes that all clients together may hold, unfinished commands and unread replies; zero: no bound.
    pub max_memory_clients: usize,
    /// How long a shutdown waits for commands in flight.
    pub shutdown_timeout: Duration,
    /// A filter in the syntax of `tracing`, such as `info` or `info,strata=debug`.
    pub log: String,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7379)),
            workers: 0,
            max_clients: 10_000,
            password: None,
            protected_mode: true,
            admin_commands: AdminCommands::default(),
            trust_scripts: false,
            cluster_facade: false,
            timeout: Duration::ZERO,
            tcp_keepalive: Duration::from_secs(300),
            max_query_buffer: 1 << 30,
            max_bulk: 512 << 20,
            output_buffer_limit: 256_000_000,
            output_buffer_patience: Duration::from_secs(10),
            tracking_table_max_keys: 1_000_000,
            slowlog_log_slower_than: Duration::from_millis(10),
            slowlog_max_len: 128,
            pubsub_buffer_limit: 32 << 20,
            pubsub_buffer_soft_limit: 8 << 20,
            pubsub_buffer_soft_time: Duration::from_secs(60),
            max_memory_clients: 0,
            shutdown_timeout: Duration::from_secs(10),
            log: "info".to_owned(),
        }
    }
}

/// `[cluster]`
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cluster {
    /// Whether writes of keys in several slots are refused, because they would not be done as one.
    pub strict: bool,
}

/// What becomes of commands that are about the server rather than about keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdminCommands {
    /// What only reads passes.
    #[default]
    Read,
    /// None passes.
    Deny,
    /// All pass.
    Pass,
}

impl AdminCommands {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Deny => "deny",
            Self::Pass => "pass",
        }
    }
}

/// `[[user]]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Not empty, no two alike.
    pub name: String,
    /// Rules as in Redis' ACL SETUSER, with spaces between them. Whether they are rules is not checked here.
    pub rules: Rules,
    /// A password besides those in the rules. Never empty.
    pub password: Option<Secret>,
}

/// `[l1]`
#[derive(Clone, Debug, PartialEq)]
pub struct L1 {
    /// Without it every read goes home.
    pub enabled: bool,
    /// Bytes of all copies, overhead included.
    pub max_size: usize,
    /// The longest a copy lives.
    pub ttl: Duration,
    /// The longest a copy that says "absent" lives; zero: absence is not kept.
    pub negative_ttl: Duration,
    /// It does without copies while announcements cost more than copies save.
    pub rest: bool,
    /// What makes room when it is full.
    pub policy: Eviction,
}

impl Default for L1 {
    fn default() -> Self {
        Self {
            enabled: true,
            max_size: 5_000_000,
            ttl: Duration::from_secs(60),
            negative_ttl: Duration::from_secs(1),
            rest: true,
            policy: Eviction::S3Fifo,
        }
    }
}

/// How L1 chooses what to evict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// Three FIFO queues: resists scans, cheap on hits.
    #[default]
    S3Fifo,
    /// Exact least-recently-used order.
    Lru,
}

impl Eviction {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::S3Fifo => "s3-fifo",
            Self::Lru => "lru",
        }
    }
}

/// `[[policy]]`: rules for the keys that match `pattern`. What is none here is as in `[l1]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// A glob as in KEYS; not empty, at most 1024 bytes, no two alike.
    pub pattern: String,
    /// The longest a copy lives in L1.
    pub l1_ttl: Option<Duration>,
    /// The longest a copy lives in L2, where L3 is home; zero: none is kept there. None: as in `[l2]`.
    pub l2_ttl: Option<Duration>,
    /// The longest a copy that says "absent" lives.
    pub negative_ttl: Option<Duration>,
    /// For how long copies are served while home cannot be reached; none: they are not.
    pub stale_if_error: Option<Duration>,
    /// What an MGET answered from copies may mix.
    pub mget: Mget,
    /// These keys are never copied.
    pub no_cache: bool,
    /// The deepest tier that keeps what strata itself puts somewhere; what clients write is home's.
    pub tier: Tier,
    /// Who is asked for what these keys hold.
    pub read_from: ReadFrom,
    /// Hot copies are renewed before they end.
    pub refresh_ahead: bool,
    /// Whether home keeps string values compressed; false: those that are, are read. None: as `[l3]` says.
    pub compress: Option<bool>,
    /// Files of zstd dictionaries: the first one is for new values, all are for reading.
    pub dictionary: Vec<PathBuf>,
}

/// A tier, the deepest last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// The memory of the process.
    L1,
    /// The Redis of the node; home, where there is no L3.
    L2,
    /// Home, whichever it is.
    #[default]
    L3,
}

impl Tier {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::L1 => "l1",
            Self::L2 => "l2",
            Self::L3 => "l3",
        }
    }

    /// The tier of this name, in any case.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        [Self::L1, Self::L2, Self::L3]
            .into_iter()
            .find(|tier| name.eq_ignore_ascii_case(tier.name().as_bytes()))
    }
}

/// Who is read from, where a key has no copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadFrom {
    /// Who has the truth.
    #[default]
    Master,
    /// A replica, which may be behind; then there are no copies.
    Replica,
}

impl ReadFrom {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Replica => "replica",
        }
    }
}

/// How MGET is answered from copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mget {
    /// Only if all keys are there: the reply is one that home gave, or could have given, at one moment.
    #[default]
    Atomic,
    /// Each key on its own: the reply may mix moments.
    PerKey,
}

impl Mget {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Atomic => "atomic",
            Self::PerKey => "per-key",
        }
    }
}

/// `[targets]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Targets {
    /// Least share of reads a tier answers, of those that reach it.
    pub hit_rate: HitRates,
    /// Most time a tier takes for a hit.
    pub latency: Latencies,
}

/// Shares from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct HitRates {
    /// Of L1.
    pub l1: f64,
    /// Of L2.
    pub l2: f64,
    /// Of L3.
    pub l3: f64,
    /// Of all tiers together.
    pub overall: f64,
}

impl Default for HitRates {
    fn default() -> Self {
        Self { l1: 0.85, l2: 0.80, l3: 0.70, overall: 0.80 }
    }
}

/// Times of a hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latencies {
    /// In L1.
    pub l1: Duration,
    /// In L2.
    pub l2: Duration,
    /// In L3.
    pub l3: Duration,
    /// In L4.
    pub l4: Duration,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            l1: Duration::from_millis(1),
            l2: Duration::from_millis(5),
            l3: Duration::from_millis(20),
            l4: Duration::from_millis(100),
        }
    }
}
