//! Figures of the sources, for who looks after strata.

use std::time::Duration;

use crate::metrics::LatencySummary;

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
