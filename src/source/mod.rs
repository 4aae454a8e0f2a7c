//! The database below home: which keys are made of which rows, loading them, and hearing of their changes.
//!
//! It knows nothing of Redis. What is loaded comes with the [`Snapshot`] it was read in; [`Sources::confirm`] says
//! later whether a change is missing from that, and [`Sources::changes`] tells of every change that is committed.

mod failure;
mod mapping;
mod snapshot;
mod state;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

pub use failure::Failure;
pub use mapping::{MAX_KEY, Match};
pub use snapshot::Snapshot;
pub use state::{FollowerState, SourceState, State};

use crate::config::L4;
use crate::metrics::Counters;
use mapping::Mapping;

/// All sources of a configuration. Shared by all workers; its own tasks live on the runtime that it was started on.
pub struct Sources {
    mappings: Vec<Mapping>,
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

/// Every change in the order of its announcement, for one consumer. None: there will be no more.
pub type Changes = mpsc::UnboundedReceiver<Change>;

impl Sources {
    /// Starts what follows the changes, on the present runtime.
    ///
    /// # Errors
    /// A file that the configuration names and that is of no use.
    pub fn start(l4: &L4, _counters: Arc<Counters>) -> anyhow::Result<Arc<Self>> {
        let mappings = l4.sources.iter().map(Mapping::new).collect();
        Ok(Arc::new(Self { mappings }))
    }

    /// The first source whose pattern the key matches. Asks nobody.
    pub fn matching(&self, key: &[u8]) -> Option<Match> {
        self.mappings.iter().enumerate().find_map(|(source, mapping)| mapping.matching(source, key))
    }

    /// What the key is made of. None: there is no such row, or a part of the key is no value of its parameter's type.
    ///
    /// # Errors
    /// The database did not answer: whether there is a row is not known.
    pub async fn load(&self, _wanted: &Match) -> Result<Option<Loaded>, Failure> {
        Err(Failure::Disabled)
    }

    /// The same of several keys, by one connection. As many results, in the same order.
    pub async fn load_many(&self, wanted: &[Match]) -> Vec<Result<Option<Loaded>, Failure>> {
        wanted.iter().map(|_| Err(Failure::Disabled)).collect()
    }

    /// Whether a change of the key is missing from the snapshot. Asks the database; waits no longer than `load_lease`.
    ///
    /// # Errors
    /// Changes cannot be followed at the moment, or nothing of the source is watched.
    pub async fn confirm(&self, _wanted: &Match, _snapshot: &Snapshot) -> Result<Confirmed, Failure> {
        Err(Failure::Disabled)
    }

    /// All changes from now on. There is one consumer: of two calls the first one's receiver ends.
    pub fn changes(&self) -> Changes {
        mpsc::unbounded_channel().1
    }

    /// It is remembered for so long that a key has no row.
    pub fn negative_ttl(&self, source: usize) -> Duration {
        self.mappings.get(source).map_or(Duration::ZERO, |mapping| mapping.negative_ttl)
    }

    /// What is loaded lives so long until it is confirmed.
    pub fn load_lease(&self) -> Duration {
        Duration::ZERO
    }

    /// The name of a source.
    pub fn name(&self, source: usize) -> &str {
        self.mappings.get(source).map_or("", |mapping| &mapping.name)
    }

    /// Figures, for who looks after strata.
    pub fn state(&self) -> State {
        State::default()
    }
}
