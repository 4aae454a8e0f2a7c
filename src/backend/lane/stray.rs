//! Requests that go on to another node of a cluster, because the one they were sent to did not answer them.

use std::time::Duration;

use bytes::Bytes;

use super::ticket::Failure;
use crate::backend::cluster::Redirect;

/// Where a request is on its way through a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// Its place in the order of a worker's requests.
    pub number: u64,
    /// The slot of its keys.
    pub slot: u16,
    /// How often it went on.
    pub hops: u8,
    /// It goes to a node that does not own the slot yet.
    pub asking: bool,
}

impl Course {
    /// Without keys.
    pub const NO_SLOT: u16 = u16::MAX;
    /// Of a request that is for this node and no other.
    pub const HERE: u16 = u16::MAX - 1;
}

impl Default for Course {
    fn default() -> Self {
        Course { number: 0, slot: Course::NO_SLOT, hops: 0, asking: false }
    }
}

/// A request, or several that are one.
pub struct Block<'a> {
    /// As they come from the client.
    pub requests: &'a [u8],
    /// Replies that come before the last one.
    pub parts: u32,
    /// To be answered until then.
    pub due: u64,
    /// Its way through a cluster.
    pub course: Course,
}

/// A request that its node did not answer.
pub struct Stray<T> {
    /// The claim to its reply.
    pub ticket: T,
    /// Its bytes.
    pub request: Bytes,
    /// Replies before the last one.
    pub parts: u32,
    /// When its time runs out.
    pub due: u64,
    /// Its way so far.
    pub course: Course,
    /// Why it was not answered.
    pub why: Why,
}

impl Block<'_> {
    /// Its request, before it was sent anywhere.
    pub fn unsent<T>(&self, ticket: T, timeout: Duration) -> Stray<T> {
        let Block { requests, parts, due, course } = *self;
        let why = Why::Failed(Failure::Timeout(timeout));
        Stray { ticket, request: Bytes::copy_from_slice(requests), parts, due, course, why }
    }
}

/// Why a node did not answer a request.
#[derive(Debug, Clone)]
pub enum Why {
    /// Its own words, and what they mean. It was not executed.
    Redirected(Redirect, Bytes),
    /// It was surely not executed, or may be executed again.
    Failed(Failure),
}

/// Who sends requests on.
pub trait Onward<T> {
    /// Takes a request that was not answered. Strays come in the order they were sent in.
    fn onward(&self, stray: Stray<T>, now: u64);
    /// What [`super::Lane::watch`] waits for has come.
    fn passed(&self, now: u64);
}
