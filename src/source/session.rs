//! One connection to PostgreSQL, and how it is opened.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{AsyncMessage, Client, Config, SimpleQueryMessage};

use super::Failure;
use super::encryption::Encryption;
use super::statement::Statement;
use crate::breaker::Breaker;
use crate::config::L4;

/// By which it is known in `pg_stat_activity`, unless the URL says otherwise.
const APPLICATION: &str = "strata";

/// What the server says of itself before it is asked anything else. A standby is asked nothing more: what is
/// committed is not visible there at once, and it takes no LISTEN. Its timeline tells a server that was promoted, or
/// restored, from the one before: the numbers of their transactions are not the same ones.
const GREETING: &str = "SET datestyle = 'ISO, YMD'; \
    SELECT pg_is_in_recovery(), current_setting('server_version_num'), \
    (SELECT system_identifier FROM pg_control_system()), (SELECT oid FROM pg_database WHERE datname = current_database()), \
    CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END";

/// The first version with `pg_current_snapshot()` and `xid8`.
const OLDEST: u32 = 130_000;

/// Opens connections, each of which lives on one runtime whoever uses it.
pub(super) struct Dialer {
    config: Config,
    encryption: Encryption,
    runtime: Handle,
    timeout: Duration,
    statement_timeout: Duration,
    /// Open after a connection failed.
    pub(super) breaker: Breaker,
    /// Woken whenever the breaker opens.
    pub(super) failed: Notify,
}

/// An open connection. Closed when it is dropped.
pub(super) struct Session {
    pub(super) client: Client,
    /// The server, its timeline and the database: numbers of transactions mean nothing elsewhere.
    pub(super) server: u64,
    /// What was prepared, by the place of the source.
    pub(super) statements: HashMap<usize, Arc<Statement>>,
    /// A statement was sent whose answer was not waited for to the end.
    pub(super) busy: bool,
    driver: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Dialer {
    /// # Errors
    /// A file that the configuration names and that is of no use.
    pub(super) fn new(l4: &L4) -> anyhow::Result<Self> {
        let mut config: Config = l4.url.parse()?;
        if let Some(password) = &l4.password {
            config.password(password.expose());
        }
        if config.get_application_name().is_none() {
            config.application_name(APPLICATION);
        }
        if config.get_hosts().len() > 1 && config.get_target_session_attrs() == TargetSessionAttrs::Any {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(l4.connect_timeout);
        }
        config.keepalives_idle(Duration::from_secs(5));
        config.keepalives_interval(Duration::from_secs(2)).keepalives_retries(3);
        Ok(Self {
            encryption: Encryption::new(&l4.tls, config.get_ssl_mode())?,
            config,
            runtime: Handle::current(),
            timeout: l4.connect_timeout,
            statement_timeout: l4.statement_timeout,
            breaker: Breaker::new(l4.backoff_min, l4.backoff_max),
            failed: Notify::new(),
        })
    }

    /// Where connections are driven.
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Opens a connection, unless the breaker is open. `heard` is woken by every NOTIFY on it, and by its end.
    pub(super) async fn open(self: &Arc<Self>, heard: Option<Arc<Notify>>) -> Result<Session, Failure> {
        self.check()?;
        let dialer = self.clone();
        // Its socket belongs to the runtime where it is made.
        let opening = self.runtime.spawn(async move {
            tokio::time::timeout(dialer.timeout, dialer.dial(heard))
                .await
                .unwrap_or_else(|_| Err(format!("no answer within {:?}", dialer.timeout)))
        });
        let opened = opening.await.unwrap_or_else(|error| Err(error.to_string()));
        match opened {
            Ok(session) => {
                if let Some(away) = self.breaker.succeeded() {
                    tracing::info!("the database answers again, after {away:?}");
                }
                Ok(session)
            }
            Err(reason) => Err(self.failed(reason)),
        }
    }

    /// # Errors
    /// The breaker is open.
    pub(super) fn check(&self) -> Result<(), Failure> {
        self.breaker.check().map_err(|open| Failure::Down { reason: open.reason, retry_in: open.retry_in })
    }

    /// A connection failed, for this reason.
    pub(super) fn failed(&self, reason: String) -> Failure {
        if self.breaker.since().is_none() {
            tracing::warn!("the database cannot be reached: {reason}");
        }
        let retry_in = self.breaker.failed(&reason);
        self.failed.notify_waiters();
        Failure::Down { reason, retry_in }
    }

    async fn dial(&self, heard: Option<Arc<Notify>>) -> Result<Session, String> {
        let (client, mut connection) =
            self.config.connect(self.encryption.clone()).await.map_err(|error| words(&error))?;
        let driver = self.runtime.spawn(async move {
            loop {
                match std::future::poll_fn(|cx| connection.poll_message(cx)).await {
                    Some(Ok(AsyncMessage::Notification(_))) => wake(heard.as_ref()),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => break,
                }
            }
            drop(connection);
            wake(heard.as_ref());
        });
        let mut session = Session {
            client,
            server: 0,
            statements: HashMap::new(),
            busy: false,
            driver: driver.abort_handle(),
        };
        session.server = self.greet(&session.client).await?;
        Ok(session)
    }

    /// Returns what tells the server, its timeline and the database from others.
    async fn greet(&self, client: &Client) -> Result<u64, String> {
        let limit = self.statement_timeout.as_millis().max(1);
        let text = format!("SET statement_timeout = {limit}; {GREETING}");
        let answer = client.simple_query(&text).await.map_err(|error| words(&error))?;
        let row = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let row = row.ok_or("it does not say what it is")?;
        if row.get(0) != Some("f") {
            return Err("it is a standby: name the primary".to_owned());
        }
        if row.get(1).and_then(|version| version.parse::<u32>().ok()).unwrap_or(0) < OLDEST {
            return Err("it is older than PostgreSQL 13".to_owned());
        }
        let mut hasher = DefaultHasher::new();
        [row.get(2), row.get(3), row.get(4)].hash(&mut hasher);
        Ok(hasher.finish())
    }
}

fn wake(heard: Option<&Arc<Notify>>) {
    if let Some(heard) = heard {
        heard.notify_one();
    }
}

/// What went wrong with a connection, with its cause and without secrets.
pub(super) fn words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{} ({})", said.message(), said.code().code()),
        None => error.to_string(),
    }
}
