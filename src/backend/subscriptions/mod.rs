//! What the process is subscribed to at home, for all of its clients together: one connection, and one subscription
//! of a topic however many clients want it.
//!
//! [`Subscriptions`] is the register, shared by the workers; [`Link`] is the task with the connection. Home answers
//! on it in the order asked, and messages come in between, each at its own moment. So everything that has to know
//! "what was published before now has arrived" is one question of a *number*: it holds once home has answered the
//! question of that number ([`Event::Reached`]). A subscription begins, and one ends, at such a moment; a PING is
//! asked where nothing else is. Workers hear events in the order of the connection's stream.
//!
//! Any node of a cluster passes on what is published at another, but for what nodes tell of their own keys, and for shard
//! channels, which belong to the node of their slot. For these there are *branches*, connections to the nodes concerned;
//! what is asked of several is answered when all of them have.
//!
//! A topic stays in the register for as long as home may still send its messages: clients that gave it up hear them
//! until home has confirmed.

mod answers;
mod asked;
mod branch;
mod branches;
mod link;
mod register;
mod runs;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;

pub use link::Link;
pub use register::{Audience, Subscriptions};

use crate::resp::encode;

/// Bytes of messages that may be on their way to the workers; above it home is not read, and keeps them.
const MOST_QUEUED: usize = 16 << 20;

/// A namespace of topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// SUBSCRIBE
    Channels,
    /// PSUBSCRIBE
    Patterns,
    /// SSUBSCRIBE
    Shards,
}

impl Space {
    /// All of them; their places in it are their numbers.
    pub const ALL: [Space; 3] = [Space::Channels, Space::Patterns, Space::Shards];

    /// The command that begins a subscription; its confirmation bears the same name.
    pub fn subscribe(self) -> &'static str {
        ["subscribe", "psubscribe", "ssubscribe"][self as usize]
    }

    /// The command that ends one.
    pub fn unsubscribe(self) -> &'static str {
        ["unsubscribe", "punsubscribe", "sunsubscribe"][self as usize]
    }
}

/// What happened on the connection.
pub enum Event {
    /// Messages of one topic, whole and in order.
    Message {
        /// Where the topic is.
        space: Space,
        /// Channel or pattern.
        name: Bytes,
        /// For clients that speak RESP2.
        resp2: Bytes,
        /// For clients that speak RESP3.
        resp3: Bytes,
    },
    /// Home does not let strata subscribe.
    Refused {
        /// Where the topic is.
        space: Space,
        /// Channel or pattern.
        name: Bytes,
        /// Home's words, code first.
        error: String,
    },
    /// Home has answered everything that was asked up to this number.
    Reached(u64),
    /// The connection was lost; it is dialed again, and what was asked is asked again.
    Lost,
    /// It cannot be had.
    Failed {
        /// Why.
        reason: String,
        /// Until the next attempt.
        retry_in: Duration,
    },
}

/// Events for one worker, in order.
pub struct Batch {
    /// See [`Event`].
    pub events: Vec<Event>,
    weight: usize,
    register: Arc<Subscriptions>,
}

impl Drop for Batch {
    fn drop(&mut self) {
        let before = self.register.queued.fetch_sub(self.weight, Relaxed);
        if before > MOST_QUEUED && before - self.weight <= MOST_QUEUED {
            self.register.relieved.notify_one();
        }
    }
}

/// How events reach the workers.
pub trait Post: Send + Sync + 'static {
    /// Gives a worker its events. Calls come from one task.
    fn post(&self, worker: u16, batch: Batch);
}

/// What home is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Subscribe(Space, Bytes),
    Unsubscribe(Space, Bytes),
    Ping,
    /// Of the node that this shard channel belongs to.
    PingOf(Bytes),
}

impl What {
    /// Whether any node of a cluster can answer it.
    fn is_for_any_node(&self) -> bool {
        !matches!(self, What::Subscribe(Space::Shards, _) | What::Unsubscribe(Space::Shards, _))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            What::Subscribe(space, name) => encode::command(out, &[space.subscribe().as_bytes(), name]),
            What::Unsubscribe(space, name) => encode::command(out, &[space.unsubscribe().as_bytes(), name]),
            What::Ping | What::PingOf(_) => encode::command(out, &[b"ping"]),
        }
    }
}

#[derive(Debug)]
struct Question {
    /// 0: nobody waits for it.
    number: u64,
    what: What,
}
