//! Two servers in lock-step: each batch goes to both, and no batch starts before the one before it is answered by both.

use std::fmt;
use std::io;
use std::thread;
use std::time::Duration;

use super::compare::{Rule, same};
use crate::support::{Arguments, Client, Endpoint, Value};

/// How many connections a run has to each server. The first write of one is read by the others.
pub(super) const CONNECTIONS: usize = 3;

/// Bytes of a reply that are printed.
const SHOWN: usize = 600;

/// One command, and how its replies are compared.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) words: Arguments,
    pub(super) rule: Rule,
    /// Sent to the target twice.
    pub(super) read: bool,
}

/// Commands that go out in one write.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) connection: usize,
    pub(super) steps: Vec<Step>,
    /// How long to wait afterwards, for keys to expire.
    pub(super) pause: Duration,
}

impl fmt::Display for Batch {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.steps.iter().map(|step| {
            let twice = if step.read { " (twice)" } else { "" };
            format!("connection {}: {}{twice}", self.connection, printable(&step.words))
        });
        write!(to, "{}", lines.collect::<Vec<_>>().join("\n"))?;
        if self.pause.is_zero() { Ok(()) } else { write!(to, "\n(then {:?} go by)", self.pause) }
    }
}

/// The command as it would be typed.
pub(super) fn printable(words: &Arguments) -> String {
    let words = words.iter().map(|word| format!("\"{}\"", word.escape_ascii()));
    words.collect::<Vec<_>>().join(" ")
}

/// Two replies that should be the same and are not.
#[derive(Debug)]
pub(super) struct Mismatch {
    step: Step,
    pass: &'static str,
    expected: Vec<u8>,
    /// The reply, or why there is none.
    got: Result<Vec<u8>, String>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            to,
            "{} ({} pass, compared by {:?}):",
            printable(&self.step.words),
            self.pass,
            self.step.rule
        )?;
        let got = self.got.as_deref().unwrap_or_default();
        let equal = self.expected.iter().zip(got).take_while(|(one, other)| one == other).count();
        writeln!(to, "  redis:  {}", excerpt(&self.expected, equal))?;
        match &self.got {
            Ok(got) => write!(to, "  target: {}", excerpt(got, equal)),
            Err(error) => write!(to, "  target: no reply: {error}"),
        }
    }
}

/// As much of a reply as a reader wants to see around the first byte that differs.
pub(super) fn excerpt(reply: &[u8], differs_at: usize) -> String {
    let start = differs_at.saturating_sub(SHOWN / 2).min(reply.len());
    let end = (start + SHOWN).min(reply.len());
    let mark = |cut: bool| if cut { "..." } else { "" };
    format!("{}{}{}", mark(start > 0), reply[start..end].escape_ascii(), mark(end < reply.len()))
}

/// Connections to the target and to the reference, pair by pair in the same state.
pub(super) struct Lockstep {
    pairs: Vec<(Client, Client)>,
}

impl Lockstep {
    pub(super) fn connect(target: &Endpoint, reference: &Endpoint, protocol: u8) -> io::Result<Lockstep> {
        let open = |endpoint: &Endpoint| -> io::Result<Client> {
            let mut client = Client::connect(endpoint)?;
            client.hello(protocol)?;
            Ok(client)
        };
        let pairs = (0..CONNECTIONS).map(|_| Ok((open(target)?, open(reference)?)));
        Ok(Lockstep { pairs: pairs.collect::<io::Result<_>>()? })
    }

    /// Sends one batch to both and compares. After a mismatch the connections are of no more use.
    pub(super) fn run(&mut self, batch: &Batch) -> Result<(), Box<Mismatch>> {
        let (target, reference) = &mut self.pairs[batch.connection];
        let single: Vec<Arguments> = batch.steps.iter().map(|step| step.words.clone()).collect();
        let doubled = batch
            .steps
            .iter()
            .flat_map(|step| std::iter::repeat_n(step.words.clone(), if step.read { 2 } else { 1 }));
        reference.send_all(&single).expect("redis takes requests");
        let sent = target.send_all(&doubled.collect::<Vec<_>>());
        for step in &batch.steps {
            let expected = reference.read_raw().expect("redis answers");
            let passes = if step.read { &["first", "second"][..] } else { &["only"][..] };
            for &pass in passes {
                let got = match &sent {
                    Ok(()) => target.read_raw().map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                if !got.as_ref().is_ok_and(|got| same(step.rule, &expected, got)) {
                    return Err(Box::new(Mismatch { step: step.clone(), pass, expected, got }));
                }
            }
        }
        thread::sleep(batch.pause);
        Ok(())
    }
}

/// Empties a server of all that commands left there.
pub(super) fn empty(server: &Endpoint) -> io::Result<()> {
    let mut client = Client::connect(server)?;
    for words in [&["FLUSHALL"][..], &["SCRIPT", "FLUSH"], &["FUNCTION", "FLUSH"]] {
        if let Value::Error(text) = client.call(words)? {
            return Err(io::Error::other(text));
        }
    }
    Ok(())
}
