//! `CACHE`: what strata says of its tiers, and what an operator may do to them.

mod keys;
mod l2;
mod l4;
mod tiers;
mod values;

use super::snapshot::{L2Figures, NodeFigures, Snapshot};
use super::value::{Value, text};
use super::{NOT_AN_INTEGER, SYNTAX, about};
use crate::command::Unknown;
use crate::proxy::source::L4;
use crate::resp::{Request, encode, parse_i64};
use crate::session::Session;
use crate::tier::hotkeys;

/// Keys that HOTKEYS names if it is not said how many.
const HOT: usize = 10;

const HELP: &[&str] = &[
    "CACHE <subcommand> [<arg> ...]. Subcommands are:",
    "CLEAR (L1|L2|COPIES)",
    "    Drop all copies of a tier, or of all tiers. Home keeps what it has.",
    "GET <key> [NOPROMOTE]",
    "    Return the value of a key like GET. With NOPROMOTE no copy is made of it.",
    "HEALTH",
    "    Report each tier as healthy, degraded or unhealthy, with the reason.",
    "HOTKEYS [<count>]",
    "    Name the keys read most in the last minutes, with an estimate of their hits.",
    "INVALIDATE KEYS <key> [<key> ...]",
    "    Drop the copies of keys. Returns of how many keys there were copies.",
    "INVALIDATE MATCH <pattern> [FROM HOME]",
    "    Drop the copies of all keys that match. With FROM HOME delete the keys of the",
    "    selected database that match, too. Returns the number of keys.",
    "SET <key> <value> [EX <seconds>|PX <milliseconds>] [TIER L1|L2|L3]",
    "    Set a key like SET, at home, which is the tier L3, or L2 without it. With TIER L1",
    "    home is not told: GET and MGET by this process find the value until it ends, the key",
    "    is written, or L1 needs the room or loses its connection: it may vanish at any time.",
    "    With TIER L2, where L3 is home, so does GET by all processes that share L2. Without",
    "    TIER a policy may say which tier is the deepest.",
    "SLOWLOG [<count>]",
    "    Report the last requests that took long to answer (default: 10, -1 means",
    "    all), and which tier answered.",
    "STATS [L1|L2|L3|L4]",
    "    Report what each tier was asked and how it answered.",
    "TARGETS",
    "    Report each target with what was measured: met, missed or no data.",
    "WHERE <key>",
    "    Report which tiers hold a key, and for how long.",
    "HELP",
    "    Print this help.",
];

impl Session {
    pub(in crate::session) fn run_cache(&mut self, request: &Request<'_>) {
        let Some(word) = request.arg(1) else {
            return self.reply_error("ERR wrong number of arguments for 'cache' command");
        };
        let subcommand = word.to_ascii_lowercase();
        let fits = match &*subcommand {
            b"help" | b"health" | b"targets" => request.len() == 2,
            b"where" | b"clear" => request.len() == 3,
            b"get" => (3..=4).contains(&request.len()),
            b"set" => request.len() >= 4,
            b"stats" | b"hotkeys" | b"slowlog" => request.len() <= 3,
            b"invalidate" => request.len() >= 4,
            _ => return self.reply_error(Unknown::Subcommand.message(request)),
        };
        if !fits {
            let text = about("ERR wrong number of arguments for 'cache|", &subcommand, "' command");
            return self.reply_error(text);
        }
        match &*subcommand {
            b"slowlog" => self.cache_slowlog(request),
            b"stats" => self.cache_stats(request.arg(2)),
            b"health" => self.answer(&tiers::health(&self.snapshot(), &self.context.proxy.shared)),
            b"targets" => self.answer(&tiers::targets(&self.snapshot(), &self.context.config.targets)),
            b"get" => self.cache_get(request),
            b"set" => self.cache_set(request),
            b"where" => self.cache_where(request.arg(2).unwrap_or_default()),
            b"invalidate" => self.cache_invalidate(request),
            b"clear" => self.cache_clear(request.arg(2).unwrap_or_default()),
            b"hotkeys" => self.cache_hot_keys(request.arg(2)),
            _ => self.say(|out, _| {
                encode::array(out, HELP.len());
                HELP.iter().for_each(|line| encode::simple(out, line));
            }),
        }
    }

    fn answer(&self, value: &Value) {
        self.say(|out, proto| value.write(out, proto));
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.context.proxy.shared)
    }

    fn l4(&self) -> Option<&L4> {
        self.context.proxy.shared.l4.as_deref()
    }

    fn cache_stats(&self, tier: Option<&[u8]>) {
        let snapshot = self.snapshot();
        match tier {
            None => self.answer(&tiers::stats(&snapshot, self.l4())),
            Some(tier) if tier.eq_ignore_ascii_case(b"l1") => self.answer(&tiers::l1_stats(&snapshot)),
            Some(tier) if tier.eq_ignore_ascii_case(snapshot.home.as_bytes()) => {
                self.answer(&tiers::home_stats(&snapshot));
            }
            Some(tier) if tier.eq_ignore_ascii_case(b"l2") && snapshot.l2.is_some() => {
                let l2 = snapshot.l2.as_ref().map(|l2| tiers::l2_stats(&snapshot, l2));
                self.answer(&l2.unwrap_or(Value::Nothing));
            }
            Some(tier) if tier.eq_ignore_ascii_case(b"l4") && self.l4().is_some() => {
                self.answer(&self.l4().map_or(Value::Nothing, l4::stats));
            }
            Some(tier) => {
                let l2 = if snapshot.l2.is_some() { ", L2" } else { "" };
                let home = snapshot.home.to_uppercase();
                let known = match self.l4() {
                    None => format!("'. Tiers are L1{l2} and {home}."),
                    Some(_) => format!("'. Tiers are L1{l2}, {home} and L4."),
                };
                self.reply_error(about("ERR unknown tier '", tier, &known));
            }
        }
    }

    fn cache_clear(&mut self, what: &[u8]) {
        let home = self.context.proxy.shared.node.section;
        if what.eq_ignore_ascii_case(home.as_bytes()) {
            let home = home.to_uppercase();
            let text =
                format!("ERR strata: {home} is home and holds no copies; FLUSHDB or FLUSHALL empties it");
            return self.reply_error(text);
        }
        let all = what.eq_ignore_ascii_case(b"copies");
        let (l1, l2) = (all || what.eq_ignore_ascii_case(b"l1"), all || what.eq_ignore_ascii_case(b"l2"));
        let shared = self.context.proxy.shared.clone();
        if !l1 && (!l2 || shared.l2.is_none()) {
            return self.reply_error(SYNTAX);
        }
        if let (Some(copies), true) = (&shared.copies, l1) {
            copies.fence_all();
        }
        match shared.l2.clone().filter(|_| l2) {
            None => self.ok(),
            Some(l2) => self.clear_l2(l2, all),
        }
    }

    fn cache_hot_keys(&self, count: Option<&[u8]>) {
        let count = match count.map(parse_i64) {
            None => HOT,
            Some(Some(n)) if n > 0 => usize::try_from(n).unwrap_or(usize::MAX).min(hotkeys::ENTRIES),
            Some(_) => return self.reply_error(NOT_AN_INTEGER),
        };
        let top = self.context.proxy.shared.hot.lock().top(count, crate::clock::now());
        self.say(|out, proto| {
            encode::map(out, proto, top.len());
            for (key, hits) in &top {
                encode::bulk(out, key);
                encode::integer(out, i64::try_from(*hits).unwrap_or(i64::MAX));
            }
        });
    }
}
