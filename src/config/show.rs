//! The configuration in force as TOML.

use super::model::{Config, Policy};
use super::raw::{KEYS, POLICY_KEYS, Raw, RawSource, RawUser, SOURCE_KEYS, USER_KEYS};

impl Config {
    /// Every key with its value, as a file that strata reads, with secrets masked. A password is
    /// shown as its mask wherever it came from.
    pub fn to_toml_masked(&self) -> String {
        let mut raw = Raw::from(self);
        let mut text = String::new();
        let mut section = "";
        for key in KEYS {
            let (table, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
            if table != section {
                let gap = if section.is_empty() { "" } else { "\n" };
                text.push_str(&format!("{gap}[{table}]\n"));
                section = table;
            }
            if let Some(value) = key.slot.show(&mut raw) {
                text.push_str(&format!("{name} = {value}\n"));
            }
        }
        for source in &self.l4.sources {
            text.push_str("\n[[l4.source]]\n");
            let mut source = RawSource::from(source);
            for key in SOURCE_KEYS {
                if let Some(value) = key.slot.show(&mut source) {
                    text.push_str(&format!("{} = {value}\n", key.name));
                }
            }
        }
        for user in &self.users {
            text.push_str("\n[[user]]\n");
            let mut user = RawUser { user: user.clone(), ..RawUser::default() };
            for key in USER_KEYS {
                if let Some(value) = key.slot.show(&mut user).filter(|value| value != "\"\"") {
                    text.push_str(&format!("{} = {value}\n", key.name));
                }
            }
        }
        for policy in &self.policies {
            text.push_str("\n[[policy]]\n");
            for (name, value) in policy.settings() {
                text.push_str(&format!("{name} = {value}\n"));
            }
        }
        text
    }
}

impl Policy {
    /// Its keys with their values as TOML; without those that it leaves out.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let mut policy = self.clone();
        POLICY_KEYS.iter().filter_map(|key| Some((key.name, key.slot.show(&mut policy)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::config::from_toml;

    #[test]
    fn what_is_shown_can_be_read_again() {
        let text = r#"
            server = { listen = "[::]:0", timeout = "1h 30m", max_bulk = "1MiB", log = "info,strata=trace" }
            l1 = { enabled = false, policy = "lru", negative_ttl = "0s" }
            l2 = { url = "rediss://[::1]:7000", database = 3, server_name = "a.b", lease = "250ms" }
            l3 = { mode = "sentinel", master = "m", nodes = ["a:1", "[::1]:2"], tls = true, backoff_max = "9s" }
            user = [{ name = "alice", rules = "on ~app:* (+get ~b)" }, { name = "default" }]
            l4 = { url = "postgres://app@db:5433,db2/app?sslmode=require", load_lease = "1s", source = [
                { match = "user:{id}", query = "SELECT name FROM users WHERE id = $1", watch = "users" },
                { match = "{a}.{b}", query = "SELECT $1, $2", reply = "json", rows = "many", watch = ["x(*)", "y(c, d)"] },
            ] }
            targets.hit_rate = { l1 = 1, overall = 0.125 }
            policy = [
                { match = 'a "quoted" *', stale_if_error = "10m", mget = "per-key" },
                { match = "\\*", l1_ttl = "5s", no_cache = true },
            ]
        "#;
        for text in ["", text] {
            let config = from_toml("f", text.as_bytes()).unwrap();
            let shown = config.to_toml_masked();
            assert_eq!(from_toml("shown", shown.as_bytes()), Ok(config), "{shown}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let text = "server.password = 'swordfish'\nl2.url = 'redis://app:swordfish@cache/3'\n\
            user = [{ name = 'a', rules = 'on >swordfish', password = 'swordfish' }]";
        let config = from_toml("f", text.as_bytes()).unwrap();
        assert_eq!(config.l2.upstream.password.as_ref().map(|secret| secret.expose()), Some("swordfish"));
        let shown = config.to_toml_masked();
        assert!(!shown.contains("swordfish") && !format!("{config:?}").contains("swordfish"), "{shown}");
        for line in
            ["password = \"***\"", "url = \"redis://cache:6379\"", "username = \"app\"", "database = 3"]
        {
            assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
        }
    }
}
