//! SLOWLOG: strata's own.

use super::about;
use crate::command::{Command, id};
use crate::proxy::slow_log::Slow;
use crate::resp::{Request, encode, parse_i64, reply};
use crate::session::Session;
use crate::session::local::value::{Value, text};

/// Requests shown if it is not said how many.
const SHOWN: usize = 10;
const BAD_COUNT: &str = "ERR count should be greater than or equal to -1";
const HELP: &[&str] = &[
    "SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET [<count>]",
    "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
    "    Entries are made of:",
    "    id, timestamp, time in microseconds, arguments array, client IP and port,",
    "    client name",
    "LEN",
    "    Return the length of the slowlog.",
    "RESET",
    "    Reset the slowlog.",
    "HELP",
    "    Prints this help.",
];

impl Session {
    pub(super) fn run_slowlog(&self, command: &Command, request: &Request<'_>) {
        let log = &self.context.proxy.shared.slow;
        match command.id {
            id::SLOWLOG_GET => self.slowlog_get(request),
            id::SLOWLOG_LEN => {
                self.say(|out, _| encode::integer(out, i64::try_from(log.len()).unwrap_or(i64::MAX)));
            }
            id::SLOWLOG_RESET => {
                log.reset();
                self.ok();
            }
            _ => self.say(|out, _| {
                encode::array(out, HELP.len());
                HELP.iter().for_each(|line| encode::simple(out, line));
            }),
        }
    }

    fn slowlog_get(&self, request: &Request<'_>) {
        if request.len() > 3 {
            let word = request.arg(1).unwrap_or_default();
            let before = "ERR unknown subcommand or wrong number of arguments for '";
            return self.reply_error(about(before, word, "'. Try SLOWLOG HELP."));
        }
        match slow_count(request.arg(2)) {
            Ok(count) => {
                let slow = self.context.proxy.shared.slow.latest(count);
                self.say(|out, _| {
                    encode::array(out, slow.len());
                    slow.iter().for_each(|entry| write(out, entry));
                });
            }
            Err(error) => self.reply_error(error),
        }
    }

    /// CACHE SLOWLOG: the same, with who answered.
    pub(super) fn cache_slowlog(&self, request: &Request<'_>) {
        match slow_count(request.arg(2)) {
            Ok(count) => {
                let slow = self.context.proxy.shared.slow.latest(count);
                let home = self.context.proxy.shared.node.section;
                let list = Value::List(slow.iter().map(|slow| described(slow, home)).collect());
                self.say(|out, proto| list.write(out, proto));
            }
            Err(error) => self.reply_error(error),
        }
    }
}

/// How many entries are asked for.
fn slow_count(word: Option<&[u8]>) -> Result<usize, &'static str> {
    match word.map(parse_i64) {
        None => Ok(SHOWN),
        Some(Some(-1)) => Ok(usize::MAX),
        Some(n) => n.and_then(|n| usize::try_from(n).ok()).ok_or(BAD_COUNT),
    }
}

/// The six fields of Redis.
fn write(out: &mut Vec<u8>, slow: &Slow) {
    encode::array(out, 6);
    for number in [slow.id, slow.at, slow.micros] {
        encode::integer(out, i64::try_from(number).unwrap_or(i64::MAX));
    }
    out.extend_from_slice(&slow.request);
    encode::bulk(out, slow.address.as_bytes());
    encode::bulk(out, &slow.name);
}

fn described(slow: &Slow, home: &'static str) -> Value {
    let arguments = reply::elements(&slow.request).filter_map(reply::bulk);
    Value::map([
        ("id", slow.id.into()),
        ("timestamp", slow.at.into()),
        ("usec", slow.micros.into()),
        ("answered_by", text(slow.answered.name(home))),
        ("arguments", Value::List(arguments.map(|a| Value::Text(a.to_vec())).collect())),
        ("client", text(&*slow.address)),
        ("client_name", Value::Text(slow.name.clone())),
    ])
}
