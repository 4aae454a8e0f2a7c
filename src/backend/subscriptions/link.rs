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

use super::runs::{Run, topic};
use super::{Batch, Event, MOST_QUEUED, Post, Question, Space, Subscriptions, What};
use crate::backend::connection::Stream;
use crate::backend::node::Node;
use crate::metrics::Counters;
use crate::resp::{Proto, ReplyScanner, Scan, encode, reply};

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

struct Sent {
    question: Question,
    at: Instant,
}

/// One connection's life.
struct Life<'a, P: Post> {
    link: &'a Link<P>,
    node: Arc<Node>,
    stream: Box<dyn Stream>,
    buffer: BytesMut,
    scanner: ReplyScanner,
    sent: VecDeque<Sent>,
    run: Option<Run>,
    /// By worker.
    events: Vec<(Vec<Event>, usize)>,
    /// By worker: the last number it was told.
    told: Vec<u64>,
    refused: Vec<(Space, Bytes)>,
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
            sent: VecDeque::new(),
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
            tokio::select! {
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
        self.sent.front().map(|sent| sent.at.max(self.last_read) + self.node.request_timeout)
    }

    async fn send_questions(&mut self) -> Result<(), String> {
        let questions = std::mem::take(&mut self.link.register.register.lock().questions);
        if questions.is_empty() {
            return Ok(());
        }
        let (mut out, at) = (Vec::new(), Instant::now());
        for question in questions {
            match &question.what {
                What::Subscribe(space, name) => {
                    encode::command(&mut out, &[space.subscribe().as_bytes(), name]);
                }
                What::Unsubscribe(space, name) => {
                    encode::command(&mut out, &[space.unsubscribe().as_bytes(), name]);
                }
                What::Ping => encode::command(&mut out, &[b"ping"]),
            }
            self.sent.push_back(Sent { question, at });
        }
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
        if self.sent.is_empty() && self.last_read + PROBE <= now {
            register.questions.push_back(Question { number: 0, what: What::Ping });
        }
        self.last_wanted + IDLE <= now && self.sent.is_empty()
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

    fn finish_run(&mut self) {
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

    fn events_of(&mut self, worker: usize) -> &mut (Vec<Event>, usize) {
        if self.events.len() <= worker {
            self.events.resize_with(worker + 1, Default::default);
        }
        &mut self.events[worker]
    }

    fn deliver(&mut self) {
        for worker in 0..self.events.len() {
            if !self.events[worker].0.is_empty() {
                let (events, weight) = std::mem::take(&mut self.events[worker]);
                self.link.send(worker, events, weight);
            }
        }
    }

    /// A frame that is no message: the answer to the oldest question.
    fn answered(&mut self, frame: &[u8]) -> Result<(), String> {
        let shown = || String::from_utf8_lossy(&frame[..frame.len().min(120)]).trim_end().to_owned();
        let Some(Sent { question, .. }) = self.sent.pop_front() else {
            return Err(format!("home sent an answer to nothing: {}", shown()));
        };
        let error = reply::is_error(frame).then(|| {
            let text = frame.strip_prefix(b"-").unwrap_or(frame);
            String::from_utf8_lossy(text).trim_end().to_owned()
        });
        let word = reply::elements(frame).next().and_then(reply::bulk);
        match (question.what, error) {
            // An error (-BUSY) tells as well that all before it was sent.
            (What::Ping, Some(_)) => {}
            (What::Ping, None) if reply::bulk(frame) == Some(b"PONG") => {}
            (What::Subscribe(space, name), None) if word == Some(space.subscribe().as_bytes()) => {
                let mut register = self.link.register.register.lock();
                if let Some(entry) = register.entry(space, &name) {
                    entry.confirmed |= entry.asked;
                    entry.asked = false;
                }
            }
            (What::Subscribe(space, name), Some(error)) => self.refuse(space, name, &error),
            (What::Unsubscribe(space, _), None) if word == Some(space.unsubscribe().as_bytes()) => {}
            _ => return Err(format!("home answered something else than was asked: {}", shown())),
        }
        self.reach(question.number);
        Ok(())
    }

    fn refuse(&mut self, space: Space, name: Bytes, error: &str) {
        let (mut workers, mut members) = (Vec::new(), 0);
        if let Some(entry) = self.link.register.register.lock().entry(space, &name) {
            entry.asked = false;
            members = entry.members;
            workers.clone_from(&entry.routes);
        }
        if members > 0 {
            let topic = name.escape_ascii();
            tracing::warn!(%topic, error, "home refuses to renew a subscription; asking again");
        }
        for (worker, _) in workers {
            let event = Event::Refused { space, name: name.clone(), error: error.to_owned() };
            self.events_of(worker.into()).0.push(event);
        }
        self.refused.push((space, name));
    }

    /// Tells who waits for this number, or for a later one.
    fn reach(&mut self, number: u64) {
        if number == 0 {
            return;
        }
        let waiting = self.link.register.register.lock().waiting.clone();
        self.told.resize(waiting.len(), 0);
        for (worker, waits_for) in waiting.into_iter().enumerate() {
            if waits_for <= self.told[worker] {
                continue;
            }
            self.told[worker] = number;
            let events = &mut self.events_of(worker).0;
            match events.last_mut() {
                Some(Event::Reached(reached)) => *reached = number,
                _ => events.push(Event::Reached(number)),
            }
        }
    }
}
