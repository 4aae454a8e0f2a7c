//! What is below home: a key that home does not have, and a source has a row of, is put into home, and the request is
//! sent there again. So no reply is made here, and copies learn of what is loaded as of any write. "The way of a read
//! through home to a row" in src/README.md.

mod bring;
mod follow;
mod loads;
mod nothing;
mod scripts;
pub mod surface;
mod through;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::Proxy;
use crate::config::L4 as Config;
use crate::source::{Match, Sources};

pub use follow::follow;
use loads::Loads;
use nothing::Nothing;
pub(super) use through::Manner;

/// The sources, and what this process has under way with them.
pub struct L4 {
    /// What can be asked.
    pub sources: Arc<Sources>,
    /// What happened.
    pub figures: Figures,
    /// Keys of other databases come from nowhere.
    database: u32,
    /// By source a glob that its keys match, and perhaps others.
    globs: Box<[Vec<u8>]>,
    loads: Loads,
    nothing: Nothing,
}

/// What happened since the start.
#[derive(Debug, Default)]
pub struct Figures {
    /// Rows that were put into home.
    pub rows: AtomicU64,
    /// Rows that somebody else had put there meanwhile, or a client's value.
    pub late: AtomicU64,
    /// Keys without a row.
    pub nothing: AtomicU64,
    /// Keys asked for that were known to have no row.
    pub known_nothing: AtomicU64,
    /// Reads that waited for a load of others.
    pub joined: AtomicU64,
    /// Reads that failed because a source did, or home did not take the row.
    pub failed: AtomicU64,
    /// Rows whose life was lengthened.
    pub confirmed: AtomicU64,
    /// Rows that had changed before they were.
    pub overtaken: AtomicU64,
    /// Rows that nobody could confirm: they ended after a lease.
    pub unconfirmed: AtomicU64,
    /// Changes of keys that home was told of.
    pub changes: AtomicU64,
    /// Keys that were deleted at home because their rows had changed.
    pub dropped: AtomicU64,
    /// Changes of everything of a source.
    pub sweeps: AtomicU64,
    /// Changes that home has not been told of yet.
    pub outstanding: AtomicU64,
}

impl L4 {
    /// Nothing was loaded yet. `database` is home's, whose keys come from sources.
    pub fn new(sources: Arc<Sources>, config: &Config, database: u32) -> Self {
        L4 {
            sources,
            figures: Figures::default(),
            database,
            globs: config.sources.iter().map(|source| glob_of(source.pattern.literals())).collect(),
            loads: Loads::default(),
            nothing: Nothing::default(),
        }
    }

    /// The source of a key; None: it has none, or is one of strata's own.
    pub(super) fn matching(&self, key: &[u8]) -> Option<Match> {
        if key.starts_with(b"strata:") { None } else { self.sources.matching(key) }
    }

    fn covers(&self, database: u32, key: &[u8]) -> bool {
        database == self.database && self.matching(key).is_some()
    }
}

impl Proxy {
    /// Whether an absent key may have a row: no copy may say that it is absent, because nobody announces that a row
    /// came to be.
    pub(super) fn may_have_row(&self, database: u32, key: &[u8]) -> bool {
        self.shared.l4.as_ref().is_some_and(|l4| l4.covers(database, key))
    }
}

/// A glob for a pattern, which is texts with parts of keys between them.
fn glob_of(texts: &[String]) -> Vec<u8> {
    let mut glob = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        if at > 0 {
            glob.push(b'*');
        }
        for byte in text.bytes() {
            if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^') {
                glob.push(b'\\');
            }
            glob.push(byte);
        }
    }
    glob
}

#[cfg(test)]
mod tests {
    use super::glob_of;
    use crate::tier::glob;

    #[test]
    fn a_pattern_as_a_glob() {
        let of = |texts: &[&str]| glob_of(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["user:", ":profile"]), b"user:*:profile");
        assert!(glob::matches(&of(&["a*[b]", ""]), b"a*[b]1") && !glob::matches(&of(&["a*", ""]), b"ab1"));
        assert!(glob::matches(&of(&["^\\", ""]), b"^\\x"));
    }
}
