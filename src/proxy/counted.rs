//! PUBLISH and PUBSUB: home counts subscribers, but knows one of strata's where there may be thousands.
//!
//! Exact as long as no subscription begins or ends meanwhile, and as long as no other strata stands before the same
//! home: of its clients home knows one a topic as well, and so do they here.

use std::rc::Rc;

use bytes::Bytes;

use super::{Ask, Client, Proxy, error_reply, failure_text};
use crate::backend::lane::{Outcome, Reply};
use crate::backend::subscriptions::Space;
use crate::command::{Command, id};
use crate::resp::{Request, encode, reply};
use crate::tier::glob;

/// The claim to a reply that counts subscribers.
pub struct Counted {
    proxy: Rc<Proxy>,
    client: Rc<dyn Client>,
    slot: u64,
    what: Counting,
}

/// What a reply counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counting {
    /// Who received a message published to this channel.
    Received(Space, Box<[u8]>),
    /// Subscribers by channel.
    Subscribers(Space),
    /// Names of channels, of those that match the pattern.
    Names(Space, Option<Box<[u8]>>),
    /// How many patterns there are.
    Patterns,
}

impl Counting {
    /// None: nothing.
    pub fn of(command: &Command, request: &Request<'_>) -> Option<Counting> {
        let arg = |i: usize| request.arg(i).map(Box::from);
        Some(match command.id {
            id::PUBLISH => Counting::Received(Space::Channels, arg(1)?),
            id::SPUBLISH => Counting::Received(Space::Shards, arg(1)?),
            id::PUBSUB_NUMSUB => Counting::Subscribers(Space::Channels),
            id::PUBSUB_SHARDNUMSUB => Counting::Subscribers(Space::Shards),
            id::PUBSUB_CHANNELS => Counting::Names(Space::Channels, arg(2)),
            id::PUBSUB_SHARDCHANNELS => Counting::Names(Space::Shards, arg(2)),
            id::PUBSUB_NUMPAT => Counting::Patterns,
            _ => return None,
        })
    }

    /// The shard channel that it is about.
    fn shard(&self) -> Option<&[u8]> {
        match self {
            Counting::Received(Space::Shards, channel) => Some(channel),
            _ => None,
        }
    }

    /// Bytes it takes.
    pub(super) fn size(&self) -> usize {
        let named = match self {
            Counting::Received(_, name) | Counting::Names(_, Some(name)) => name.len(),
            _ => 0,
        };
        size_of::<Self>() + named
    }
}

impl Counted {
    /// None: home's word is all there is to say.
    pub(super) fn of(proxy: &Rc<Proxy>, ask: &Ask<'_>) -> Option<Counted> {
        if !proxy.shared.subscriptions.any() {
            return None;
        }
        let what = Counting::of(ask.command?, ask.request)?;
        Some(Counted { proxy: proxy.clone(), client: ask.client.clone(), slot: ask.slot, what })
    }

    pub(super) fn complete(self, outcome: Outcome<'_>, now: u64) {
        let Counted { proxy, client, slot, what } = self;
        let reply = match outcome {
            Outcome::Reply(reply) => reply,
            Outcome::Failed(failure) => {
                proxy.counters.errors.add(1);
                let text = failure_text(&proxy.shared.node, &failure);
                return client.deliver(slot, Reply::Owned(error_reply(&text)), now);
            }
        };
        match proxy.counted(&what, reply) {
            (reply, true) => proxy.after_messages(client, slot, reply.into_bytes(), what.shard()),
            (reply, false) => client.deliver(slot, reply, now),
        }
    }
}

impl Proxy {
    /// A reply with all subscribers counted. Also whether some of strata's clients are to hear something before.
    fn counted<'a>(&self, what: &Counting, reply: Reply<'a>) -> (Reply<'a>, bool) {
        if reply::is_error(reply.bytes()) {
            return (reply, false);
        }
        let register = &self.shared.subscriptions;
        let counted = match what {
            Counting::Received(space, channel) => {
                let audience = register.audience(*space, channel, glob::matches);
                let count = corrected(reply.bytes(), audience.shared, audience.members);
                return (Reply::Owned(count), audience.members > 0 && register.up());
            }
            Counting::Subscribers(space) => Reply::Owned(self.with_subscribers(*space, reply.bytes())),
            Counting::Names(space, pattern) => {
                let mut unknown = register.unknown_at_home(*space);
                unknown.retain(|name| pattern.as_ref().is_none_or(|p| glob::matches(p, name)));
                with_names(reply, &unknown)
            }
            Counting::Patterns => {
                let unknown = register.unknown_at_home(Space::Patterns).len();
                Reply::Owned(corrected(reply.bytes(), register.patterns_again(), unknown))
            }
        };
        (counted, false)
    }

    /// EXEC's reply with all subscribers counted, where it counts some: places in the reply, and what. Also whether some of
    /// strata's clients are to hear before what was published in the transaction.
    pub(super) fn counted_of_many<'a>(
        &self,
        reply: Reply<'a>,
        counting: &[(u32, Counting)],
    ) -> (Reply<'a>, bool) {
        if counting.is_empty() || !self.shared.subscriptions.any() {
            return (reply, false);
        }
        let elements: Vec<&[u8]> = reply::elements(reply.bytes()).collect();
        // Nothing was done: a key that was watched has changed, or home refuses it all.
        if elements.is_empty() {
            return (reply, false);
        }
        let (mut heard, mut counting) = (false, counting.iter().peekable());
        let mut out = Vec::with_capacity(reply.bytes().len() + 16);
        encode::array(&mut out, elements.len());
        for (index, element) in (0..).zip(elements) {
            match counting.next_if(|(at, _)| *at == index) {
                Some((_, what)) => {
                    let (counted, hears) = self.counted(what, Reply::Borrowed(element));
                    heard |= hears;
                    out.extend_from_slice(counted.bytes());
                }
                None => out.extend_from_slice(element),
            }
        }
        (Reply::Owned(out.into()), heard)
    }

    /// The reply to PUBSUB NUMSUB: names and numbers in turn.
    fn with_subscribers(&self, space: Space, reply: &[u8]) -> Bytes {
        let elements: Vec<&[u8]> = reply::elements(reply).collect();
        let mut out = Vec::with_capacity(reply.len() + 16);
        encode::array(&mut out, elements.len());
        for pair in elements.chunks(2) {
            let [name, number] = pair else { break };
            out.extend_from_slice(name);
            let ours = self.shared.subscriptions.subscribers(space, reply::bulk(name).unwrap_or_default());
            out.extend_from_slice(&corrected(number, ours.shared, ours.members));
        }
        out.into()
    }
}

/// An integer reply without those that are one for all of ours, and with all of ours.
fn corrected(number: &[u8], shared: usize, members: usize) -> Bytes {
    let at_home = reply::parse_integer(number).unwrap_or(0);
    let mut out = Vec::new();
    encode::integer(&mut out, (at_home - shared as i64).max(0) + members as i64);
    out.into()
}

/// An array of names, completed by those it lacks.
fn with_names<'a>(reply: Reply<'a>, more: &[Bytes]) -> Reply<'a> {
    if more.is_empty() {
        return reply;
    }
    let mut names: Vec<&[u8]> = reply::elements(reply.bytes()).filter_map(reply::bulk).collect();
    names.extend(more.iter().map(|name| &name[..]));
    names.sort_unstable();
    names.dedup();
    let mut out = Vec::new();
    encode::command(&mut out, &names);
    Reply::Owned(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_counted_one_by_one() {
        assert_eq!(corrected(b":5\r\n", 2, 3), ":6\r\n");
        assert_eq!(corrected(b":0\r\n", 1, 1), ":1\r\n");
    }

    #[test]
    fn names_that_home_lacks_are_put_in_once() {
        let home = || Reply::Borrowed(b"*2\r\n$1\r\nc\r\n$1\r\na\r\n");
        assert_eq!(with_names(home(), &[]).bytes(), home().bytes());
        let more = [Bytes::from("b"), Bytes::from("a")];
        assert_eq!(with_names(home(), &more).bytes(), b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    }
}
