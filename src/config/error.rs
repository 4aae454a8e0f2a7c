//! What is wrong with a configuration, where it was written, and what would be right.

use std::fmt;
use std::sync::Arc;

/// So many errors are kept; of the others only the number.
const MAX_ERRORS: usize = 100;

/// Where a setting was given. A later one wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nowhere: it is the default.
    Default,
    /// In the file.
    File {
        /// Its name as it was given.
        name: Arc<str>,
        /// Counted from 1; 0: the file as a whole.
        line: usize,
    },
    /// In this environment variable.
    Environment(String),
    /// By `--set`.
    Flag,
}

impl Origin {
    /// Its place in the rising order: defaults, file, environment, flags.
    pub(super) fn layer(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File { .. } => 1,
            Self::Environment(_) => 2,
            Self::Flag => 3,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { name, line: 0 } => f.write_str(name),
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Environment(variable) => f.write_str(variable),
            Self::Flag => f.write_str("--set"),
        }
    }
}

/// One thing that is wrong. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The setting, as `section.key`; empty if it is about a whole file.
    pub key: String,
    /// Where it was given.
    pub origin: Origin,
    /// What is wrong with it.
    pub wrong: String,
    /// What would be accepted, if that can be said in a line.
    pub accepted: Option<String>,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

impl ConfigError {
    pub(super) fn new(key: impl Into<String>, origin: Origin, wrong: impl Into<String>) -> Self {
        Self { key: key.into(), origin, wrong: wrong.into(), accepted: None, suggestion: None }
    }

    pub(super) fn accepted(mut self, accepted: impl Into<String>) -> Self {
        self.accepted = Some(accepted.into());
        self
    }

    pub(super) fn suggestion(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.is_empty() {
            true => write!(f, "{}: {}", self.origin, self.wrong)?,
            false => write!(f, "{} ({}): {}", self.key, self.origin, self.wrong)?,
        }
        if let Some(accepted) = &self.accepted {
            write!(f, "; accepted: {accepted}")?;
        }
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; did you mean `{suggestion}`?")?;
        }
        Ok(())
    }
}

/// All that is wrong with a configuration, in the order of its sources; at most 100 are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigErrors {
    errors: Vec<ConfigError>,
    more: usize,
}

impl ConfigErrors {
    /// The errors that were kept.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.errors.iter()
    }

    /// How many there are, with those that were not kept.
    pub fn count(&self) -> usize {
        self.errors.len() + self.more
    }

    /// Keeps the error that `make` returns, which is called only if there is room for it.
    pub(super) fn push_with(&mut self, make: impl FnOnce() -> ConfigError) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(make());
        } else {
            self.more += 1;
        }
    }

    pub(super) fn push(&mut self, error: ConfigError) {
        self.push_with(|| error);
    }

    /// `value` if nothing was wrong.
    pub(super) fn into_result<T>(mut self, value: T) -> Result<T, Self> {
        if self.errors.is_empty() {
            return Ok(value);
        }
        self.errors.sort_by(|a, b| a.origin.cmp(&b.origin));
        Err(self)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count() {
            1 => write!(f, "the configuration has an error:")?,
            count => write!(f, "the configuration has {count} errors:")?,
        }
        for (at, error) in self.errors.iter().enumerate() {
            write!(f, "\n{:>3}. {error}", at + 1)?;
        }
        if self.more > 0 {
            write!(f, "\n     and {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_hundred_and_counts_the_rest() {
        let mut errors = ConfigErrors::default();
        for at in 0..103 {
            errors.push(ConfigError::new(format!("key{at}"), Origin::Flag, "wrong"));
        }
        assert_eq!(errors.count(), 103);
        assert_eq!(errors.iter().count(), 100);
        let shown = errors.into_result(()).unwrap_err().to_string();
        assert!(
            shown.starts_with("the configuration has 103 errors:\n  1. key0 (--set): wrong\n"),
            "{shown}"
        );
        assert!(shown.ends_with("100. key99 (--set): wrong\n     and 3 more"), "{shown}");
    }

    #[test]
    fn are_in_the_order_of_their_sources() {
        let file = |line| Origin::File { name: "f".into(), line };
        let mut errors = ConfigErrors::default();
        for origin in [Origin::Flag, Origin::Environment("V".into()), file(10), file(9)] {
            errors.push(ConfigError::new("k", origin, "w"));
        }
        let sorted = errors.into_result(()).unwrap_err();
        let origins: Vec<_> = sorted.iter().map(|e| e.origin.to_string()).collect();
        assert_eq!(origins, ["f:9", "f:10", "V", "--set"]);
    }
}
