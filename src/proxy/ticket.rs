//! What becomes of a reply of home: the claims there are to one.

use std::rc::Rc;

use super::known_scripts::Digest;
use super::{Counted, Direct, Errand, Farewell, Follow, FromReplica, Mget, Read, Transaction};
use crate::backend::cluster::Redirect;
use crate::backend::lane::{Outcome, Ticket as LaneTicket};

/// The claim to a reply of home.
pub enum Ticket {
    /// One reply for one client.
    Direct(Direct),
    /// One that a replica was asked for.
    Replica(Box<FromReplica>),
    /// A flight's reply.
    Read(Rc<Read>),
    /// The lifetime of a flight's key.
    ReadExpiry(Rc<Read>),
    /// The reply to a whole MGET.
    Mget(Rc<Mget>),
    /// The lifetime of one of its keys.
    MgetExpiry(Rc<Mget>, usize),
    /// One that counts subscribers.
    Counted(Counted),
    /// EXEC's reply.
    Transaction(Box<Transaction>),
    /// A connection of a client's own follows it to another database or protocol.
    Follow(Follow),
    /// The reply to SHUTDOWN, if any.
    Farewell(Farewell),
    /// Strata itself asks.
    Errand(Errand),
    /// Nobody waits (TOUCH).
    Nobody,
}

impl Ticket {
    /// The scripts that its request calls by their digests.
    pub(super) fn scripts(&self) -> &[Digest] {
        match self {
            Ticket::Direct(direct) => direct.script().map_or(&[], std::slice::from_ref),
            Ticket::Transaction(transaction) => transaction.scripts(),
            _ => &[],
        }
    }

    /// Whether the client asks again by itself, at the node that this names.
    pub(super) fn goes_elsewhere(&self, redirect: &Redirect) -> bool {
        match self {
            Ticket::Direct(direct) => direct.goes_elsewhere(redirect),
            _ => false,
        }
    }
}

impl LaneTicket for Ticket {
    fn push(&self, push: &[u8]) {
        if let Ticket::Direct(direct) = self {
            direct.push(push);
        }
    }

    fn part(&mut self, reply: &[u8]) {
        if let Ticket::Transaction(transaction) = self {
            transaction.part(reply);
        }
    }

    fn repeatable(&self) -> bool {
        match self {
            Ticket::Direct(direct) => direct.repeatable(),
            Ticket::Read(_) | Ticket::ReadExpiry(_) | Ticket::Mget(_) | Ticket::MgetExpiry(..) => true,
            _ => false,
        }
    }

    fn strayed(&mut self) {
        match self {
            Ticket::Direct(direct) => direct.strayed(),
            Ticket::Read(read) | Ticket::ReadExpiry(read) => read.strayed(),
            Ticket::Mget(mget) | Ticket::MgetExpiry(mget, _) => mget.strayed(),
            Ticket::Transaction(transaction) => transaction.strayed(),
            _ => {}
        }
    }

    fn complete(self, outcome: Outcome<'_>, now: u64) {
        match self {
            Ticket::Direct(direct) => direct.complete(outcome, now),
            Ticket::Replica(read) => read.complete(outcome, now),
            Ticket::Read(read) => read.replied(outcome, now),
            Ticket::ReadExpiry(read) => read.expiry(outcome, now),
            Ticket::Mget(mget) => mget.replied(outcome, now),
            Ticket::MgetExpiry(mget, index) => mget.expiry(index, outcome, now),
            Ticket::Counted(counted) => counted.complete(outcome, now),
            Ticket::Transaction(transaction) => transaction.complete(outcome, now),
            Ticket::Follow(follow) => follow.complete(outcome, now),
            Ticket::Farewell(farewell) => farewell.complete(outcome, now),
            Ticket::Errand(errand) => errand.complete(outcome),
            Ticket::Nobody => {}
        }
    }
}
