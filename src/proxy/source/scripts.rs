//! The scripts by which rows come into home and leave it again, and the mark beside each key that came from a row.
//!
//! A mark says which source a key came from and when the key was to end when it was put there. What a client sets has
//! another end, so nobody deletes it for a row that changed. An end that was lengthened has besides a
//! remainder that follows from the key's name: where home evicts, the mark may be gone before the key.

use std::rc::Rc;
use std::sync::LazyLock;

use bytes::Bytes;

use crate::backend::cluster::slot;
use crate::clock;
use crate::proxy::errand::{Answer, Errand};
use crate::proxy::known_scripts::{Digest, name_of};
use crate::proxy::{LaneKey, Proxy, Ticket, Way};
use crate::resp::{Proto, encode};

/// Puts a row (ARGV: lifetime in ms, source, `s` or `h`, the value or the hash's fields and values) unless the key is
/// there. Replies with the key's end, or with 0.
const LOAD: &str = r"
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
if ARGV[3] == 's' then
  redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[1])
else
  for first = 4, #ARGV, 1000 do
    redis.call('HSET', KEYS[1], unpack(ARGV, first, math.min(first + 999, #ARGV)))
  end
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
local ends = redis.call('PEXPIRETIME', KEYS[1])
local text = string.format('%.0f', ends)
redis.call('SET', KEYS[2], text .. ':' .. ARGV[2], 'PXAT', text)
return ends";

/// Lengthens the life of what was put (ARGV: its end, source, lifetime in ms), if it is what is there. Replies 1 if so.
const CONFIRM: &str = r"
if redis.call('GET', KEYS[2]) ~= ARGV[1] .. ':' .. ARGV[2] then return 0 end
if redis.call('PEXPIRETIME', KEYS[1]) ~= tonumber(ARGV[1]) then return 0 end
local time, life = redis.call('TIME'), tonumber(ARGV[3])
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + life
if life >= 8192 then
  ends = ends - (ends - tonumber(string.sub(redis.sha1hex(KEYS[1]), 1, 3), 16)) % 4096
end
local text = string.format('%.0f', ends)
redis.call('PEXPIREAT', KEYS[1], text)
redis.call('SET', KEYS[2], text .. ':' .. ARGV[2], 'PXAT', text)
return 1";

/// Deletes a key that came from a row (ARGV: its source or nothing, `1` where marks may have been evicted). Replies 1
/// if it did.
const DROP: &str = r"
local ends, mark = redis.call('PEXPIRETIME', KEYS[1]), redis.call('GET', KEYS[2])
if mark then
  local noted, source = string.match(mark, '^(%d+):(.*)$')
  if ARGV[1] ~= '' and source and source ~= ARGV[1] then return 0 end
  if tonumber(noted) == ends then
    redis.call('UNLINK', KEYS[1], KEYS[2])
    return 1
  end
  redis.call('UNLINK', KEYS[2])
elseif ARGV[2] == '1' and ends > 0
    and ends % 4096 == tonumber(string.sub(redis.sha1hex(KEYS[1]), 1, 3), 16) then
  redis.call('UNLINK', KEYS[1])
  return 1
end
return 0";

/// A script and its name.
pub(super) struct Script {
    body: &'static str,
    name: LazyLock<Digest>,
}

impl Script {
    const fn new(body: &'static str, name: fn() -> Digest) -> Self {
        Script { body, name: LazyLock::new(name) }
    }
}

pub(super) static LOADS: Script = Script::new(LOAD, || name_of(LOAD.as_bytes()));
pub(super) static CONFIRMS: Script = Script::new(CONFIRM, || name_of(CONFIRM.as_bytes()));
pub(super) static DROPS: Script = Script::new(DROP, || name_of(DROP.as_bytes()));

/// What every mark's name begins with. Two ways to go on keep the marks of `x` and `{x}` apart.
pub(super) const MARKS: &[u8] = b"strata:l4";

/// The mark of a key, in the key's slot. None: there is no such name, because the key has a closing brace and no tag.
pub(super) fn mark_of(key: &[u8], cluster: bool) -> Option<Vec<u8>> {
    let tagged = [MARKS, b"=", key].concat();
    if slot(&tagged) == slot(key) {
        return Some(tagged);
    }
    let whole = [MARKS, b":{", key, b"}"].concat();
    (!cluster || slot(&whole) == slot(key)).then_some(whole)
}

/// A script on its way.
pub(super) struct Call {
    proxy: Rc<Proxy>,
    script: &'static Script,
    way: Way,
    answer: Answer,
    /// The encoded arguments behind the script, and how many there are.
    rest: (Vec<u8>, usize),
}

impl Proxy {
    /// Runs a script on a key and its mark; it is sent at once.
    pub(super) fn call(
        self: &Rc<Self>,
        script: &'static Script,
        database: u32,
        (key, mark): (&[u8], &[u8]),
        args: &[&[u8]],
    ) -> Call {
        let lane = LaneKey { proto: Proto::Resp2, db: database, scripts: true, of: 0 };
        let way = self.way_of_slot(lane, Some(slot(key)));
        let mut rest = Vec::new();
        for word in [&b"2"[..], key, mark].iter().chain(args) {
            encode::bulk(&mut rest, word);
        }
        let rest = (rest, 3 + args.len());
        let answer = self.evaluate(way, &[b"EVALSHA", &*script.name], &rest);
        Call { proxy: self.clone(), script, way, answer, rest }
    }

    fn evaluate(&self, way: Way, words: &[&[u8]; 2], (rest, count): &(Vec<u8>, usize)) -> Answer {
        let mut request = Vec::with_capacity(rest.len() + words[1].len() + 48);
        encode::array(&mut request, 2 + count);
        words.iter().for_each(|word| encode::bulk(&mut request, word));
        request.extend_from_slice(rest);
        let (errand, answer) = Errand::new();
        self.send(way, &request, Ticket::Errand(errand), clock::now());
        answer
    }
}

impl Call {
    /// What home replied.
    ///
    /// # Errors
    /// The error that it replied, or why it did not reply; code first.
    pub(super) async fn reply(self) -> Result<Bytes, String> {
        let node = self.proxy.node(self.way.node);
        match self.answer.of(&node).await {
            // It was not run; with its text it is, and known from then on.
            Err(text) if text.starts_with("NOSCRIPT") => {
                let words = [&b"EVAL"[..], self.script.body.as_bytes()];
                self.proxy.evaluate(self.way, &words, &self.rest).of(&node).await
            }
            reply => reply,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_in_the_slot_of_its_key() {
        let name =
            |key: &str| mark_of(key.as_bytes(), true).map(|mark| String::from_utf8_lossy(&mark).into_owned());
        assert_eq!(name("user:1").as_deref(), Some("strata:l4:{user:1}"));
        assert_eq!(name("{a}b").as_deref(), Some("strata:l4={a}b"));
        assert_eq!(name("a{").as_deref(), Some("strata:l4:{a{}"));
        // What has no tag and yet a closing brace is in no slot that a tag could name.
        assert_eq!((name("a}b"), name("{}x")), (None, None));
        assert_eq!(mark_of(b"a}b", false).as_deref(), Some(&b"strata:l4:{a}b}"[..]));
    }

    #[test]
    fn no_two_keys_have_the_same_mark() {
        let keys = ["x", "{x}", ":{x}", "={x}", "x}", "{x", "{}x", "{{x}}"];
        let marks: std::collections::HashSet<_> =
            keys.iter().map(|key| mark_of(key.as_bytes(), false)).collect();
        assert_eq!(marks.len(), keys.len());
    }
}
