//! CACHE GET and SET: single values, with a say in where they are kept.

use std::time::Duration;

use super::keys::rule_of;
use super::{NOT_AN_INTEGER, SYNTAX, about};
use crate::clock;
use crate::command::{KeyRef, by_id, extract, id};
use crate::config::Tier;
use crate::resp::{Request, encode, parse_i64, with_request};
use crate::router::Effect;
use crate::session::Session;
use crate::session::batch::Tally;

const NO_SOURCE: &str =
    "ERR strata: THROUGH writes to a database below home, and there is none (l4.enabled = false)";

const NO_L3: &str = "ERR strata: there is no L3 (l3.enabled = false); home is L2";

/// What CACHE SET says besides key and value.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options<'a> {
    life: Option<Life<'a>>,
    tier: Option<Vec<u8>>,
    through: bool,
}

/// EX or PX, as it was given and in milliseconds.
#[derive(Debug, PartialEq, Eq)]
struct Life<'a> {
    unit: &'static [u8],
    given: &'a [u8],
    span: Duration,
}

impl Session {
    /// `CACHE GET key [NOPROMOTE]`
    pub(super) fn cache_get(&mut self, request: &Request<'_>) {
        let key = request.arg(2).unwrap_or_default();
        let promote = match request.arg(3) {
            None => true,
            Some(word) if word.eq_ignore_ascii_case(b"nopromote") => false,
            Some(_) => return self.reply_error(SYNTAX),
        };
        let mut get = Vec::new();
        encode::command(&mut get, &[b"GET", key]);
        with_request(&get, |get| self.get_value(get, promote));
    }

    fn get_value(&mut self, get: &Request<'_>, promote: bool) {
        let context = self.context.clone();
        let (now, command) = (clock::now(), by_id(id::GET));
        let copies = context.proxy.shared.copies.as_deref();
        // Who watches keys reads from where they are watched.
        let reader = copies.map(|c| c.l1().reader()).filter(|_| !self.passes_copies());
        let hash = copies.zip(get.arg(1)).map(|(c, key)| c.l1().hash(key));
        let (mut tally, mut keys) = (Tally::default(), Vec::<KeyRef>::new());
        let hit = hash.zip(reader.as_ref()).is_some_and(|(hash, r)| self.hit(get, command, hash, r, now));
        if hit {
            tally.hits = 1;
        } else if promote {
            self.run_slow(get, Ok(command), reader.as_ref(), now, &mut tally, &mut keys);
        } else if extract(command, get, &mut keys).is_ok() {
            self.send(get, Some(command), Effect::Reads, now, &keys);
        }
        context.proxy.tally(tally.hits, tally.misses);
    }

    /// `CACHE SET key value [EX seconds | PX milliseconds] [TIER l1|l2|l3] [THROUGH]`
    pub(super) fn cache_set(&mut self, request: &Request<'_>) {
        let options = match options(request) {
            Ok(options) => options,
            Err(error) => return self.reply_error(error),
        };
        let (key, value) = (request.arg(2).unwrap_or_default(), request.arg(3).unwrap_or_default());
        match self.tier_of(key, &options) {
            _ if options.through => self.reply_error(NO_SOURCE),
            Err(error) => self.reply_error(error),
            Ok(None) => self.set_at_home(key, value, options.life.as_ref()),
            Ok(Some(tier)) => self.set_here(key, value, options.life.map(|life| life.span), tier),
        }
    }

    /// The tier above home that is to keep the value; none: home.
    fn tier_of(&self, key: &[u8], options: &Options<'_>) -> Result<Option<Tier>, Vec<u8>> {
        let config = &self.context.config;
        let home = if config.l3.enabled { Tier::L3 } else { Tier::L2 };
        let deepest = rule_of(config, key).map_or(home, |policy| policy.tier.min(home));
        let wanted = match options.tier.as_deref() {
            // On this node is on this node, if there is no L2.
            None if deepest == Tier::L2 && home == Tier::L3 && self.context.proxy.shared.l2.is_none() => {
                Tier::L1
            }
            None => deepest,
            Some(name) => match Tier::from_name(name) {
                None => return Err(about("ERR unknown tier '", name, "'. Tiers are L1, L2 and L3.")),
                Some(tier) if tier > home => return Err(NO_L3.into()),
                Some(tier) if tier > deepest => {
                    let name = deepest.name();
                    return Err(format!("ERR strata: a policy says tier = {name} of this key").into());
                }
                Some(tier) => tier,
            },
        };
        Ok((wanted != home).then_some(wanted))
    }

    fn set_at_home(&mut self, key: &[u8], value: &[u8], life: Option<&Life<'_>>) {
        let mut words: Vec<&[u8]> = vec![b"SET", key, value];
        words.extend(life.into_iter().flat_map(|life| [life.unit, life.given]));
        let mut set = Vec::new();
        encode::command(&mut set, &words);
        with_request(&set, |set| {
            let (command, now) = (Ok(by_id(id::SET)), clock::now());
            self.run_slow(set, command, None, now, &mut Tally::default(), &mut Vec::new());
        });
    }

    fn set_here(&mut self, key: &[u8], value: &[u8], ttl: Option<Duration>, deepest: Tier) {
        let (proxy, lane) = (self.context.proxy.clone(), self.lane);
        let (key, value) = (key.to_vec(), value.to_vec());
        self.reply_later(async move {
            let mut out = Vec::new();
            match proxy.keep_here(lane.db, &key, &value, ttl, deepest).await {
                Ok(()) => encode::simple(&mut out, "OK"),
                Err(error) => encode::error(&mut out, error),
            }
            out
        });
    }
}

fn options<'a>(request: &Request<'a>) -> Result<Options<'a>, &'static str> {
    let mut options = Options::default();
    let mut words = request.iter().skip(4);
    while let Some(word) = words.next() {
        let word = word.to_ascii_lowercase();
        match &*word {
            b"ex" | b"px" if options.life.is_none() => {
                let given = words.next().ok_or(SYNTAX)?;
                options.life = Some(life(&word, given)?);
            }
            b"tier" if options.tier.is_none() => {
                options.tier = Some(words.next().ok_or(SYNTAX)?.to_ascii_lowercase());
            }
            b"through" if !options.through => options.through = true,
            _ => return Err(SYNTAX),
        }
    }
    Ok(options)
}

fn life<'a>(word: &[u8], given: &'a [u8]) -> Result<Life<'a>, &'static str> {
    let n = parse_i64(given).ok_or(NOT_AN_INTEGER)?;
    let (unit, factor): (&'static [u8], u64) = if word == b"ex" { (b"EX", 1_000) } else { (b"PX", 1) };
    let ms = u64::try_from(n).ok().filter(|n| *n > 0).and_then(|n| n.checked_mul(factor));
    let ms =
        ms.filter(|ms| i64::try_from(*ms).is_ok()).ok_or("ERR invalid expire time in 'cache|set' command")?;
    Ok(Life { unit, given, span: Duration::from_millis(ms) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<R>(words: &[&str], see: impl FnOnce(Result<Options<'_>, &'static str>) -> R) -> R {
        let words: Vec<&[u8]> = words.iter().map(|w| w.as_bytes()).collect();
        let mut raw = Vec::new();
        encode::command(&mut raw, &words);
        with_request(&raw, |request| see(options(request))).expect("a request")
    }

    #[test]
    fn options_come_in_any_order_and_once() {
        read(&["CACHE", "SET", "k", "v", "tier", "L1", "PX", "1500", "through"], |options| {
            let options = options.expect("understood");
            assert_eq!((options.tier.as_deref(), options.through), (Some(&b"l1"[..]), true));
            let life = options.life.expect("a life");
            assert_eq!(
                (life.unit, life.given, life.span),
                (&b"PX"[..], &b"1500"[..], Duration::from_millis(1_500))
            );
        });
        assert!(read(&["CACHE", "SET", "k", "v"], |o| o.expect("understood") == Options::default()));
        for words in [&["EX"][..], &["EX", "1", "PX", "1"], &["TIER"], &["NX"], &["TIER", "l1", "TIER", "l1"]]
        {
            let all = [&["CACHE", "SET", "k", "v"], words].concat();
            assert_eq!(read(&all, |options| options.err()), Some(SYNTAX), "{words:?}");
        }
        let all = ["CACHE", "SET", "k", "v", "EX", "0"];
        assert_eq!(read(&all, |o| o.err()), Some("ERR invalid expire time in 'cache|set' command"));
        assert_eq!(read(&["CACHE", "SET", "k", "v", "EX", "x"], |o| o.err()), Some(NOT_AN_INTEGER));
    }
}
