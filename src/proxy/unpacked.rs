//! Commands that work on the bytes that home has: values that it keeps compressed are made plain first, by the
//! transaction that runs the commands.
//!
//! ```text
//! WATCH keys, GETRANGE key 0 3 for each     is any marked? mostly none is
//! GET key                                   of those that are
//! MULTI, SET key plain KEEPTTL, ..., the commands, EXEC
//! ```
//!
//! If somebody changed a key meanwhile nothing was done, and all begins anew.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::compressed::unreadable_text;
use super::lease::Own;
use super::{Ask, Client, Effects, LaneKey, Proxy, error_reply};
use crate::backend::lane::Reply;
use crate::clock;
use crate::resp::{Request, Span, encode, reply};
use crate::tier::compress::{MARK, Value};
use crate::tier::listeners::Notice;

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
const NAME_OF_EXEC: [Span; 1] = [Span { start: 8, end: 12 }];
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
    /// The keys whose values are to be plain.
    pub keys: Vec<Box<[u8]>>,
    /// They are a transaction, and EXEC's reply is wanted; else that of the one command.
    pub whole: bool,
    /// The client watches keys by the connection: that nothing was done is what it wants to hear.
    pub watching: bool,
}

/// Takes a reply that is looked at before a client gets it.
struct Courier(RefCell<Option<oneshot::Sender<Bytes>>>);

impl Client for Courier {
    fn deliver(&self, _slot: u64, reply: Reply<'_>, _now: u64) {
        if let Some(sender) = self.0.borrow_mut().take() {
            // Who no longer waits wants no reply.
            let _ = sender.send(reply.into_bytes());
        }
    }

    // The client asks nothing until it has its reply.
    fn unsettle(&self, _slot: u64, _keys: Option<&[u64]>) {}
    fn push(&self, _bytes: &Bytes) {}
    fn notice(&self, _notice: &Notice) {}
    fn redirected(&self, _keys: &Bytes) {}
    fn subscribed(&self, _counts: [usize; 3]) {}
    fn close(&self) {}
    fn wake(&self) {}
}

impl Proxy {
    /// Runs commands by a client's own connection; returns the reply.
    pub async fn run_plain(self: &Rc<Self>, own: &Rc<Own>, lane: LaneKey, job: &Job) -> Bytes {
        for _ in 0..ATTEMPTS {
            let sets = match self.make_plain(own, &job.keys).await {
                Ok(sets) => sets,
                Err(text) => {
                    own.send_aside(&[b"UNWATCH"], clock::now());
                    return error_reply(&text);
                }
            };
            let reply = self.transact_by(own, lane, job, &sets).await;
            if !matches!(&reply[..], b"*-1\r\n" | b"_\r\n") || job.watching {
                return if job.whole { reply } else { only(&reply) };
            }
        }
        let key = job.keys.first().map(|key| key.escape_ascii().to_string()).unwrap_or_default();
        error_reply(&format!(
            "ERR strata: the value of '{key}' is kept compressed, and was changed {ATTEMPTS} times before it was plain"
        ))
    }

    /// Watches the keys. Returns what makes their values plain.
    async fn make_plain(&self, own: &Own, keys: &[Box<[u8]>]) -> Result<Vec<Vec<u8>>, String> {
        let mut watch: Vec<&[u8]> = vec![b"WATCH"];
        watch.extend(keys.iter().map(|key| &**key));
        let watched = self.ask_by(own, &watch);
        let marks: Vec<_> =
            keys.iter().map(|key| (key, self.ask_by(own, &[b"GETRANGE", key, b"0", b"3"]))).collect();
        watched.await?;
        let mut marked = Vec::new();
        for (key, mark) in marks {
            // An error: it is no string, which the command itself will find.
            if mark.await.is_ok_and(|mark| reply::bulk(&mark).is_some_and(|b| b.starts_with(MARK))) {
                marked.push(key);
            }
        }
        let mut sets = Vec::new();
        for key in marked {
            let stored = self.ask_by(own, &[b"GET", key]).await?;
            sets.extend(self.plain_set(key, &stored)?);
        }
        Ok(sets)
    }

    /// What makes a stored value plain; none if it is.
    fn plain_set(&self, key: &[u8], stored: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let (Some(compressed), Some(stored)) = (&self.compressed, reply::bulk(stored)) else {
            return Ok(None);
        };
        let value = compressed.decode(stored).map_err(|unreadable| unreadable_text(&unreadable))?;
        Ok(match &value {
            Value::Plain(_) => None,
            value => {
                let mut set = Vec::new();
                encode::command(&mut set, &[b"SET", key, value.bytes(), b"KEEPTTL"]);
                Some(set)
            }
        })
    }

    async fn transact_by(self: &Rc<Self>, own: &Own, lane: LaneKey, job: &Job, sets: &[Vec<u8>]) -> Bytes {
        let block = [MULTI, &sets.concat(), &job.block, EXEC].concat();
        let mut effects = job.effects.clone();
        effects.show_from(sets.len());
        let (sender, reply) = oneshot::channel();
        let client: Rc<dyn Client> = Rc::new(Courier(RefCell::new(Some(sender))));
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
        self.transact(&ask, Some(own), &block, job.commands + sets.len() as u32, effects);
        reply.await.unwrap_or_else(|_| error_reply("ERR strata: the connection was given up"))
    }
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
