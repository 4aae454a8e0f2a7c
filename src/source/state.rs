//! Figures of the sources, for who looks after strata.

use std::time::Duration;

use parking_lot::Mutex;

use super::Loaded;
use super::failure::Failure;
use crate::metrics::{Count, Latency, LatencySummary};

/// All there is to say.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Where the database is; holds no secret.
    pub place: String,
    /// Why it cannot be reached, if so.
    pub trouble: Option<String>,
    /// Connections for loads: all that are open, and those that are not in use.
    pub connections: (u32, u32),
    /// Connections that there may be.
    pub max_connections: usize,
    /// Who follows the changes.
    pub follower: FollowerState,
    /// In the order of `l4.source`.
    pub sources: Vec<SourceState>,
}

/// How far changes were followed.
#[derive(Clone, Debug, Default)]
pub struct FollowerState {
    /// Why they are not followed at the moment.
    pub trouble: Option<String>,
    /// Since the last answer about changes; None: there was none yet.
    pub behind: Option<Duration>,
    /// Changes heard of, each of one statement in the database.
    pub changes: u64,
    /// Times everything counted as changed, because what was missed is not known.
    pub resets: u64,
    /// The snapshot that all is known up to, as PostgreSQL writes it.
    pub position: String,
}

/// One source.
#[derive(Clone, Debug, Default)]
pub struct SourceState {
    /// Its name.
    pub name: String,
    /// Why its changes are not told, if so: what is loaded lives a lease only.
    pub unwatched: Option<String>,
    /// Keys looked up.
    pub loads: u64,
    /// Of these, found.
    pub rows: u64,
    /// Of these, not there, or not of the parameter's type.
    pub misses: u64,
    /// Of these, not answered.
    pub errors: u64,
    /// Time of a load, with the waiting for a connection.
    pub latency: LatencySummary,
}

/// What is counted of one source.
#[derive(Default)]
pub(super) struct Figures {
    rows: Count,
    misses: Count,
    errors: Count,
    latency: Mutex<Latency>,
}

impl Figures {
    pub(super) fn note(&self, outcome: &Result<Option<Loaded>, Failure>, nanos: u64) {
        match outcome {
            Ok(Some(_)) => self.rows.bump(),
            Ok(None) => self.misses.bump(),
            Err(_) => self.errors.bump(),
        }
        self.latency.lock().record(nanos, 1);
    }

    pub(super) fn state(&self, name: &str, unwatched: Option<String>) -> SourceState {
        let (rows, misses, errors) = (self.rows.get(), self.misses.get(), self.errors.get());
        SourceState {
            name: name.to_owned(),
            unwatched,
            loads: rows + misses + errors,
            rows,
            misses,
            errors,
            latency: self.latency.lock().summary(),
        }
    }
}
