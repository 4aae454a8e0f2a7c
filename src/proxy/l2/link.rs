//! The connection to L2 by which this process deletes there what home announces, begins epochs, and finds out how L2
//! fares. There is one; while it has none L2 is not asked.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::pace::Pace;
use super::{Door, L2};
use crate::backend::connection::{Control, DialError, Stream};
use crate::backend::facts::info_field;
use crate::clock;
use crate::metrics::{Counters, Metrics};
use crate::resp::{Proto, ReplyScanner, Scan, encode, reply};
use crate::tier::l2::record::Epoch;
use crate::tier::l2::scripts::{FILL, TAKE};

/// Keys of one UNLINK.
const BATCH: usize = 512;
/// L2 is asked how far it has come at least this often, and at most that often.
const POLL: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(5));
/// It is asked for its figures this often.
const LOOK: Duration = Duration::from_secs(5);
/// Without an answer for so long, and twice as long as readers wait, the connection counts as lost.
const SILENCE: Duration = Duration::from_secs(1);
/// Requests under way; what comes meanwhile waits, and goes in larger batches.
const MOST: usize = 64;

/// What the connection needs.
pub struct Link {
    /// L2.
    pub l2: Arc<L2>,
    /// Counted here.
    pub counters: Arc<Counters>,
    /// Read here, to compare L2 with home.
    pub metrics: Metrics,
}

enum Asked {
    /// An epoch for this vouching was set.
    Epoch(u64, Epoch),
    /// Keys of these slots were deleted.
    Delete(Vec<u32>),
    /// L2's clock.
    Clock,
    /// The epoch and how many fills it has seen.
    Poll,
    /// INFO.
    Look,
}

struct Question {
    what: Asked,
    sent: u64,
}

struct Connection<'a> {
    link: &'a Link,
    stream: Box<dyn Stream>,
    buffer: BytesMut,
    scanner: ReplyScanner,
    out: Vec<u8>,
    questions: VecDeque<Question>,
    /// An epoch is being set.
    renewing: bool,
    next_poll: Instant,
    last_poll: Instant,
    next_look: Instant,
    pace: Pace,
}

impl L2 {
    fn silence(&self) -> Duration {
        SILENCE.max(self.patience * 2)
    }
}

impl Link {
    /// Keeps a connection for as long as the process lives.
    pub async fn run(self) {
        let node = &self.l2.node;
        loop {
            match self.connect().await {
                Err(e) => node.failed(&e),
                Ok(mut connection) => {
                    node.up();
                    let began = Instant::now();
                    let reason = connection.live().await;
                    *self.l2.door.write() = None;
                    self.l2.ledger.lost();
                    connection.forget();
                    if began.elapsed() < self.l2.silence() {
                        // Another one would end as soon.
                        node.down(&reason);
                    }
                    tracing::warn!(node = %node.dial.address, reason, "connection to L2 lost; it is passed by");
                }
            }
            let pause = node.breaker.check().err().map_or(Duration::ZERO, |u| u.retry_in);
            tokio::time::sleep(pause.max(Duration::from_millis(10))).await;
        }
    }

    async fn connect(&self) -> Result<Connection<'_>, DialError> {
        let l2 = &self.l2;
        let stream = l2.node.dial.open(Proto::Resp2, l2.database, "strata-l2").await?;
        let mut control = Control::new(stream);
        let door = timeout(l2.node.dial.timeout, self.learn(&mut control))
            .await
            .map_err(|_| DialError::Timeout(l2.node.dial.timeout))??;
        *l2.door.write() = Some(Arc::new(door));
        let now = Instant::now();
        Ok(Connection {
            link: self,
            stream: control.into_stream(),
            buffer: BytesMut::new(),
            scanner: ReplyScanner::new(),
            out: Vec::new(),
            questions: VecDeque::new(),
            renewing: false,
            next_poll: now,
            last_poll: now - POLL.0,
            next_look: now,
            pace: Pace::from(&self.metrics.totals()),
        })
    }

    /// Which server it is, and what its scripts are called.
    async fn learn(&self, control: &mut Control) -> Result<Door, DialError> {
        let info = control.demand_text(&[b"INFO", b"server"]).await?;
        let run = info_field(&info, "run_id").unwrap_or_default().to_owned();
        let take = control.demand_text(&[b"SCRIPT", b"LOAD", TAKE.as_bytes()]).await?;
        let fill = control.demand_text(&[b"SCRIPT", b"LOAD", FILL.as_bytes()]).await?;
        let node = Arc::new(self.l2.node.for_run(run, self.l2.patience));
        Ok(Door { node, take: take.into_bytes(), fill: fill.into_bytes() })
    }
}

impl Connection<'_> {
    /// Serves until the connection ends; returns why.
    async fn live(&mut self) -> String {
        loop {
            if let Err(reason) = self.ask_due() {
                return reason;
            }
            if !self.out.is_empty() {
                let out = std::mem::take(&mut self.out);
                match timeout(self.link.l2.silence(), self.stream.write_all(&out)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(e)) => return e.to_string(),
                    Err(_) => return "it does not read".into(),
                }
            }
            let (due, ready) = (self.due(), self.questions.len() < MOST);
            let step = tokio::select! {
                biased;
                read = self.stream.read_buf(&mut self.buffer) => match read {
                    Ok(0) => Err("it closed the connection".to_owned()),
                    Ok(_) => self.digest(),
                    Err(e) => Err(e.to_string()),
                },
                () = self.link.l2.ledger.work(), if ready => Ok(()),
                () = sleep_until(due) => self.check_patience(),
            };
            if let Err(reason) = step {
                return reason;
            }
        }
    }

    /// When something is to be done by the clock.
    fn due(&self) -> Instant {
        let next = self.next_poll.min(self.next_look);
        match self.questions.is_empty() {
            true => next,
            false => next.min(Instant::now() + Duration::from_millis(20)),
        }
    }

    /// What waits too long for an answer.
    fn check_patience(&self) -> Result<(), String> {
        let waited = self.questions.front().map_or(0, |q| clock::now().saturating_sub(q.sent));
        if waited > clock::nanos(self.link.l2.patience) && !self.link.l2.ledger.is_slow() {
            self.link.l2.ledger.shun();
        }
        let silence = self.link.l2.silence();
        if waited > clock::nanos(silence) { Err(format!("no answer for {silence:?}")) } else { Ok(()) }
    }

    fn put(&mut self, what: Asked, command: &[&[u8]]) {
        encode::command(&mut self.out, command);
        self.questions.push_back(Question { what, sent: clock::now() });
    }

    /// Asks whatever there is to be asked now.
    fn ask_due(&mut self) -> Result<(), String> {
        let l2 = &self.link.l2;
        let now = Instant::now();
        // The clock first: what is vouched for has one.
        let poll_wanted = self.last_poll + POLL.1 <= now && l2.ledger.takes_poll();
        if self.next_poll <= now || poll_wanted {
            (self.last_poll, self.next_poll) = (now, now + POLL.0);
            if !self.questions.iter().any(|q| matches!(q.what, Asked::Poll)) {
                self.put(Asked::Clock, &[b"TIME"]);
                self.put(Asked::Poll, &[b"HMGET", l2.names.epoch(), b"e", b"n"]);
            }
        }
        if !self.renewing
            && let Some(number) = l2.ledger.wants_epoch()
        {
            let mut epoch = Epoch::default();
            SystemRandom::new().fill(&mut epoch).map_err(|_| "no random numbers".to_owned())?;
            self.renewing = true;
            l2.figures.epochs.fetch_add(1, Relaxed);
            self.put(Asked::Epoch(number, epoch), &[b"HSET", l2.names.epoch(), b"e", &epoch, b"n", b"0"]);
        }
        if self.next_look <= now {
            self.next_look = now + LOOK;
            self.put(Asked::Look, &[b"INFO"]);
        }
        while self.questions.len() < MOST {
            let keys = l2.ledger.deletes(BATCH);
            if keys.is_empty() {
                break;
            }
            let (slots, names): (Vec<u32>, Vec<Vec<u8>>) =
                keys.into_iter().map(|(slot, key)| (slot, l2.names.copies(&key))).unzip();
            let mut command: Vec<&[u8]> = vec![b"UNLINK"];
            command.extend(names.iter().map(|name| &name[..]));
            self.link.counters.l2_deletes.add(slots.len() as u64);
            self.put(Asked::Delete(slots), &command);
        }
        Ok(())
    }

    fn digest(&mut self) -> Result<(), String> {
        let mut base = 0;
        while base < self.buffer.len() {
            match self.scanner.step(&self.buffer, base) {
                Scan::Incomplete { need } => {
                    self.buffer.advance(base);
                    self.buffer.reserve(need.clamp(16 * 1024, 1 << 20));
                    return Ok(());
                }
                Scan::Error(e) => return Err(format!("it sent what is not RESP: {e}")),
                Scan::Complete { end } => {
                    let frame = self.buffer[base..end].to_vec();
                    base = end;
                    self.answered(&frame)?;
                }
            }
        }
        self.buffer.clear();
        Ok(())
    }

    fn answered(&mut self, frame: &[u8]) -> Result<(), String> {
        let question = self.questions.pop_front().ok_or("it sent a reply to nothing")?;
        let ledger = &self.link.l2.ledger;
        ledger.answered(question.sent);
        if reply::is_error(frame) && !matches!(question.what, Asked::Look) {
            if let Asked::Delete(slots) = question.what {
                ledger.lost();
                ledger.deleted(slots);
            }
            return Err(format!("it answers with: {}", String::from_utf8_lossy(frame).trim_end()));
        }
        match question.what {
            Asked::Epoch(number, epoch) => {
                self.renewing = false;
                ledger.vouch(number, epoch);
            }
            Asked::Delete(slots) => ledger.deleted(slots),
            Asked::Clock => self.note_clock(frame, question.sent),
            Asked::Poll => {
                let mut parts = reply::elements(frame).map(reply::bulk);
                let (epoch, fills) = (parts.next().flatten(), parts.next().flatten());
                let epoch = epoch.and_then(|epoch| Epoch::try_from(epoch).ok());
                if let (Some(epoch), Some(fills)) = (epoch, fills.and_then(number)) {
                    ledger.polled(epoch, fills);
                }
            }
            Asked::Look => self.note_figures(frame),
        }
        Ok(())
    }

    /// TIME: seconds and microseconds.
    fn note_clock(&self, frame: &[u8], asked: u64) {
        let mut parts = reply::elements(frame).filter_map(reply::bulk).filter_map(number);
        if let (Some(seconds), Some(micros)) = (parts.next(), parts.next()) {
            let millis = i64::try_from(seconds.saturating_mul(1000).saturating_add(micros / 1000));
            self.link.l2.set_clock(asked, millis.unwrap_or(i64::MAX));
        }
    }

    fn note_figures(&mut self, frame: &[u8]) {
        let figures = &self.link.l2.figures;
        let text = String::from_utf8_lossy(reply::bulk(frame).unwrap_or_default());
        let of = |name| info_field(&text, name).and_then(|value| value.parse().ok()).unwrap_or(0);
        figures.used_memory.store(of("used_memory"), Relaxed);
        figures.max_memory.store(of("maxmemory"), Relaxed);
        figures.evicted.store(of("evicted_keys"), Relaxed);
        let Some((l2, home)) = self.pace.compare(&self.link.metrics.totals()) else { return };
        let slower = u64::from(l2 > home);
        if figures.slower_than_home.swap(slower, Relaxed) != slower {
            match slower {
                1 => tracing::warn!(?l2, ?home, "L2 is slower than home at the median: it is of no use"),
                _ => tracing::info!(?l2, ?home, "L2 is faster than home at the median"),
            }
        }
    }

    /// What was under way will not be answered.
    fn forget(&mut self) {
        for question in self.questions.drain(..) {
            if let Asked::Delete(slots) = question.what {
                self.link.l2.ledger.deleted(slots);
            }
        }
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
