//! The mirror of `config.toml`: a row for every key, in the order of the file (Long because there are many). All else follows
//! from these rows: what is known, what it may hold, its environment variable, how it is shown.

mod l4;
mod upstream;

use std::time::Duration;

pub(super) use l4::{RawL4, RawSource, SOURCE_KEYS};
use upstream::MODES;
pub(super) use upstream::RawUpstream;

use super::Compression;
use super::model::{AdminCommands, Config, Eviction, Mget, Policy, ReadFrom, Tier, User};
use super::slot::Slot;

/// A key of the file.
pub(super) struct Key<T: 'static> {
    /// As in the file: `section.key`.
    pub(super) name: &'static str,
    pub(super) slot: Slot<T>,
}

/// What the keys say before it is put together: most fields are those of the configuration
/// itself; beside it is what must be seen together with others first. Empty texts are absent.
#[derive(Clone, Debug, Default)]
pub(super) struct Raw {
    pub(super) config: Config,
    pub(super) server_password_file: String,
    pub(super) l2: RawUpstream,
    pub(super) l3: RawUpstream,
    pub(super) l4: RawL4,
}

/// What one `[[user]]` says before its password is looked up.
#[derive(Clone, Debug, Default)]
pub(super) struct RawUser {
    pub(super) user: User,
    pub(super) password_file: String,
    pub(super) password_env: String,
}

impl From<&Config> for Raw {
    fn from(config: &Config) -> Self {
        let [l2, l3] = RawUpstream::of(config);
        let l4 = RawL4::from(&config.l4.tls);
        Self { config: config.clone(), server_password_file: String::new(), l2, l3, l4 }
    }
}

const KB: usize = 1_000;
const MB: usize = 1_000 * KB;
const TB: usize = 1_000_000 * MB;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

const ZERO: Duration = Duration::ZERO;
const MS: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// As `humantime` counts it.
const YEAR: Duration = Duration::from_secs(31_557_600);

const fn key<T>(name: &'static str, slot: Slot<T>) -> Key<T> {
    Key { name, slot }
}

/// The keys outside `[[policy]]`.
#[rustfmt::skip]
pub(super) static KEYS: &[Key<Raw>] = &[
    key("server.listen", Slot::Address(|r| &mut r.config.server.listen)),
    key("server.workers", Slot::Count(0..=256, |r| &mut r.config.server.workers)),
    key("server.max_clients", Slot::Count(1..=1_000_000, |r| &mut r.config.server.max_clients)),
    key("server.password", Slot::Secret(|r| &mut r.config.server.password)),
    key("server.password_file", Slot::Text(A_FILE, |r| &mut r.server_password_file)),
    key("server.protected_mode", Slot::Flag(|r| &mut r.config.server.protected_mode)),
    key("server.admin_commands", Slot::Choice { names: ADMIN_COMMANDS, get: |r| r.config.server.admin_commands.name(), set: set_admin_commands }),
    key("server.trust_scripts", Slot::Flag(|r| &mut r.config.server.trust_scripts)),
    key("server.cluster_facade", Slot::Flag(|r| &mut r.config.server.cluster_facade)),
    key("server.timeout", Slot::Span(ZERO..=YEAR, |r| &mut r.config.server.timeout)),
    // The kernel's own limit is 32,767 s.
    key("server.tcp_keepalive", Slot::Span(ZERO..=Duration::from_secs(32_400), |r| &mut r.config.server.tcp_keepalive)),
    key("server.max_query_buffer", Slot::Size(MIB..=64 * GIB, |r| &mut r.config.server.max_query_buffer)),
    key("server.max_bulk", Slot::Size(MIB..=64 * GIB, |r| &mut r.config.server.max_bulk)),
    key("server.output_buffer_limit", Slot::Size(MIB..=64 * GIB, |r| &mut r.config.server.output_buffer_limit)),
    key("server.tracking_table_max_keys", Slot::Count(0..=1_000_000_000, |r| &mut r.config.server.tracking_table_max_keys)),
    key("server.slowlog_log_slower_than", Slot::Span(ZERO..=HOUR, |r| &mut r.config.server.slowlog_log_slower_than)),
    key("server.slowlog_max_len", Slot::Count(0..=1_000_000, |r| &mut r.config.server.slowlog_max_len)),
    key("server.output_buffer_patience", Slot::Span(MS..=HOUR, |r| &mut r.config.server.output_buffer_patience)),
    key("server.pubsub_buffer_limit", Slot::Size(MIB..=64 * GIB, |r| &mut r.config.server.pubsub_buffer_limit)),
    key("server.pubsub_buffer_soft_limit", Slot::Size(64 * KB..=64 * GIB, |r| &mut r.config.server.pubsub_buffer_soft_limit)),
    key("server.pubsub_buffer_soft_time", Slot::Span(ZERO..=HOUR, |r| &mut r.config.server.pubsub_buffer_soft_time)),
    key("server.max_memory_clients", Slot::Size(0..=TB, |r| &mut r.config.server.max_memory_clients)),
    key("server.shutdown_timeout", Slot::Span(ZERO..=HOUR, |r| &mut r.config.server.shutdown_timeout)),
    key("server.log", Slot::Filter(|r| &mut r.config.server.log)),

    key("l1.enabled", Slot::Flag(|r| &mut r.config.l1.enabled)),
    key("l1.max_size", Slot::Size(64 * KB..=TB, |r| &mut r.config.l1.max_size)),
    key("l1.ttl", Slot::Span(MS..=YEAR, |r| &mut r.config.l1.ttl)),
    key("l1.negative_ttl", Slot::Span(ZERO..=YEAR, |r| &mut r.config.l1.negative_ttl)),
    key("l1.rest", Slot::Flag(|r| &mut r.config.l1.rest)),
    key("l1.policy", Slot::Choice { names: EVICTION, get: |r| r.config.l1.policy.name(), set: set_eviction }),

    key("l2.enabled", Slot::Flag(|r| &mut r.config.l2.enabled)),
    key("l2.url", Slot::Url("a string", |r| &mut r.l2.url)),
    key("l2.binary", Slot::Text("the name or the path of a redis-server", |r| &mut r.l2.binary)),
    // An empty redis-server uses nearly 1 MB of it.
    key("l2.max_size", Slot::Size(2 * MB..=TB, |r| &mut r.config.l2.max_size)),
    key("l2.ttl", Slot::Span(MS..=YEAR, |r| &mut r.config.l2.ttl)),
    key("l2.namespace", Slot::Text("a name", |r| &mut r.config.l2.namespace)),
    key("l2.answer_within", Slot::Span(MS..=MINUTE, |r| &mut r.config.l2.answer_within)),
    key("l2.fill_within", Slot::Span(MS..=Duration::from_secs(10), |r| &mut r.config.l2.fill_within)),
    key("l2.manage", Slot::Flag(|r| &mut r.config.l2.manage)),
    key("l2.max_connections", Slot::Count(1..=10_000, |r| &mut r.config.l2.upstream.max_connections)),
    key("l2.username", Slot::Text("the name of an ACL user", |r| &mut r.l2.username)),
    key("l2.password", Slot::Secret(|r| &mut r.l2.password)),
    key("l2.password_file", Slot::Text(A_FILE, |r| &mut r.l2.password_file)),
    key("l2.database", Slot::Count(0..=i32::MAX as usize, |r| &mut r.l2.database)),
    key("l2.ca_file", Slot::Text(A_PEM_FILE, |r| &mut r.l2.ca_file)),
    key("l2.cert_file", Slot::Text(A_PEM_FILE, |r| &mut r.l2.cert_file)),
    key("l2.key_file", Slot::Text(A_PEM_FILE, |r| &mut r.l2.key_file)),
    key("l2.server_name", Slot::Text("the name in the server's certificate", |r| &mut r.l2.server_name)),
    key("l2.connect_timeout", Slot::Span(MS..=HOUR, |r| &mut r.config.l2.upstream.connect_timeout)),
    key("l2.request_timeout", Slot::Span(MS..=HOUR, |r| &mut r.config.l2.upstream.request_timeout)),
    key("l2.lease", Slot::Span(Duration::from_millis(50)..=MINUTE, |r| &mut r.config.l2.upstream.lease)),
    key("l2.health_interval", Slot::Span(Duration::from_millis(100)..=DAY, |r| &mut r.config.l2.upstream.health_interval)),
    key("l2.backoff_min", Slot::Span(MS..=HOUR, |r| &mut r.config.l2.upstream.backoff_min)),
    key("l2.backoff_max", Slot::Span(MS..=HOUR, |r| &mut r.config.l2.upstream.backoff_max)),

    key("l3.enabled", Slot::Flag(|r| &mut r.config.l3.enabled)),
    key("l3.mode", Slot::Choice { names: MODES, get: |r| r.l3.mode, set: |r, name| r.l3.set_mode(name) }),
    key("l3.nodes", Slot::Places(|r| &mut r.l3.nodes)),
    key("l3.master", Slot::Text("the name by which the sentinels know the master", |r| &mut r.l3.master)),
    key("l3.max_size", Slot::Size(MB..=1_000 * TB, |r| &mut r.config.l3.max_size)),
    key("l3.ttl", Slot::Span(MS..=YEAR, |r| &mut r.config.l3.ttl)),
    key("l3.manage", Slot::Flag(|r| &mut r.config.l3.manage)),
    key("l3.max_connections", Slot::Count(1..=10_000, |r| &mut r.config.l3.upstream.max_connections)),
    key("l3.username", Slot::Text("the name of an ACL user", |r| &mut r.l3.username)),
    key("l3.password", Slot::Secret(|r| &mut r.l3.password)),
    key("l3.password_file", Slot::Text(A_FILE, |r| &mut r.l3.password_file)),
    key("l3.sentinel_username", Slot::Text("the name of an ACL user", |r| &mut r.l3.sentinel_username)),
    key("l3.sentinel_password", Slot::Secret(|r| &mut r.l3.sentinel_password)),
    key("l3.sentinel_password_file", Slot::Text(A_FILE, |r| &mut r.l3.sentinel_password_file)),
    key("l3.database", Slot::Count(0..=i32::MAX as usize, |r| &mut r.l3.database)),
    key("l3.tls", Slot::Flag(|r| &mut r.l3.tls)),
    key("l3.ca_file", Slot::Text(A_PEM_FILE, |r| &mut r.l3.ca_file)),
    key("l3.cert_file", Slot::Text(A_PEM_FILE, |r| &mut r.l3.cert_file)),
    key("l3.key_file", Slot::Text(A_PEM_FILE, |r| &mut r.l3.key_file)),
    key("l3.server_name", Slot::Text("the name in the servers' certificates", |r| &mut r.l3.server_name)),
    key("l3.connect_timeout", Slot::Span(MS..=HOUR, |r| &mut r.config.l3.upstream.connect_timeout)),
    key("l3.request_timeout", Slot::Span(MS..=HOUR, |r| &mut r.config.l3.upstream.request_timeout)),
    key("l3.lease", Slot::Span(Duration::from_millis(50)..=MINUTE, |r| &mut r.config.l3.upstream.lease)),
    key("l3.health_interval", Slot::Span(Duration::from_millis(100)..=DAY, |r| &mut r.config.l3.upstream.health_interval)),
    key("l3.backoff_min", Slot::Span(MS..=HOUR, |r| &mut r.config.l3.upstream.backoff_min)),
    key("l3.backoff_max", Slot::Span(MS..=HOUR, |r| &mut r.config.l3.upstream.backoff_max)),

    key("l3.compression", Slot::Choice { names: COMPRESSION, get: |r| r.config.l3.compression.name(), set: set_compression }),
    key("l3.compression_level", Slot::Count(1..=19, |r| &mut r.config.l3.compression_level)),
    // The longest integer has 20 bytes.
    key("l3.compression_min_size", Slot::Size(32..=GIB, |r| &mut r.config.l3.compression_min_size)),

    key("l4.enabled", Slot::Flag(|r| &mut r.config.l4.enabled)),
    // A password in it is taken out before it is ever shown.
    key("l4.url", Slot::Text("\"postgres://user@host:5432/database\", with several hosts and sslmode as libpq takes them", |r| &mut r.config.l4.url)),
    key("l4.password", Slot::Secret(|r| &mut r.config.l4.password)),
    key("l4.password_file", Slot::Text(A_FILE, |r| &mut r.l4.password_file)),
    key("l4.ca_file", Slot::Text(A_PEM_FILE, |r| &mut r.l4.ca_file)),
    key("l4.cert_file", Slot::Text(A_PEM_FILE, |r| &mut r.l4.cert_file)),
    key("l4.key_file", Slot::Text(A_PEM_FILE, |r| &mut r.l4.key_file)),
    key("l4.server_name", Slot::Text("the name in the servers' certificates", |r| &mut r.l4.server_name)),
    key("l4.max_connections", Slot::Count(1..=1_000, |r| &mut r.config.l4.max_connections)),
    key("l4.connect_timeout", Slot::Span(MS..=HOUR, |r| &mut r.config.l4.connect_timeout)),
    key("l4.statement_timeout", Slot::Span(MS..=HOUR, |r| &mut r.config.l4.statement_timeout)),
    key("l4.load_lease", Slot::Span(Duration::from_millis(100)..=MINUTE, |r| &mut r.config.l4.load_lease)),
    key("l4.poll_interval", Slot::Span(Duration::from_millis(10)..=MINUTE, |r| &mut r.config.l4.poll_interval)),
    key("l4.log_retention", Slot::Span(Duration::from_secs(10)..=WEEK, |r| &mut r.config.l4.log_retention)),
    key("l4.backoff_min", Slot::Span(MS..=HOUR, |r| &mut r.config.l4.backoff_min)),
    key("l4.backoff_max", Slot::Span(MS..=HOUR, |r| &mut r.config.l4.backoff_max)),

    key("cluster.strict", Slot::Flag(|r| &mut r.config.cluster.strict)),

    key("targets.hit_rate.l1", Slot::Share(|r| &mut r.config.targets.hit_rate.l1)),
    key("targets.hit_rate.l2", Slot::Share(|r| &mut r.config.targets.hit_rate.l2)),
    key("targets.hit_rate.l3", Slot::Share(|r| &mut r.config.targets.hit_rate.l3)),
    key("targets.hit_rate.overall", Slot::Share(|r| &mut r.config.targets.hit_rate.overall)),
    key("targets.latency.l1", Slot::Span(LATENCY, |r| &mut r.config.targets.latency.l1)),
    key("targets.latency.l2", Slot::Span(LATENCY, |r| &mut r.config.targets.latency.l2)),
    key("targets.latency.l3", Slot::Span(LATENCY, |r| &mut r.config.targets.latency.l3)),
    key("targets.latency.l4", Slot::Span(LATENCY, |r| &mut r.config.targets.latency.l4)),
];

/// The keys of one `[[policy]]`.
#[rustfmt::skip]
pub(super) static POLICY_KEYS: &[Key<Policy>] = &[
    key("match", Slot::Text(A_PATTERN, |p| &mut p.pattern)),
    key("l1_ttl", Slot::MaybeSpan(MS..=YEAR, |p| &mut p.l1_ttl)),
    key("l2_ttl", Slot::MaybeSpan(ZERO..=YEAR, |p| &mut p.l2_ttl)),
    key("negative_ttl", Slot::MaybeSpan(ZERO..=YEAR, |p| &mut p.negative_ttl)),
    key("stale_if_error", Slot::MaybeSpan(ZERO..=YEAR, |p| &mut p.stale_if_error)),
    key("mget", Slot::Choice { names: MGET, get: |p| p.mget.name(), set: set_mget }),
    key("no_cache", Slot::Flag(|p| &mut p.no_cache)),
    key("tier", Slot::Choice { names: TIERS, get: |p| p.tier.name(), set: set_tier }),
    key("read_from", Slot::Choice { names: READ_FROM, get: |p| p.read_from.name(), set: set_read_from }),
    key("refresh_ahead", Slot::Flag(|p| &mut p.refresh_ahead)),
    key("compress", Slot::MaybeFlag(|p| &mut p.compress)),
    key("dictionary", Slot::Files(|p| &mut p.dictionary)),
    key("write", Slot::Fixed(&["home", "through"])),
];

/// The keys of one `[[user]]`.
#[rustfmt::skip]
pub(super) static USER_KEYS: &[Key<RawUser>] = &[
    key("name", Slot::Text(A_NAME, |u| &mut u.user.name)),
    key("rules", Slot::Rules(|u| &mut u.user.rules)),
    key("password", Slot::Secret(|u| &mut u.user.password)),
    key("password_file", Slot::Text(A_FILE, |u| &mut u.password_file)),
    key("password_env", Slot::Text("the name of an environment variable", |u| &mut u.password_env)),
];

/// What later versions will know, so that nothing of it is ignored in silence.
pub(super) static LATER: &[&str] = &["server.admin", "warm"];

/// The same for one `[[policy]]`.
pub(super) static POLICY_LATER: &[&str] = &[];

/// Bytes of a glob: it is matched against every key.
pub(super) const MAX_PATTERN: usize = 1024;
pub(super) const A_PATTERN: &str = "a glob of 1 to 1024 bytes, such as \"session:*\"";
pub(super) const A_NAME: &str = "the name of a user: 1 to 256 bytes without spaces";
const A_FILE: &str = "the path of a file";
const A_PEM_FILE: &str = "the path of a PEM file";
const LATENCY: std::ops::RangeInclusive<Duration> = Duration::from_micros(1)..=HOUR;
const EVICTION: &[&str] = &["s3-fifo", "lru"];
const COMPRESSION: &[&str] = &["off", "zstd"];
const ADMIN_COMMANDS: &[&str] = &["read", "deny", "pass"];
const MGET: &[&str] = &["atomic", "per-key"];
const TIERS: &[&str] = &["l1", "l2", "l3"];
const READ_FROM: &[&str] = &["master", "replica"];

fn set_eviction(raw: &mut Raw, name: &str) {
    raw.config.l1.policy = if name == Eviction::Lru.name() { Eviction::Lru } else { Eviction::S3Fifo };
}

fn set_admin_commands(raw: &mut Raw, name: &str) {
    let all = [AdminCommands::Read, AdminCommands::Deny, AdminCommands::Pass];
    raw.config.server.admin_commands = all.into_iter().find(|a| a.name() == name).unwrap_or_default();
}

fn set_compression(raw: &mut Raw, name: &str) {
    let zstd = name == Compression::Zstd.name();
    raw.config.l3.compression = if zstd { Compression::Zstd } else { Compression::Off };
}

fn set_mget(policy: &mut Policy, name: &str) {
    policy.mget = if name == Mget::PerKey.name() { Mget::PerKey } else { Mget::Atomic };
}

fn set_tier(policy: &mut Policy, name: &str) {
    policy.tier = Tier::from_name(name.as_bytes()).unwrap_or_default();
}

fn set_read_from(policy: &mut Policy, name: &str) {
    let replica = name == ReadFrom::Replica.name();
    policy.read_from = if replica { ReadFrom::Replica } else { ReadFrom::Master };
}

/// What a dotted path names.
pub(super) enum Named {
    Key(&'static Key<Raw>),
    /// A section, or a table in one.
    Table,
    /// The list of policies.
    Policies,
    /// The list of users.
    Users,
    /// The list of sources.
    Sources,
    /// One of the names of later versions, or something in it.
    Later,
    Unknown,
}

pub(super) fn find(path: &str) -> Named {
    if let Some(key) = KEYS.iter().find(|key| key.name == path) {
        return Named::Key(key);
    }
    match path {
        "policy" => return Named::Policies,
        "user" => return Named::Users,
        "l4.source" => return Named::Sources,
        _ => {}
    }
    if LATER.iter().any(|later| path == *later || is_under(path, later)) {
        return Named::Later;
    }
    match KEYS.iter().any(|key| is_under(key.name, path)) {
        true => Named::Table,
        false => Named::Unknown,
    }
}

fn is_under(path: &str, table: &str) -> bool {
    path.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'))
}

/// Every path that has a meaning: keys, tables, and what later versions know.
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    const TABLES: &str =
        "server l1 l2 l3 l4 l4.source cluster targets targets.hit_rate targets.latency policy user";
    KEYS.iter().map(|key| key.name).chain(TABLES.split(' ')).chain(LATER.iter().copied())
}

/// The key of this name in a section.
pub(super) fn name(section: &str, name: &str) -> &'static str {
    let is = |key: &str| key.strip_prefix(section).and_then(|rest| rest.strip_prefix('.')) == Some(name);
    KEYS.iter().map(|key| key.name).find(|key| is(key)).unwrap_or_default()
}

/// The environment variable of a path.
pub(super) fn variable(path: &str) -> String {
    format!("STRATA_{}", path.replace('.', "_").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigErrors;

    #[test]
    fn every_path_is_found_and_has_a_variable_of_its_own() {
        let mut variables: Vec<String> = paths().map(variable).collect();
        assert!(paths().all(|path| !matches!(find(path), Named::Unknown)));
        variables.sort();
        let all = variables.len();
        variables.dedup();
        assert_eq!(variables.len(), all);
        assert_eq!(variable("l1.max_size"), "STRATA_L1_MAX_SIZE");
    }

    #[test]
    fn every_table_of_a_key_is_a_path() {
        for key in KEYS {
            for (end, _) in key.name.match_indices('.') {
                assert!(paths().any(|path| path == &key.name[..end]), "{}", key.name);
            }
        }
    }

    #[test]
    fn defaults_are_in_their_bounds() {
        use crate::config::value::Value;
        let mut raw = Raw::default();
        for key in KEYS {
            let shown = key.slot.show(&mut raw).unwrap();
            let value = Value::from_toml(toml::de::DeValue::parse(&shown).unwrap().get_ref());
            assert_eq!(key.slot.set(&mut raw, &value), Ok(()), "{} = {shown}", key.name);
        }
        assert_eq!(raw.config, Config::default());
    }

    #[test]
    fn choices_are_named_by_their_values() {
        assert_eq!(EVICTION, [Eviction::S3Fifo.name(), Eviction::Lru.name()]);
        assert_eq!(COMPRESSION, [Compression::Off.name(), Compression::Zstd.name()]);
        assert_eq!(MGET, [Mget::Atomic.name(), Mget::PerKey.name()]);
        assert_eq!(TIERS, [Tier::L1, Tier::L2, Tier::L3].map(Tier::name));
        assert_eq!(READ_FROM, [ReadFrom::Master.name(), ReadFrom::Replica.name()]);
        let admin = [AdminCommands::Read, AdminCommands::Deny, AdminCommands::Pass];
        assert_eq!(ADMIN_COMMANDS, admin.map(AdminCommands::name));
    }

    /// The names of the keys that a file gives.
    fn given(text: &str) -> Vec<&'static str> {
        use crate::config::layers::{Setting, file};
        let mut errors = ConfigErrors::default();
        let settings = file("config.toml", text.as_bytes(), &mut errors);
        assert_eq!(errors, ConfigErrors::default());
        let names = |setting| match setting {
            Setting::Key { key, .. } => vec![key.name],
            Setting::Policies(list) => list[0].settings.iter().map(|(key, ..)| key.name).collect(),
            Setting::Sources(list) => list[0].settings.iter().map(|(key, ..)| key.name).collect(),
            Setting::Users(list) => list[0].settings.iter().map(|(key, ..)| key.name).collect(),
        };
        let mut names: Vec<_> = settings.into_iter().flat_map(names).collect();
        names.sort_unstable();
        names
    }

    fn sorted<T>(keys: &[Key<T>]) -> Vec<&'static str> {
        let mut names: Vec<_> = keys.iter().map(|key| key.name).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn the_file_shows_every_key() {
        let text = include_str!("../../../config.toml");
        assert_eq!(given(text), sorted(KEYS));
        let example = |section: &str| {
            let (_, rest) = text.split_once(&format!("# {section}")).unwrap();
            let example = rest.split("\n\n").next().unwrap();
            given(&format!("{section}{}", example.replace("\n# ", "\n")))
        };
        assert_eq!(example("[[policy]]"), sorted(POLICY_KEYS));
        assert_eq!(example("[[user]]"), sorted(USER_KEYS));
        assert_eq!(example("[[l4.source]]"), sorted(SOURCE_KEYS));
    }
}
