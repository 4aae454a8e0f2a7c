//! The binary: the command line of the library, with the real program behind it.

use std::io::{IsTerminal, stderr, stdout};
use std::process::ExitCode;
use std::time::Instant;

use strata::cli::{Program, Trial, execute};
use strata::config::Config;
use strata::server;
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
        vec![Trial { name: format!("{} {}", home.section, home.topology), took: began.elapsed(), outcome }]
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
