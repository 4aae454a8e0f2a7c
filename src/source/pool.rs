//! The connections that rows are loaded by.

use std::sync::Arc;
use std::time::Duration;

use bb8::{ManageConnection, Pool, PooledConnection, RunError};

use super::failure::Failure;
use super::session::{Dialer, Session};
use crate::config::L4;

/// A connection is replaced at this age, so that what was prepared follows changes of the schema, and connections
/// follow the primary where names of hosts do.
const LIFETIME: Duration = Duration::from_secs(30 * 60);
/// One that was not used for so long is closed.
const IDLE: Duration = Duration::from_secs(5 * 60);

/// A bounded number of connections, made when they are needed.
pub(super) struct Connections {
    pool: Pool<Manager>,
    dialer: Arc<Dialer>,
    wait: Duration,
}

pub(super) struct Manager(Arc<Dialer>);

impl ManageConnection for Manager {
    type Connection = Session;
    type Error = Failure;

    async fn connect(&self) -> Result<Session, Failure> {
        self.0.open(None).await
    }

    async fn is_valid(&self, session: &mut Session) -> Result<(), Failure> {
        match session.client.is_closed() {
            true => Err(Failure::Refused("it closed the connection".to_owned())),
            false => Ok(()),
        }
    }

    fn has_broken(&self, session: &mut Session) -> bool {
        session.busy || session.client.is_closed()
    }
}

impl Connections {
    /// On the present runtime.
    pub(super) fn new(l4: &L4, dialer: Arc<Dialer>) -> Self {
        let pool = Pool::builder()
            .max_size(u32::try_from(l4.max_connections).unwrap_or(u32::MAX))
            .connection_timeout(l4.connect_timeout)
            .max_lifetime(LIFETIME)
            .idle_timeout(IDLE)
            .retry_connection(false)
            .build_unchecked(Manager(dialer.clone()));
        Self { pool, dialer, wait: l4.connect_timeout }
    }

    /// Waits for a free connection, unless it is known that there will be none.
    pub(super) async fn get(&self) -> Result<PooledConnection<'_, Manager>, Failure> {
        let failed = self.dialer.failed.notified();
        self.dialer.check()?;
        tokio::select! {
            biased;
            session = self.pool.get() => session.map_err(|error| match error {
                RunError::User(failure) => failure,
                RunError::TimedOut => Failure::Timeout(self.wait),
            }),
            () = failed => Err(self.dialer.check().err().unwrap_or(Failure::Timeout(self.wait))),
        }
    }

    /// A connection did not answer within `limit`: others will not do so either.
    pub(super) fn hung(&self, limit: Duration) -> Failure {
        self.dialer.failed(format!("no answer within {limit:?}"));
        Failure::Timeout(limit)
    }

    /// All that are open, and those of them that rest.
    pub(super) fn count(&self) -> (u32, u32) {
        let state = self.pool.state();
        (state.connections, state.idle_connections)
    }
}
