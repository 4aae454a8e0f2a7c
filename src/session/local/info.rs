//! INFO: home's sections, and strata's own after them.

use std::fmt::Write;

use super::cluster;
use super::snapshot::Snapshot;
use super::value::micros;
use crate::command::Command;
use crate::metrics::LatencySummary;
use crate::resp::{Proto, Request, encode, reply};
use crate::router::Effect;
use crate::session::clients::Mark;
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
        let shape = Shape::Info { with_strata };
        let slot = self.core.replies.borrow_mut().open(shape);
        self.send_to(slot, request, Some(command), Effect::None, now, &[]);
    }
}

/// Home's INFO with strata's figures where its own clients are meant, completed with strata's section if that was
/// asked for, in the protocol that it came in; an error stays one.
pub(in crate::session) fn compose(context: &Context, home: &[u8], with_strata: bool) -> Vec<u8> {
    let Some(text) = reply::bulk(home).filter(|_| !reply::is_error(home)) else {
        return home.to_vec();
    };
    let mut text = with_own(text, &figures(context));
    if with_strata {
        let separator = if text.is_empty() { "" } else { "\r\n" };
        text.extend_from_slice([separator, &section(context)].concat().as_bytes());
    }
    let proto = if home.first() == Some(&b'=') { Proto::Resp3 } else { Proto::Resp2 };
    let mut out = Vec::with_capacity(text.len() + 32);
    encode::verbatim(&mut out, proto, "txt", &text);
    out
}

/// What Redis says of its clients, of strata's: to home strata itself is a few clients. And what clients are connected
/// to, whatever home is.
fn figures(context: &Context) -> [(&'static [u8], String); 9] {
    let shared = &context.proxy.shared;
    let (keys, items, prefixes) = shared.listeners.figures();
    let clients = context.clients.list();
    let tracking = clients.iter().filter(|client| client.is_marked(Mark::Tracking)).count();
    let blocked = clients.iter().filter(|client| client.waits()).count();
    let facade = context.config.server.cluster_facade;
    [
        (b"connected_clients:", clients.len().to_string()),
        (b"blocked_clients:", blocked.to_string()),
        (b"tracking_clients:", tracking.to_string()),
        (b"tracking_total_keys:", keys.to_string()),
        (b"tracking_total_items:", items.to_string()),
        (b"tracking_total_prefixes:", prefixes.to_string()),
        (b"redis_mode:", cluster::mode(facade).to_owned()),
        // Valkey's name for it.
        (b"server_mode:", cluster::mode(facade).to_owned()),
        (b"cluster_enabled:", u8::from(facade).to_string()),
    ]
}

/// Home's text with these figures in the place of its own.
fn with_own(text: &[u8], figures: &[(&[u8], String)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 64);
    for line in text.split_inclusive(|b| *b == b'\n') {
        match figures.iter().find(|(name, _)| line.starts_with(name)) {
            Some((name, figure)) => {
                out.extend_from_slice(name);
                out.extend_from_slice(format!("{figure}\r\n").as_bytes());
            }
            None => out.extend_from_slice(line),
        }
    }
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
    let home = snapshot.home;
    let above = [snapshot.l1.as_ref().map(|_| "l1,"), snapshot.l2.as_ref().map(|_| "l2,")];
    lines.add("tiers", above.into_iter().flatten().collect::<String>() + home);
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
    if let Some(l2) = &snapshot.l2 {
        lines.add("l2_address", &l2.address);
        lines.add("l2_state", l2.state());
        lines.add("l2_trouble", l2.trouble.as_deref().unwrap_or_default());
        lines.add("l2_bytes", l2.used_memory);
        lines.add("l2_max_bytes", l2.max_memory);
        lines.add("l2_evictions", l2.evicted);
        lines.add("l2_deletes_outstanding", l2.outstanding);
        lines.add("l2_epochs", l2.epochs);
        lines.rate("l2", snapshot.l2_hit_rate());
        lines.times("l2_get", &snapshot.totals.l2_get);
    }
    lines.add(&format!("{home}_address"), &shared.node.dial.address);
    lines.add(&format!("{home}_state"), if snapshot.trouble.is_some() { "unreachable" } else { "reachable" });
    lines.add(&format!("{home}_trouble"), snapshot.trouble.as_deref().unwrap_or_default());
    lines.add(&format!("{home}_health"), snapshot.home_verdict().0.name());
    lines.rate("l1", snapshot.l1_hit_rate());
    lines.rate(home, snapshot.home_hit_rate());
    lines.rate("overall", snapshot.overall_hit_rate());
    let totals = &snapshot.totals;
    let of_copies = |tier| tier != "l2" || snapshot.l2.is_some();
    for (tier, event, count) in totals.events().into_iter().filter(|(tier, ..)| of_copies(*tier)) {
        let tier = if tier == "home" { home } else { tier };
        lines.add(&format!("{tier}_{event}"), count);
    }
    lines.times("l1_get", &totals.l1_get);
    lines.times("l1_set", &totals.l1_set);
    lines.times(&format!("{home}_get"), &totals.home_get);
    lines.times(&format!("{home}_set"), &totals.home_set);
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

#[cfg(test)]
mod tests {
    use super::with_own;

    #[test]
    fn figures_stand_in_for_homes() {
        let home = b"# Clients\r\nconnected_clients:3\r\nblocked_clients:0\r\nmaxclients:9\r\n";
        let own: [(&[u8], String); 2] =
            [(b"blocked_clients:", "7".into()), (b"tracking_clients:", "1".into())];
        let expected = "# Clients\r\nconnected_clients:3\r\nblocked_clients:7\r\nmaxclients:9\r\n";
        assert_eq!(String::from_utf8_lossy(&with_own(home, &own)), expected);
    }
}
