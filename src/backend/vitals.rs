//! What home's INFO says of how it fares, and what of that is a trouble.

use super::facts::info_field;
use crate::clock;

/// Share of maxmemory, in percent, above which a home that may not evict is called degraded.
const NEARLY_FULL: u64 = 90;

/// The fields of home's INFO that tell how it fares. What a server leaves out is zero or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vitals {
    /// `redis_version`.
    pub version: String,
    /// `master` or `slave`.
    pub role: String,
    /// Bytes it uses.
    pub used_memory: u64,
    /// Bytes it may use; 0: no bound.
    pub max_memory: u64,
    /// `maxmemory-policy`.
    pub policy: String,
    /// Its clients, strata's connections among them.
    pub clients: u64,
    /// Look-ups that found a key, since its start.
    pub hits: u64,
    /// Look-ups that found none.
    pub misses: u64,
    /// Keys evicted since its start.
    pub evicted: u64,
    /// When it last saved, in seconds of the Unix epoch.
    pub last_save: u64,
    /// Whether the last save went well.
    pub save_ok: bool,
    /// Whether it writes an append-only file.
    pub aof: bool,
    /// Whether the last write and rewrite of that file went well.
    pub aof_ok: bool,
    /// It reads its data from disk and does not serve yet.
    pub loading: bool,
}

impl Vitals {
    /// From the text of INFO.
    pub fn parse(info: &str) -> Self {
        let text = |name| info_field(info, name).unwrap_or_default();
        let number = |name| text(name).parse().unwrap_or(0);
        let not_failed = |name| text(name) != "err";
        Vitals {
            version: text("redis_version").to_owned(),
            role: text("role").to_owned(),
            used_memory: number("used_memory"),
            max_memory: number("maxmemory"),
            policy: text("maxmemory_policy").to_owned(),
            clients: number("connected_clients"),
            hits: number("keyspace_hits"),
            misses: number("keyspace_misses"),
            evicted: number("evicted_keys"),
            last_save: number("rdb_last_save_time"),
            save_ok: not_failed("rdb_last_bgsave_status"),
            aof: number("aof_enabled") == 1,
            aof_ok: not_failed("aof_last_write_status") && not_failed("aof_last_bgrewrite_status"),
            loading: number("loading") == 1,
        }
    }

    /// Share of look-ups that found a key, 0 to 1.
    pub fn hit_rate(&self) -> Option<f64> {
        let all = self.hits + self.misses;
        (all > 0).then(|| self.hits as f64 / all as f64)
    }

    /// What is wrong short of not serving.
    pub(super) fn complaints(&self, before: Option<&Vitals>) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.role != "master" && !self.role.is_empty() {
            reasons.push(format!("its role is {}, not master", self.role));
        }
        let nearly_full = self.used_memory.saturating_mul(100) > self.max_memory.saturating_mul(NEARLY_FULL);
        if self.max_memory > 0 && self.policy == "noeviction" && nearly_full {
            reasons.push(format!(
                "it uses {} % of its memory ({} of {} bytes) and may not evict: writes are about to fail",
                self.used_memory.saturating_mul(100) / self.max_memory,
                self.used_memory,
                self.max_memory
            ));
        }
        let evicted = self.evicted.saturating_sub(before.map_or(self.evicted, |b| b.evicted));
        if evicted > 0 {
            reasons.push(format!(
                "it evicted {evicted} keys since the check before (memory {} of {} bytes, {})",
                self.used_memory, self.max_memory, self.policy
            ));
        }
        if !self.save_ok {
            let age = clock::unix_seconds().saturating_sub(self.last_save);
            reasons.push(format!("its last save to disk failed; the last that succeeded is {age} s old"));
        }
        if self.aof && !self.aof_ok {
            reasons.push("the last write or rewrite of its append-only file failed".to_owned());
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\n\r\n# Clients\r\nconnected_clients:3\r\n\r\n# Memory\r\nused_memory:950\r\n\
        maxmemory:1000\r\nmaxmemory_policy:noeviction\r\n\r\n# Persistence\r\nloading:0\r\nrdb_last_save_time:1\r\n\
        rdb_last_bgsave_status:ok\r\naof_enabled:0\r\naof_last_bgrewrite_status:ok\r\naof_last_write_status:ok\r\n\r\n\
        # Stats\r\nevicted_keys:7\r\nkeyspace_hits:3\r\nkeyspace_misses:1\r\n\r\n# Replication\r\nrole:master\r\n";

    #[test]
    fn info_is_read() {
        let vitals = Vitals::parse(INFO);
        let expected = Vitals {
            version: "7.0.15".into(),
            role: "master".into(),
            used_memory: 950,
            max_memory: 1000,
            policy: "noeviction".into(),
            clients: 3,
            hits: 3,
            misses: 1,
            evicted: 7,
            last_save: 1,
            save_ok: true,
            aof: false,
            aof_ok: true,
            loading: false,
        };
        assert_eq!(vitals, expected);
        assert_eq!(vitals.hit_rate(), Some(0.75));
        assert_eq!(Vitals::parse("").hit_rate(), None);
        assert_eq!(Vitals::parse("").complaints(None), Vec::<String>::new());
    }

    #[test]
    fn each_trouble_is_told() {
        let well = Vitals { used_memory: 900, ..Vitals::parse(INFO) };
        let told = |v: Vitals| v.complaints(Some(&well)).join("; ");
        assert_eq!(told(well.clone()), "");
        assert!(told(Vitals::parse(INFO)).starts_with("it uses 95 % of its memory (950 of 1000 bytes)"));
        assert!(told(Vitals { role: "slave".into(), ..well.clone() }).contains("role is slave"));
        assert!(told(Vitals { evicted: 17, ..well.clone() }).contains("evicted 10 keys"));
        assert!(told(Vitals { save_ok: false, ..well.clone() }).contains("last save to disk failed"));
        assert!(told(Vitals { aof: true, aof_ok: false, ..well.clone() }).contains("append-only file"));
        assert_eq!(told(Vitals { aof_ok: false, ..well.clone() }), "", "nobody misses a file that is off");
        let evicting = Vitals { policy: "allkeys-lru".into(), ..Vitals::parse(INFO) };
        assert_eq!(told(evicting), "");
    }
}
