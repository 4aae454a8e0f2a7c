//! Rows into home: asked of their sources once for all who miss a key, put there for a lease, and for longer once it is
//! known that they have not changed since.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::L4;
use super::loads::{Brought, Load, Start};
use super::scripts::{CONFIRMS, Call, DROPS, LOADS, mark_of};
use crate::clock;
use crate::proxy::Proxy;
use crate::resp::reply;
use crate::source::{Confirmed, Content, Failure, Loaded, Match, Snapshot};

/// Keys that are loaded at once: their rows are held until home has them.
const AT_ONCE: usize = 256;

/// A row on its way into home.
struct Coming {
    wanted: Match,
    duty: Load,
    mark: Vec<u8>,
    snapshot: Snapshot,
    ttl: Duration,
    call: Call,
}

impl Proxy {
    /// Brings rows of keys that were absent at home in the reply to what was asked at `asked`. True: the request is
    /// to be sent again; false: there are no rows.
    ///
    /// # Errors
    /// Why it is not known whether there are; a reply, code first.
    pub(super) async fn bring(
        self: &Rc<Self>,
        l4: &Arc<L4>,
        absent: Vec<Match>,
        asked: u64,
    ) -> Result<bool, Arc<str>> {
        let (mut mine, mut others, mut any) = (Vec::new(), Vec::new(), false);
        for wanted in absent {
            match l4.loads.begin(&wanted.key, asked) {
                Start::Mine(load) => mine.push((wanted, load)),
                Start::Others(wait) => others.push((wanted, wait)),
                Start::Done => any = true,
            }
        }
        l4.figures.joined.fetch_add(others.len() as u64, Relaxed);
        let mut failure = None;
        while !mine.is_empty() {
            let some = mine.drain(..mine.len().min(AT_ONCE)).collect();
            match self.load(l4, some).await {
                Ok(brought) => any |= brought,
                Err(text) => failure = Some(text),
            }
        }
        for (wanted, wait) in others {
            match wait.outcome().await {
                Some(Ok(brought)) => any |= brought == Brought::Row,
                Some(Err(text)) => failure = Some(text),
                None => failure = Some(words(l4, wanted.source, "who was to load the row has ended").into()),
            }
        }
        failure.map_or(Ok(any), Err)
    }

    /// Loads keys and says so to all who wait for them.
    async fn load(self: &Rc<Self>, l4: &Arc<L4>, mine: Vec<(Match, Load)>) -> Result<bool, Arc<str>> {
        let (mut any, mut failure) = (false, None);
        let since: Vec<_> = mine.iter().map(|(wanted, _)| l4.nothing.since(&wanted.key)).collect();
        let asked = clock::now();
        let rows = ask(l4, &mine).await;
        let mut coming = Vec::new();
        for (((wanted, duty), row), since) in mine.into_iter().zip(rows).zip(since) {
            match row {
                Ok(Some(row)) => match self.put(l4, &wanted, &row) {
                    Some((mark, call)) => {
                        let (snapshot, ttl) = (row.snapshot, row.ttl);
                        coming.push(Coming { wanted, duty, mark, snapshot, ttl, call });
                    }
                    None => {
                        let text = "in a cluster a key with '}' needs a hash tag to be loaded";
                        failure = Some(give_up(l4, &wanted, duty, text));
                    }
                },
                Ok(None) => {
                    l4.figures.nothing.fetch_add(1, Relaxed);
                    let life = l4.sources.negative_ttl(wanted.source);
                    // While changes are not followed nobody says that there is one now.
                    let follows = || l4.sources.state().follower.trouble.is_none();
                    let lease = l4.sources.load_lease();
                    let life = if life <= lease || follows() { life } else { lease };
                    let until = asked.saturating_add(clock::nanos(life));
                    l4.nothing.remember(&wanted.key, wanted.source, until, since);
                    duty.end(Ok(Brought::Nothing));
                }
                Err(e) => failure = Some(give_up(l4, &wanted, duty, &e.to_string())),
            }
        }
        for one in coming {
            match self.come(l4, one).await {
                Ok(()) => any = true,
                Err(text) => failure = Some(text),
            }
        }
        failure.map_or(Ok(any), Err)
    }

    /// Sends a row home. None: its key can have no mark there.
    fn put(self: &Rc<Self>, l4: &L4, wanted: &Match, row: &Loaded) -> Option<(Vec<u8>, Call)> {
        let mark = mark_of(&wanted.key, self.is_cluster())?;
        let life = row.ttl.min(l4.sources.load_lease()).as_millis().max(1).to_string();
        let name = l4.sources.name(wanted.source);
        let mut args: Vec<&[u8]> = vec![life.as_bytes(), name.as_bytes()];
        let packed;
        match &row.content {
            Content::Value(value) => {
                packed = self.packed_value(&wanted.key, value);
                args.extend([&b"s"[..], packed.as_deref().unwrap_or(value)]);
            }
            Content::Hash(fields) => {
                args.push(b"h");
                fields.iter().for_each(|(field, value)| args.extend([&field[..], &value[..]]));
            }
        }
        let call = self.call(&LOADS, l4.database, (&wanted.key, &mark), &args);
        Some((mark, call))
    }

    /// Home has a row, or says why not.
    async fn come(self: &Rc<Self>, l4: &Arc<L4>, coming: Coming) -> Result<(), Arc<str>> {
        let Coming { wanted, duty, mark, snapshot, ttl, call } = coming;
        let ends = match call.reply().await {
            Ok(reply) => reply::parse_integer(&reply).unwrap_or(0),
            Err(text) => {
                let text = format!("home did not take the row: {text}");
                return Err(give_up(l4, &wanted, duty, &text));
            }
        };
        // It is a write like any other.
        self.drop_copies(&[&wanted.key]);
        duty.end(Ok(Brought::Row));
        if ends > 0 {
            l4.figures.rows.fetch_add(1, Relaxed);
            let (proxy, l4) = (self.clone(), l4.clone());
            tokio::task::spawn_local(
                async move { proxy.settle(&l4, &wanted, &mark, &snapshot, ends, ttl).await },
            );
        } else {
            l4.figures.late.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    /// Lets a row stay once no change is missing from it, or deletes it.
    async fn settle(
        self: &Rc<Self>,
        l4: &L4,
        wanted: &Match,
        mark: &[u8],
        snapshot: &Snapshot,
        ends: i64,
        ttl: Duration,
    ) {
        let names = (&wanted.key[..], mark);
        let name = l4.sources.name(wanted.source).as_bytes();
        let call = match l4.sources.confirm(wanted, snapshot).await {
            Ok(Confirmed::Unchanged) if ttl <= l4.sources.load_lease() => return,
            Ok(Confirmed::Unchanged) => {
                l4.figures.confirmed.fetch_add(1, Relaxed);
                let (ends, life) = (ends.to_string(), ttl.as_millis().to_string());
                self.call(&CONFIRMS, l4.database, names, &[ends.as_bytes(), name, life.as_bytes()])
            }
            Ok(Confirmed::Changed) => {
                l4.figures.overtaken.fetch_add(1, Relaxed);
                self.call(&DROPS, l4.database, names, &[name, b"0"])
            }
            Err(e) => {
                l4.figures.unconfirmed.fetch_add(1, Relaxed);
                return tracing::debug!("a row cannot be confirmed, and ends after its lease: {e}");
            }
        };
        // If home does not say so, the key ends after its lease.
        if let Err(text) = call.reply().await {
            tracing::debug!("a row cannot be settled: {text}");
        }
    }
}

/// Asks the sources for rows, as many as keys.
async fn ask(l4: &L4, mine: &[(Match, Load)]) -> Vec<Result<Option<Loaded>, Failure>> {
    match mine {
        [(wanted, _)] => vec![l4.sources.load(wanted).await],
        many => {
            let wanted: Vec<Match> = many.iter().map(|(wanted, _)| wanted.clone()).collect();
            l4.sources.load_many(&wanted).await
        }
    }
}

fn words(l4: &L4, source: usize, text: &str) -> String {
    format!("ERR strata: source {}: {text}", l4.sources.name(source))
}

fn give_up(l4: &L4, wanted: &Match, duty: Load, text: &str) -> Arc<str> {
    let text: Arc<str> = words(l4, wanted.source, text).into();
    duty.end(Err(text.clone()));
    text
}
