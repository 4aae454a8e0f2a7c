//! What comes to a worker by its inbox.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::backend::subscriptions::{Batch, Space};
use crate::tier::flight::Waiter;
use crate::tier::listeners::Notice;

/// What a worker is told from outside.
pub enum Message {
    /// A client has connected, and takes one of the places there are.
    Accept(std::net::TcpStream, OwnedSemaphorePermit),
    /// A reply for clients of this worker who joined another's flight.
    Answer(Vec<Waiter>, Bytes),
    /// What sessions of this worker that listen are to be told, in this order.
    Notices(Vec<(u64, Notice)>),
    /// What this session is to be told without having asked: whole elements in its protocol.
    Push(u64, Bytes),
    /// What this session is to be told for one that redirects its notices here: an encoded array of keys, or null.
    Redirected(u64, Bytes),
    /// Whatever held sessions back may be over.
    Wake,
    /// Messages for clients of this worker, and answers of home about their subscriptions.
    Heard(Batch),
    /// A user has lost channels: who hears one of them is to be cut.
    Revoked(Arc<Revoked>),
    /// End this session after what it has been answered.
    Close(u64),
    /// Accept no more, end what is idle, finish what is in flight.
    Drain,
}

/// Whether a topic may be heard.
pub type May = dyn Fn(Space, &[u8]) -> bool + Send + Sync;

/// What channels a user has left.
pub struct Revoked {
    /// The user's number.
    pub user: u64,
    /// Who took the others away: it is answered before it is cut.
    pub by: u64,
    /// Whether a topic is left.
    pub may: Box<May>,
    /// Dropped by every worker that has cut its clients.
    pub done: tokio::sync::mpsc::Sender<()>,
}

/// What has come to a worker and was not looked at yet.
pub struct Inbox {
    door: RefCell<UnboundedReceiver<Message>>,
    /// What came before anything that is still at the door, and is no notice.
    aside: RefCell<VecDeque<Message>>,
}

impl Inbox {
    /// Messages come by this door.
    pub fn new(door: UnboundedReceiver<Message>) -> Self {
        Inbox { door: RefCell::new(door), aside: RefCell::default() }
    }

    /// Waits for the next message; None: nobody can send any more.
    pub async fn next(&self) -> Option<Message> {
        if let Some(message) = self.aside.borrow_mut().pop_front() {
            return Some(message);
        }
        poll_fn(|cx| self.door.borrow_mut().poll_recv(cx)).await
    }

    /// The next message, if it is there.
    pub fn take(&self) -> Option<Message> {
        let first = self.aside.borrow_mut().pop_front();
        first.or_else(|| self.door.borrow_mut().try_recv().ok())
    }

    /// The next notices, out of turn.
    pub fn take_notices(&self) -> Option<Vec<(u64, Notice)>> {
        while let Ok(message) = self.door.borrow_mut().try_recv() {
            match message {
                Message::Notices(notices) => return Some(notices),
                other => self.aside.borrow_mut().push_back(other),
            }
        }
        None
    }
}
