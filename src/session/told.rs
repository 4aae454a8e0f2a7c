//! What a session is told while it waits: replies, pushes, and what changed around it.

use std::task::Context as Cx;

use bytes::Bytes;

use super::replies::Shape;
use super::{Core, local};
use crate::backend::cluster::Redirect;
use crate::backend::lane::Reply;
use crate::proxy::Client;
use crate::tier::listeners::Notice;

impl Core {
    pub(super) fn listen(&self, cx: &Cx<'_>) {
        self.woken.set(false);
        let mut waker = self.waker.borrow_mut();
        match waker.as_mut() {
            Some(w) => w.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
    }
}

impl Client for Core {
    fn deliver(&self, slot: u64, reply: Reply<'_>, now: u64) {
        self.seen.set(now);
        self.unsettled.borrow_mut().settle(slot);
        self.end_timing(slot, now);
        let mut replies = self.replies.borrow_mut();
        let shape = replies.shape(slot);
        if let Some(Shape::Info { with_strata }) = shape {
            let composed = local::compose_info(&self.context, reply.bytes(), with_strata);
            replies.fill(slot, Reply::Owned(composed.into()));
        } else if shape == Some(Shape::Transaction) {
            replies.fill(slot, Reply::Owned(Bytes::new()));
            *self.executed.borrow_mut() = Some(reply.into_bytes());
        } else {
            replies.fill(slot, reply);
        }
        drop(replies);
        self.wake();
    }

    fn unsettle(&self, slot: u64, keys: Option<&[u64]>) {
        self.unsettled.borrow_mut().add(slot, keys);
    }

    fn push(&self, bytes: &Bytes) {
        let mut replies = self.replies.borrow_mut();
        if self.has_room(replies.backlog()) {
            replies.push(bytes);
        }
        drop(replies);
        self.wake();
    }

    fn notice(&self, notice: &Notice) {
        self.tell_tracker(notice);
    }

    fn redirected(&self, keys: &Bytes) {
        self.tell_redirected(keys);
    }

    fn subscribed(&self, counts: [usize; 3]) {
        self.note_subscriptions(counts);
    }

    fn is_last(&self, slot: u64) -> bool {
        self.replies.borrow().next_slot() == slot + 1
    }

    fn goes_elsewhere(&self, slot: u64, redirect: &Redirect) -> bool {
        self.wake();
        self.elsewhere.borrow_mut().take(slot, redirect)
    }

    fn close(&self) {
        self.closing.set(true);
        self.wake();
    }

    fn seen(&self) -> u64 {
        self.seen.get()
    }

    fn tracks(&self) -> bool {
        self.tracking.get().is_some()
    }

    fn look_up(&self, begins: bool) {
        let looking = self.looking.get();
        self.looking.set(if begins { looking + 1 } else { looking.saturating_sub(1) });
        if !begins && looking <= 1 {
            self.wake();
        }
    }

    fn wake(&self) {
        if !self.woken.replace(true)
            && let Some(waker) = self.waker.borrow().as_ref()
        {
            waker.wake_by_ref();
        }
    }
}
