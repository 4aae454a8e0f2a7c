//! Who takes a reply where no client does.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Client;
use crate::backend::cluster::Redirect;
use crate::backend::lane::Reply;
use crate::clock;
use crate::tier::listeners::Notice;

/// Takes a reply to where it is looked at before a client gets it, or nowhere.
pub(super) struct Courier(RefCell<Option<oneshot::Sender<Bytes>>>);

impl Courier {
    /// Brings one reply.
    pub(super) fn to(sender: oneshot::Sender<Bytes>) -> Rc<dyn Client> {
        Rc::new(Courier(RefCell::new(Some(sender))))
    }

    /// What is read is read for its copy.
    pub(super) fn nowhere() -> Rc<dyn Client> {
        Rc::new(Courier(RefCell::new(None)))
    }
}

impl Client for Courier {
    fn deliver(&self, _slot: u64, reply: Reply<'_>, _now: u64) {
        if let Some(sender) = self.0.borrow_mut().take() {
            // Who no longer waits wants no reply.
            let _ = sender.send(reply.into_bytes());
        }
    }

    // Who is behind it asks nothing until it has its reply.
    fn unsettle(&self, _slot: u64, _keys: Option<&[u64]>) {}
    fn push(&self, _bytes: &Bytes) {}
    fn notice(&self, _notice: &Notice) {}
    fn redirected(&self, _keys: &Bytes) {}
    fn subscribed(&self, _counts: [usize; 3]) {}
    fn goes_elsewhere(&self, _slot: u64, _redirect: &Redirect) -> bool {
        false
    }
    fn is_last(&self, _slot: u64) -> bool {
        true
    }
    fn close(&self) {}
    fn wake(&self) {}
    fn look_up(&self, _begins: bool) {}
    // Nobody keeps what it brings.
    fn tracks(&self) -> bool {
        false
    }
    // Whatever there was.
    fn seen(&self) -> u64 {
        clock::now()
    }
}
