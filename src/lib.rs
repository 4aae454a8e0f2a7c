//! strata: a RESP-compatible caching proxy. `src/README.md` is the map of this crate.

pub mod cli;
pub mod command;
pub mod config;
pub mod resp;
pub mod tier;
