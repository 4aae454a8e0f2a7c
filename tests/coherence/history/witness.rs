//! The witness: a client straight at home that looks whether what was acknowledged is there, and will stay.

use super::commands::{is_same, sample};
use super::field::Register;
use super::link::{Link, Outcome};
use super::losses::Losses;
use super::model::Content;
use crate::support::{Arguments, Value, arguments};

/// How long replicas may take to confirm, in ms.
const REPLICATION: &str = "500";

pub(super) struct Witness {
    link: Box<dyn Link>,
}

/// What the witness found.
#[derive(Debug)]
pub(super) enum Sight {
    /// It is there, on enough replicas.
    Lasts,
    /// Something else is there.
    Other(Value),
    /// Home does not answer, or replicas don't.
    Unsure,
}

impl Witness {
    pub(super) fn new(link: Box<dyn Link>) -> Witness {
        Witness { link }
    }

    /// Whether the register holds `content`, or nothing any more where it has a time to live.
    pub(super) fn look(
        &mut self,
        register: &Register,
        content: &Content,
        ends: bool,
        losses: &Losses,
    ) -> Sight {
        let mark = register.key("witness");
        self.find(sample(register), &mark, losses, |value| {
            is_same(value, content) || ends && *value == Value::Nil
        })
    }

    /// Reads, and has replicas confirm all that the server of `mark` had written by then.
    pub(super) fn find(
        &mut self,
        read: Arguments,
        mark: &[u8],
        losses: &Losses,
        expected: impl Fn(&Value) -> bool,
    ) -> Sight {
        let mut write = arguments(&["SET", "", "1"]);
        write[1] = mark.to_vec();
        let wait = losses.required_replicas().to_string();
        losses.count_look();
        let outcomes = self.link.exchange(&[read, write, arguments(&["WAIT", &wait, REPLICATION])]);
        let [(Outcome::Said(value), _), (Outcome::Said(set), _), (Outcome::Said(confirmed), _)] =
            &outcomes[..]
        else {
            return Sight::Unsure;
        };
        if value.is_error() || set.is_error() {
            return Sight::Unsure;
        }
        if !expected(value) {
            return Sight::Other(value.clone());
        }
        let confirmed = confirmed.integer().and_then(|count| usize::try_from(count).ok());
        // What was required may have changed meanwhile.
        let enough = confirmed.is_some_and(|count| count >= losses.required_replicas());
        if enough { Sight::Lasts } else { Sight::Unsure }
    }

    /// A read of home; `None` while it has no answer.
    pub(super) fn ask(&mut self, read: &Arguments) -> Option<Value> {
        match self.link.exchange(std::slice::from_ref(read)).pop() {
            Some((Outcome::Said(value), _)) if !value.is_error() => Some(value),
            _ => None,
        }
    }
}
