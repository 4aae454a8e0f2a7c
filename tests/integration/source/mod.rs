//! The database below home, against a real PostgreSQL: loads, the change log, who follows it, `strata migrate`.

mod follow;
mod hostile;
mod latency;
mod load;
mod migrate;

use std::sync::Arc;
use std::time::Duration;

use strata::config::{self, L4};
use strata::metrics::Counters;
use strata::source::{
    Change, Changes, Confirmed, Content, Failure, Loaded, Match, Migration, Sources, migrate,
};

use super::support::{Postgres, wait_until};

/// For what should take milliseconds, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);

/// `[l4]` with these sources, each a table of TOML without its braces.
fn l4(postgres: &Postgres, more: &str, sources: &[&str]) -> L4 {
    let list: String = sources.iter().map(|source| format!("[[l4.source]]\n{source}\n")).collect();
    let url = postgres.url();
    let text = format!(
        "[l4]\nenabled = true\nurl = '{url}'\nconnect_timeout = '20s'\nstatement_timeout = '20s'\n\
         load_lease = '20s'\n{more}\n{list}"
    );
    config::from_toml("test", text.as_bytes()).expect("a configuration").l4
}

/// Sources on a runtime with a thread of its own, and another one by which they are asked, as a worker does.
struct Running {
    sources: Arc<Sources>,
    changes: Changes,
    runtime: tokio::runtime::Runtime,
    _end: tokio::sync::oneshot::Sender<()>,
}

impl Running {
    fn start(l4: &L4) -> Running {
        let control = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let sources = {
            let _within = control.enter();
            Sources::start(l4, Arc::new(Counters::default())).expect("sources")
        };
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || control.block_on(ended));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Running { changes: sources.changes(), sources, runtime, _end: end }
    }

    fn wanted(&self, key: &str) -> Match {
        self.sources.matching(key.as_bytes()).expect("a source matches")
    }

    fn load(&self, key: &str) -> Result<Option<Loaded>, Failure> {
        let wanted = self.wanted(key);
        self.runtime.block_on(self.sources.load(&wanted))
    }

    /// The string that a key is made of.
    fn value(&self, key: &str) -> Option<String> {
        let loaded = self.load(key).unwrap_or_else(|failure| panic!("{key}: {failure}"))?;
        match loaded.content {
            Content::Value(value) => Some(String::from_utf8_lossy(&value).into_owned()),
            Content::Hash(fields) => panic!("{key} is a hash: {fields:?}"),
        }
    }

    fn confirm(&self, key: &str, loaded: &Loaded) -> Result<Confirmed, Failure> {
        let wanted = self.wanted(key);
        self.runtime.block_on(self.sources.confirm(&wanted, &loaded.snapshot))
    }

    /// The next change.
    fn change(&mut self) -> Change {
        let (runtime, changes) = (&self.runtime, &mut self.changes);
        let next = runtime.block_on(async { tokio::time::timeout(PATIENCE, changes.recv()).await });
        next.expect("a change in time").expect("there is always a next one")
    }

    /// Reads changes until one is about the key.
    fn until_told(&mut self, key: &str) {
        loop {
            if let Change::Keys { keys, .. } = self.change()
                && keys.iter().any(|found| found == key)
            {
                return;
            }
        }
    }

    /// Waits until changes are followed and told, and forgets what was told so far.
    fn settle(&mut self) {
        let followed = wait_until(PATIENCE, || {
            let state = self.sources.state();
            state.follower.trouble.is_none() && state.sources.iter().all(|source| source.unwatched.is_none())
        });
        assert!(followed, "{:?}", self.sources.state());
        while self.changes.try_recv().is_some() {}
    }

    fn unwatched(&self, source: usize) -> Option<String> {
        self.sources.state().sources[source].unwatched.clone()
    }
}

/// `strata migrate`, and what it says.
fn migrated(l4: &L4, wish: &Migration) -> Vec<String> {
    try_migrate(l4, wish).unwrap_or_else(|error| panic!("{error}")).0
}

/// What it says, and its statements.
fn try_migrate(l4: &L4, wish: &Migration) -> Result<(Vec<String>, String), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match runtime.block_on(migrate(l4, wish)) {
        Ok(done) => Ok((done.said, done.sql)),
        Err(error) => Err(format!("{error:#}")),
    }
}
