//! The guard: the one connection of the process whose pushes announce every change at home.
//!
//! It is a RESP3 connection with `CLIENT TRACKING ON BCAST`: home names every key that anybody changes, whoever
//! read it and on which connection. So data lanes have no state at home, RESP2 and RESP3 lanes are alike, and
//! the loss of a lane loses no invalidation.
//!
//! What the rest builds on (redis-server 7.0, `beforeSleep`): within one turn of its event loop home first
//! appends the turn's invalidations to the guard's output and only then writes replies. Hence: when a reply was
//! read from any connection and a PING is sent on the guard *afterwards*, all invalidations of changes that the
//! reply may show arrive before the PONG. A *confirmation* is such a PING. Copies become visible only by a
//! confirmation, so that what L1 holds is at all times the state of home at the guard's position in its stream.
//!
//! The *lease* counts from the sending of the last answered probe: a change acknowledged before that moment
//! has been announced before the answer. -BUSY is no such answer: home then answers from within a script, before
//! the turn's invalidations are written.
//!
//! While nobody reads what home announces, the guard rests: tracking is off and nothing is kept ([`super::demand`]).
//!
//! The probe is `INFO commandstats`, since SWAPDB announces nothing: its call count moving (or being reset)
//! drops all copies. In a cluster, which has no SWAPDB, it is CLUSTER INFO and CLUSTER SLOTS: a node that was replaced, or
//! cut off from the others, no longer vouches for anything, and one that gave slots away does not for these.

mod question;
mod sink;
mod tenure;

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::cluster::{Cluster, NodeId};
use super::confirmations::{Confirmations, Guarding};
use super::connection::{Control, DialError, Stream};
use super::demand::{Demand, Reads};
use super::facts::Facts;
use super::node::Node;
use super::swaps::Swaps;
use crate::clock;
use crate::metrics::Counters;
use crate::resp::{Proto, ReplyScanner, Scan, encode, reply};

use question::{Asked, Question};
pub use sink::Sink;

/// Confirmations that nobody waits for are asked at most this often, and pushes read at most this often while they
/// keep coming: each wake-up costs more than what it reads. Copies may be that much older.
const CALM: Duration = Duration::from_millis(1);

/// Whether announcements are worth their cost is looked at this often.
const LOOK: Duration = Duration::from_millis(250);

/// What the guard needs.
pub struct Guard<S: Sink> {
    /// The node whose changes are announced.
    pub node: Arc<Node>,
    /// Who is told.
    pub sink: Arc<S>,
    /// Who asks.
    pub confirmations: Arc<Confirmations>,
    /// What is learned at connecting.
    pub facts: Arc<Facts>,
    /// Counted here.
    pub counters: Arc<Counters>,
    /// How long a copy may be served after the sending of the last answered probe.
    pub lease: Duration,
    /// Which node of a cluster it is; None: home is no cluster.
    pub ward: Option<(Arc<Cluster>, NodeId)>,
    /// The cacheable reads of this process so far. None: the guard never rests.
    pub reads: Option<Box<dyn Fn() -> Reads + Send>>,
}

/// One connection's life.
struct Link<'a, S: Sink> {
    guard: &'a Guard<S>,
    stream: Box<dyn Stream>,
    buffer: BytesMut,
    scanner: ReplyScanner,
    questions: VecDeque<Question>,
    round: u64,
    /// Requests for confirmation that have been sent.
    covered_up_to: u64,
    last_asked: Instant,
    last_read: Instant,
    next_probe: Instant,
    probe_by_info: bool,
    swaps: Swaps,
    /// The node says that its cluster is well.
    well: bool,
    /// Tracking is on.
    awake: bool,
    demand: Demand,
    next_look: Instant,
    /// Keys announced since the last look.
    announced: Cell<u64>,
}

impl<S: Sink> Guard<S> {
    /// Keeps a guard connection for as long as the process lives.
    pub async fn run(self) {
        loop {
            match self.connect().await {
                Err(e) => self.node.failed(&e),
                Ok(link) => {
                    self.node.up();
                    let reason = link.live().await;
                    self.sink.lost();
                    self.confirmations.set_guarding(Guarding::Down);
                    tracing::warn!(node = %self.node.dial.address, reason, "guard connection lost; copies are not served");
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.node.breaker.allowed().await;
        }
    }

    async fn connect(&self) -> Result<Link<'_, S>, DialError> {
        let stream = self.node.dial.open(Proto::Resp3, 0, "strata-guard").await?;
        let mut control = Control::new(stream);
        timeout(self.node.dial.timeout, self.facts.learn(&mut control))
            .await
            .map_err(|_| DialError::Timeout(self.node.dial.timeout))??;
        let now = Instant::now();
        self.counters.home_connects.add(1);
        let mut link = Link {
            guard: self,
            stream: control.into_stream(),
            buffer: BytesMut::new(),
            scanner: ReplyScanner::new(),
            questions: VecDeque::new(),
            round: 0,
            covered_up_to: 0,
            last_asked: now,
            last_read: now,
            next_probe: now + Duration::from_secs(3600),
            probe_by_info: true,
            swaps: Swaps::default(),
            well: false,
            awake: false,
            demand: Demand::default(),
            next_look: now + LOOK,
            announced: Cell::new(0),
        };
        link.wake().await.map_err(DialError::Io)?;
        Ok(link)
    }
}

impl<S: Sink> Link<'_, S> {
    /// Serves until the connection ends; returns why.
    async fn live(mut self) -> String {
        loop {
            let patience = self.patience();
            let resting = self.last_read + CALM;
            let rested = self.urgent() || resting <= Instant::now();
            let step = tokio::select! {
                () = sleep_until(resting), if !rested => Ok(()),
                read = self.stream.read_buf(&mut self.buffer), if rested => match read {
                    Ok(0) => Err("home closed the connection".to_owned()),
                    Ok(_) => {
                        // A full buffer says that more is waiting: resting now would let it pile up at home.
                        if self.buffer.len() < self.buffer.capacity() {
                            self.last_read = Instant::now();
                        }
                        self.digest().await
                    }
                    Err(e) => Err(e.to_string()),
                },
                () = self.guard.confirmations.asked() => self.confirm_wanted().await,
                () = sleep_until(self.next_probe.min(self.next_look)) => self.look_around().await,
                () = sleep_until(self.last_asked + CALM), if self.wanting() => self.confirm_wanted().await,
                () = sleep_until(patience) => Err("no answer to probes".to_owned()),
            };
            if let Err(reason) = step {
                return reason;
            }
        }
    }

    /// When the oldest open question has waited too long.
    fn patience(&self) -> Instant {
        let bound = (self.guard.lease * 3).max(Duration::from_secs(3));
        let waited = self.questions.front().map_or(0, |q| clock::now().saturating_sub(q.sent));
        Instant::now() + bound.saturating_sub(Duration::from_nanos(waited))
    }

    fn wanting(&self) -> bool {
        self.awake && self.guard.confirmations.wanted() > self.covered_up_to && self.questions.is_empty()
    }

    /// Whether somebody waits for a confirmation.
    fn urgent(&self) -> bool {
        self.guard.confirmations.urgent()
    }

    async fn put(&mut self, what: Asked, command: &[&[u8]]) -> Result<(), String> {
        self.round += 1;
        let fences = self.guard.confirmations.wanted();
        self.guard.sink.gather(self.round);
        self.covered_up_to = fences;
        self.last_asked = Instant::now();
        self.questions.push_back(Question { what, sent: clock::now(), round: self.round, fences });
        let mut out = Vec::new();
        encode::command(&mut out, command);
        match timeout(self.guard.lease, self.stream.write_all(&out)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(e.to_string()),
            Err(_) => Err("home does not read".into()),
        }
    }

    /// Sends a PING if somebody wants one and none is under way; what is asked meanwhile goes with the next.
    async fn confirm_wanted(&mut self) -> Result<(), String> {
        if !self.wanting() {
            return Ok(());
        }
        if !self.urgent() && self.last_asked.elapsed() < CALM {
            return Ok(());
        }
        self.guard.counters.guard_fences.add(1);
        self.put(Asked::Ping, &[b"PING"]).await
    }

    async fn wake(&mut self) -> Result<(), String> {
        self.put(Asked::Tracking, &[b"CLIENT", b"TRACKING", b"ON", b"BCAST"]).await
    }

    /// What is due by the clock.
    async fn look_around(&mut self) -> Result<(), String> {
        let now = Instant::now();
        if self.next_look <= now {
            self.next_look = now + LOOK;
            self.weigh().await?;
        }
        if self.next_probe <= now { self.probe().await } else { Ok(()) }
    }

    /// Goes to rest, or wakes, as the reads of this process and the announcements of home say.
    async fn weigh(&mut self) -> Result<(), String> {
        let announced = self.announced.take();
        let Some(reads) = self.guard.reads.as_ref().map(|reads| reads()) else {
            return Ok(());
        };
        // A change of state is under way.
        if self.questions.iter().any(|q| matches!(q.what, Asked::Tracking | Asked::Rest)) {
            return Ok(());
        }
        if !self.awake {
            let wakes = self.demand.wakes(reads) || self.guard.sink.must_hear();
            return if wakes { self.wake().await } else { Ok(()) };
        }
        if self.demand.stays_awake(reads, announced) || self.guard.sink.must_hear() {
            return Ok(());
        }
        tracing::info!(
            announced,
            "writes at home far outnumber reads here: announcements, and copies, are off"
        );
        self.awake = false;
        self.guard.confirmations.set_guarding(Guarding::Resting);
        self.guard.sink.resting();
        self.put(Asked::Rest, &[b"CLIENT", b"TRACKING", b"OFF"]).await
    }

    async fn probe(&mut self) -> Result<(), String> {
        self.next_probe = Instant::now() + self.guard.lease / 4;
        if self.questions.iter().any(|q| matches!(q.what, Asked::Probe | Asked::State | Asked::Slots)) {
            return Ok(());
        }
        if self.guard.ward.is_some() {
            self.put(Asked::State, &[b"CLUSTER", b"INFO"]).await?;
            return self.put(Asked::Slots, &[b"CLUSTER", b"SLOTS"]).await;
        }
        // A master that was demoted goes on to answer, but announces too late what happens where writes go now.
        if self.guard.node.dial.may_be_demoted() {
            self.put(Asked::Role, &[b"ROLE"]).await?;
        }
        let command: &[&[u8]] = if self.probe_by_info { &[b"INFO", b"commandstats"] } else { &[b"PING"] };
        self.put(Asked::Probe, command).await
    }

    async fn digest(&mut self) -> Result<(), String> {
        let mut base = 0;
        while base < self.buffer.len() {
            match self.scanner.step(&self.buffer, base) {
                Scan::Incomplete { need } => {
                    self.buffer.advance(base);
                    self.buffer.reserve(need.clamp(16 * 1024, 1 << 30));
                    base = 0;
                    break;
                }
                Scan::Error(e) => return Err(format!("home sent what is not RESP: {e}")),
                Scan::Complete { end } => {
                    let frame = self.buffer[base..end].to_vec();
                    base = end;
                    if frame[0] == b'>' { self.pushed(&frame) } else { self.answered(&frame)? }
                }
            }
        }
        self.buffer.advance(base);
        self.buffer.reserve(16 * 1024);
        self.confirm_wanted().await
    }

    fn pushed(&self, frame: &[u8]) {
        let mut parts = reply::elements(frame);
        if parts.next().and_then(reply::bulk) != Some(b"invalidate") {
            return;
        }
        match parts.next() {
            Some(keys) if keys.first() == Some(&b'*') => {
                let mut count = 0;
                let keys = reply::elements(keys).filter_map(reply::bulk);
                self.guard.sink.invalidate(&mut keys.inspect(|_| count += 1));
                self.announced.set(self.announced.get() + count);
            }
            // A null: FLUSHALL or FLUSHDB of whichever database.
            _ => self.guard.sink.invalidate_all(),
        }
    }

    fn answered(&mut self, frame: &[u8]) -> Result<(), String> {
        let Some(question) = self.questions.pop_front() else {
            return Err("home sent a reply to nothing".into());
        };
        let error =
            (frame[0] == b'-' || frame[0] == b'!').then(|| String::from_utf8_lossy(frame).trim().to_owned());
        match (question.what, error) {
            (Asked::Tracking | Asked::Rest, Some(e)) => {
                return Err(format!("home refuses CLIENT TRACKING: {e}"));
            }
            (Asked::Rest, None) => {}
            (Asked::Tracking, None) => {
                self.guard.sink.covered();
                self.guard.confirmations.set_guarding(Guarding::Awake);
                // Confirmations asked before are of no use: nothing from before may become visible.
                self.next_probe = Instant::now();
                self.awake = true;
            }
            (Asked::Probe, Some(e)) if e.starts_with("-NOPERM") || e.starts_with("-ERR unknown") => {
                tracing::warn!(
                    "home does not let this user ask INFO: a SWAPDB made elsewhere goes unnoticed"
                );
                self.probe_by_info = false;
                self.next_probe = Instant::now();
            }
            (_, Some(e)) if e.starts_with("-BUSY") => {
                // Answered from within a script. Nothing is confirmed, so nothing may stay that a waiter could meet.
                self.guard.sink.invalidate_all();
                self.guard.confirmations.advance(question.fences);
            }
            (_, Some(e)) => return Err(format!("home answers a probe with: {e}")),
            (Asked::Probe, None) => {
                self.watch_swaps(frame);
                self.settle(question.round, question.fences);
                if self.awake {
                    self.guard.sink.lease(question.sent + clock::nanos(self.guard.lease), None);
                }
            }
            (Asked::State, None) => {
                self.well = tenure::is_well(frame);
                self.settle(question.round, question.fences);
            }
            (Asked::Slots, None) => {
                self.settle(question.round, question.fences);
                self.renew_tenure(question.sent, frame);
            }
            (Asked::Role, None) => self.guard.node.dial.check_role(frame)?,
            (Asked::Ping, None) => self.settle(question.round, question.fences),
        }
        Ok(())
    }

    fn settle(&self, round: u64, fences: u64) {
        self.guard.sink.confirm(round);
        self.guard.confirmations.advance(fences);
    }

    fn watch_swaps(&mut self, frame: &[u8]) {
        if self.probe_by_info && self.swaps.moved(reply::bulk(frame).unwrap_or_default()) {
            tracing::info!("SWAPDB (or a reset of the statistics) at home: all copies dropped");
            self.guard.sink.invalidate_all();
        }
    }
}
