//! Whether a session takes another request: what is under way may have to be over first, or be taken by the client.

use std::task::Context as Cx;

use super::Session;

/// Replies outstanding at which a session stops taking requests until some have come.
const MAX_WAITING: usize = 8192;

impl Session {
    /// Whether commands have to wait for replies: for home's, or for the client to read what it was sent.
    pub(super) fn must_wait(&mut self) -> bool {
        let waiting = self.core.replies.borrow().waiting();
        self.turning &= waiting > 0;
        self.on_scripts &= waiting > 0;
        let held_up = self.turning || self.held_back || self.core.busy.get();
        let held_up = held_up || self.parked.is_some() || self.replay.is_some();
        waiting >= MAX_WAITING || held_up || self.is_behind() && !self.may_overdraw(waiting)
    }

    /// Whether the way home is so full that the session is to wait until it is woken.
    pub(super) fn is_congested(&self, cx: &Cx<'_>) -> bool {
        let Some(lane) = self.own().map(|own| own.lane()) else {
            return self.context.proxy.is_congested(self.lane, cx.waker());
        };
        let congested = lane.congested();
        if congested {
            lane.on_drain(cx.waker().clone());
        }
        congested
    }

    /// Whether the client has sent what is not looked at yet.
    pub(super) fn asks_for_more(&self, cx: &mut Cx<'_>) -> bool {
        !self.input.is_empty() || self.stream.poll_read_ready(cx).is_ready()
    }

    /// Whether a client is behind that has had its time to read: as in Redis it goes on until it is over its limit.
    /// One command is run after the other then, so that it is not by more than a reply.
    fn may_overdraw(&self, waiting: usize) -> bool {
        let limit = self.context.config.server.output_buffer_limit;
        self.hurried && waiting == 0 && self.core.replies.borrow().backlog() <= limit
    }

    /// Whether so much waits for the client to read it that nothing more is done for it. Half of what it may
    /// leave unread is kept for replies that are on their way.
    pub(super) fn is_behind(&self) -> bool {
        self.core.replies.borrow().backlog() > self.context.config.server.output_buffer_limit / 2
    }
}
