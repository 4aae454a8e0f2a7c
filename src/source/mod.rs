//! The database below home: which keys are made of which rows, loading them, and hearing of their changes.
//!
//! It knows nothing of Redis. What is loaded comes with the [`Snapshot`] it was read in; [`Sources::confirm`] says
//! later whether a change is missing from that, and [`Sources::changes`] tells of every change that is committed.

mod check;
mod encryption;
mod failure;
mod follow;
mod load;
mod mapping;
mod migrate;
mod outbox;
mod pool;
mod recent;
mod session;
mod snapshot;
mod state;
mod statement;
mod trigger;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::AbortHandle;

pub use check::{Finding, check};
pub use failure::Failure;
pub use mapping::{MAX_KEY, Match};
pub use migrate::{Migrated, Migration, migrate};
pub use outbox::Changes;
pub use snapshot::Snapshot;
pub use state::{FollowerState, SourceState, State};

use crate::clock;
use crate::config::L4;
use crate::metrics::Counters;
use follow::{Followed, Follower};
use load::Loader;
use mapping::Mapping;
use outbox::Outbox;
use pool::Connections;
use session::Dialer;
use state::Figures;

/// All sources of a configuration. Shared by all workers; its own tasks live on the runtime that it was started on, and
/// end with it.
pub struct Sources {
    mappings: Arc<[Mapping]>,
    loader: Loader,
    dialer: Arc<Dialer>,
    followed: Arc<Followed>,
    outbox: Arc<Outbox>,
    figures: Vec<Figures>,
    counters: Arc<Counters>,
    place: String,
    max_connections: usize,
    load_lease: Duration,
    follower: AbortHandle,
}

impl Drop for Sources {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

/// What a key is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What the key is to hold; never empty.
    pub content: Content,
    /// The longest it may live, if nothing is known to have changed.
    pub ttl: Duration,
    /// What the database was when it was read.
    pub snapshot: Snapshot,
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A string, which may be empty.
    Value(Bytes),
    /// Fields with their values, at least one; no two fields alike.
    Hash(Vec<(Bytes, Bytes)>),
}

/// What is known of something loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// No change of the key was committed that is not in the snapshot, up to a moment after the question. Later ones
    /// will be told by [`Sources::changes`].
    Unchanged,
    /// It changed, or that cannot be excluded.
    Changed,
}

/// Something was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// To rows that these keys of a source are made of.
    Keys {
        /// Its place in `l4.source`.
        source: usize,
        /// In no order, perhaps more than once.
        keys: Vec<Bytes>,
    },
    /// All keys of a source may have changed.
    All {
        /// Its place in `l4.source`.
        source: usize,
    },
}

impl Sources {
    /// Starts what follows the changes, on the present runtime. Nothing need answer yet.
    ///
    /// # Errors
    /// A file that the configuration names and that is of no use.
    pub fn start(l4: &L4, counters: Arc<Counters>) -> anyhow::Result<Arc<Self>> {
        let mappings: Arc<[Mapping]> = l4.sources.iter().map(Mapping::new).collect();
        let dialer = Arc::new(Dialer::new(l4)?);
        let outbox = Arc::new(Outbox::new(mappings.len()));
        let followed = Arc::new(Followed::new(mappings.len()));
        let follower = Follower::new(l4, dialer.clone(), &mappings, followed.clone(), outbox.clone());
        let follower = dialer.runtime().spawn(follower.run()).abort_handle();
        Ok(Arc::new(Self {
            loader: Loader::new(l4, Connections::new(l4, dialer.clone())),
            figures: mappings.iter().map(|_| Figures::default()).collect(),
            place: l4.url.clone(),
            max_connections: l4.max_connections,
            load_lease: l4.load_lease,
            mappings,
            dialer,
            followed,
            outbox,
            counters,
            follower,
        }))
    }

    /// The first source whose pattern the key matches. Asks nobody.
    pub fn matching(&self, key: &[u8]) -> Option<Match> {
        self.mappings.iter().enumerate().find_map(|(source, mapping)| mapping.matching(source, key))
    }

    /// What the key is made of. None: there is no such row, or a part of the key is no value of its parameter's type.
    ///
    /// # Errors
    /// The database did not answer: whether there is a row is not known.
    pub async fn load(&self, wanted: &Match) -> Result<Option<Loaded>, Failure> {
        let mut outcomes = self.load_many(std::slice::from_ref(wanted)).await;
        outcomes.pop().unwrap_or(Err(Failure::Unusable("nothing was asked for")))
    }

    /// The same of several keys, by one connection. As many results, in the same order.
    pub async fn load_many(&self, wanted: &[Match]) -> Vec<Result<Option<Loaded>, Failure>> {
        let began = clock::now();
        let outcomes = self.loader.load(&self.mappings, wanted).await;
        let took = clock::now().saturating_sub(began);
        for (wanted, outcome) in wanted.iter().zip(&outcomes) {
            self.figures[wanted.source].note(outcome, took);
            self.counters.l4_loads.bump();
            match outcome {
                Ok(Some(_)) => self.counters.l4_hits.bump(),
                Ok(None) => self.counters.l4_misses.bump(),
                Err(_) => self.counters.l4_failures.bump(),
            }
        }
        outcomes
    }

    /// Whether a change of the key is missing from the snapshot. Asks the database; waits no longer than
    /// [`Sources::load_lease`].
    ///
    /// # Errors
    /// Changes cannot be followed at the moment, or those of the source are not told.
    pub async fn confirm(&self, wanted: &Match, snapshot: &Snapshot) -> Result<Confirmed, Failure> {
        self.followed.confirm(wanted, snapshot, self.load_lease).await
    }

    /// All changes that were not taken yet, and those to come. There is one consumer. The first of each source is
    /// [`Change::All`]: what happened before this process began is not known.
    pub fn changes(&self) -> Changes {
        Changes::new(self.outbox.clone())
    }

    /// It is remembered for so long that a key has no row.
    pub fn negative_ttl(&self, source: usize) -> Duration {
        self.mappings.get(source).map_or(Duration::ZERO, |mapping| mapping.source.negative_ttl)
    }

    /// What is loaded lives so long until it is confirmed.
    pub fn load_lease(&self) -> Duration {
        self.load_lease
    }

    /// The name of a source.
    pub fn name(&self, source: usize) -> &str {
        self.mappings.get(source).map_or("", |mapping| &mapping.source.name)
    }

    /// Figures, for who looks after strata.
    pub fn state(&self) -> State {
        let unwatched = self.followed.unwatched();
        let sources = self.mappings.iter().zip(&self.figures).zip(unwatched);
        State {
            place: self.place.clone(),
            trouble: self.dialer.breaker.trouble(),
            connections: self.loader.connections.count(),
            max_connections: self.max_connections,
            follower: self.followed.state(),
            sources: sources
                .map(|((mapping, figures), unwatched)| figures.state(&mapping.source.name, unwatched))
                .collect(),
        }
    }
}
