//! PUBLISH and PUBSUB: home counts subscribers, but knows one of strata's where there may be thousands.
//!
//! Exact as long as no subscription begins or ends meanwhile, and as long as no other strata stands before the same
//! home: of its clients home knows one a topic as well, and so do they here.

use std::rc::Rc;

use bytes::Bytes;

use super::{Ask, Client, Proxy, error_reply, failure_text};
use crate::backend::lane::{Outcome, Reply};
use crate::backend::subscriptions::Space;
use crate::command::id;
use crate::resp::{encode, reply};
use crate::tier::glob;

/// The claim to a reply that counts subscribers.
pub struct Counted {
    proxy: Rc<Proxy>,
    client: Rc<dyn Client>,
    slot: u64,
    what: What,
}

enum What {
    /// Who received a message published to this channel.
    Received(Space, Box<[u8]>),
    /// Subscribers by channel.
    Subscribers(Space),
    /// Names of channels, of those that match the pattern.
    Names(Space, Option<Box<[u8]>>),
    /// How many patterns there are.
    Patterns,
}

impl Counted {
    /// None: home's word is all there is to say.
    pub(super) fn of(proxy: &Rc<Proxy>, ask: &Ask<'_>) -> Option<Counted> {
        if !proxy.shared.subscriptions.any() {
            return None;
        }
        let arg = |i: usize| ask.request.arg(i).map(Box::from);
        let what = match ask.command?.id {
            id::PUBLISH => What::Received(Space::Channels, arg(1)?),
            id::SPUBLISH => What::Received(Space::Shards, arg(1)?),
            id::PUBSUB_NUMSUB => What::Subscribers(Space::Channels),
            id::PUBSUB_SHARDNUMSUB => What::Subscribers(Space::Shards),
            id::PUBSUB_CHANNELS => What::Names(Space::Channels, arg(2)),
            id::PUBSUB_SHARDCHANNELS => What::Names(Space::Shards, arg(2)),
            id::PUBSUB_NUMPAT => What::Patterns,
            _ => return None,
        };
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
        if reply::is_error(reply.bytes()) {
            return client.deliver(slot, reply, now);
        }
        let register = &proxy.shared.subscriptions;
        match what {
            What::Received(space, channel) => {
                let audience = register.audience(space, &channel, glob::matches);
                let count = corrected(reply.bytes(), audience.shared, audience.members);
                if audience.members > 0 && register.up() {
                    proxy.after_messages(client, slot, count);
                } else {
                    client.deliver(slot, Reply::Owned(count), now);
                }
            }
            What::Subscribers(space) => {
                let reply = proxy.with_subscribers(space, reply.bytes());
                client.deliver(slot, Reply::Owned(reply), now);
            }
            What::Names(space, pattern) => {
                let mut unknown = register.unknown_at_home(space);
                unknown.retain(|name| pattern.as_ref().is_none_or(|p| glob::matches(p, name)));
                client.deliver(slot, with_names(reply, &unknown), now);
            }
            What::Patterns => {
                let unknown = register.unknown_at_home(Space::Patterns).len();
                client.deliver(slot, Reply::Owned(corrected(reply.bytes(), 0, unknown)), now);
            }
        }
    }
}

impl Proxy {
    /// EXEC's reply with all receivers counted of what was `published` in the transaction: places in the reply, and
    /// channels. Also whether some of them are strata's clients, who are to hear it before.
    pub(super) fn with_receivers<'a>(
        &self,
        reply: Reply<'a>,
        published: &[(u32, Space, Box<[u8]>)],
    ) -> (Reply<'a>, bool) {
        let register = &self.shared.subscriptions;
        if published.is_empty() || !register.any() || reply.bytes().first() != Some(&b'*') {
            return (reply, false);
        }
        let elements: Vec<&[u8]> = reply::elements(reply.bytes()).collect();
        let (mut heard, mut published) = (false, published.iter().peekable());
        let mut out = Vec::with_capacity(reply.bytes().len() + 16);
        encode::array(&mut out, elements.len());
        for (index, element) in (0..).zip(elements) {
            match published.next_if(|(at, _, _)| *at == index) {
                Some((_, space, channel)) if !reply::is_error(element) => {
                    let audience = register.audience(*space, channel, glob::matches);
                    heard |= audience.members > 0 && register.up();
                    out.extend_from_slice(&corrected(element, audience.shared, audience.members));
                }
                _ => out.extend_from_slice(element),
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
