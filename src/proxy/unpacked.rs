//! Commands that work on the bytes that home has: values that it keeps compressed are made plain first, by the
//! transaction that runs the commands.
//!
//! ```text
//! WATCH keys, GETRANGE key 0 2 for each     is any marked? mostly none is
//! GET key                                   of those that are
//! MULTI, SET key plain KEEPTTL, ..., the commands, SET key packed KEEPTTL of what was only read, EXEC
//! ```
//!
//! If somebody changed a key meanwhile nothing was done, and all begins anew. Last in the transaction, the beginnings
//! of the values that it may have left are read, which are plain whatever became of the commands: one that would be taken
//! for a compressed one is escaped then.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::compressed::unreadable_text;
use super::courier::Courier;
use super::lease::Own;
use super::{Ask, Effects, LaneKey, Proxy, Purpose, Touched, error_reply};
use crate::clock;
use crate::resp::{Request, Span, encode, reply};
use crate::tier::compress::{MARK, Packing, Value};

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
const NAME_OF_EXEC: [Span; 1] = [Span { start: 8, end: 12 }];
/// Before keys are looked for again that were on their way from one node to another.
const PAUSE: Duration = Duration::from_millis(20);
/// Attempts after which a key is given up that others change all the time.
const ATTEMPTS: usize = 100;
const REFUSED: &[u8] = b"-EXECABORT Transaction discarded because of: ";

/// Commands that are to find plain values.
#[derive(Debug)]
pub struct Job {
    /// The commands, as they go home.
    pub block: Vec<u8>,
    /// How many.
    pub commands: u32,
    /// What they mean for copies.
    pub effects: Effects,
    /// Keys of those that work inside the bytes.
    pub touched: Touched,
    /// They are a transaction, and EXEC's reply is wanted; else that of the one command.
    pub whole: bool,
    /// The client watches keys by the connection: that nothing was done is what it wants to hear.
    pub watching: bool,
}

/// What an attempt has come to.
enum Attempt<'j> {
    /// The reply, and keys whose values are to be escaped.
    Done(Bytes, Vec<&'j [u8]>),
    /// Somebody changed a key meanwhile.
    Changed,
    /// An error, and nothing was done.
    Failed(Bytes),
}

/// A value that is made plain.
struct Packed {
    key: Box<[u8]>,
    plain: Box<[u8]>,
    stored: Box<[u8]>,
}

impl Proxy {
    /// Runs commands by a client's own connection; returns it, or the one in its place if the keys have moved, and the
    /// reply.
    pub async fn run_plain(
        self: &Rc<Self>,
        mut own: Rc<Own>,
        lane: LaneKey,
        job: &Job,
    ) -> (Option<Rc<Own>>, Bytes) {
        let until = clock::now().saturating_add(clock::nanos(self.shared.node.request_timeout));
        let mut attempts = 0;
        loop {
            match self.attempt(&own, lane, job).await {
                Attempt::Done(reply, marked) => {
                    let own = self.escape_all(own, lane, job, marked, until).await;
                    return (own, reply);
                }
                Attempt::Changed if !own.is_astray() => {
                    attempts += 1;
                    if attempts == ATTEMPTS {
                        return (Some(own), restless(job));
                    }
                    continue;
                }
                // Keys that are watched and move count as changed.
                Attempt::Failed(_) if own.is_astray() && job.watching => {
                    let mut nothing = Vec::new();
                    encode::null_array(&mut nothing, lane.proto);
                    return (Some(own), nothing.into());
                }
                Attempt::Failed(error) if !own.is_astray() || clock::now() >= until => {
                    return (Some(own), error);
                }
                Attempt::Changed if clock::now() >= until => return (Some(own), restless(job)),
                Attempt::Changed | Attempt::Failed(_) => {}
            }
            own = match self.follow_keys(own, lane, job).await {
                Ok(own) => own,
                Err(text) => return (None, error_reply(&text)),
            };
        }
    }

    /// A connection to where the keys are now, in the place of one to where they were.
    async fn follow_keys(self: &Rc<Self>, own: Rc<Own>, lane: LaneKey, job: &Job) -> Result<Rc<Own>, String> {
        self.give_back(own, true);
        // While a slot moves its keys are neither here nor there.
        tokio::time::sleep(PAUSE).await;
        let slot = job.effects.slot().unwrap_or_default();
        self.lease(Purpose::State, self.way_of_slot(lane, slot), false).await
    }

    async fn attempt<'j>(self: &Rc<Self>, own: &Own, lane: LaneKey, job: &'j Job) -> Attempt<'j> {
        let packed = match self.make_plain(own, &job.touched.plain).await {
            Ok(packed) => packed,
            Err(text) => {
                own.send_aside(&[b"UNWATCH"], clock::now());
                return Attempt::Failed(error_reply(&text));
            }
        };
        let reply = self.transact_by(own, lane, job, &packed).await;
        if matches!(&reply[..], b"*-1\r\n" | b"_\r\n") && !job.watching {
            return Attempt::Changed;
        }
        if own.is_astray() && reply::is_error(&reply) {
            return Attempt::Failed(reply);
        }
        let (reply, marked) = without_checks(reply, job);
        Attempt::Done(if job.whole { reply } else { only(&reply) }, marked)
    }

    /// Escapes what was left of these keys, wherever they are.
    async fn escape_all(
        self: &Rc<Self>,
        mut own: Rc<Own>,
        lane: LaneKey,
        job: &Job,
        marked: Vec<&[u8]>,
        until: u64,
    ) -> Option<Rc<Own>> {
        for key in marked {
            self.escape(&own, key).await;
            while own.is_astray() && clock::now() < until {
                own = self.follow_keys(own, lane, job).await.ok()?;
                self.escape(&own, key).await;
            }
        }
        Some(own)
    }

    /// Watches the keys. Returns those of their values that are packed.
    async fn make_plain(&self, own: &Own, keys: &[Box<[u8]>]) -> Result<Vec<Packed>, String> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut watch: Vec<&[u8]> = vec![b"WATCH"];
        watch.extend(keys.iter().map(|key| &**key));
        let node = self.node(own.node());
        let watched = own.ask(&node, &watch);
        let marks: Vec<_> =
            keys.iter().map(|key| (key, own.ask(&node, &[b"GETRANGE", key, b"0", b"2"]))).collect();
        watched.await?;
        let mut marked = Vec::new();
        for (key, mark) in marks {
            // An error: it is no string, which the command itself will find.
            if mark.await.is_ok_and(|mark| reply::bulk(&mark).is_some_and(|b| b.starts_with(MARK))) {
                marked.push(key);
            }
        }
        let mut packed = Vec::new();
        for key in marked {
            let stored = own.ask(&node, &[b"GET", key]).await?;
            packed.extend(self.packed(key, &stored)?);
        }
        Ok(packed)
    }

    /// A value that is kept packed; none if it is plain.
    fn packed(&self, key: &[u8], reply: &Bytes) -> Result<Option<Packed>, String> {
        let (Some(compressed), Some(stored)) = (&self.compressed, reply::bulk(reply)) else {
            return Ok(None);
        };
        let value = compressed.decode(stored).map_err(|unreadable| unreadable_text(&unreadable))?;
        let packed = |value: &[u8]| Packed { key: key.into(), plain: value.into(), stored: stored.into() };
        Ok(match &value {
            Value::Plain(_) => None,
            value => Some(packed(value.bytes())),
        })
    }

    /// Escapes a value that was left plain and looks compressed. Whoever changed it meanwhile has done so.
    async fn escape(&self, own: &Own, key: &[u8]) {
        let node = self.node(own.node());
        let read = async {
            let watched = own.ask(&node, &[b"WATCH", key]);
            let value = own.ask(&node, &[b"GET", key]);
            watched.await?;
            value.await
        };
        let reading = Packing { compress: false, dictionary: 0 };
        let escaped =
            read.await.ok().and_then(|value| self.compressed.as_ref()?.encode(reply::bulk(&value)?, reading));
        let Some(escaped) = escaped else {
            return own.send_aside(&[b"UNWATCH"], clock::now());
        };
        for command in [&[&b"MULTI"[..]][..], &[b"SET", key, &escaped, b"KEEPTTL"]] {
            own.send_aside(command, clock::now());
        }
        // What home says of it changes nothing.
        let _ = own.ask(&node, &[b"EXEC"]).await;
    }

    async fn transact_by(self: &Rc<Self>, own: &Own, lane: LaneKey, job: &Job, packed: &[Packed]) -> Bytes {
        let mut block = MULTI.to_vec();
        for Packed { key, plain, .. } in packed {
            encode::command(&mut block, &[b"SET", key, plain, b"KEEPTTL"]);
        }
        block.extend_from_slice(&job.block);
        for key in &job.touched.left {
            encode::command(&mut block, &[b"GETRANGE", key, b"0", b"2"]);
        }
        let read = packed.iter().filter(|p| !job.touched.left.contains(&p.key));
        for Packed { key, stored, .. } in read.clone() {
            encode::command(&mut block, &[b"SET", key, stored, b"KEEPTTL"]);
        }
        block.extend_from_slice(EXEC);
        let aside = packed.len() + job.touched.left.len() + read.count();
        let mut effects = job.effects.clone();
        effects.show_from(packed.len());
        let (sender, reply) = oneshot::channel();
        let client = Courier::to(sender);
        let ask = Ask {
            client: &client,
            session: 0,
            slot: 0,
            seen: 0,
            lane,
            lane_since: 0,
            own: None,
            follows: true,
            command: None,
            request: &Request::new(EXEC, 0, EXEC.len(), &NAME_OF_EXEC),
            now: clock::now(),
        };
        self.transact(&ask, Some(own), &block, job.commands + aside as u32, effects);
        reply.await.unwrap_or_else(|_| error_reply("ERR strata: the connection was given up"))
    }
}

/// Nobody else may change a key all the time.
fn restless(job: &Job) -> Bytes {
    let key = job.touched.plain.first().map(|key| key.escape_ascii().to_string()).unwrap_or_default();
    error_reply(&format!(
        "ERR strata: the value of '{key}' is kept compressed, and was changed {ATTEMPTS} times before it was plain"
    ))
}

/// The reply to a transaction without those to the checks at its end, and the keys whose values look compressed.
fn without_checks(reply: Bytes, job: &Job) -> (Bytes, Vec<&[u8]>) {
    if reply::elements(&reply).next().is_none() {
        return (reply, Vec::new());
    }
    let (mut out, mut marked) = (Vec::with_capacity(reply.len()), Vec::new());
    encode::array(&mut out, job.commands as usize);
    for (place, element) in reply::elements(&reply).enumerate() {
        match place.checked_sub(job.commands as usize) {
            None => out.extend_from_slice(element),
            Some(check) => {
                let looks = reply::bulk(element).is_some_and(|begin| begin.starts_with(MARK));
                marked.extend(job.touched.left.get(check).filter(|_| looks).map(|key| &**key));
            }
        }
    }
    (out.into(), marked)
}

/// The reply to the one command of a transaction.
fn only(reply: &Bytes) -> Bytes {
    match reply.strip_prefix(REFUSED) {
        Some(why) => [b"-", why].concat().into(),
        None if reply::is_error(reply) => reply.clone(),
        None => {
            reply::elements(reply).next().map_or_else(|| reply.clone(), |element| reply.slice_ref(element))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reply_of_one_command_is_taken_out_of_its_transaction() {
        for (reply, inner) in [
            ("*1\r\n:5\r\n", ":5\r\n"),
            ("*1\r\n-ERR no\r\n", "-ERR no\r\n"),
            ("-EXECABORT Transaction discarded because of: OOM x\r\n", "-OOM x\r\n"),
            ("-ERR lost\r\n", "-ERR lost\r\n"),
        ] {
            assert_eq!(only(&Bytes::from_static(reply.as_bytes())), inner.as_bytes());
        }
    }
}
