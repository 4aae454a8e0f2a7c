//! WAIT where home is a cluster: what a client has done is where it is to be when that is so at every master.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::{LaneKey, Proxy, Purpose};
use crate::clock;
use crate::resp::{encode, reply};

impl Proxy {
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
            // WAIT is about what its connection did last: this comes behind all that the client has done.
            own.send_aside(&[b"PING"], clock::now());
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
