//! INFO: home's sections, and strata's own after them.

use std::fmt::Write;

use super::snapshot::Snapshot;
use super::value::micros;
use crate::command::Command;
use crate::metrics::LatencySummary;
use crate::resp::{Proto, Request, encode, reply};
use crate::router::Effect;
use crate::session::replies::Shape;
use crate::session::{Context, Session};

/// Arguments of INFO that ask for strata's section among others.
const WITH_STRATA: [&str; 4] = ["strata", "default", "all", "everything"];

impl Session {
    pub(super) fn info(&mut self, request: &Request<'_>, command: &'static Command, now: u64) {
        let is = |section: &[u8], name: &str| section.eq_ignore_ascii_case(name.as_bytes());
        let sections = || request.iter().skip(1);
        if request.len() > 1 && sections().all(|s| is(s, "strata")) {
            let text = section(&self.context);
            return self.say(|out, proto| encode::verbatim(out, proto, "txt", text.as_bytes()));
        }
        let with_strata =
            request.len() == 1 || sections().any(|s| WITH_STRATA.iter().any(|name| is(s, name)));
        let shape = if with_strata { Shape::Info } else { Shape::Plain };
        let slot = self.core.replies.borrow_mut().open(shape);
        self.send_to(slot, request, Some(command), Effect::None, now, &[]);
    }
}

/// Home's INFO, completed with strata's section, in the protocol that it came in; an error stays one.
pub(in crate::session) fn compose(context: &Context, home: &[u8]) -> Vec<u8> {
    let Some(text) = reply::bulk(home).filter(|_| !reply::is_error(home)) else {
        return home.to_vec();
    };
    let separator = if text.is_empty() { "" } else { "\r\n" };
    let text = [text, separator.as_bytes(), section(context).as_bytes()].concat();
    let proto = if home.first() == Some(&b'=') { Proto::Resp3 } else { Proto::Resp2 };
    let mut out = Vec::with_capacity(text.len() + 32);
    encode::verbatim(&mut out, proto, "txt", &text);
    out
}

/// The lines of the section. All names begin with `strata_`: clients put the fields of all sections into one map.
fn section(context: &Context) -> String {
    let shared = &context.proxy.shared;
    let snapshot = Snapshot::of(shared);
    let mut lines = Lines("# Strata\r\n".to_owned());
    lines.add("version", env!("CARGO_PKG_VERSION"));
    lines.add("process_id", std::process::id());
    lines.add("uptime_in_seconds", snapshot.now.saturating_sub(shared.started) / 1_000_000_000);
    lines.add("workers", shared.inboxes.read().len());
    lines.add("connected_clients", context.clients.len());
    lines.add("tiers", if snapshot.l1.is_some() { "l1,l2" } else { "l2" });
    if let Some(l1) = &snapshot.l1 {
        lines.add("l1_bytes", l1.bytes);
        lines.add("l1_max_bytes", l1.max_bytes);
        lines.add("l1_entries", l1.entries);
        lines.add("l1_evictions", l1.evictions);
        lines.add("l1_expired", l1.expired);
        lines.add("l1_flights", snapshot.flights);
        lines.add("guard", snapshot.guard());
        lines.add("lease_left_ms", snapshot.lease_left.as_millis());
    }
    lines.add("l2_address", &shared.node.dial.address);
    lines.add("l2_state", if snapshot.trouble.is_some() { "unreachable" } else { "reachable" });
    lines.add("l2_trouble", snapshot.trouble.as_deref().unwrap_or_default());
    lines.add("l2_health", snapshot.l2_verdict().0.name());
    lines.rate("l1", snapshot.l1_hit_rate());
    lines.rate("l2", snapshot.l2_hit_rate());
    lines.rate("overall", snapshot.overall_hit_rate());
    let totals = &snapshot.totals;
    for (tier, event, count) in totals.events() {
        lines.add(&format!("{tier}_{event}"), count);
    }
    lines.times("l1_get", &totals.l1_get);
    lines.times("l1_set", &totals.l1_set);
    lines.times("l2_get", &totals.home_get);
    lines.times("l2_set", &totals.home_set);
    lines.0
}

struct Lines(String);

impl Lines {
    /// A value of one line: what others said of their trouble may hold more.
    fn add(&mut self, name: &str, value: impl std::fmt::Display) {
        let value = value.to_string().replace(['\r', '\n'], " ");
        // Writing to a string cannot fail.
        let _ = write!(self.0, "strata_{name}:{value}\r\n");
    }

    fn rate(&mut self, tier: &str, rate: Option<f64>) {
        let rate = rate.map_or_else(String::new, |rate| format!("{rate:.4}"));
        self.add(&format!("{tier}_hit_rate"), rate);
    }

    fn times(&mut self, operation: &str, summary: &LatencySummary) {
        let quantile = |q| micros(summary.quantile(q));
        let (mean, p50, p99) = (micros(summary.mean()), quantile(0.5), quantile(0.99));
        self.add(&format!("{operation}_usec"), format_args!("avg={mean},p50={p50},p99={p99}"));
    }
}
