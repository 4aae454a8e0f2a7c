//! One node of a tier, as everything that talks to it sees it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::connection::{Address, Credentials, Dial, DialError};
use super::load::Loads;
use crate::breaker::Breaker;
use crate::config::Upstream;

/// A node: how to reach it, its breaker and its bounds.
#[derive(Debug)]
pub struct Node {
    /// The section of its settings: `l2` or `l3`.
    pub section: &'static str,
    /// How to open a connection.
    pub dial: Dial,
    /// Shared by all that dial.
    pub breaker: Breaker,
    /// Bound on one request.
    pub request_timeout: Duration,
    /// What lanes ask of it.
    pub load: Loads,
    /// What it is to strata, for the log.
    role: &'static str,
    complained: AtomicBool,
}

impl Node {
    /// A node that nobody has dialed yet.
    pub fn new(upstream: &Upstream, address: Address) -> Self {
        let credentials =
            Credentials { username: upstream.username.clone(), password: upstream.password.clone().into() };
        Node {
            section: upstream.section,
            dial: Dial {
                address,
                credentials,
                timeout: upstream.connect_timeout,
                run: None,
                readonly: false,
            },
            breaker: Breaker::new(upstream.backoff_min, upstream.backoff_max),
            request_timeout: upstream.request_timeout,
            role: "home",
            load: Loads::default(),
            complained: AtomicBool::new(false),
        }
    }

    /// The node, called so in the log.
    pub fn called(self, role: &'static str) -> Self {
        Node { role, ..self }
    }

    /// The node as a replica in a cluster, which answers only who says that replicas are good enough.
    pub fn for_reading(mut self) -> Self {
        self.dial.readonly = true;
        self
    }

    /// The same node, as long as it is this run of its server (`run_id` of INFO), with another bound on one request.
    pub fn for_run(&self, run: String, request_timeout: Duration) -> Self {
        Node {
            section: self.section,
            dial: Dial { run: Some(run.into()), ..self.dial.clone() },
            breaker: Breaker::new(Duration::from_millis(50), Duration::from_secs(1)),
            request_timeout,
            role: self.role,
            load: Loads::default(),
            complained: AtomicBool::new(false),
        }
    }

    /// A dial failed. If that says nothing of the node, nobody is kept from dialing.
    pub fn failed(&self, error: &DialError) {
        if !matches!(error, DialError::Descriptors) && error.busy().is_none() {
            self.down(&error.to_string());
        }
    }

    /// The node cannot be reached. Logged once a trouble.
    pub fn down(&self, reason: &str) {
        let pause = self.breaker.failed(reason);
        if !self.complained.swap(true, Relaxed) {
            let role = self.role;
            tracing::error!(node = %self.dial.address, reason, ?pause, "{role} is unreachable; retrying with back-off");
        }
    }

    /// A dial succeeded.
    pub fn up(&self) {
        let trouble = self.breaker.succeeded();
        if self.complained.swap(false, Relaxed) {
            let role = self.role;
            tracing::info!(node = %self.dial.address, after = ?trouble.unwrap_or_default(), "{role} is back");
        }
    }
}
