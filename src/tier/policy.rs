//! Rules for keys: what `[l1]` and the first `[[policy]]` that matches say of a key's copies.

use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::quality::RandomState;

use super::flight::Life;
use super::glob;
use crate::clock;
use crate::config::{L1 as L1Config, Mget, Policy as Rule, ReadFrom, Tier};

/// Copies that are renewed are so at this share of their life before its end, on the average.
const AHEAD_SHARE: u64 = 16;

/// The rules in force.
#[derive(Debug, Clone)]
pub struct Policies {
    ttl: Duration,
    negative_ttl: Duration,
    l2_ttl: Duration,
    rules: Vec<Rule>,
    any_ahead: bool,
    random: RandomState,
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
        let any_ahead = rules.iter().any(|r| r.refresh_ahead);
        Policies {
            ttl: l1.ttl,
            negative_ttl: l1.negative_ttl,
            l2_ttl: Duration::ZERO,
            rules,
            any_ahead,
            random: RandomState::default(),
        }
    }

    /// With copies in L2, which live so long at most.
    #[must_use]
    pub fn with_l2(self, ttl: Duration) -> Self {
        Policies { l2_ttl: ttl, ..self }
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
        self.rules.is_empty()
            || !self.rule(key).is_some_and(|r| r.no_cache || r.read_from == ReadFrom::Replica)
    }

    /// Whether a replica of home may be asked for this key.
    pub fn from_replica(&self, key: &[u8]) -> bool {
        self.rule(key).is_some_and(|r| r.read_from == ReadFrom::Replica)
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

    /// Whether L2 may have copies of this key.
    pub fn in_l2(&self, key: &[u8]) -> bool {
        let out = |r: &Rule| r.tier == Tier::L1 || r.l2_ttl == Some(Duration::ZERO);
        self.rules.is_empty() || !self.rule(key).is_some_and(out)
    }

    /// How long a reply about `key` may be kept in L2, from the sending of its read on; None: not at all.
    pub fn l2_life(&self, key: &[u8], reply_absent: bool, expiry: Expiry) -> Option<Duration> {
        let rule = self.rule(key);
        let ttl = match rule {
            Some(rule) if rule.tier == Tier::L1 => Duration::ZERO,
            rule => rule.and_then(|r| r.l2_ttl).unwrap_or(self.l2_ttl),
        };
        let life = match expiry {
            Expiry::Absent if !reply_absent => return None,
            Expiry::Absent => rule.and_then(|r| r.negative_ttl).unwrap_or(self.negative_ttl).min(ttl),
            Expiry::Never => ttl,
            Expiry::In(ms) => ttl.min(Duration::from_millis(ms)),
        };
        (life >= Duration::from_millis(1)).then_some(life)
    }

    /// Whether any key's copies are renewed before they end.
    pub fn any_ahead(&self) -> bool {
        self.any_ahead
    }

    /// How long a reply about `key` may be kept; None: not at all. `sent` is when the read was sent: lifetimes
    /// count from then. `took` is how long the read took; None: its copy cannot be renewed by the way.
    pub fn life(
        &self,
        key: &[u8],
        reply_absent: bool,
        expiry: Expiry,
        sent: u64,
        took: Option<u64>,
    ) -> Option<Life> {
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
        let end_of_copy = sent.saturating_add(clock::nanos(ttl));
        let ends = end_of_copy.min(end_of_key);
        let absent = expiry == Expiry::Absent;
        let stale_until = match rule.and_then(|r| r.stale_if_error).filter(|_| !absent) {
            Some(stale) => sent.saturating_add(clock::nanos(stale)).min(end_of_key),
            // Not even while it would be fresh: only a guard tells that it is.
            None => 0,
        };
        // Of a key that ends itself there is nothing to renew.
        let ahead = match took.filter(|_| end_of_copy < end_of_key && rule.is_some_and(|r| r.refresh_ahead)) {
            Some(took) => self.ahead(key, sent, ends - sent, took),
            None => 0,
        };
        Some(Life { fresh_until: ends - ahead, stale_until: clock::seconds(stale_until), absent, ahead })
    }

    /// How long before its end a copy is to be renewed: of an exponential distribution (XFetch), so that processes do
    /// not all ask home at once; its mean is the time of the read, and enough of the life for the next reader to come.
    fn ahead(&self, key: &[u8], sent: u64, life: u64, took: u64) -> u64 {
        let random = self.random.hash_one((key, sent)) >> 11;
        let share = (random + 1) as f64 / (1_u64 << 53) as f64;
        let mean = took.saturating_add(life / AHEAD_SHARE);
        ((mean as f64 * -share.ln()) as u64).clamp(mean / 4, (life / 2).max(mean / 4)).min(life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policies(rules: Vec<Rule>) -> Policies {
        let l1 = L1Config { ttl: Duration::from_secs(60), ..L1Config::default() };
        Policies::new(&l1, rules)
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_copy_ends_with_the_first_of_tier_and_key() {
        let p = policies(Vec::new());
        let life =
            |absent, expiry| p.life(b"k", absent, expiry, 100 * SECOND, Some(1)).map(|l| l.fresh_until);
        assert_eq!(life(false, Expiry::Never), Some(160 * SECOND));
        assert_eq!(life(false, Expiry::In(2_000)), Some(102 * SECOND));
        assert_eq!(life(false, Expiry::In(90_000)), Some(160 * SECOND));
        assert_eq!(life(true, Expiry::Absent), Some(101 * SECOND));
    }

    #[test]
    fn a_copy_in_l2_ends_with_the_first_of_tier_and_key() {
        let p = policies(Vec::new()).with_l2(Duration::from_secs(300));
        let life = |absent, expiry| p.l2_life(b"k", absent, expiry).map(|life| life.as_millis());
        assert_eq!(life(false, Expiry::Never), Some(300_000));
        assert_eq!(life(false, Expiry::In(2_000)), Some(2_000));
        assert_eq!(life(false, Expiry::In(900_000)), Some(300_000));
        assert_eq!(life(true, Expiry::Absent), Some(1_000));
        assert_eq!((life(false, Expiry::In(0)), life(false, Expiry::Absent)), (None, None));
        let rule = |pattern: &str, seconds| Rule {
            pattern: pattern.into(),
            l2_ttl: Some(Duration::from_secs(seconds)),
            ..Rule::default()
        };
        let here = Rule { tier: Tier::L1, ..rule("here:*", 900) };
        let p =
            policies(vec![rule("never:*", 0), rule("long:*", 900), here]).with_l2(Duration::from_secs(300));
        let life = |key: &[u8]| p.l2_life(key, false, Expiry::Never).map(|life| life.as_secs());
        let keys = [&b"never:k"[..], b"here:k", b"long:k", b"k"];
        assert_eq!(keys.map(life), [None, None, Some(900), Some(300)]);
        assert_eq!(keys.map(|key| p.in_l2(key)), [false, false, true, true]);
    }

    #[test]
    fn what_is_read_from_replicas_is_never_copied() {
        let p =
            policies(vec![Rule { pattern: "far:*".into(), read_from: ReadFrom::Replica, ..Rule::default() }]);
        assert_eq!(
            [&b"far:k"[..], b"k"].map(|key| (p.from_replica(key), p.cacheable(key))),
            [(true, false), (false, true)]
        );
    }

    #[test]
    fn a_value_whose_key_is_gone_or_going_is_not_kept() {
        let p = policies(Vec::new());
        assert_eq!(p.life(b"k", false, Expiry::Absent, 0, None), None);
        assert_eq!(p.life(b"k", false, Expiry::In(0), 0, None), None);
        assert_eq!(Expiry::from_pttl(-3), None);
        assert_eq!(Expiry::from_pttl(-1), Some(Expiry::Never));
    }

    #[test]
    fn copies_that_are_renewed_are_fresh_for_a_share_of_their_life() {
        let p = policies(vec![Rule { pattern: "a*".into(), refresh_ahead: true, ..Rule::default() }]);
        let life = |key: &[u8], expiry, took| p.life(key, false, expiry, 100 * SECOND, took);
        let ahead = |i: u32| life(format!("a{i}").as_bytes(), Expiry::Never, Some(1)).map_or(0, |l| l.ahead);
        let all: Vec<u64> = (0..1_000).map(ahead).collect();
        let mean = all.iter().sum::<u64>() / 1_000;
        assert!((3 * SECOND..5 * SECOND).contains(&mean), "{mean}");
        assert!(all.iter().all(|ahead| (60 * SECOND / 16 / 4..=30 * SECOND).contains(ahead)));
        let whole = life(b"a", Expiry::Never, Some(1)).map(|l| l.fresh_until + l.ahead);
        assert_eq!(whole, Some(160 * SECOND));
        for (key, expiry, took) in [
            (&b"b"[..], Expiry::Never, Some(1)),
            (b"a", Expiry::In(5_000), Some(1)),
            (b"a", Expiry::Never, None),
        ] {
            assert_eq!(life(key, expiry, took).map(|l| l.ahead), Some(0));
        }
    }

    #[test]
    fn only_what_a_policy_names_outlives_its_guard() {
        let rule = Rule {
            pattern: "config:*".into(),
            stale_if_error: Some(Duration::from_secs(600)),
            ..Rule::default()
        };
        let p = policies(vec![rule]);
        let stale = |key: &[u8], absent, expiry| {
            p.life(key, absent, expiry, 100 * SECOND, None).map(|l| l.stale_until)
        };
        assert_eq!(stale(b"config:a", false, Expiry::Never), Some(700));
        assert_eq!(stale(b"config:a", false, Expiry::In(5_000)), Some(105));
        assert_eq!(stale(b"config:a", true, Expiry::Absent), Some(0));
        assert_eq!(stale(b"other", false, Expiry::Never), Some(0));
    }
}
