//! Rules for keys: what `[l1]` and the first `[[policy]]` that matches say of a key's copies.

use std::time::Duration;

use super::flight::Life;
use super::glob;
use crate::clock;
use crate::config::{L1 as L1Config, Mget, Policy as Rule};

/// The rules in force.
#[derive(Debug, Clone)]
pub struct Policies {
    ttl: Duration,
    negative_ttl: Duration,
    rules: Vec<Rule>,
}

/// What PTTL said of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// The key does not exist (-2).
    Absent,
    /// It does not expire (-1).
    Never,
    /// It expires in so many milliseconds.
    In(u64),
}

impl Expiry {
    /// The first end of two keys; a key that is absent ends at once.
    pub fn first(self, other: Self) -> Self {
        match (self, other) {
            (Expiry::Absent, _) | (_, Expiry::Absent) => Expiry::Absent,
            (Expiry::In(a), Expiry::In(b)) => Expiry::In(a.min(b)),
            (Expiry::In(a), Expiry::Never) | (Expiry::Never, Expiry::In(a)) => Expiry::In(a),
            (Expiry::Never, Expiry::Never) => Expiry::Never,
        }
    }

    /// From PTTL's number; None for what PTTL never says.
    pub fn from_pttl(n: i64) -> Option<Self> {
        match n {
            -2 => Some(Expiry::Absent),
            -1 => Some(Expiry::Never),
            n => u64::try_from(n).ok().map(Expiry::In),
        }
    }
}

impl Policies {
    /// The rules of a configuration.
    pub fn new(l1: &L1Config, rules: Vec<Rule>) -> Self {
        Policies { ttl: l1.ttl, negative_ttl: l1.negative_ttl, rules }
    }

    /// What says "absent" lives so long at most.
    #[must_use]
    pub fn with_absence_up_to(mut self, most: Duration) -> Self {
        self.negative_ttl = self.negative_ttl.min(most);
        for ttl in self.rules.iter_mut().filter_map(|rule| rule.negative_ttl.as_mut()) {
            *ttl = most.min(*ttl);
        }
        self
    }

    fn rule(&self, key: &[u8]) -> Option<&Rule> {
        self.rules.iter().find(|r| glob::matches(r.pattern.as_bytes(), key))
    }

    /// Whether copies of this key may be kept at all.
    pub fn cacheable(&self, key: &[u8]) -> bool {
        self.rules.is_empty() || !self.rule(key).is_some_and(|r| r.no_cache)
    }

    /// Whether an MGET of this key may be put together from copies of different moments.
    pub fn mget_per_key(&self, key: &[u8]) -> bool {
        !self.rules.is_empty() && self.rule(key).is_some_and(|r| r.mget == Mget::PerKey)
    }

    /// Whether any key may be served stale when home fails.
    pub fn any_stale(&self) -> bool {
        self.rules.iter().any(|r| r.stale_if_error.is_some())
    }

    /// For how long after it was read a copy of this key may be served while home fails; zero: not at all.
    pub fn stale_cap(&self, key: &[u8]) -> Duration {
        self.rule(key).and_then(|r| r.stale_if_error).unwrap_or_default()
    }

    /// How long a reply about `key` may be kept; None: not at all. `sent` is when the read was sent: lifetimes
    /// count from then.
    pub fn life(&self, key: &[u8], reply_absent: bool, expiry: Expiry, sent: u64) -> Option<Life> {
        let rule = self.rule(key);
        let (ttl, own) = match expiry {
            // Gone between the read and PTTL: the value belongs to a key that no longer is.
            Expiry::Absent if !reply_absent => return None,
            Expiry::In(0) => return None,
            Expiry::Absent => (rule.and_then(|r| r.negative_ttl).unwrap_or(self.negative_ttl), None),
            Expiry::Never => (rule.and_then(|r| r.l1_ttl).unwrap_or(self.ttl), None),
            Expiry::In(ms) => {
                let own = sent.saturating_add(ms.saturating_mul(1_000_000));
                (rule.and_then(|r| r.l1_ttl).unwrap_or(self.ttl), Some(own))
            }
        };
        let end_of_key = own.unwrap_or(u64::MAX);
        let fresh_until = sent.saturating_add(clock::nanos(ttl)).min(end_of_key);
        let absent = expiry == Expiry::Absent;
        let stale_until = match rule.and_then(|r| r.stale_if_error).filter(|_| !absent) {
            Some(stale) => sent.saturating_add(clock::nanos(stale)).min(end_of_key),
            // Not even while it would be fresh: only a guard tells that it is.
            None => 0,
        };
        Some(Life { fresh_until, stale_until: clock::seconds(stale_until), absent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policies(rules: Vec<Rule>) -> Policies {
        Policies { ttl: Duration::from_secs(60), negative_ttl: Duration::from_secs(1), rules }
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_copy_ends_with_the_first_of_tier_and_key() {
        let p = policies(Vec::new());
        let life = |absent, expiry| p.life(b"k", absent, expiry, 100 * SECOND).map(|l| l.fresh_until);
        assert_eq!(life(false, Expiry::Never), Some(160 * SECOND));
        assert_eq!(life(false, Expiry::In(2_000)), Some(102 * SECOND));
        assert_eq!(life(false, Expiry::In(90_000)), Some(160 * SECOND));
        assert_eq!(life(true, Expiry::Absent), Some(101 * SECOND));
    }

    #[test]
    fn a_value_whose_key_is_gone_or_going_is_not_kept() {
        let p = policies(Vec::new());
        assert_eq!(p.life(b"k", false, Expiry::Absent, 0), None);
        assert_eq!(p.life(b"k", false, Expiry::In(0), 0), None);
        assert_eq!(Expiry::from_pttl(-3), None);
        assert_eq!(Expiry::from_pttl(-1), Some(Expiry::Never));
    }

    #[test]
    fn only_what_a_policy_names_outlives_its_guard() {
        let rule = Rule {
            pattern: "config:*".into(),
            l1_ttl: None,
            negative_ttl: None,
            stale_if_error: Some(Duration::from_secs(600)),
            mget: Mget::Atomic,
            no_cache: false,
        };
        let p = policies(vec![rule]);
        let stale =
            |key: &[u8], absent, expiry| p.life(key, absent, expiry, 100 * SECOND).map(|l| l.stale_until);
        assert_eq!(stale(b"config:a", false, Expiry::Never), Some(700));
        assert_eq!(stale(b"config:a", false, Expiry::In(5_000)), Some(105));
        assert_eq!(stale(b"config:a", true, Expiry::Absent), Some(0));
        assert_eq!(stale(b"other", false, Expiry::Never), Some(0));
    }
}
