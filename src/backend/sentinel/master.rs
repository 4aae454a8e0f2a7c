//! Where the master is, and connections that end when it is there no longer.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use parking_lot::RwLock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, watch};

use crate::backend::connection::{Address, DialError, Stream};

/// A connection to a master that is one no longer ends so.
const OVER: &str = "another server is master now";

/// The master of a group, wherever it is at the moment.
pub struct Master {
    name: String,
    now: RwLock<Now>,
    doubted: Notify,
}

struct Now {
    place: Option<Place>,
    /// Why the place is not known.
    why: String,
}

struct Place {
    address: Address,
    /// Dropped when it ends.
    tenure: watch::Sender<()>,
}

impl Master {
    /// One that sentinels have not named yet.
    pub fn new(name: &str) -> Self {
        let now = Now { place: None, why: "no sentinel has answered yet".to_owned() };
        Master { name: name.to_owned(), now: RwLock::new(now), doubted: Notify::new() }
    }

    /// The name by which sentinels know it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    pub(in crate::backend) fn place(&self) -> Result<(Address, Tenure), DialError> {
        let now = self.now.read();
        match &now.place {
            Some(Place { address, tenure }) => Ok((address.clone(), Tenure(tenure.subscribe()))),
            None => Err(DialError::Sentinel(format!("its place is not known: {}", now.why))),
        }
    }

    /// Whether it has been named.
    pub(super) fn is_known(&self) -> bool {
        self.now.read().place.is_some()
    }

    /// It is there from now on. Connections to where it was end before anybody can dial.
    pub(super) fn move_to(&self, address: Address) {
        let mut now = self.now.write();
        now.place = None;
        now.place = Some(Place { address, tenure: watch::channel(()).0 });
    }

    /// It has never been named, for this reason.
    pub(super) fn explain(&self, why: &str) {
        let mut now = self.now.write();
        why.clone_into(&mut now.why);
    }

    /// The server that was named says that it is none: all connections to it end, and sentinels are asked at once.
    pub(in crate::backend) fn doubt(&self) {
        if let Some(place) = &mut self.now.write().place {
            place.tenure = watch::channel(()).0;
        }
        self.doubted.notify_waiters();
    }

    /// Waits until somebody doubts that it is there.
    pub(super) async fn doubted(&self) {
        self.doubted.notified().await;
    }
}

impl fmt::Display for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.now.read().place {
            Some(place) => write!(f, "{} (master {})", place.address, self.name),
            None => write!(f, "master {}", self.name),
        }
    }
}

/// The time for which a server is master.
pub(in crate::backend) struct Tenure(watch::Receiver<()>);

impl Tenure {
    /// Waits for its end.
    pub(in crate::backend) async fn ended(&mut self) {
        while self.0.changed().await.is_ok() {}
    }

    /// A connection that ends with it.
    pub(in crate::backend) fn tie(self, stream: Box<dyn Stream>) -> Tied {
        let (over, mut waiting) = (self.0.clone(), self);
        Tied { stream, over, end: Box::pin(async move { waiting.ended().await }) }
    }
}

/// A connection that ends when its server is master no longer: nothing more is read from it, and nothing written.
pub(in crate::backend) struct Tied {
    stream: Box<dyn Stream>,
    over: watch::Receiver<()>,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Tied {
    fn check(&self) -> io::Result<()> {
        match self.over.has_changed() {
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, OVER)),
        }
    }
}

impl AsyncRead for Tied {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(read) => Poll::Ready(read),
            // Only who waits has to be woken.
            Poll::Pending => self.end.as_mut().poll(cx).map(|()| self.check()),
        }
    }
}

impl AsyncWrite for Tied {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
