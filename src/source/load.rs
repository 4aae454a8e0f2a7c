//! Loading rows.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::Loaded;
use super::failure::Failure;
use super::mapping::{Mapping, Match};
use super::pool::Connections;
use super::session::{Session, words};
use super::statement::{Arguments, Statement};
use crate::breaker::Breaker;
use crate::config::L4;

/// A server that ends a statement by itself does so this much later at the most.
const SLACK: Duration = Duration::from_millis(500);

/// Asks for rows, by the connections of a pool.
pub(super) struct Loader {
    pub(super) connections: Connections,
    timeout: Duration,
    /// Of each source: open after its statement took too long. Others are asked for all the same.
    breakers: Vec<Breaker>,
}

type Outcome = Result<Option<Loaded>, Failure>;

/// What one connection made of it.
enum Attempt {
    Answered(Outcome),
    /// It was closed; what was asked only reads, so that another may be asked.
    Lost(String),
}

impl Loader {
    pub(super) fn new(l4: &L4, connections: Connections) -> Self {
        let breaker = |_: &_| Breaker::new(l4.backoff_min, l4.backoff_max);
        let breakers = l4.sources.iter().map(breaker).collect();
        Self { connections, timeout: l4.statement_timeout, breakers }
    }

    /// As many results as keys are wanted, in the same order. One connection is asked for all.
    pub(super) async fn load(&self, mappings: &[Mapping], wanted: &[Match]) -> Vec<Outcome> {
        let failure = match self.attempt(mappings, wanted).await {
            Ok(Ok(outcomes)) => return outcomes,
            Ok(Err(_)) => match self.attempt(mappings, wanted).await {
                Ok(Ok(outcomes)) => return outcomes,
                Ok(Err(lost)) => Failure::Refused(lost),
                Err(failure) => failure,
            },
            Err(failure) => failure,
        };
        wanted.iter().map(|_| Err(failure.clone())).collect()
    }

    /// The inner error: the connection was closed meanwhile.
    async fn attempt(
        &self,
        mappings: &[Mapping],
        wanted: &[Match],
    ) -> Result<Result<Vec<Outcome>, String>, Failure> {
        let mut session = self.connections.get().await?;
        session.busy = true;
        // Statements on one connection are executed one after the other.
        let times = u32::try_from(wanted.len()).unwrap_or(u32::MAX).max(1);
        let limit = self.timeout.saturating_mul(times).saturating_add(SLACK);
        let Ok(attempts) = tokio::time::timeout(limit, self.ask(&mut session, mappings, wanted)).await else {
            return Err(self.connections.hung(limit));
        };
        session.busy = false;
        let mut outcomes = Vec::with_capacity(attempts.len());
        for attempt in attempts {
            match attempt {
                Attempt::Answered(outcome) => outcomes.push(outcome),
                Attempt::Lost(why) => return Ok(Err(why)),
            }
        }
        Ok(Ok(outcomes))
    }

    async fn ask(&self, session: &mut Session, mappings: &[Mapping], wanted: &[Match]) -> Vec<Attempt> {
        let mut statements = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            statements.push(self.prepared(session, mappings, wanted).await);
        }
        let borrowed = &*session;
        let asking = statements.iter().zip(wanted).map(|(statement, wanted)| async move {
            match statement {
                Ok(statement) => self.ask_one(borrowed, &mappings[wanted.source], statement, wanted).await,
                Err(error) => self.judged(wanted.source, error),
            }
        });
        let attempts = join_all(asking).await;
        // It may have been prepared before the schema changed: the next one prepares it again.
        for (attempt, wanted) in attempts.iter().zip(wanted) {
            if matches!(attempt, Attempt::Answered(Err(Failure::Refused(_)))) {
                session.statements.remove(&wanted.source);
            }
        }
        attempts
    }

    async fn prepared(
        &self,
        session: &mut Session,
        mappings: &[Mapping],
        wanted: &Match,
    ) -> Result<Arc<Statement>, tokio_postgres::Error> {
        if let Some(known) = session.statements.get(&wanted.source) {
            return Ok(known.clone());
        }
        let source = &mappings[wanted.source].source;
        let statement = Arc::new(Statement::prepare(&session.client, source).await?);
        session.statements.insert(wanted.source, statement.clone());
        Ok(statement)
    }

    async fn ask_one(
        &self,
        session: &Session,
        mapping: &Mapping,
        statement: &Statement,
        wanted: &Match,
    ) -> Attempt {
        let arguments: Arguments<'_> = match statement.arguments(wanted) {
            Ok(arguments) => arguments,
            Err(failure) => return Attempt::Answered(Err(failure)),
        };
        let Some(arguments) = arguments else { return Attempt::Answered(Ok(None)) };
        if let Err(open) = self.breakers[wanted.source].check() {
            return Attempt::Answered(Err(Failure::Down { reason: open.reason, retry_in: open.retry_in }));
        }
        match statement.ask(&session.client, &arguments).await {
            Ok(row) => {
                self.breakers[wanted.source].succeeded();
                let read = |row: Row| statement.loaded(&mapping.source, session.server, &row, &arguments);
                Attempt::Answered(row.map_or(Ok(None), read))
            }
            Err(error) => self.judged(wanted.source, &error),
        }
    }

    /// What an error of PostgreSQL says about the row.
    fn judged(&self, source: usize, error: &tokio_postgres::Error) -> Attempt {
        let Some(said) = error.as_db_error() else {
            return match error.is_closed() {
                true => Attempt::Lost(words(error)),
                false => Attempt::Answered(Err(Failure::Refused(words(error)))),
            };
        };
        let code = said.code();
        if *code == SqlState::QUERY_CANCELED {
            self.breakers[source].failed("its statement takes longer than l4.statement_timeout");
            return Attempt::Answered(Err(Failure::Timeout(self.timeout)));
        }
        // The server ends, or its administrator ended the connection.
        if code.code().starts_with("57P") {
            return Attempt::Lost(words(error));
        }
        let class = &code.code()[..2.min(code.code().len())];
        let of_parameter = said.where_().is_some_and(|place| place.contains("portal parameter $"));
        match class {
            // A part that is no value of its parameter's type. Of anything else it is not known whether there is a row.
            "22" if of_parameter => Attempt::Answered(Ok(None)),
            // The words of these name tables and columns, those of others perhaps values.
            "42" => Attempt::Answered(Err(Failure::Refused(words(error)))),
            _ => {
                tracing::debug!("{error:?}");
                Attempt::Answered(Err(Failure::Refused(format!("error {}", code.code()))))
            }
        }
    }
}
