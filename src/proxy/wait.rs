//! WAIT, by a connection that has written nothing: what a client has done is where it is to be when that is so at every
//! master.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::{LaneKey, Own, Proxy, Purpose};
use crate::clock;
use crate::resp::{encode, reply};

/// Written to a home that is newer than 7.0, for a millisecond.
const WRITTEN: [&[u8]; 5] = [b"SET", b"strata:wait", b"", b"PX", b"1"];

impl Proxy {
    /// Has a WAIT that comes next by a connection be about all that was done before: WAIT is about what its connection did
    /// last. That is any command up to Redis 7.0, and later one that replicas are told of. (Of a cluster's masters none
    /// is known to own that key's slot: there a newer WAIT counts replicas and waits for none.)
    pub fn follow_writes(&self, own: &Own, now: u64) {
        let words: &[&[u8]] =
            if self.shared.facts.is_newer() && !self.is_cluster() { &WRITTEN } else { &[b"PING"] };
        own.send_aside(words, now);
    }

    /// Asks every master, by a connection of the client's own, how many replicas have all that was done so far; waits
    /// for them as `words`, a WAIT, says, which is `longest` at most (None: for ever). The least of their numbers.
    ///
    /// # Errors
    /// As [`Proxy::lease`] and [`Proxy::ask_home`].
    pub async fn wait_everywhere(
        self: &Rc<Self>,
        lane: LaneKey,
        words: &[Vec<u8>],
        longest: Option<Duration>,
    ) -> Result<Bytes, String> {
        let words: Vec<&[u8]> = words.iter().map(|word| &**word).collect();
        let mut leased = Vec::new();
        for master in self.masters() {
            leased.push(self.lease(Purpose::Wait, self.way_to(lane, master), false).await?);
        }
        let nodes: Vec<_> = leased.iter().map(|own| self.node(own.node())).collect();
        let mut answers = Vec::new();
        for (own, node) in leased.iter().zip(&nodes) {
            own.allow(longest);
            self.follow_writes(own, clock::now());
            answers.push(own.ask(node, &words));
        }
        let mut least: Option<i64> = None;
        for answer in answers {
            let count = reply::parse_integer(&answer.await?);
            let count = count.ok_or_else(|| "ERR strata: home counts no replicas".to_owned())?;
            least = Some(least.map_or(count, |least| least.min(count)));
        }
        leased.into_iter().for_each(|own| self.give_back(own, true));
        let mut out = Vec::new();
        encode::integer(&mut out, least.unwrap_or(0));
        Ok(out.into())
    }
}
