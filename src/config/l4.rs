//! `[l4]`: the database below home, and what keys are made of its rows.

use std::time::Duration;

use super::pattern::Pattern;
use super::secret::Secret;
use super::tiers::Tls;

/// `[l4]`
#[derive(Clone, Debug, PartialEq)]
pub struct L4 {
    /// Without it nothing is looked up below home.
    pub enabled: bool,
    /// Where it is: a `postgres://` URL without a password, fit to be shown. Empty: none was given.
    pub url: String,
    /// Never empty.
    pub password: Option<Secret>,
    /// How its certificate is verified, where TLS is used at all.
    pub tls: Tls,
    /// Connections that loads may use; one more follows the change log.
    pub max_connections: usize,
    /// For connecting, TLS and authentication together, and for a connection of the pool.
    pub connect_timeout: Duration,
    /// For one statement.
    pub statement_timeout: Duration,
    /// What was loaded lives so long at home until it is known that it did not change meanwhile.
    pub load_lease: Duration,
    /// The change log is read at least so often.
    pub poll_interval: Duration,
    /// Changes are kept so long for those who were away.
    pub log_retention: Duration,
    /// First delay before connecting again.
    pub backoff_min: Duration,
    /// Largest delay before connecting again; never less than `backoff_min`.
    pub backoff_max: Duration,
    /// What is looked up; the first that matches a key wins. At most 1000, no two of one name.
    pub sources: Vec<Source>,
}

impl Default for L4 {
    fn default() -> Self {
        Self {
            enabled: false,
            url: String::new(),
            password: None,
            tls: Tls { ca_file: None, identity: None, server_name: None },
            max_connections: 10,
            connect_timeout: Duration::from_secs(1),
            statement_timeout: Duration::from_secs(1),
            load_lease: Duration::from_secs(2),
            poll_interval: Duration::from_millis(500),
            log_retention: Duration::from_secs(600),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            sources: Vec::new(),
        }
    }
}

/// `[[l4.source]]`: what keys of a pattern are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Not empty, at most 256 bytes, no two alike.
    pub name: String,
    /// Which keys.
    pub pattern: Pattern,
    /// A statement with a parameter for each part of the pattern, `$1` for the first.
    pub query: String,
    /// What a key holds.
    pub reply: Reply,
    /// How many rows it is made of.
    pub rows: Rows,
    /// The longest it lives at home.
    pub ttl: Duration,
    /// It is remembered for so long that there is no row.
    pub negative_ttl: Duration,
    /// The tables whose changes end what was loaded.
    pub watch: Vec<Watch>,
}

impl Default for Source {
    fn default() -> Self {
        Self {
            name: String::new(),
            pattern: Pattern::default(),
            query: String::new(),
            reply: Reply::Value,
            rows: Rows::One,
            ttl: Duration::from_secs(3_600),
            negative_ttl: Duration::from_secs(5),
            watch: Vec::new(),
        }
    }
}

/// What a key of a source holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reply {
    /// A string: the first column.
    #[default]
    Value,
    /// A string: the row as JSON.
    Json,
    /// A hash: a field for each column that is not NULL.
    Hash,
}

impl Reply {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Json => "json",
            Self::Hash => "hash",
        }
    }
}

/// How many rows a key is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rows {
    /// The first one.
    #[default]
    One,
    /// All of them, as an array; only of JSON.
    Many,
}

impl Rows {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Many => "many",
        }
    }
}

/// A table whose changes end what was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Its name as in SQL, with its schema or without.
    pub table: String,
    /// How the keys that a row is about are found.
    pub columns: Columns,
}

/// How the keys that a row of a watched table is about are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Columns {
    /// The columns have the names of the pattern's parts.
    SameNames,
    /// One for each part, in their order.
    Named(Vec<String>),
    /// They are not: each change is about all keys of the source.
    All,
}

/// What is accepted, for error messages.
pub(super) const A_WATCH: &str = "tables such as \"users\" (its columns have the names of the parts), \
    \"orders(user_id)\" (a column for each part) or \"settings(*)\" (a change is about all keys)";

impl Watch {
    /// Reads `table`, `table(column, ...)` or `table(*)`, of a pattern with so many parts.
    pub(super) fn parse(text: &str, parts: usize) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() || text.len() > 512 || text.contains('\0') {
            return Err("names no table".to_owned());
        }
        let Some((table, rest)) = text.split_once('(') else {
            return Ok(Self { table: text.to_owned(), columns: Columns::SameNames });
        };
        let list = rest.strip_suffix(')').ok_or("has a ( without its )")?;
        let table = table.trim().to_owned();
        if table.is_empty() {
            return Err("names no table".to_owned());
        }
        if list.trim() == "*" {
            return Ok(Self { table, columns: Columns::All });
        }
        let columns: Vec<String> = list.split(',').map(|name| name.trim().to_owned()).collect();
        if columns.len() != parts || columns.iter().any(String::is_empty) {
            return Err(format!("names {} columns for {parts} parts", columns.len()));
        }
        Ok(Self { table, columns: Columns::Named(columns) })
    }
}

impl std::fmt::Display for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.columns {
            Columns::SameNames => f.write_str(&self.table),
            Columns::All => write!(f, "{}(*)", self.table),
            Columns::Named(names) => write!(f, "{}({})", self.table, names.join(", ")),
        }
    }
}
