//! CLIENT PAUSE: commands that wait until the pause is over, in front of those that follow them.

use super::Session;
use crate::clock;
use crate::command::{Args, Command, id};
use crate::proxy::watch::Held;
use crate::session::clients::Mark;

/// What begins the first line of a script that says what it does.
const SHEBANG: &[u8] = b"#!";
const NO_WRITES: &[u8] = b"no-writes";

impl Session {
    /// Whether a pause holds this command back. Then it stays where it is in the input.
    pub(super) fn hold_back<A: Args + ?Sized>(&mut self, command: &Command, args: &A) -> bool {
        let held = match self.context.proxy.shared.watch.held(clock::now()) {
            None => false,
            Some(Held::All) => true,
            Some(Held::Writes) if command.id == id::EXEC => {
                self.transaction.as_ref().is_some_and(|queue| queue.replicates)
            }
            Some(Held::Writes) => writes(command, args),
        };
        // Commands that were read together with one that came before the pause are not held back.
        let held = held && self.one_by_one;
        if held {
            self.held_back = true;
            self.info.mark(Mark::Postponed, true);
        }
        held
    }

    /// Lets the command be tried again.
    pub(super) fn release_held(&mut self) {
        if std::mem::take(&mut self.held_back) {
            self.info.mark(Mark::Postponed, false);
        }
    }
}

/// Whether a pause of writes is about this command. A script may say that it does not write.
pub(super) fn writes<A: Args + ?Sized>(command: &Command, args: &A) -> bool {
    command.may_replicate() && !(command.id == id::EVAL && is_read_only(args.arg(1).unwrap_or_default()))
}

/// Whether the flags in a script's first line say that it only reads.
fn is_read_only(script: &[u8]) -> bool {
    let line = script.split(|b| *b == b'\n').next().unwrap_or_default();
    if !line.starts_with(SHEBANG) {
        return false;
    }
    let flags = line.split(|b| b.is_ascii_whitespace()).filter_map(|part| part.strip_prefix(b"flags="));
    flags.flat_map(|list| list.split(|b| *b == b',')).any(|flag| flag == NO_WRITES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::resolve;

    #[test]
    fn a_pause_of_writes_is_about_what_may_replicate() {
        let is_held = |words: &[&str]| writes(resolve(words).expect("a command"), words);
        let cases: [(&[&str], bool); 14] = [
            (&["SET", "k", "v"], true),
            (&["GET", "k"], false),
            (&["PFCOUNT", "k"], true),
            (&["PUBLISH", "c", "m"], true),
            (&["SPUBLISH", "c", "m"], true),
            (&["FLUSHALL"], true),
            (&["PING"], false),
            (&["CLIENT", "UNPAUSE"], false),
            (&["EVAL", "return 1", "0"], true),
            (&["EVAL_RO", "return 1", "0"], false),
            (&["EVAL", "#!lua flags=allow-oom,no-writes\nreturn 1", "0"], false),
            (&["EVAL", "#!lua\nreturn 'flags=no-writes'", "0"], true),
            (&["EVALSHA", "0", "0"], true),
            (&["SCRIPT", "LOAD", "return 1"], false),
        ];
        for (words, held) in cases {
            assert_eq!(is_held(words), held, "{words:?}");
        }
    }
}
