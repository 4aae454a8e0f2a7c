//! The database below home, for the command line: its trial, and its migration.

use std::time::Duration;

use crate::config::Config;
use crate::source::{self, Finding, Migrated, Migration};

fn block_on<T>(asking: impl Future<Output = T>) -> anyhow::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(asking))
}

/// Tries what `strata check` promises: that the database answers, and what is the matter with each source. Nothing, where
/// there is none.
pub fn try_sources(config: &Config) -> Vec<Finding> {
    if !config.l4.enabled {
        return Vec::new();
    }
    block_on(source::check(&config.l4)).unwrap_or_else(|error| {
        vec![Finding { name: "l4".to_owned(), took: Duration::ZERO, outcome: Err(format!("{error:#}")) }]
    })
}

/// Does what `strata migrate` was asked for.
///
/// # Errors
/// What is wrong with a source, or what the database says.
pub fn migrate(config: &Config, migration: &Migration) -> anyhow::Result<Migrated> {
    block_on(source::migrate(&config.l4, migration))?
}
