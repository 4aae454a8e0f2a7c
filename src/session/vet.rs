//! What home was asked before a command goes on, or instead of it: whether it knows the command, or is busy; of several
//! nodes, how far replicas are.

use bytes::Bytes;

use super::Session;
use super::batch::Tally;
use super::parked::{Parked, Task, What};
use crate::clock;
use crate::command::{Unknown, id, longest_wait};
use crate::resp::{Request, reply, with_request};
use crate::router::Effect;

impl Session {
    /// A WAIT that several nodes are asked.
    pub(super) fn waits_everywhere(&self, request: &Request<'_>) -> Option<Task<Result<Bytes, String>>> {
        let command = self.resolve(request).ok()?;
        if command.id != id::WAIT {
            return None;
        }
        let (proxy, lane) = (self.context.proxy.clone(), self.lane);
        let words: Vec<Vec<u8>> = request.iter().map(<[u8]>::to_vec).collect();
        let longest = longest_wait(command, request);
        Some(Task::start(async move { proxy.wait_everywhere(lane, &words, longest).await }))
    }

    /// Home has answered.
    pub(super) fn told(&mut self, parked: Parked, answer: Result<Bytes, String>) {
        if !parked.waits() {
            return self.vetted(parked, answer);
        }
        self.conclude(parked.slot, |session| match answer {
            Ok(reply) => session.say(|out, _| out.extend_from_slice(&reply)),
            Err(text) => session.reply_error(text),
        });
    }

    /// Queues the command if home knows it.
    fn vetted(&mut self, parked: Parked, answer: Result<Bytes, String>) {
        let What::Vet(unknown) = parked.what else { return };
        with_request(&parked.raw, |request| {
            self.conclude(parked.slot, |session| match (answer, unknown) {
                (Err(text), _) => session.reject(session.resolve(request).ok(), text),
                (Ok(_), None) => match session.resolve(request) {
                    Ok(command) if command.id != id::EXEC => {
                        session.queue_known(request, command, &mut Vec::new());
                    }
                    command => session.run_slow(
                        request,
                        command,
                        None,
                        clock::now(),
                        &mut Tally::default(),
                        &mut Vec::new(),
                    ),
                },
                (Ok(reply), Some(unknown)) => match arity(&reply) {
                    None => session.reject(None, unknown.message(request)),
                    Some(arity) if fits(arity, request.len()) => {
                        session.queue_for_home(request, None, Effect::WritesUnnamed, &[]);
                    }
                    Some(_) => {
                        let name = String::from_utf8_lossy(&full_name(request, unknown)).into_owned();
                        session.reject(None, format!("ERR wrong number of arguments for '{name}' command"));
                    }
                },
            });
        });
    }
}

/// As COMMAND INFO knows it.
pub(super) fn full_name(request: &Request<'_>, unknown: Unknown) -> Vec<u8> {
    let name = request.name().to_ascii_lowercase();
    match unknown {
        Unknown::Command => name,
        Unknown::Subcommand => {
            [&name, &b"|"[..], &request.arg(1).unwrap_or_default().to_ascii_lowercase()].concat()
        }
    }
}

/// The arity of the command that a reply to COMMAND INFO describes.
fn arity(info: &[u8]) -> Option<i64> {
    reply::parse_integer(reply::elements(reply::elements(info).next()?).nth(1)?)
}

fn fits(arity: i64, arguments: usize) -> bool {
    let least = usize::try_from(arity.unsigned_abs()).unwrap_or(usize::MAX);
    if arity < 0 { arguments >= least } else { arguments == least }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_known_by_its_arity() {
        assert_eq!(arity(b"*1\r\n*3\r\n$3\r\nfoo\r\n:-3\r\n*0\r\n"), Some(-3));
        for none in [&b"*1\r\n*-1\r\n"[..], b"*1\r\n_\r\n", b"*0\r\n", b"-ERR no\r\n"] {
            assert_eq!(arity(none), None);
        }
        assert!(fits(-2, 2) && fits(-2, 9) && fits(2, 2) && !fits(-2, 1) && !fits(2, 3));
    }
}
