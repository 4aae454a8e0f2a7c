//! What a lane gives for a request: a reply, or why there is none.

use std::time::Duration;

use bytes::Bytes;

use crate::breaker::Unreachable;

/// What becomes of a request.
pub enum Outcome<'a> {
    /// Home answered.
    Reply(Reply<'a>),
    /// It did not.
    Failed(Failure),
}

/// One complete reply, as raw bytes.
pub enum Reply<'a> {
    /// A small one, still in the read buffer.
    Borrowed(&'a [u8]),
    /// A large one, cut out of it.
    Owned(Bytes),
}

impl Reply<'_> {
    /// The raw bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Reply::Borrowed(b) => b,
            Reply::Owned(b) => b,
        }
    }

    /// The raw bytes in an allocation of their own.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Reply::Borrowed(b) => Bytes::copy_from_slice(b),
            Reply::Owned(b) => b,
        }
    }
}

/// Why home did not answer.
#[derive(Debug, Clone)]
pub enum Failure {
    /// Not sent: the node is known to be down.
    Unreachable(Unreachable),
    /// Not sent: home runs a script. Its own words.
    Busy(String),
    /// Sent, and the connection ended before the reply: executed or not, nobody knows.
    Lost(String),
    /// Not executed: the nodes of a cluster sent it from one to another. The words of the last.
    Astray(String),
    /// Sent (or queued), and not answered within the bound.
    Timeout(Duration),
}

/// The claim to one reply.
pub trait Ticket: 'static {
    /// Called with each reply before the last, if several requests were sent as one. Not to touch the lane.
    fn part(&mut self, _reply: &[u8]) {}
    /// Called with each push that comes before the reply, on a connection of a client's own. Not to touch the lane.
    fn push(&self, _push: &[u8]) {}
    /// Whether the request may be sent again although it may have been executed.
    fn repeatable(&self) -> bool {
        false
    }
    /// Called when another node of a cluster answers than the request was sent to; parts begin anew.
    fn strayed(&mut self) {}
    /// Called exactly once, at `now`; from within `Lane::send` only while the node is known to be down.
    fn complete(self, outcome: Outcome<'_>, now: u64);
}
