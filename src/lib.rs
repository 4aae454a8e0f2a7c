//! strata: a RESP-compatible caching proxy. `src/README.md` is the map of this crate.

pub mod acl;
pub mod backend;
pub mod breaker;
pub mod cli;
pub mod clock;
pub mod command;
pub mod config;
pub mod metrics;
pub mod proxy;
pub mod resp;
pub mod router;
pub mod server;
pub mod session;
pub mod source;
pub mod tier;
pub mod tls;
