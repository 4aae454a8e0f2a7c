//! Following the change log: one connection, one task.
//!
//! NOTIFY is a wake-up and no more. What counts are the rows of `strata.change` whose transactions are visible now and
//! were not visible at the last poll: the snapshot is the position, so that transactions may be committed in any order.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{RowStream, Statement};

use super::MAX_KEY;
use super::followed::Followed;
use super::mapping::Mapping;
use super::migrate::fingerprint;
use super::outbox::Outbox;
use super::recent::Recent;
use super::session::{Dialer, Session, words};
use super::snapshot::Snapshot;
use super::statement::Text;
use crate::clock;
use crate::config::L4;

/// Two polls begin so far apart at least: with many commits one poll tells of several.
const GAP: Duration = Duration::from_millis(5);

/// After a wake-up those who were about to commit beside it are waited for so long, each time twice as long: of several
/// that commit at once only one sends a NOTIFY.
const STRAGGLERS: std::ops::RangeInclusive<u32> = 1..=6;

/// Rows, and bytes of keys, of one poll. More: everything counts as changed.
const MAX_ROWS: usize = 50_000;
const MAX_BYTES: usize = 32 << 20;

/// The log is trimmed so often, unless it is kept for less than four times as long.
const TRIM: Duration = Duration::from_secs(60);

const POLL: &str = "SELECT pg_current_snapshot()::text, t.snapshot::text, c.xid::text, c.source, c.keys \
    FROM strata.trimmed t LEFT JOIN strata.change c \
    ON c.xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(c.xid, $1)";

/// What is installed for each source, and whether it still is.
const WATCHED: &str = "SELECT name, definition, strata.is_complete(name) FROM strata.source";

/// The task that follows.
pub(super) struct Follower {
    dialer: Arc<Dialer>,
    followed: Arc<Followed>,
    outbox: Arc<Outbox>,
    /// Of each source its name, what must be installed for it, and whether anything must.
    sources: Vec<(String, String, bool)>,
    /// What a poll may take.
    limit: Duration,
    poll_interval: Duration,
    retention: Duration,
    pause: Duration,
}

/// A connection that is followed on.
struct Line {
    session: Session,
    heard: Arc<Notify>,
    poll: Statement,
    watched: Statement,
    looked: Instant,
    trimmed: Instant,
}

/// One answer about changes.
struct Polled {
    snapshot: Snapshot,
    /// Everything that this sees may be gone from the log.
    trimmed: Option<Snapshot>,
    /// Transactions with their source and its keys; None: all.
    changes: Vec<(u64, usize, Option<Vec<Bytes>>)>,
    /// There was more than can be kept.
    overflow: bool,
}

impl Follower {
    pub(super) fn new(
        l4: &L4,
        dialer: Arc<Dialer>,
        mappings: &[Mapping],
        followed: Arc<Followed>,
        outbox: Arc<Outbox>,
    ) -> Self {
        let source = |mapping: &Mapping| {
            let source = &mapping.source;
            (source.name.clone(), fingerprint(source), !source.watch.is_empty())
        };
        Self {
            sources: mappings.iter().map(source).collect(),
            limit: l4.statement_timeout.saturating_add(l4.connect_timeout),
            poll_interval: l4.poll_interval,
            retention: l4.log_retention,
            pause: l4.backoff_max,
            dialer,
            followed,
            outbox,
        }
    }

    /// Follows for as long as the task lives. What happened before it began is not known.
    pub(super) async fn run(self) {
        for source in 0..self.sources.len() {
            self.outbox.all(source);
        }
        loop {
            self.dialer.breaker.allowed().await;
            let Err(why) = self.follow().await;
            if self.followed.answered.borrow().is_ok() {
                tracing::warn!("changes in the database cannot be followed: {why}");
            }
            let _ = self.followed.answered.send_replace(Err(why));
            if self.dialer.check().is_ok() {
                // The database answers, but not about changes.
                sleep(self.pause).await;
            }
        }
    }

    /// By one connection, until it is of no more use.
    async fn follow(&self) -> Result<std::convert::Infallible, String> {
        let heard = Arc::new(Notify::new());
        let session = self.dialer.open(Some(heard.clone())).await.map_err(|failure| failure.to_string())?;
        let mut line = timeout(self.limit, prepared(session, heard)).await.map_err(|_| self.late())??;
        self.look(&mut line).await?;
        self.poll(&line).await?;
        tracing::info!("changes in the database are followed");
        loop {
            let begun = Instant::now();
            let woken = tokio::select! {
                () = line.heard.notified() => true,
                () = self.followed.asking.notified() => false,
                () = sleep(self.poll_interval) => false,
            };
            tokio::time::sleep_until(begun + GAP).await;
            let first = self.poll(&line).await?;
            if woken {
                self.await_stragglers(&line, &first).await?;
            }
            if line.looked.elapsed() >= self.poll_interval {
                self.look(&mut line).await?;
            }
            if line.trimmed.elapsed() >= TRIM.min(self.retention / 4) {
                self.trim(&mut line).await?;
            }
        }
    }

    /// Polls on while transactions are in progress that were so at `first`, for about 126 ms.
    async fn await_stragglers(&self, line: &Line, first: &Snapshot) -> Result<(), String> {
        let mut now = first.clone();
        for round in STRAGGLERS {
            if !now.waits_for_any_of(first) {
                break;
            }
            sleep(Duration::from_millis(1 << round)).await;
            now = self.poll(line).await?;
        }
        Ok(())
    }

    async fn poll(&self, line: &Line) -> Result<Snapshot, String> {
        let asked = self.followed.asked.load(Ordering::SeqCst);
        let last = self.followed.known.lock().position.clone();
        let polling = self.polled(line, last.as_ref());
        let polled = timeout(self.limit, polling).await.map_err(|_| self.late())??;
        let snapshot = polled.snapshot.clone();
        self.take(last.as_ref(), polled);
        let _ = self.followed.answered.send_replace(Ok(asked));
        Ok(snapshot)
    }

    fn late(&self) -> String {
        format!("no answer within {:?}", self.limit)
    }

    async fn polled(&self, line: &Line, last: Option<&Snapshot>) -> Result<Polled, String> {
        // Without a position, or with one of another server, there is none that the log could be read from.
        let from = last.filter(|last| last.server() == line.session.server);
        let from = from.map_or_else(|| format!("{0}:{0}:", i64::MAX), Snapshot::to_string);
        let rows = line.session.client.query_raw(&line.poll, [Text::new(&from)]).await;
        let mut rows = pin!(rows.map_err(|error| words(&error))?);
        let mut polled: Option<Polled> = None;
        let mut bytes = 0;
        while let Some(row) = next(rows.as_mut()).await? {
            let read = |at: usize| row.try_get::<_, Option<&str>>(at).map_err(|error| words(&error));
            if polled.is_none() {
                let snapshot =
                    |text: Option<&str>| Snapshot::parse(line.session.server, text.unwrap_or_default());
                let now = snapshot(read(0)?).ok_or("it says no snapshot")?;
                let trimmed = snapshot(read(1)?);
                polled = Some(Polled { snapshot: now, trimmed, changes: Vec::new(), overflow: false });
            }
            let (Some(xid), Some(name), Some(polled)) = (read(2)?, read(3)?, polled.as_mut()) else {
                continue;
            };
            let Some(source) = self.sources.iter().position(|(known, ..)| known == name) else { continue };
            let keys = row.try_get::<_, Option<Vec<&str>>>(4).map_err(|error| words(&error))?;
            bytes += keys.as_ref().map_or(0, |keys| keys.iter().map(|key| key.len()).sum());
            if polled.changes.len() >= MAX_ROWS || bytes > MAX_BYTES {
                polled.overflow = true;
                polled.changes.clear();
                continue;
            }
            let xid = xid.parse().map_err(|_| "it says no number of a transaction")?;
            let keys =
                keys.map(|keys| keys.into_iter().filter(|key| key.len() <= MAX_KEY).map(owned).collect());
            polled.changes.push((xid, source, keys));
        }
        polled.ok_or_else(|| "the change log is not what it should be: run strata migrate".to_owned())
    }

    /// Tells of what was polled.
    fn take(&self, last: Option<&Snapshot>, polled: Polled) {
        let Polled { snapshot, trimmed, changes, overflow } = polled;
        // Of a server that forgot what it had committed, or another one, positions mean nothing.
        let continued = last
            .is_some_and(|last| snapshot.covers(last) && trimmed.is_none_or(|trimmed| last.covers(&trimmed)));
        let mut known = self.followed.known.lock();
        known.last = Some(clock::now());
        known.position = Some(snapshot.clone());
        if overflow || !continued {
            known.recent = Some(Recent::since(snapshot));
            known.resets += u64::from(last.is_some());
            for source in 0..self.sources.len() {
                self.outbox.all(source);
            }
            return;
        }
        known.changes += changes.len() as u64;
        let places = changes.iter().flat_map(|(xid, source, keys)| {
            let all = keys.is_none().then_some((*xid, (*source, None)));
            let keys = keys.iter().flatten().map(|key| (*xid, (*source, Some(key.clone()))));
            all.into_iter().chain(keys)
        });
        if let Some(recent) = &mut known.recent {
            recent.add(snapshot, places);
        }
        for (_, source, keys) in changes {
            match keys {
                Some(keys) => self.outbox.keys(source, keys),
                None => self.outbox.all(source),
            }
        }
    }

    /// Looks whether triggers are there, and those that the configuration means. Where that changes, changes may have
    /// been missed.
    async fn look(&self, line: &mut Line) -> Result<(), String> {
        let asking = line.session.client.query(&line.watched, &[]);
        let rows =
            timeout(self.limit, asking).await.map_err(|_| self.late())?.map_err(|error| words(&error))?;
        line.looked = Instant::now();
        let mut known = self.followed.known.lock();
        for (source, (name, wanted, watched)) in self.sources.iter().enumerate() {
            let row = rows.iter().find(|row| row.try_get::<_, &str>(0).is_ok_and(|found| found == name));
            let why = match row {
                _ if !watched => Some("no table is watched (watch)"),
                None => Some("nothing is installed for it: run strata migrate"),
                Some(row) if row.try_get::<_, &str>(1).ok() != Some(wanted) => {
                    Some("what is installed is of another configuration: run strata migrate")
                }
                Some(row) if !row.try_get(2).unwrap_or(false) => {
                    Some("a trigger is missing or disabled: run strata migrate")
                }
                Some(_) => None,
            };
            if known.unwatched[source].as_deref() != why {
                if let Some(why) = why.filter(|_| *watched) {
                    tracing::warn!("changes of {name} are not told: {why}");
                }
                known.unwatched[source] = why.map(str::to_owned);
                self.outbox.all(source);
            }
        }
        Ok(())
    }

    /// Takes out of the log what nobody needs any more. Who may not do so leaves it to others.
    async fn trim(&self, line: &mut Line) -> Result<(), String> {
        let text = format!("SELECT strata.trim('{} seconds')", self.retention.as_secs().max(1));
        line.trimmed = Instant::now();
        match timeout(self.limit, line.session.client.simple_query(&text)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is_closed() => Err(words(&error)),
            Ok(Err(error)) => {
                tracing::warn!("the change log cannot be trimmed: {}", words(&error));
                Ok(())
            }
            Err(_) => Err(self.late()),
        }
    }
}

async fn prepared(session: Session, heard: Arc<Notify>) -> Result<Line, String> {
    // First it listens: what is committed from now on is heard of, or is there to be read. The log is always read by
    // its index: plans are made once, when it may be empty.
    // And it is not compiled: a scan that is not wanted costs so much on paper that JIT would take half a second a poll.
    let opening = "LISTEN strata; SET enable_seqscan = off; SET jit = off";
    session.client.batch_execute(opening).await.map_err(|error| words(&error))?;
    let installed = async {
        let poll = session.client.prepare(POLL).await?;
        Ok((poll, session.client.prepare(WATCHED).await?))
    };
    let (poll, watched) = installed.await.map_err(|error: tokio_postgres::Error| {
        match error.code().map(|code| code.code()) {
            Some("3F000" | "42P01" | "42883" | "42703") => {
                "the change log is not installed: run strata migrate".to_owned()
            }
            _ => words(&error),
        }
    })?;
    let now = Instant::now();
    Ok(Line { session, heard, poll, watched, looked: now, trimmed: now })
}

async fn next(rows: std::pin::Pin<&mut RowStream>) -> Result<Option<tokio_postgres::Row>, String> {
    let mut rows = rows;
    rows.try_next().await.map_err(|error| words(&error))
}

fn owned(key: &str) -> Bytes {
    Bytes::copy_from_slice(key.as_bytes())
}
