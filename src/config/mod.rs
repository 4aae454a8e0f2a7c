//! The configuration: what strata can be told, and how it is told.
//!
//! Four sources, of which a later one wins: the defaults, a file of TOML, environment variables
//! (`STRATA_L1_MAX_SIZE` is `l1.max_size`) and `--set KEY=VALUE`. Each becomes a list of settings
//! (`layers`); a table with a row for every key (`raw`) says what they may hold (`slot`);
//! `resolve` puts them together. All errors are reported at once ([`ConfigErrors`]).
//!
//! There is no global configuration: [`load`] sees only the [`Sources`] it is given and the files
//! that these name, and whoever needs a section takes it as an argument.

mod error;
mod l4;
mod layers;
mod location;
mod model;
mod pattern;
mod raw;
mod resolve;
mod secret;
mod show;
mod slot;
mod sources;
mod suggest;
mod tiers;
mod users;
mod value;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use error::{ConfigError, ConfigErrors, Origin};
pub use l4::{Columns, L4, Reply, Rows, Source, Watch};
pub use model::{
    AdminCommands, Cluster, Config, Eviction, HitRates, L1, Latencies, Mget, Policy, ReadFrom, Server,
    Targets, Tier, User,
};
pub use pattern::{MAX_PARTS, Pattern};
pub use secret::{MASK, Rules, Secret, mask_url};
pub use tiers::{Compression, Endpoint, HostPort, Identity, L2, L3, Tls, Topology, Upstream};

/// Bytes of a configuration file; larger ones are refused.
pub const MAX_FILE_SIZE: usize = 1 << 20;

/// Entries of `[[policy]]`: every command is matched against them.
pub const MAX_POLICIES: usize = 1000;

/// Entries of `[[l4.source]]`: every key that home lacks is matched against them.
pub const MAX_SOURCES: usize = 1000;

/// Entries of `[[user]]`.
pub const MAX_USERS: usize = 1000;

/// Where a configuration comes from, besides the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A file of TOML of at most [`MAX_FILE_SIZE`] bytes.
    pub file: Option<PathBuf>,
    /// Environment variables. Those that do not begin with `STRATA_` are ignored; one that does and
    /// is known to no key is an error.
    pub env: Vec<(String, String)>,
    /// `KEY=VALUE`, each; a later one wins.
    pub sets: Vec<String>,
}

/// Reads all sources and makes the configuration in force, or reports all that is wrong with it.
pub fn load(sources: &Sources) -> Result<Config, ConfigErrors> {
    let mut errors = ConfigErrors::default();
    let mut settings = Vec::new();
    if let Some(path) = &sources.file {
        let name = path.display().to_string();
        match read_bounded(path) {
            Ok(bytes) => settings.append(&mut layers::file(&name, &bytes, &mut errors)),
            Err(error) => {
                let origin = Origin::File { name: name.into(), line: 0 };
                errors.push(ConfigError::new("", origin, format!("cannot be read: {error}")));
            }
        }
    }
    settings.append(&mut layers::environment(&sources.env, &mut errors));
    settings.append(&mut layers::flags(&sources.sets, &mut errors));
    let config = resolve::resolve(settings, &sources.env, &mut errors);
    errors.into_result(config)
}

/// The configuration that a file of these bytes gives by itself; `name` is for the errors. Whatever
/// the bytes, it returns.
pub fn from_toml(name: &str, bytes: &[u8]) -> Result<Config, ConfigErrors> {
    let mut errors = ConfigErrors::default();
    let settings = layers::file(name, bytes, &mut errors);
    let config = resolve::resolve(settings, &[], &mut errors);
    errors.into_result(config)
}

/// At most one byte more than a file may have, so that a larger one is noticed.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_SIZE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
