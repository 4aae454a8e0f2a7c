//! What becomes of an answer of L2.

use std::rc::Rc;

use tokio::sync::oneshot;

use bytes::Bytes;

use super::lookup::Lookup;
use crate::backend::lane::{Outcome, Ticket as LaneTicket};
use crate::proxy::Proxy;
use crate::resp::reply;

/// The claim to an answer of L2.
pub(super) enum Ticket {
    /// A record.
    Get(Rc<Lookup>),
    /// What TAKE says.
    Take(Rc<Lookup>),
    /// What FILL says.
    Fill(Rc<Proxy>),
    /// Strata itself asks.
    Errand(oneshot::Sender<Option<Bytes>>),
    /// Nobody waits.
    Nobody,
}

impl LaneTicket for Ticket {
    fn complete(self, outcome: Outcome<'_>, now: u64) {
        match self {
            Ticket::Get(lookup) => lookup.got(outcome, now),
            Ticket::Take(lookup) => lookup.took(outcome, now),
            Ticket::Fill(proxy) => {
                let answer = match outcome {
                    Outcome::Reply(reply) => reply::parse_integer(reply.bytes()),
                    Outcome::Failed(_) => None,
                };
                let counters = &proxy.counters;
                let count = if answer == Some(1) { &counters.l2_fills } else { &counters.l2_refused };
                count.add(1);
            }
            Ticket::Errand(answer) => {
                let reply = match outcome {
                    Outcome::Reply(reply) => Some(reply.into_bytes()),
                    Outcome::Failed(_) => None,
                };
                // Who no longer waits wants no answer.
                let _ = answer.send(reply);
            }
            Ticket::Nobody => {}
        }
    }
}
