//! CACHE STATS, HEALTH and TARGETS.

use std::time::Duration;

use super::{L2Figures, NodeFigures, Snapshot, Value, l4, text};
use crate::backend::health::{Checkup, State};
use crate::clock;
use crate::config::Targets;
use crate::metrics::LatencySummary;
use crate::proxy::Shared;
use crate::proxy::source::L4;
use crate::session::local::value::{micros, times};

pub(super) fn stats(snapshot: &Snapshot, l4: Option<&L4>) -> Value {
    let totals = &snapshot.totals;
    let flights = Value::map([
        ("under_way", snapshot.flights.into()),
        ("joined", totals.flight_joins.into()),
        ("fenced_fills", totals.l1_fenced.into()),
        ("refused_fills", totals.l1_refused.into()),
    ]);
    let overall = Value::map([
        ("commands", totals.commands.into()),
        ("errors", totals.errors.into()),
        ("hit_rate", Value::share(snapshot.overall_hit_rate())),
    ]);
    let mut tiers = vec![("l1", l1_stats(snapshot))];
    tiers.extend(snapshot.l2.as_ref().map(|l2| ("l2", l2_stats(snapshot, l2))));
    tiers.push((snapshot.home, home_stats(snapshot)));
    tiers.extend(l4.map(|l4| ("l4", l4::stats(l4))));
    tiers.extend([("flights", flights), ("overall", overall)]);
    Value::Map(tiers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Of L2 where it holds copies.
pub(super) fn l2_stats(snapshot: &Snapshot, l2: &L2Figures) -> Value {
    let totals = &snapshot.totals;
    let pairs = [
        ("state", text(l2.state())),
        ("hits", totals.l2_hits.into()),
        ("misses", totals.l2_misses.into()),
        ("hit_rate", Value::share(snapshot.l2_hit_rate())),
        ("passed_by", totals.l2_passed_by.into()),
        ("waited", totals.l2_waits.into()),
        ("sets", totals.l2_fills.into()),
        ("refused", totals.l2_refused.into()),
        ("abandoned", totals.l2_abandoned.into()),
        ("deletes", totals.l2_deletes.into()),
        ("deletes_outstanding", l2.outstanding.into()),
        ("epochs", l2.epochs.into()),
        ("evictions", l2.evicted.into()),
        ("failures", totals.l2_failures.into()),
        ("bytes_read", totals.l2_bytes_read.into()),
        ("bytes_filled", totals.l2_bytes_filled.into()),
        ("bytes", l2.used_memory.into()),
        ("max_bytes", l2.max_memory.into()),
        ("slower_than_home", text(if l2.slower_than_home { "yes" } else { "no" })),
    ];
    let counted = pairs.into_iter().map(|(name, value)| (name.to_owned(), value));
    Value::Map(counted.chain(times("get", &totals.l2_get)).collect())
}

pub(super) fn l1_stats(snapshot: &Snapshot) -> Value {
    let Some(l1) = &snapshot.l1 else {
        return Value::map([("status", text("off"))]);
    };
    let totals = &snapshot.totals;
    let pairs = [
        ("hits", totals.l1_hits.into()),
        ("misses", totals.l1_misses.into()),
        ("hit_rate", Value::share(snapshot.l1_hit_rate())),
        ("sets", totals.l1_fills.into()),
        ("deletes", totals.l1_deletes.into()),
        ("invalidations", totals.l1_invalidations.into()),
        ("flushes", totals.l1_flushes.into()),
        ("renewed", totals.l1_renewed.into()),
        ("evictions", l1.evictions.into()),
        ("expired", l1.expired.into()),
        ("fenced", totals.l1_fenced.into()),
        ("refused", totals.l1_refused.into()),
        ("stale_served", totals.l1_stale.into()),
        ("entries", l1.entries.into()),
        ("bytes", l1.bytes.into()),
        ("max_bytes", l1.max_bytes.into()),
    ];
    with_times(pairs, &totals.l1_get, &totals.l1_set)
}

pub(super) fn home_stats(snapshot: &Snapshot) -> Value {
    let totals = &snapshot.totals;
    let vitals = snapshot.checkup.as_ref().and_then(|c| c.vitals.as_ref());
    let pairs = [
        ("hits", totals.home_hits.into()),
        ("misses", totals.home_misses.into()),
        ("hit_rate", Value::share(snapshot.home_hit_rate())),
        ("reads", totals.home_reads.into()),
        ("replica_reads", totals.replica_reads.into()),
        ("replica_misses", totals.replica_misses.into()),
        ("sets", totals.home_sets.into()),
        ("deletes", totals.home_deletes.into()),
        // It is home: nobody tells it what changed.
        ("invalidations", 0_u64.into()),
        ("evictions", vitals.map(|v| v.evicted).into()),
        ("failures", totals.home_failures.into()),
        ("retries", totals.home_retries.into()),
        ("redirects", totals.home_redirects.into()),
        ("connects", totals.home_connects.into()),
        ("confirmations", totals.guard_fences.into()),
        ("bytes", vitals.map(|v| v.used_memory).into()),
        ("max_bytes", vitals.map(|v| v.max_memory).into()),
        ("compressed", totals.packed.into()),
        ("compression_ratio", ratio(totals.packed_from, totals.packed_to)),
        ("compress_cpu_usec", (totals.packing_nanos / 1_000).into()),
        ("decompressed", totals.unpacked.into()),
        ("decompress_cpu_usec", (totals.unpacking_nanos / 1_000).into()),
    ];
    let Value::Map(mut all) = with_times(pairs, &totals.home_get, &totals.home_set) else {
        return Value::Nothing;
    };
    all.push(("nodes".to_owned(), Value::Map(snapshot.nodes.iter().map(node_stats).collect())));
    Value::Map(all)
}

/// What was asked of a server of home, by its address.
fn node_stats(node: &NodeFigures) -> (String, Value) {
    let pairs = [
        ("role", text(node.role)),
        ("requests", node.load.requests.into()),
        ("errors", node.load.errors.into()),
        ("in_flight", node.load.in_flight.into()),
    ];
    let counted = pairs.into_iter().map(|(name, value)| (name.to_owned(), value));
    (node.address.clone(), Value::Map(counted.chain(times("reply", &node.load.latency)).collect()))
}

/// How many bytes of values one that is kept stands for.
fn ratio(from: u64, to: u64) -> Value {
    if to == 0 { Value::Nothing } else { text(format!("{:.2}", from as f64 / to as f64)) }
}

fn with_times<const N: usize>(
    pairs: [(&str, Value); N],
    get: &LatencySummary,
    set: &LatencySummary,
) -> Value {
    let counted = pairs.into_iter().map(|(name, value)| (name.to_owned(), value));
    Value::Map(counted.chain(times("get", get)).chain(times("set", set)).collect())
}

pub(super) fn health(snapshot: &Snapshot, shared: &Shared) -> Value {
    let mut tiers = Vec::new();
    if let (Some(verdict), Some(l1)) = (snapshot.l1_verdict(), &snapshot.l1) {
        let mut pairs = status(verdict);
        pairs.push(("guard".into(), text(snapshot.guard())));
        pairs.push(("lease_left_ms".into(), (snapshot.lease_left.as_millis() as u64).into()));
        pairs.push(("bytes".into(), l1.bytes.into()));
        pairs.push(("max_bytes".into(), l1.max_bytes.into()));
        tiers.push(("l1".to_owned(), Value::Map(pairs)));
    }
    if let (Some(verdict), Some(l2)) = (snapshot.l2_verdict(), &snapshot.l2) {
        let mut pairs = status(verdict);
        pairs.push(("address".into(), text(&*l2.address)));
        pairs.push(("bytes".into(), l2.used_memory.into()));
        pairs.push(("max_bytes".into(), l2.max_memory.into()));
        pairs.push((
            "differs".into(),
            Value::List(l2.differs.iter().map(|words| text(words.as_str())).collect()),
        ));
        tiers.push(("l2".to_owned(), Value::Map(pairs)));
    }
    let mut pairs = status(snapshot.home_verdict());
    pairs.push(("address".into(), text(shared.node.dial.address.to_string())));
    if let Some(checkup) = &snapshot.checkup {
        pairs.extend(figures(checkup, snapshot.now));
    }
    let differs = shared.health.differs.all().into_iter().map(text).collect();
    pairs.push(("differs".into(), Value::List(differs)));
    tiers.push((snapshot.home.to_owned(), Value::Map(pairs)));
    if let (Some(verdict), Some(state)) = (snapshot.l4_verdict(), &snapshot.l4) {
        let mut pairs = status(verdict);
        pairs.extend(l4::health(state));
        tiers.push(("l4".to_owned(), Value::Map(pairs)));
    }
    Value::Map(tiers)
}

fn status((state, reasons): (State, Vec<String>)) -> Vec<(String, Value)> {
    let reasons = reasons.into_iter().map(text).collect();
    vec![("status".into(), text(state.name())), ("reasons".into(), Value::List(reasons))]
}

/// What the last look at home found.
fn figures(checkup: &Checkup, now: u64) -> Vec<(String, Value)> {
    let seconds = now.saturating_sub(checkup.at) / 1_000_000_000;
    let ping = checkup.ping.map(|ping| text(micros(clock::nanos(ping))));
    let mut pairs = vec![("checked_seconds_ago", seconds.into()), ("ping_usec", ping.into())];
    if let Some(v) = &checkup.vitals {
        let outcome = |ok| text(if ok { "ok" } else { "err" });
        let since_save = clock::unix_seconds().saturating_sub(v.last_save);
        pairs.extend([
            ("version", text(&*v.version)),
            ("role", text(&*v.role)),
            ("hit_rate", Value::share(v.hit_rate())),
            ("used_memory", v.used_memory.into()),
            ("max_memory", v.max_memory.into()),
            ("max_memory_policy", text(&*v.policy)),
            ("evicted_keys", v.evicted.into()),
            ("clients", v.clients.into()),
            ("last_save_seconds_ago", since_save.into()),
            ("last_save_status", outcome(v.save_ok)),
            ("aof", if v.aof { outcome(v.aof_ok) } else { text("off") }),
        ]);
    }
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(super) fn targets(snapshot: &Snapshot, targets: &Targets) -> Value {
    let none = LatencySummary::default();
    // What is measured at home is a figure of the tier that is home.
    let of = |tier: &str| (snapshot.home == tier).then_some(&snapshot.totals.home_get);
    let rates = [
        ("l1", targets.hit_rate.l1, snapshot.l1_hit_rate()),
        ("l2", targets.hit_rate.l2, of("l2").map_or(snapshot.l2_hit_rate(), |_| snapshot.home_hit_rate())),
        ("l3", targets.hit_rate.l3, of("l3").and(snapshot.home_hit_rate())),
        ("overall", targets.hit_rate.overall, snapshot.overall_hit_rate()),
    ];
    let l4 = snapshot.l4_times();
    let times = [
        ("l1", targets.latency.l1, &snapshot.totals.l1_get),
        ("l2", targets.latency.l2, of("l2").unwrap_or(&snapshot.totals.l2_get)),
        ("l3", targets.latency.l3, of("l3").unwrap_or(&none)),
        ("l4", targets.latency.l4, &l4),
    ];
    let rates =
        rates.into_iter().map(|(tier, wanted, is)| (format!("hit_rate.{tier}"), rate_target(wanted, is)));
    let times =
        times.into_iter().map(|(tier, wanted, is)| (format!("latency.{tier}"), time_target(wanted, is)));
    Value::Map(rates.chain(times).collect())
}

fn rate_target(wanted: f64, measured: Option<f64>) -> Value {
    Value::map([
        ("target", Value::share(Some(wanted))),
        ("measured", Value::share(measured)),
        ("state", state(measured.map(|is| is >= wanted))),
    ])
}

/// Of 100 hits 99 have to be in time.
fn time_target(wanted: Duration, summary: &LatencySummary) -> Value {
    let wanted = clock::nanos(wanted);
    let measured = (summary.count > 0).then(|| summary.quantile(0.99));
    Value::map([
        ("target_usec", text(micros(wanted))),
        ("p99_usec", measured.map(|is| text(micros(is))).into()),
        ("state", state(measured.map(|is| is <= wanted))),
    ])
}

fn state(met: Option<bool>) -> Value {
    text(match met {
        Some(true) => "met",
        Some(false) => "missed",
        None => "no data",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn state_of(value: Value) -> Option<Value> {
        let Value::Map(pairs) = value else { return None };
        pairs.into_iter().find(|(name, _)| name == "state").map(|(_, value)| value)
    }

    #[test]
    fn targets_are_met_missed_or_without_data() {
        let rates = [Some(0.9), Some(0.85), Some(0.8), None].map(|is| state_of(rate_target(0.85, is)));
        assert_eq!(rates, ["met", "met", "missed", "no data"].map(|s| Some(text(s))));
        let metrics = Metrics::default();
        let block = metrics.block();
        block.l1_get.record(500, 99);
        let summary = metrics.totals().l1_get;
        let times = [1, 1_000].map(|us| state_of(time_target(Duration::from_nanos(us * 100), &summary)));
        assert_eq!(times, ["missed", "met"].map(|s| Some(text(s))));
        assert_eq!(state_of(time_target(Duration::MAX, &LatencySummary::default())), Some(text("no data")));
    }
}
