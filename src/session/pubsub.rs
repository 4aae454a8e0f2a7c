//! Subscriptions as a client sees them: the commands, RESP2's restricted mode, and how far a subscriber may fall behind.
//!
//! Who hears what is kept by the proxy ([`crate::proxy::Proxy::subscribe`]).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Context as Cx;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Sleep, sleep};

use super::replies::Shape;
use super::{Core, Session};
use crate::backend::lane::Reply;
use crate::backend::subscriptions::Space;
use crate::clock;
use crate::command::{Command, id};
use crate::proxy::{Client, Order};
use crate::resp::{Request, encode};

/// Redis has an exception for the others.
const NO_SHARDS_IN_MULTI: &str = "ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client";

/// Since when a subscriber leaves more unread than it may for long.
pub(super) type Behind = Option<Pin<Box<Sleep>>>;

impl Session {
    /// SUBSCRIBE and its kin; the confirmations go to `slot`, without waiting for home if `at_once`.
    pub(super) fn run_subscription(&self, request: &Request<'_>, slot: u64, at_once: bool) {
        let proxy = &self.context.proxy;
        let names = || request.iter().skip(1);
        let order =
            Order { session: self.info.id, client: &self.client, proto: self.lane.proto, slot, at_once };
        for space in Space::ALL {
            let is = |word: &str| request.name().eq_ignore_ascii_case(word.as_bytes());
            if is(space.subscribe()) {
                let refusal = match space {
                    Space::Shards if at_once => Some(NO_SHARDS_IN_MULTI),
                    _ => None,
                };
                if let Some(text) = refusal {
                    proxy.counters.errors.add(1);
                    let mut error = Vec::new();
                    encode::error(&mut error, text);
                    return self.core.deliver(slot, Reply::Owned(error.into()), clock::now());
                }
                return proxy.subscribe(&order, space, names());
            }
            if is(space.unsubscribe()) {
                return proxy.unsubscribe(&order, space, names());
            }
        }
    }

    /// The same at its place in EXEC's reply, which is being written: its confirmations stand in it, and the client's
    /// next commands wait for home.
    pub(super) fn subscribe_in_transaction(&mut self, request: &Request<'_>) {
        let slot = self.core.replies.borrow_mut().open_always(Shape::Plain);
        self.run_subscription(request, slot, true);
        let slot = self.core.replies.borrow_mut().open_always(Shape::Silent);
        self.context.proxy.after_messages(self.client.clone(), slot, Bytes::new(), None);
        self.turning = true;
    }

    /// Ends all subscriptions and says RESET then. False: there are none.
    pub(super) fn reset_subscriptions(&mut self) -> bool {
        let proxy = self.context.proxy.clone();
        let waits = proxy.reset(self.info.id, || self.core.replies.borrow_mut().open_always(Shape::Plain));
        self.turning |= waits;
        waits
    }

    /// Whether a subscriber may do this. If it speaks RESP2, replies could be taken for messages.
    pub(super) fn may_subscriber_run(&mut self, command: &'static Command) -> bool {
        let allowed = command.subscribes() || [id::PING, id::QUIT, id::RESET].contains(&command.id);
        if allowed || !self.core.restricted.get() {
            return true;
        }
        let name = command.name;
        let code = command.refusal();
        let text = format!(
            "{code} Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
        );
        self.reject(Some(command), text);
        false
    }

    /// PING in that mode: its reply has the form of a message.
    pub(super) fn ping_subscriber(&self, request: &Request<'_>) {
        let mut replies = self.core.replies.borrow_mut();
        let out = replies.now();
        encode::array(out, 2);
        encode::bulk(out, b"pong");
        encode::bulk(out, request.arg(1).unwrap_or_default());
    }

    /// Whether the client leaves too much unread, or has for too long. `took`: it has just taken some.
    ///
    /// # Errors
    /// The session is to end.
    pub(super) fn check_backlog(&mut self, cx: &mut Cx<'_>, backlog: usize, took: bool) -> io::Result<()> {
        let subscribed = self.info.is_subscribed();
        let text = if backlog > self.core.most_unread() || self.core.overrun.get() {
            match subscribed {
                true => "the subscriber does not read its messages (server.pubsub_buffer_limit)",
                false => "the client does not read its replies (server.output_buffer_limit)",
            }
        } else {
            // A client that is slow gets all that it asks for; a subscriber has no say in how much that is.
            if took && !subscribed {
                self.behind = None;
            }
            let patience = self.patience(cx, backlog);
            let over = patience.is_some_and(|patience| {
                let sleep = self.behind.get_or_insert_with(|| Box::pin(sleep(patience)));
                sleep.as_mut().poll(cx).is_ready()
            });
            if patience.is_none() {
                self.behind = None;
            }
            self.hurried = over && !subscribed;
            if !over || self.hurried {
                return Ok(());
            }
            "the subscriber reads its messages too slowly (server.pubsub_buffer_soft_limit)"
        };
        tracing::warn!(client = self.info.id, backlog, "{text}");
        Err(io::Error::other(text))
    }

    /// How long what is unread may stay so. None: for ever.
    fn patience(&self, cx: &mut Cx<'_>, backlog: usize) -> Option<Duration> {
        let server = &self.context.config.server;
        match self.info.is_subscribed() {
            true => (backlog > server.pubsub_buffer_soft_limit).then_some(server.pubsub_buffer_soft_time),
            false => (self.is_behind() && self.asks_for_more(cx)).then_some(server.output_buffer_patience),
        }
    }
}

impl Core {
    /// Bytes that the client may leave unread.
    fn most_unread(&self) -> usize {
        let server = &self.context.config.server;
        if self.info.is_subscribed() { server.pubsub_buffer_limit } else { server.output_buffer_limit }
    }

    /// Whether there is still room for messages. If not, the session ends as soon as it runs.
    pub(super) fn has_room(&self, backlog: usize) -> bool {
        if backlog > self.most_unread() {
            self.overrun.set(true);
        }
        !self.overrun.get()
    }

    pub(super) fn note_subscriptions(&self, counts: [usize; 3]) {
        for (space, count) in self.info.subscriptions.iter().zip(counts) {
            space.store(u32::try_from(count).unwrap_or(u32::MAX), Relaxed);
        }
        self.restrict();
    }

    /// The protocol or the subscriptions have changed.
    pub(super) fn restrict(&self) {
        self.restricted.set(self.info.proto.load(Relaxed) == 2 && self.info.is_subscribed());
    }
}
