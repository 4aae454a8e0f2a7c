//! Logs: strings that clients prolong by what they read under WATCH. Whatever was added and acknowledged has to stay: an
//! update that is lost shows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::commands::log_words;
use super::errors::Errors;
use super::field::Field;
use super::link::{Link, Outcome};
use super::witness::{Sight, Witness};
use crate::support::{Arguments, Value, arguments};

/// Few, so that clients get in each other's way.
const LOGS: usize = 6;

const PAUSE_MILLIS: std::ops::Range<u64> = 5..25;

/// What was added to a log and has to stay in it.
pub(super) struct Added {
    key: Vec<u8>,
    token: String,
    /// FLUSHALLs before it.
    flushes: usize,
}

#[derive(Default)]
pub(super) struct LogRecord {
    pub(super) added: Vec<Added>,
    /// Transactions that found the log changed.
    pub(super) races: usize,
    pub(super) errors: Errors,
    pub(super) odd: Vec<String>,
}

/// One client that prolongs logs.
pub(super) struct Prolonger<'a> {
    pub(super) client: usize,
    pub(super) link: Box<dyn Link>,
    pub(super) witness: Option<Witness>,
    pub(super) field: &'a Field,
    pub(super) random: StdRng,
}

impl Prolonger<'_> {
    /// Works until `over`.
    pub(super) fn run(mut self, over: &AtomicBool) -> LogRecord {
        let mut record = LogRecord::default();
        let mut number = 0;
        while !over.load(Ordering::Relaxed) {
            number += 1;
            let token = format!("{}.{number} ", self.client);
            self.prolong(token, &mut record);
            thread::sleep(Duration::from_millis(self.random.random_range(PAUSE_MILLIS)));
        }
        record
    }

    fn prolong(&mut self, token: String, record: &mut LogRecord) {
        let field = self.field;
        let _writing = field.begin_write();
        let losses = field.losses.now();
        let log = self.random.random_range(0..LOGS);
        let key = format!("{{{}:log{log}}}", field.round).into_bytes();
        let [watch, get] = log_words(&key);
        let mut held = match &self.link.exchange(&[watch, get])[..] {
            [(Outcome::Said(Value::Simple(_)), _), (Outcome::Said(Value::Nil), _)] => Vec::new(),
            [(Outcome::Said(Value::Simple(_)), _), (Outcome::Said(Value::Bulk(held)), _)] => held.clone(),
            outcomes => return outcomes.iter().take(1).for_each(|(outcome, _)| record.errors.count(outcome)),
        };
        held.extend_from_slice(token.as_bytes());
        let mut set = arguments(&["SET"]);
        set.extend([key.clone(), held]);
        let outcomes = self.link.continue_with(&[arguments(&["MULTI"]), set, arguments(&["EXEC"])]);
        match outcomes.last() {
            Some((Outcome::Said(Value::Array(_)), _)) => {}
            Some((Outcome::Said(Value::Nil), _)) => return record.races += 1,
            Some((outcome, _)) => return record.errors.count(outcome),
            None => return,
        }
        let flushes = field.flushes.load(Ordering::Relaxed);
        let Some(witness) = &mut self.witness else {
            return record.added.push(Added { key, token, flushes });
        };
        let mark = [&key[..], b"witness"].concat();
        let [_, get] = log_words(&key);
        match witness.find(get, &mark, &field.losses, |value| holds(value, &token)) {
            Sight::Lasts => record.added.push(Added { key, token, flushes }),
            Sight::Other(_) if field.losses.none_since(losses) => {
                record.odd.push(format!("{token}was added to a log, and is lost at once"));
            }
            // Redis may have lost it, or may yet.
            Sight::Unsure | Sight::Other(_) => {}
        }
    }
}

fn holds(value: &Value, token: &str) -> bool {
    value.bytes().is_some_and(|log| count(log, token) == 1)
}

/// How often the token is in the log.
fn count(log: &[u8], token: &str) -> usize {
    log.split_inclusive(|&byte| byte == b' ').filter(|part| *part == token.as_bytes()).count()
}

/// Reads all logs when everything is over, and says what is missing from them.
pub(super) fn check(
    added: &[Added],
    field: &Field,
    mut ask: impl FnMut(&Arguments) -> Option<Value>,
) -> Vec<String> {
    let mut missing = Vec::new();
    let mut keys: Vec<&[u8]> = added.iter().map(|added| &added.key[..]).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let [_, get] = log_words(key);
        let Some(log) = ask(&get) else {
            missing.push(format!("{}: home does not say", key.escape_ascii()));
            continue;
        };
        let log = log.bytes().unwrap_or_default();
        let flushes = field.flushes.load(Ordering::Relaxed);
        let due = added.iter().filter(|added| added.key == key && added.flushes == flushes);
        for added in due {
            let count = count(log, &added.token);
            if count != 1 {
                missing.push(format!("{}: {}is in the log {count} times", key.escape_ascii(), added.token));
            }
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::super::model::Terms;
    use super::*;

    #[test]
    fn what_is_missing_or_there_twice_is_found() {
        let field = Field::new(0, Terms::ONE);
        let added = ["1.1 ", "1.2 ", "2.1 "].map(|token| Added {
            key: b"log".to_vec(),
            token: token.to_owned(),
            flushes: 0,
        });
        let found = check(&added, &field, |_| Some(Value::Bulk(b"1.1 2.1 1.11 2.1 ".to_vec())));
        assert_eq!(found, ["log: 1.2 is in the log 0 times", "log: 2.1 is in the log 2 times"]);
        field.flushes.store(1, Ordering::Relaxed);
        assert!(check(&added, &field, |_| Some(Value::Nil)).is_empty());
    }
}
