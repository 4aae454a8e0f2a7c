//! Errors that clients were given, by what they say.

use std::collections::BTreeMap;
use std::fmt;

use super::link::Outcome;
use crate::support::Value;

/// Kinds that are told.
const TOLD: usize = 16;

/// How many there were of each kind.
#[derive(Default)]
pub(super) struct Errors(BTreeMap<String, usize>);

impl Errors {
    /// Counts an outcome that is none that a client hoped for.
    pub(super) fn count(&mut self, outcome: &Outcome) {
        let kind = match outcome {
            Outcome::Said(Value::Error(text)) => kind_of(text),
            Outcome::Said(other) => format!("unexpected {other:?}"),
            Outcome::Unsure => "no reply, or the connection ended".to_owned(),
            Outcome::NotSent => "no connection, or refused by home".to_owned(),
        };
        *self.0.entry(kind).or_default() += 1;
    }

    pub(super) fn total(&self) -> usize {
        self.0.values().sum()
    }

    pub(super) fn add(&mut self, other: Errors) {
        for (kind, count) in other.0 {
            *self.0.entry(kind).or_default() += count;
        }
    }
}

/// The text without its numbers: those differ from time to time.
fn kind_of(text: &str) -> String {
    let mut kind = String::new();
    for char in text.chars() {
        match char {
            '0'..='9' if kind.ends_with('#') => {}
            '0'..='9' => kind.push('#'),
            _ => kind.push(char),
        }
    }
    kind
}

impl fmt::Display for Errors {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} errors", self.total())?;
        let mut kinds: Vec<_> = self.0.iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        kinds.iter().take(TOLD).try_for_each(|(kind, count)| write!(to, "\n  {count}: {kind}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_differ_in_numbers_alone_are_of_one_kind() {
        let mut errors = Errors::default();
        for text in ["ERR 127.0.0.1:7001 is away for 12ms", "ERR 127.0.0.1:65001 is away for 3ms"] {
            errors.count(&Outcome::Said(Value::Error(text.into())));
        }
        errors.count(&Outcome::Unsure);
        let told = "3 errors\n  2: ERR #.#.#.#:# is away for #ms\n  1: no reply, or the connection ended";
        assert_eq!(errors.to_string(), told);
    }
}
