//! CACHE WHERE and INVALIDATE: what becomes of single keys, and of those that match a pattern.

use std::rc::Rc;

use super::{SYNTAX, Value, l2, l4, text};
use crate::clock;
use crate::command::all;
use crate::config::{Config, Policy};
use crate::proxy::{LaneKey, Proxy};
use crate::resp::{Proto, Request, encode, reply};
use crate::session::Session;
use crate::tier::compress::MARK;
use crate::tier::copies::{kind_command, kind_database, kind_proto};
use crate::tier::glob;
use crate::tier::l1::{CopyInfo, Cursor};

/// Copies looked at before others get their turn.
const SLICE: usize = 256;
/// Keys that home is asked for at once (a hint).
const SCAN_COUNT: &[u8] = b"500";
/// Copies of one key that WHERE describes.
pub(super) const SHOWN: usize = 64;
/// Bytes shown of a request.
const SHOWN_BYTES: usize = 128;

impl Session {
    pub(super) fn cache_where(&mut self, key: &[u8]) {
        let (proxy, lane, key) = (self.context.proxy.clone(), self.lane, key.to_vec());
        let config = self.context.config.clone();
        self.reply_later(async move {
            let l1 = copies_of(&proxy, &key);
            let l2 = match proxy.shared.l2.clone() {
                Some(l2) => Some(l2::copies_of(&proxy, &l2, &key).await),
                None => None,
            };
            let home = at_home(&proxy, lane, &key).await;
            let mut tiers = vec![("l1".to_owned(), l1)];
            tiers.extend(l2.map(|l2| ("l2".to_owned(), l2)));
            tiers.push((proxy.shared.node.section.to_owned(), home));
            if let Some(l4) = proxy.shared.l4.clone() {
                tiers.push(("l4".to_owned(), l4::origin(&proxy, &l4, lane, &key).await));
            }
            tiers.push(("policy".to_owned(), policy_of(&config, &key)));
            Value::Map(tiers).encoded(lane.proto)
        });
    }

    pub(super) fn cache_invalidate(&mut self, request: &Request<'_>) {
        let is =
            |i: usize, word: &str| request.arg(i).is_some_and(|a| a.eq_ignore_ascii_case(word.as_bytes()));
        let from_home = request.len() == 6 && is(4, "from") && is(5, "home");
        if is(2, "keys") {
            let keys: Vec<&[u8]> = request.iter().skip(3).collect();
            match self.context.proxy.shared.l2.clone() {
                Some(l2) => self.invalidate_in_l2(l2, keys),
                None => {
                    let of = self.context.proxy.drop_copies(&keys);
                    self.say(|out, _| encode::integer(out, of as i64));
                }
            }
        } else if is(2, "match") && (request.len() == 4 || from_home) {
            let pattern = request.arg(3).unwrap_or_default().to_vec();
            self.invalidate_matching(pattern, from_home);
        } else {
            self.reply_error(SYNTAX);
        }
    }

    fn invalidate_matching(&mut self, pattern: Vec<u8>, from_home: bool) {
        let (proxy, lane) = (self.context.proxy.clone(), self.lane);
        self.reply_later(async move {
            let deleted = match from_home {
                true => delete_matching(&proxy, lane, &pattern).await.map(Some),
                false => Ok(None),
            };
            let mut dropped = drop_matching(&proxy, &pattern).await;
            if let Some(l2) = proxy.shared.l2.clone() {
                dropped = dropped.max(proxy.drop_l2_matching(&l2, &pattern).await.unwrap_or(0));
                // What was read there meanwhile.
                drop_matching(&proxy, &pattern).await;
            }
            let mut out = Vec::new();
            match deleted {
                Ok(deleted) => encode::integer(&mut out, deleted.unwrap_or(dropped)),
                Err(error) => encode::error(&mut out, error),
            }
            out
        });
    }
}

/// Drops the copies of all keys that match; returns of how many keys.
async fn drop_matching(proxy: &Proxy, pattern: &[u8]) -> i64 {
    let Some(copies) = proxy.shared.copies.clone() else {
        return 0;
    };
    copies.refuse_flights();
    let mut dropped = 0;
    let mut cursor = Some(Cursor::START);
    while let Some(from) = cursor {
        cursor = copies.l1().visit(from, SLICE, |key| {
            let matches = glob::matches(pattern, key);
            dropped += i64::from(matches);
            matches
        });
        tokio::task::yield_now().await;
    }
    proxy.counters.l1_deletes.add(dropped as u64);
    dropped
}

/// Deletes the keys at home that match, a few at a time; returns how many.
///
/// # Errors
/// What home said instead, or why it said nothing. What was deleted before stays deleted.
async fn delete_matching(proxy: &Rc<Proxy>, lane: LaneKey, pattern: &[u8]) -> Result<i64, String> {
    let mut deleted = 0;
    let mut cursor = b"0".to_vec();
    loop {
        let scan: [&[u8]; 6] = [b"SCAN", &cursor, b"MATCH", pattern, b"COUNT", SCAN_COUNT];
        let page = proxy.ask_home(lane, &scan).await?;
        let mut parts = reply::elements(&page);
        let next = parts.next().and_then(reply::bulk).unwrap_or(b"0").to_vec();
        let keys: Vec<&[u8]> = parts
            .next()
            .map(|keys| reply::elements(keys).filter_map(reply::bulk).collect())
            .unwrap_or_default();
        if !keys.is_empty() {
            deleted += proxy.unlink(lane, &keys).await?;
        }
        if next == b"0" {
            return Ok(deleted);
        }
        cursor = next;
    }
}

/// The policy that matches.
pub(super) fn rule_of<'a>(config: &'a Config, key: &[u8]) -> Option<&'a Policy> {
    config.policies.iter().find(|policy| glob::matches(policy.pattern.as_bytes(), key))
}

/// The policy that matched, and what it says, as in the configuration.
fn policy_of(config: &Config, key: &[u8]) -> Value {
    rule_of(config, key).map_or(Value::Nothing, |policy| {
        let shown = |(name, value): (&str, String)| (name.to_owned(), text(value.trim_matches('"')));
        Value::Map(policy.settings().into_iter().map(shown).collect())
    })
}

/// The copies of a key in L1.
fn copies_of(proxy: &Proxy, key: &[u8]) -> Value {
    let Some(copies) = &proxy.shared.copies else {
        return Value::map([("status", text("off"))]);
    };
    let all = copies.l1().copies_of(key);
    let now = clock::now();
    let shown = all.iter().take(SHOWN).map(|copy| describe(copy, now)).collect();
    Value::map([("copies", all.len().into()), ("requests", Value::List(shown))])
}

fn describe(copy: &CopyInfo, now: u64) -> Value {
    let name = all().get(kind_command(copy.kind)).map_or("?", |c| c.name);
    Value::map([
        ("request", Value::Text(shown(name, &copy.tail))),
        ("protocol", if kind_proto(copy.kind) == Proto::Resp3 { 3_u64 } else { 2 }.into()),
        ("db", u64::from(kind_database(copy.kind)).into()),
        ("says", text(if copy.absent { "absent" } else { "value" })),
        ("bytes", copy.reply_len.into()),
        ("age_seconds", u64::from(clock::seconds(now).saturating_sub(copy.filled_at)).into()),
        ("time_left_ms", (copy.ends.saturating_sub(now) / 1_000_000).into()),
        ("recent_hits", u64::from(copy.freq).into()),
    ])
}

/// A request without its key, as it is shown.
pub(super) fn shown(name: &str, tail: &[u8]) -> Vec<u8> {
    let mut request = name.as_bytes().to_vec();
    for word in words(tail) {
        request.push(b' ');
        request.extend(word);
    }
    request.truncate(SHOWN_BYTES);
    request
}

/// The arguments in the encoded end of a request.
fn words(tail: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = tail;
    std::iter::from_fn(move || {
        let word = reply::bulk(rest)?;
        let header = rest.windows(2).position(|pair| pair == b"\r\n")?;
        rest = rest.get(header + 2 + word.len() + 2..)?;
        Some(word)
    })
}

/// What home says of a key.
async fn at_home(proxy: &Rc<Proxy>, lane: LaneKey, key: &[u8]) -> Value {
    let questions: [[&[u8]; 2]; 3] = [[b"EXISTS", key], [b"TYPE", key], [b"PTTL", key]];
    let [exists, kind, life] = questions.each_ref().map(|question| proxy.ask_home(lane, question));
    let (exists, kind, life) = tokio::join!(exists, kind, life);
    let number = |answer: &Result<bytes::Bytes, String>| {
        let number = answer.as_ref().ok().and_then(|reply| reply::parse_integer(reply));
        number.map_or(Value::Nothing, Value::Number)
    };
    let name = kind.as_ref().ok().and_then(|reply| reply::bulk(reply));
    let mut pairs = vec![
        ("exists".to_owned(), number(&exists)),
        ("type".to_owned(), name.map_or(Value::Nothing, |name| Value::Text(name.to_vec()))),
        ("time_left_ms".to_owned(), number(&life)),
    ];
    if proxy.compresses() && name == Some(b"string") {
        pairs.extend(as_stored(proxy, lane, key).await);
    }
    if let Some(error) = [exists.err(), kind.err(), life.err()].into_iter().flatten().next() {
        pairs.push(("error".to_owned(), text(error)));
    }
    Value::Map(pairs)
}

/// How home keeps a string value, where a policy compresses.
async fn as_stored(proxy: &Rc<Proxy>, lane: LaneKey, key: &[u8]) -> Vec<(String, Value)> {
    let (mark, length): ([&[u8]; 4], [&[u8]; 2]) = ([b"GETRANGE", key, b"0", b"2"], [b"STRLEN", key]);
    let (mark, length) = tokio::join!(proxy.ask_home(lane, &mark), proxy.ask_home(lane, &length));
    let marked = mark.ok().map(|mark| u64::from(reply::bulk(&mark) == Some(MARK)));
    let length = length.ok().and_then(|length| reply::parse_integer(&length));
    vec![
        ("compressed".to_owned(), marked.into()),
        ("stored_bytes".to_owned(), length.map_or(Value::Nothing, Value::Number)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_from_the_end_of_a_request() {
        let tail = b"$1\r\n0\r\n$2\r\n-1\r\n$10\r\nWITHSCORES\r\n";
        assert_eq!(words(tail).collect::<Vec<_>>(), [&b"0"[..], b"-1", b"WITHSCORES"]);
        assert_eq!(words(b"").count(), 0);
        assert_eq!(words(b"$5\r\nab\r\n").count(), 0);
    }
}
