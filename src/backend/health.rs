//! How home fares: what it says of itself, asked at intervals on a connection of its own, and judged.
//!
//! The pool is bb8's and the conversation is redis-rs', as bb8-redis brings them together. The manager is not
//! bb8-redis' own: that one dials by itself, without strata's TLS settings, names and breaker, gives up on a reply
//! after 500 ms whatever is configured, and never calls a connection broken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bb8_redis::bb8::{ManageConnection, Pool, RunError};
use bb8_redis::redis::aio::MultiplexedConnection;
use bb8_redis::redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError, cmd};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::cluster::NodeId;
use super::connection::Control;
use super::facts::Facts;
use super::node::Node;
use super::steward::Findings;
use super::vitals::Vitals;
use crate::clock;
use crate::resp::Proto;

/// While home is unhealthy it is looked at this often, if the interval is longer.
const SOON: Duration = Duration::from_secs(1);

/// The verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing to be done.
    Healthy,
    /// It serves, but somebody should look.
    Degraded,
    /// It does not serve.
    Unhealthy,
}

impl State {
    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            State::Healthy => "healthy",
            State::Degraded => "degraded",
            State::Unhealthy => "unhealthy",
        }
    }
}

/// What one check found.
#[derive(Debug, Clone)]
pub struct Checkup {
    /// When ([`clock::now`]).
    pub at: u64,
    /// The verdict.
    pub state: State,
    /// Why it is not healthy, in words and figures.
    pub reasons: Vec<String>,
    /// Time of a PING; None: it was not answered.
    pub ping: Option<Duration>,
    /// What INFO said; None: it was not answered.
    pub vitals: Option<Vitals>,
}

/// The latest checkups of home, for all threads.
#[derive(Debug, Default)]
pub struct Health {
    nodes: Mutex<BTreeMap<NodeId, Arc<Checkup>>>,
    /// Settings that are not as configured.
    pub differs: Arc<Findings>,
}

impl Health {
    /// The latest of home; in a cluster of the master that fares worst. None: home has not been looked at yet.
    pub fn latest(&self) -> Option<Arc<Checkup>> {
        let nodes = self.nodes.lock();
        nodes.values().rev().max_by_key(|checkup| checkup.state).cloned()
    }

    /// A node is no master any more.
    pub fn forget(&self, node: NodeId) {
        self.nodes.lock().remove(&node);
    }

    fn of(&self, node: NodeId) -> Option<Arc<Checkup>> {
        self.nodes.lock().get(&node).cloned()
    }
}

/// Looks at home for as long as the process lives.
pub struct Monitor {
    number: NodeId,
    node: Arc<Node>,
    health: Arc<Health>,
    facts: Arc<Facts>,
    pool: Pool<Dialer>,
    interval: Duration,
    slow: Duration,
}

impl Monitor {
    /// Checks every `interval`; a PING that takes longer than `slow` makes home degraded.
    pub fn new(
        (number, node): (NodeId, Arc<Node>),
        health: Arc<Health>,
        facts: Arc<Facts>,
        interval: Duration,
        slow: Duration,
    ) -> Self {
        let pool = Pool::builder()
            .max_size(1)
            .min_idle(0)
            .max_lifetime(None)
            .idle_timeout(None)
            .test_on_check_out(false)
            // A dead home would otherwise be dialed again and again until the time is over.
            .retry_connection(false)
            .connection_timeout(node.dial.timeout.max(Duration::from_millis(1)))
            .build_unchecked(Dialer { node: node.clone() });
        Monitor { number, node, health, facts, pool, interval, slow }
    }

    /// See the type's text.
    pub async fn run(self) {
        loop {
            let before = self.health.of(self.number);
            let checkup = self.check(before.as_deref()).await;
            self.report(&checkup, before.map_or(State::Healthy, |b| b.state));
            let state = checkup.state;
            self.health.nodes.lock().insert(self.number, Arc::new(checkup));
            if state != State::Unhealthy && self.facts.databases.load(Relaxed) == 0 {
                self.learn().await;
            }
            let pause = if state == State::Unhealthy { SOON.min(self.interval) } else { self.interval };
            tokio::time::sleep(pause).await;
        }
    }

    fn report(&self, checkup: &Checkup, before: State) {
        let (node, state, reasons) =
            (&self.node.dial.address, checkup.state.name(), checkup.reasons.join("; "));
        match checkup.state {
            now if now == before => {}
            State::Healthy => {
                tracing::info!(%node, ping = ?checkup.ping.unwrap_or_default(), "home is healthy")
            }
            State::Degraded | State::Unhealthy => tracing::warn!(%node, reasons, "home is {state}"),
        }
    }

    async fn check(&self, before: Option<&Checkup>) -> Checkup {
        let examined = match self.node.breaker.check() {
            // Others dial it already; bb8 would wait for its whole time-out.
            Err(down) => Err(down.reason),
            Ok(()) => self.examine().await,
        };
        let at = clock::now();
        let (ping, info) = match examined {
            Ok(found) => found,
            Err(reason) => {
                let reasons = vec![format!("home {}: {reason}", self.node.dial.address)];
                return Checkup { at, state: State::Unhealthy, reasons, ping: None, vitals: None };
            }
        };
        let vitals = info.as_deref().ok().map(Vitals::parse);
        let (state, reasons) =
            self.judge(ping, &info, vitals.as_ref(), before.and_then(|b| b.vitals.as_ref()));
        Checkup { at, state, reasons, ping: Some(ping), vitals }
    }

    fn judge(
        &self,
        ping: Duration,
        info: &Result<String, String>,
        vitals: Option<&Vitals>,
        before: Option<&Vitals>,
    ) -> (State, Vec<String>) {
        if vitals.is_some_and(|v| v.loading) {
            return (State::Unhealthy, vec!["it is loading its data from disk".to_owned()]);
        }
        let mut reasons = vitals.map_or_else(Vec::new, |v| v.complaints(before));
        if let Err(refusal) = info {
            reasons.push(format!("it does not tell how it fares: {refusal}"));
        }
        if ping > self.slow {
            let (slow, section) = (self.slow, self.node.section);
            reasons.push(format!("a PING took {ping:?}, more than {slow:?} (targets.latency.{section})"));
        }
        let state = if reasons.is_empty() { State::Healthy } else { State::Degraded };
        (state, reasons)
    }

    /// Time of a PING, and INFO or why it was refused.
    async fn examine(&self) -> Result<(Duration, Result<String, String>), String> {
        let mut line = self.pool.get().await.map_err(|e| match e {
            RunError::User(reason) => reason,
            RunError::TimedOut => format!("no answer within {:?}", self.node.dial.timeout),
        })?;
        let bound = self.node.request_timeout;
        match timeout(bound, line.examine()).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(e)) => {
                line.broken = true;
                Err(e.to_string())
            }
            Err(_) => {
                line.broken = true;
                Err(format!("no answer within {bound:?} ({}.request_timeout)", self.node.section))
            }
        }
    }

    /// Without L1 there is no guard that would ask.
    async fn learn(&self) {
        let asking = async {
            let mut control = Control::new(self.node.dial.open(Proto::Resp3, 0, "strata-facts").await?);
            self.facts.learn(&mut control).await
        };
        if let Ok(Err(e)) = timeout(self.node.dial.timeout, asking).await {
            tracing::debug!(node = %self.node.dial.address, error = %e, "home does not say what it is");
        }
    }
}

/// Makes the connections of the pool the way all others are made.
struct Dialer {
    node: Arc<Node>,
}

/// A pooled connection.
struct Line {
    redis: MultiplexedConnection,
    broken: bool,
}

impl Line {
    async fn examine(&mut self) -> Result<(Duration, Result<String, String>), RedisError> {
        let began = Instant::now();
        let _: String = cmd("PING").query_async(&mut self.redis).await?;
        let ping = began.elapsed();
        let info: Result<String, RedisError> = cmd("INFO").query_async(&mut self.redis).await;
        match info {
            Err(e) if e.is_io_error() || e.is_timeout() => Err(e),
            info => Ok((ping, info.map_err(|e| e.to_string()))),
        }
    }
}

impl ManageConnection for Dialer {
    type Connection = Line;
    type Error = String;

    async fn connect(&self) -> Result<Line, String> {
        let opened = self.node.dial.open(Proto::Resp2, 0, "strata-health").await;
        let stream = opened.map_err(|e| {
            self.node.down(&e.to_string());
            e.to_string()
        })?;
        self.node.up();
        let greeted = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(self.node.request_timeout));
        let (redis, driver) = MultiplexedConnection::new_with_config(&greeted, stream, config)
            .await
            .map_err(|e| e.to_string())?;
        // It ends with the connection.
        tokio::spawn(driver);
        Ok(Line { redis, broken: false })
    }

    async fn is_valid(&self, line: &mut Line) -> Result<(), String> {
        let _: String =
            cmd("PING").query_async(&mut line.redis).await.map_err(|e: RedisError| e.to_string())?;
        Ok(())
    }

    fn has_broken(&self, line: &mut Line) -> bool {
        line.broken
    }
}
