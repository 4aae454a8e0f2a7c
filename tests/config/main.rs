//! The configuration as its user meets it: `config.toml`, the layers, and what is said when it is wrong.

mod command_line;
mod hostile;
mod layers;
mod messages;

use strata::config::{self, Config, ConfigErrors, Sources};

fn file(text: &str) -> Result<Config, ConfigErrors> {
    config::from_toml("f", text.as_bytes())
}

fn sources(env: &[(&str, &str)], sets: &[&str]) -> Sources {
    Sources {
        file: None,
        env: env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        sets: sets.iter().map(|set| set.to_string()).collect(),
    }
}

/// The errors, one a line.
fn wrong(result: Result<Config, ConfigErrors>) -> Vec<String> {
    result.expect_err("is accepted").iter().map(|error| error.to_string()).collect()
}
