//! The connection on which home sends the messages of everything that clients are subscribed to.
//!
//! It is opened when the first topic is wanted, and closed when none has been for a while. What home answers and what
//! it pushes is cut into events and given to the workers that are to hear it, once a read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::asked::Asked;
use super::branches::Branches;
use super::runs::{Run, is_key_event, topic};
use super::{Batch, Event, MOST_QUEUED, Post, Question, Space, Subscriptions, What};
use crate::backend::cluster::Cluster;
use crate::backend::connection::Stream;
use crate::backend::node::Node;
use crate::metrics::Counters;
use crate::resp::{Proto, ReplyScanner, Scan};

/// A silent connection is asked so often whether it lives, and what home refused is asked for again.
const PROBE: Duration = Duration::from_secs(1);
/// A connection nobody wants is closed after so long.
const IDLE: Duration = Duration::from_secs(60);
/// Free space wanted before a read.
const READ_SPACE: usize = 64 * 1024;

/// What the task needs.
pub struct Link<P: Post> {
    /// Home, or whichever node of it is well.
    pub node: Box<dyn Fn() -> Arc<Node> + Send>,
    /// Home, where it is a cluster.
    pub cluster: Option<Arc<Cluster>>,
    /// What is wanted.
    pub register: Arc<Subscriptions>,
    /// Who is told.
    pub post: Arc<P>,
    /// Counted here.
    pub counters: Arc<Counters>,
}

/// Why a connection ended.
enum End {
    Idle,
    Lost(String),
}

/// One connection's life, and that of its branches.
pub(super) struct Life<'a, P: Post> {
    pub(super) link: &'a Link<P>,
    pub(super) node: Arc<Node>,
    stream: Box<dyn Stream>,
    buffer: BytesMut,
    scanner: ReplyScanner,
    /// What was asked, by this connection or by branches, and is not answered by all.
    pub(super) asked: Asked,
    /// The places in `asked` of what this connection has not answered, and since when.
    pub(super) sent: VecDeque<(u64, Instant)>,
    pub(super) branches: Option<Branches>,
    run: Option<Run>,
    /// By worker.
    events: Vec<(Vec<Event>, usize)>,
    /// By worker: the last number it was told.
    pub(super) told: Vec<u64>,
    pub(super) refused: Vec<(Space, Bytes)>,
    next_probe: Instant,
    last_read: Instant,
    last_wanted: Instant,
}

impl<P: Post> Link<P> {
    /// Keeps a connection for as long as somebody wants one.
    pub async fn run(self) {
        loop {
            let node = self.demanded().await;
            match node.dial.open(Proto::Resp3, 0, "strata-subscriptions").await {
                Err(e) => {
                    node.down(&e.to_string());
                    self.tell_failed(&node, &e.to_string());
                }
                Ok(stream) => {
                    node.up();
                    self.counters.home_connects.add(1);
                    if let End::Lost(reason) = Life::new(&self, node.clone(), stream).live().await {
                        let home = &node.dial.address;
                        tracing::warn!(node = %home, reason, "connection of subscriptions lost; messages are missed until it is back");
                    }
                }
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until something is wanted and home may be dialed; returns where.
    async fn demanded(&self) -> Arc<Node> {
        loop {
            let wanted = self.register.register.lock().wanted();
            let node = (self.node)();
            match node.breaker.check() {
                Ok(()) if wanted => return node,
                Err(open) if wanted => {
                    // Others may always be first to dial when that is allowed again.
                    self.tell_all(|| Event::Failed { reason: open.reason.clone(), retry_in: open.retry_in });
                    tokio::select! {
                        () = node.breaker.allowed() => {}
                        () = self.register.asked.notified() => {}
                    }
                }
                _ => self.register.asked.notified().await,
            }
        }
    }

    fn tell_failed(&self, node: &Node, reason: &str) {
        let retry_in = node.breaker.check().err().map_or(Duration::ZERO, |open| open.retry_in);
        self.tell_all(|| Event::Failed { reason: reason.to_owned(), retry_in });
    }

    /// Tells every worker that has ever asked for something.
    fn tell_all(&self, event: impl Fn() -> Event) {
        let workers = self.register.register.lock().waiting.len();
        for worker in 0..workers {
            self.send(worker, vec![event()], 0);
        }
    }

    fn send(&self, worker: usize, events: Vec<Event>, weight: usize) {
        self.register.queued.fetch_add(weight, Relaxed);
        self.post.post(worker as u16, Batch { events, weight, register: self.register.clone() });
    }
}

/// However it ends, with its worker too: nobody is to wait for it.
impl<P: Post> Drop for Life<'_, P> {
    fn drop(&mut self) {
        let register = &self.link.register;
        register.up.store(false, Relaxed);
        {
            let mut register = register.register.lock();
            register.up = false;
            register.end();
        }
        self.link.tell_all(|| Event::Lost);
    }
}

impl<'a, P: Post> Life<'a, P> {
    fn new(link: &'a Link<P>, node: Arc<Node>, stream: Box<dyn Stream>) -> Self {
        let now = Instant::now();
        {
            let mut register = link.register.register.lock();
            register.up = true;
            register.renew();
        }
        link.register.up.store(true, Relaxed);
        Life {
            link,
            node,
            stream,
            buffer: BytesMut::new(),
            scanner: ReplyScanner::new(),
            asked: Asked::default(),
            sent: VecDeque::new(),
            branches: link.cluster.clone().map(Branches::of),
            run: None,
            events: Vec::new(),
            told: Vec::new(),
            refused: Vec::new(),
            next_probe: now + PROBE,
            last_read: now,
            last_wanted: now,
        }
    }

    async fn live(mut self) -> End {
        loop {
            if let Err(reason) = self.send_questions().await {
                return End::Lost(reason);
            }
            let congested = self.link.register.queued.load(Relaxed) > MOST_QUEUED;
            let patience = self.patience();
            let ends = patience.unwrap_or_else(Instant::now);
            let branches = self.branches.as_mut();
            tokio::select! {
                heard = Branches::next(branches), if !congested => {
                    self.hear_branches(heard);
                    self.finish_run();
                    self.deliver();
                }
                read = self.stream.read_buf(&mut self.buffer), if !congested => {
                    let digested = match read {
                        Ok(0) => Err("home closed the connection".to_owned()),
                        Ok(_) => self.digest(),
                        Err(e) => Err(e.to_string()),
                    };
                    if let Err(reason) = digested {
                        return End::Lost(reason);
                    }
                }
                () = self.link.register.relieved.notified(), if congested => {}
                () = self.link.register.asked.notified() => {}
                () = sleep_until(self.next_probe) => if self.probe() {
                    return End::Idle;
                },
                () = sleep_until(ends), if patience.is_some() && !congested => {
                    return End::Lost(format!("no answer for {:?}", self.node.request_timeout));
                }
            }
        }
    }

    /// When the oldest open question will have waited too long, if there is one. Whatever is read shows that home is alive.
    fn patience(&self) -> Option<Instant> {
        self.sent.front().map(|(_, at)| (*at).max(self.last_read) + self.node.request_timeout)
    }

    async fn send_questions(&mut self) -> Result<(), String> {
        let questions = std::mem::take(&mut self.link.register.register.lock().questions);
        if questions.is_empty() {
            return Ok(());
        }
        let (mut out, at) = (Vec::new(), Instant::now());
        for question in questions {
            let here = self.branches.is_none() || question.what.is_for_any_node();
            if here {
                question.what.encode(&mut out);
            }
            let place = self.asked.put(question, usize::from(here));
            self.sent.extend(here.then_some((place, at)));
            self.ask_branches(place);
        }
        self.reach();
        self.deliver();
        match timeout(self.node.request_timeout, self.stream.write_all(&out)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(e.to_string()),
            Err(_) => Err("home does not read".into()),
        }
    }

    /// Asks for a sign of life, and again for what was refused. True: nobody has wanted the connection for a while.
    fn probe(&mut self) -> bool {
        let now = Instant::now();
        self.next_probe = now + PROBE;
        let mut register = self.link.register.register.lock();
        if register.wanted() {
            self.last_wanted = now;
        }
        for (space, name) in self.refused.drain(..) {
            if let Some(entry) = register.entry(space, &name)
                && entry.wanted > 0
                && !entry.confirmed
                && !entry.asked
            {
                entry.asked = true;
                register.questions.push_back(Question { number: 0, what: What::Subscribe(space, name) });
            }
        }
        if self.asked.is_empty() && self.last_read + PROBE <= now {
            register.questions.push_back(Question { number: 0, what: What::Ping });
        }
        self.last_wanted + IDLE <= now && self.asked.is_empty()
    }

    fn digest(&mut self) -> Result<(), String> {
        self.last_read = Instant::now();
        let mut base = 0;
        while base < self.buffer.len() {
            match self.scanner.step(&self.buffer, base) {
                Scan::Incomplete { need } => {
                    self.buffer.advance(base);
                    base = 0;
                    self.buffer.reserve(need.clamp(READ_SPACE, 1 << 30));
                    break;
                }
                Scan::Error(e) => return Err(format!("home sent what is not RESP: {e}")),
                Scan::Complete { end } => {
                    match topic(&self.buffer[base..end]) {
                        // All nodes are heard of it.
                        Some(_) if self.branches.is_some() && is_key_event(&self.buffer[base..end]) => {}
                        Some((space, name)) => {
                            if !self.run.as_ref().is_some_and(|run| run.takes(space, name)) {
                                let next = Run::new(space, name);
                                self.finish_run();
                                self.run = Some(next);
                            }
                            if let Some(run) = &mut self.run {
                                run.add(&self.buffer[base..end]);
                            }
                        }
                        None => {
                            self.finish_run();
                            let frame = self.buffer[base..end].to_vec();
                            self.answered(&frame)?;
                        }
                    }
                    base = end;
                }
            }
        }
        self.finish_run();
        self.buffer.advance(base);
        self.buffer.reserve(READ_SPACE);
        self.deliver();
        Ok(())
    }

    /// A message that came by a branch.
    pub(super) fn take(&mut self, space: Space, name: &[u8], frame: &[u8]) {
        if !self.run.as_ref().is_some_and(|run| run.takes(space, name)) {
            self.finish_run();
        }
        self.run.get_or_insert_with(|| Run::new(space, name)).add(frame);
    }

    pub(super) fn finish_run(&mut self) {
        let Some(run) = self.run.take() else { return };
        let (space, name) = run.topic();
        let routes = self.link.register.register.lock().entry(space, name).map(|e| e.routes.clone());
        let run = run.finish();
        for (worker, _) in routes.unwrap_or_default() {
            let (events, weight) = self.events_of(worker.into());
            events.push(run.event());
            *weight += run.weight();
        }
    }

    pub(super) fn events_of(&mut self, worker: usize) -> &mut (Vec<Event>, usize) {
        if self.events.len() <= worker {
            self.events.resize_with(worker + 1, Default::default);
        }
        &mut self.events[worker]
    }

    pub(super) fn deliver(&mut self) {
        for worker in 0..self.events.len() {
            if !self.events[worker].0.is_empty() {
                let (events, weight) = std::mem::take(&mut self.events[worker]);
                self.link.send(worker, events, weight);
            }
        }
    }
}
