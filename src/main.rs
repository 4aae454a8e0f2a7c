//! The binary: the command line of the library, with the real program behind it.

use std::io::{IsTerminal, stderr, stdout};
use std::process::ExitCode;
use std::time::Instant;

use strata::cli::{Program, Trial, execute};
use strata::config::Config;
use strata::server;
use strata::source::{Migrated, Migration};
use strata::tier::training::{Trained, Training};
use tracing_subscriber::EnvFilter;

struct Strata;

impl Program for Strata {
    fn run(&self, config: Config) -> anyhow::Result<()> {
        let filter = EnvFilter::try_new(&config.server.log)?;
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(stderr().is_terminal())
            .with_writer(stderr)
            .with_target(false)
            .init();
        server::run(config)
    }

    fn try_backends(&self, config: &Config) -> Vec<Trial> {
        let home = config.home();
        let began = Instant::now();
        let outcome = server::try_home(config).map_err(|error| format!("{error:#}"));
        let home =
            Trial { name: format!("{} {}", home.section, home.topology), took: began.elapsed(), outcome };
        let found = server::try_sources(config).into_iter();
        let below = found.map(|found| Trial { name: found.name, took: found.took, outcome: found.outcome });
        std::iter::once(home).chain(below).collect()
    }

    fn migrate(&self, config: &Config, migration: &Migration) -> anyhow::Result<Migrated> {
        server::migrate(config, migration)
    }

    fn train_dictionary(&self, config: &Config, training: &Training) -> anyhow::Result<Trained> {
        server::train_dictionary(config, training)
    }
}

fn main() -> ExitCode {
    match execute(std::env::args_os(), std::env::vars_os(), &Strata, &mut stdout(), &mut stderr()) {
        Ok(code) => ExitCode::from(code),
        // Nobody reads what is printed.
        Err(_) => ExitCode::FAILURE,
    }
}
