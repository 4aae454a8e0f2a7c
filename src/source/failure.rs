//! Why the database gives no answer.

use std::time::Duration;

/// Why it is not known whether there is a row, or whether it changed. `Display` is fit to be shown to a client: no key,
/// no value, no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nothing is looked up below home.
    #[error("sources are off (l4.enabled = false)")]
    Disabled,
    /// The database cannot be reached.
    #[error("the database cannot be reached: {reason} (next attempt in {} ms)", retry_in.as_millis())]
    Down {
        /// What the last attempt met.
        reason: String,
        /// Until the next attempt.
        retry_in: Duration,
    },
    /// It did not answer within `l4.statement_timeout`, or there was no free connection within `l4.connect_timeout`.
    #[error("the database did not answer within {0:?}")]
    Timeout(Duration),
    /// It answered with an error.
    #[error("the database answers: {0}")]
    Refused(String),
    /// What it answered cannot be made a key of.
    #[error("the row cannot be made a key of: {0}")]
    Unusable(&'static str),
    /// Changes cannot be followed at the moment, so nothing can be confirmed.
    #[error("changes cannot be followed: {0}")]
    Behind(String),
}
