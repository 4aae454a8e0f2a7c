//! Connections to home that one client has for itself for a while: a transaction that watches keys, a command that
//! waits, one that must get through while a script holds the shared connections.
//!
//! A worker keeps idle connections in pools of its own, since a socket belongs to its runtime. How many are lent at
//! once is bounded for the whole process ([`Places`]), in the order of asking. What waits for data has places of its
//! own, so that those who wait never keep out those who would end the wait.

use std::cell::Cell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::Poll;
use std::time::Duration;

use bb8::{ManageConnection, Pool, PooledConnection, QueueStrategy};
use parking_lot::Mutex;
use redis_protocol::resp3::types::OwnedFrame;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::cluster::NodeId;
use super::connection::{Control, Dial, DialError, Stream};
use super::node::Node;
use crate::breaker::Unreachable;
use crate::metrics::Counters;
use crate::resp::Proto;

/// A connection that nobody has used for so long is closed.
const IDLE: Duration = Duration::from_secs(60);

/// What a client leases a connection for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To have state there, or to get through.
    State,
    /// To wait for data.
    Wait,
    /// To be told by home of what others change: two connections, for as long as the client wants to be told.
    Track,
}

/// How many connections may be lent at once, by the whole process.
#[derive(Debug)]
pub struct Places {
    state: (Arc<Semaphore>, usize),
    wait: (Arc<Semaphore>, usize),
    track: (Arc<Semaphore>, usize),
}

impl Places {
    /// `state` at once for [`Purpose::State`], `wait` for [`Purpose::Wait`], and twice that for [`Purpose::Track`].
    pub fn new(state: usize, wait: usize) -> Self {
        let places = |n: usize| (Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS))), n);
        Places { state: places(state), wait: places(wait), track: places(wait.saturating_mul(2)) }
    }

    fn of(&self, purpose: Purpose) -> &(Arc<Semaphore>, usize) {
        match purpose {
            Purpose::State => &self.state,
            Purpose::Wait => &self.wait,
            Purpose::Track => &self.track,
        }
    }
}

impl Places {
    /// One that is free, unless others wait for it.
    pub fn at_once(&self, purpose: Purpose) -> Option<OwnedSemaphorePermit> {
        self.of(purpose).0.clone().try_acquire_owned().ok()
    }
}

/// The place that a connection takes, and who has leased it may give up for a while.
#[derive(Clone)]
pub struct Place(Rc<Cell<Option<OwnedSemaphorePermit>>>);

impl Place {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        Place(Rc::new(Cell::new(Some(permit))))
    }

    /// Gives it up.
    pub fn release(&self) {
        self.0.take();
    }

    /// Takes another.
    pub fn renew(&self, permit: OwnedSemaphorePermit) {
        self.0.set(Some(permit));
    }
}

/// Gives a place up at the end of its connection.
struct Held(Place);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// The places at each node.
#[derive(Debug)]
pub struct AllPlaces {
    most: (usize, usize),
    nodes: Mutex<HashMap<NodeId, Arc<Places>>>,
}

impl AllPlaces {
    /// At each node so many as for [`Places::new`].
    pub fn new(state: usize, wait: usize) -> Self {
        AllPlaces { most: (state, wait), nodes: Mutex::default() }
    }

    /// Those at one node.
    pub fn at(&self, node: NodeId) -> Arc<Places> {
        let (state, wait) = self.most;
        self.nodes.lock().entry(node).or_insert_with(|| Arc::new(Places::new(state, wait))).clone()
    }
}

/// Why there is no connection for a client.
#[derive(Debug, Clone)]
pub enum NoLease {
    /// All places were taken, for so long.
    Taken { purpose: Purpose, places: usize, waited: Duration },
    /// Home cannot be reached.
    Unreachable(Unreachable),
    /// Home does not let the connection be what the client needs: its own words.
    Refused(String),
}

/// What others may know of a connection that is lent.
#[derive(Debug)]
pub struct Tag {
    /// Its CLIENT ID at home; 0: home did not say.
    pub id: i64,
    /// Where at home.
    pub node: NodeId,
    retired: AtomicBool,
}

impl Tag {
    /// Somebody is about to name the connection to home: it is not lent again, for it might be another client's
    /// by the time home hears of it.
    pub fn retire(&self) {
        self.retired.store(true, SeqCst);
    }

    /// Whether it was named.
    pub fn is_retired(&self) -> bool {
        self.retired.load(SeqCst)
    }
}

/// A worker's pools. Belongs to the runtime it is first used on.
pub struct Pools {
    number: NodeId,
    node: Arc<Node>,
    places: Arc<Places>,
    failures: Arc<Failures>,
    idle: Pool<Dialer>,
}

impl Pools {
    /// Without connections.
    pub fn new(number: NodeId, node: Arc<Node>, places: Arc<Places>, counters: Arc<Counters>) -> Self {
        let failures = Arc::new(Failures::default());
        let dialer = Dialer { node: node.clone(), failures: failures.clone(), counters };
        let idle = Pool::builder()
            // The places bound it.
            .max_size(u32::MAX)
            .min_idle(0)
            .max_lifetime(None)
            .idle_timeout(IDLE)
            .reaper_rate(IDLE / 2)
            .queue_strategy(QueueStrategy::Lifo)
            .test_on_check_out(true)
            // A dead home would otherwise be dialed again and again until the time is over.
            .retry_connection(false)
            .connection_timeout(node.dial.timeout.max(Duration::from_millis(1)))
            .build_unchecked(dialer);
        Pools { number, node, places, failures, idle }
    }

    /// Leases a connection that speaks `proto` and is in database `db` (None: in whichever).
    ///
    /// # Errors
    /// Home is away; it refuses; or all places were taken for as long as a request may take.
    pub async fn lease(&self, purpose: Purpose, proto: Proto, db: Option<u32>) -> Result<Lease, NoLease> {
        self.node.breaker.check().map_err(NoLease::Unreachable)?;
        let waited = self.node.request_timeout;
        let (free, places) = self.places.of(purpose);
        let place = match timeout(waited, free.clone().acquire_owned()).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) | Err(_) => return Err(NoLease::Taken { purpose, places: *places, waited }),
        };
        let mut line = self.line().await?;
        line.spoiled = true;
        match timeout(self.node.dial.timeout, line.become_fit(&self.node.dial, proto, db)).await {
            Ok(Ok(())) => line.spoiled = false,
            Ok(Err(e)) => return Err(NoLease::Refused(e.to_string())),
            Err(_) => return Err(NoLease::Refused(DialError::Timeout(self.node.dial.timeout).to_string())),
        }
        let tag = Arc::new(Tag { id: line.id, node: self.number, retired: AtomicBool::new(false) });
        Ok(Lease { line, tag, place: Held(Place::new(place)) })
    }

    /// An idle connection, or a new one. That none can be made is said at once; bb8 would let its caller wait for all
    /// of the time-out.
    async fn line(&self) -> Result<PooledConnection<'static, Dialer>, NoLease> {
        let got = tokio::select! {
            biased;
            () = self.failures.told.notified() => None,
            got = self.idle.get_owned() => got.ok(),
        };
        got.ok_or_else(|| {
            let here = || Unreachable { reason: self.failures.last.lock().clone(), retry_in: Duration::ZERO };
            NoLease::Unreachable(self.node.breaker.check().err().unwrap_or_else(here))
        })
    }
}

/// A connection that is lent. Dropped it goes back to its pool, or is closed if it was not proven clean.
pub struct Lease {
    line: PooledConnection<'static, Dialer>,
    tag: Arc<Tag>,
    // Dropped last: who is given the place is to find the connection in the pool.
    place: Held,
}

impl Lease {
    /// What others may know of it.
    pub fn tag(&self) -> Arc<Tag> {
        self.tag.clone()
    }

    /// The place that it takes.
    pub fn place(&self) -> Place {
        self.place.0.clone()
    }

    /// The connection, which counts as spoiled from here on.
    pub(super) fn stream(&mut self) -> &mut Box<dyn Stream> {
        self.line.spoiled = true;
        self.line.control.stream()
    }

    /// Everything sent on it was answered, and it has no state but its protocol and its database.
    pub(super) fn prove_clean(&mut self) {
        self.line.spoiled = false;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.line.spoiled |= self.tag.is_retired();
    }
}

/// A pooled connection.
struct Line {
    control: Control,
    id: i64,
    proto: Proto,
    db: u32,
    /// Not to be lent again: the I/O failed, replies are outstanding, or a client left state in it.
    spoiled: bool,
}

impl Line {
    async fn become_fit(&mut self, dial: &Dial, proto: Proto, db: Option<u32>) -> Result<(), DialError> {
        // From within a script it answers neither this nor that, and is asked again when it is lent again.
        if self.id == 0
            && let Err(e) = dial.confirm(&mut self.control).await
            && e.busy().is_none()
        {
            return Err(e);
        }
        if self.id == 0
            && let OwnedFrame::Number { data, .. } = self.control.ask(&[b"CLIENT", b"ID"]).await?
        {
            self.id = data;
        }
        if self.proto != proto {
            let version: &[u8] = if proto == Proto::Resp3 { b"3" } else { b"2" };
            self.control.demand(&[b"HELLO", version]).await?;
            self.proto = proto;
        }
        if let Some(db) = db.filter(|db| *db != self.db) {
            self.control.demand(&[b"SELECT", db.to_string().as_bytes()]).await?;
            self.db = db;
        }
        Ok(())
    }
}

/// Connections that could not be made.
#[derive(Default)]
struct Failures {
    told: Notify,
    last: Mutex<String>,
}

/// Makes the connections of the pool.
struct Dialer {
    node: Arc<Node>,
    failures: Arc<Failures>,
    counters: Arc<Counters>,
}

impl ManageConnection for Dialer {
    type Connection = Line;
    type Error = DialError;

    async fn connect(&self) -> Result<Line, DialError> {
        let (proto, db) = (Proto::Resp2, 0);
        match self.node.dial.open_unconfirmed(proto, "strata-lease").await {
            Ok(stream) => {
                self.node.up();
                self.counters.home_connects.bump();
                Ok(Line { control: Control::new(stream), id: 0, proto, db, spoiled: false })
            }
            Err(e) => {
                self.node.failed(&e);
                *self.failures.last.lock() = e.to_string();
                self.failures.told.notify_waiters();
                Err(e)
            }
        }
    }

    /// A connection that rested has nothing to read; if it has, it ended.
    async fn is_valid(&self, line: &mut Line) -> Result<(), DialError> {
        let mut byte = [0];
        let quiet = poll_fn(|cx| {
            let mut buffer = ReadBuf::new(&mut byte);
            Poll::Ready(Pin::new(line.control.stream()).poll_read(cx, &mut buffer).is_pending())
        });
        if quiet.await { Ok(()) } else { Err(DialError::Io("it closed the connection".to_owned())) }
    }

    fn has_broken(&self, line: &mut Line) -> bool {
        line.spoiled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_for_data_takes_no_place_of_others() {
        let places = Places::new(1, 2);
        let waiting = places.of(Purpose::Wait).0.clone().try_acquire_many_owned(2).expect("two places");
        assert_eq!(places.of(Purpose::Wait).0.available_permits(), 0);
        assert_eq!(places.of(Purpose::State).0.available_permits(), 1);
        drop(waiting);
        assert_eq!(places.of(Purpose::Wait).0.available_permits(), 2);
    }
}
