//! What the sources announce: rows that have changed. What was made of them is deleted at home, which tells all copies;
//! home is told until it has taken it.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;

use super::L4;
use super::scripts::{Call, DROPS, mark_of};
use crate::backend::cluster::NodeId;
use crate::proxy::{LaneKey, Proxy};
use crate::resp::{Proto, reply};
use crate::source::Change;

/// Keys that home is told of at once.
const BATCH: usize = 256;
/// If more keys than these wait for home, all of their source do.
const MOST: usize = 100_000;
/// Keys that home is asked for at once (a hint).
const SCAN_COUNT: &[u8] = b"500";
/// The first and the longest pause before home is told again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Changes that home is to be told of.
struct Follower {
    proxy: Rc<Proxy>,
    l4: Arc<L4>,
    /// By key, its source.
    owed: HashMap<Bytes, usize>,
    sweeps: Rc<Sweeps>,
}

/// Sources of which everything is being deleted at home, and whether it is to be done once more.
#[derive(Default)]
struct Sweeps(RefCell<HashMap<usize, bool>>);

/// Follows the changes for as long as the process lives.
pub async fn follow(proxy: Rc<Proxy>, l4: Arc<L4>) {
    let mut changes = l4.sources.changes();
    let mut follower = Follower { proxy, l4, owed: HashMap::new(), sweeps: Rc::default() };
    let mut pause = PAUSES.0;
    loop {
        if follower.owed.is_empty() {
            match changes.recv().await {
                Some(change) => follower.note(change),
                None => return,
            }
        }
        while let Some(change) = changes.try_recv() {
            follower.note(change);
        }
        match follower.tell_home().await {
            Ok(()) => pause = PAUSES.0,
            Err(text) => {
                tracing::warn!(keys = follower.owed.len(), "home is not told of changed rows: {text}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
        follower.count();
    }
}

impl Follower {
    fn note(&mut self, change: Change) {
        match change {
            Change::Keys { source, keys } => {
                self.l4.figures.changes.fetch_add(keys.len() as u64, Relaxed);
                for key in keys {
                    self.l4.nothing.changed(&key);
                    self.owed.insert(key, source);
                }
                if self.owed.len() > MOST {
                    let sources: HashSet<usize> = self.owed.drain().map(|(_, source)| source).collect();
                    sources.into_iter().for_each(|source| self.sweep(source));
                }
            }
            Change::All { source } => self.sweep(source),
        }
        self.count();
    }

    fn count(&self) {
        let all = self.owed.len() + self.sweeps.0.borrow().len();
        self.l4.figures.outstanding.store(all as u64, Relaxed);
    }

    /// Tells home of some keys. What it does not take is still owed.
    async fn tell_home(&mut self) -> Result<(), String> {
        let keys: Vec<Bytes> = self.owed.keys().take(BATCH).cloned().collect();
        // No source: whatever the key came from, its row is not what it was.
        let calls = keys.iter().map(|key| drop_loaded(&self.proxy, &self.l4, key, b"")).collect::<Vec<_>>();
        let mut failure = None;
        for (key, call) in keys.iter().zip(calls) {
            match finish(&self.l4, call).await {
                Ok(()) => _ = self.owed.remove(key),
                Err(text) => failure = Some(text),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Deletes everything of a source.
    fn sweep(&self, source: usize) {
        self.l4.nothing.all_changed(source);
        self.l4.figures.sweeps.fetch_add(1, Relaxed);
        let mut under_way = self.sweeps.0.borrow_mut();
        if let Some(again) = under_way.get_mut(&source) {
            *again = true;
            return;
        }
        under_way.insert(source, false);
        let (proxy, l4, sweeps) = (self.proxy.clone(), self.l4.clone(), self.sweeps.clone());
        tokio::task::spawn_local(async move { sweeps.run(&proxy, &l4, source).await });
    }
}

impl Sweeps {
    async fn run(&self, proxy: &Rc<Proxy>, l4: &L4, source: usize) {
        let mut pause = PAUSES.0;
        loop {
            if let Some(again) = self.0.borrow_mut().get_mut(&source) {
                *again = false;
            }
            match drop_all(proxy, l4, source).await {
                Ok(()) if self.is_done(source) => break,
                Ok(()) => pause = PAUSES.0,
                Err(text) => {
                    tracing::warn!("what came from a source cannot be deleted at home yet: {text}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
        let left = self.0.borrow().len() as u64;
        l4.figures.outstanding.store(left, Relaxed);
    }

    fn is_done(&self, source: usize) -> bool {
        let mut under_way = self.0.borrow_mut();
        let done = under_way.get(&source) != Some(&true);
        if done {
            under_way.remove(&source);
        }
        done
    }
}

/// Has home delete a key if it came from a row (of this source, or of any). None: nothing can have been loaded there.
fn drop_loaded(proxy: &Rc<Proxy>, l4: &L4, key: &[u8], source: &[u8]) -> Option<Call> {
    let mark = mark_of(key, proxy.is_cluster())?;
    let evicts: &[u8] = if may_evict(proxy) { b"1" } else { b"0" };
    Some(proxy.call(&DROPS, l4.database, (key, &mark), &[source, evicts]))
}

async fn finish(l4: &L4, call: Option<Call>) -> Result<(), String> {
    let Some(call) = call else { return Ok(()) };
    let reply = call.reply().await?;
    let dropped = reply::parse_integer(&reply).unwrap_or(0);
    l4.figures.dropped.fetch_add(u64::try_from(dropped).unwrap_or(0), Relaxed);
    Ok(())
}

/// Whether home may have evicted marks, as far as is known.
fn may_evict(proxy: &Proxy) -> bool {
    let checkup = proxy.shared.health.latest();
    let vitals = checkup.as_ref().and_then(|checkup| checkup.vitals.as_ref());
    vitals.is_none_or(|vitals| vitals.policy != "noeviction")
}

async fn drop_all(proxy: &Rc<Proxy>, l4: &L4, source: usize) -> Result<(), String> {
    let lane = LaneKey { proto: Proto::Resp2, db: l4.database, scripts: false, of: 0 };
    for master in proxy.masters() {
        drop_all_of(proxy, l4, source, lane, master).await?;
    }
    Ok(())
}

/// Deletes what came from a source at one master, a few keys at a time.
async fn drop_all_of(
    proxy: &Rc<Proxy>,
    l4: &L4,
    source: usize,
    lane: LaneKey,
    master: NodeId,
) -> Result<(), String> {
    let Some(glob) = l4.globs.get(source) else { return Ok(()) };
    let mut cursor = b"0".to_vec();
    loop {
        let scan: [&[u8]; 6] = [b"SCAN", &cursor, b"MATCH", glob, b"COUNT", SCAN_COUNT];
        let page = proxy.ask_by(proxy.way_to(lane, master), &scan).await?;
        let mut parts = reply::elements(&page);
        cursor = parts.next().and_then(reply::bulk).unwrap_or(b"0").to_vec();
        let keys = parts.next().into_iter().flat_map(reply::elements).filter_map(reply::bulk);
        let keys = keys.filter(|key| l4.matching(key).is_some());
        let calls: Vec<_> =
            keys.map(|key| drop_loaded(proxy, l4, key, l4.sources.name(source).as_bytes())).collect();
        for call in calls {
            finish(l4, call).await?;
        }
        if cursor == b"0" {
            return Ok(());
        }
    }
}
