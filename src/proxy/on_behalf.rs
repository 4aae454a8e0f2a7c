//! Those who take replies in the place of a client.

use std::rc::Rc;

use bytes::Bytes;

use super::Client;
use crate::backend::cluster::Redirect;
use crate::backend::lane::Reply;
use crate::tier::listeners::Notice;

/// Takes the replies to requests that together are one of a client's, to whom everything else is passed on.
pub(super) trait OnBehalf {
    /// The client, and where its reply goes.
    fn whole(&self) -> (&Rc<dyn Client>, u64);
    /// The reply to one of the requests.
    fn replied_to(&self, part: u64, reply: Reply<'_>, now: u64);
}

impl<T: OnBehalf> Client for T {
    fn deliver(&self, part: u64, reply: Reply<'_>, now: u64) {
        self.replied_to(part, reply, now);
    }

    fn unsettle(&self, _: u64, keys: Option<&[u64]>) {
        let (client, slot) = self.whole();
        client.unsettle(slot, keys);
    }

    fn push(&self, bytes: &Bytes) {
        self.whole().0.push(bytes);
    }

    fn notice(&self, notice: &Notice) {
        self.whole().0.notice(notice);
    }

    fn redirected(&self, keys: &Bytes) {
        self.whole().0.redirected(keys);
    }

    fn subscribed(&self, counts: [usize; 3]) {
        self.whole().0.subscribed(counts);
    }

    fn goes_elsewhere(&self, _: u64, _: &Redirect) -> bool {
        // Its requests go by lanes, which follow by themselves.
        false
    }

    fn is_last(&self, _: u64) -> bool {
        let (client, slot) = self.whole();
        client.is_last(slot)
    }

    fn close(&self) {
        self.whole().0.close();
    }

    fn wake(&self) {
        self.whole().0.wake();
    }

    fn look_up(&self, begins: bool) {
        self.whole().0.look_up(begins);
    }

    fn seen(&self) -> u64 {
        self.whole().0.seen()
    }

    fn tracks(&self) -> bool {
        self.whole().0.tracks()
    }
}
