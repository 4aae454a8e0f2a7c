//! The words of Redis 7.0 for a request that is no command, byte for byte.

use super::{Args, Command, id};

/// How much of the arguments an error repeats, in bytes, quotes and spaces included; nearly: the last one may
/// overrun it by its quotes.
const SHOWN: usize = 128;

/// Which word of a request names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The first.
    Command,
    /// The second, after a container.
    Subcommand,
}

impl Unknown {
    /// The error for a request, from `ERR` on, without line ends. At most 400 bytes, which may be any but CR and LF.
    pub fn message<A: Args + ?Sized>(self, args: &A) -> Vec<u8> {
        let word = |index| shown(args.arg(index).unwrap_or_default(), SHOWN);
        let mut text = Vec::with_capacity(256);
        match self {
            Self::Command => {
                text.extend_from_slice(b"ERR unknown command '");
                text.extend_from_slice(word(0));
                text.extend_from_slice(b"', with args beginning with: ");
                push_arguments(&mut text, args);
            }
            Self::Subcommand => {
                text.extend_from_slice(b"ERR unknown subcommand '");
                text.extend_from_slice(word(1));
                text.extend_from_slice(b"'. Try ");
                text.extend(word(0).iter().map(u8::to_ascii_uppercase));
                text.extend_from_slice(b" HELP.");
            }
        }
        for byte in &mut text {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        text
    }
}

impl Command {
    /// What errors of strata's own words about it begin with. An `EXEC` that is refused says what became of the
    /// transaction.
    pub fn refusal(&self) -> &'static str {
        if self.id == id::EXEC { "EXECABORT Transaction discarded because of:" } else { "ERR" }
    }

    /// The error for a wrong number of arguments, code first.
    pub fn arity_error(&self) -> String {
        let code = self.refusal();
        format!("{code} wrong number of arguments for '{}' command", self.name)
    }
}

fn push_arguments<A: Args + ?Sized>(text: &mut Vec<u8>, args: &A) {
    let start = text.len();
    let mut index = 1;
    while let (Some(arg), Some(left @ 1..)) = (args.arg(index), (start + SHOWN).checked_sub(text.len())) {
        text.push(b'\'');
        text.extend_from_slice(shown(arg, left));
        text.extend_from_slice(b"' ");
        index += 1;
    }
}

/// What Redis shows of a word: as much as fits, up to the first NUL, because it prints C strings.
fn shown(word: &[u8], most: usize) -> &[u8] {
    let end = word.iter().take(most).position(|byte| *byte == 0).unwrap_or(word.len().min(most));
    &word[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::by_id;

    fn text(unknown: Unknown, args: &[&[u8]]) -> String {
        String::from_utf8(unknown.message(args)).unwrap()
    }

    #[test]
    fn arguments_are_quoted_and_cut() {
        let told = text(Unknown::Command, &[b"foo", b"a", b"b"]);
        assert_eq!(told, "ERR unknown command 'foo', with args beginning with: 'a' 'b' ");
        let told = text(Unknown::Command, &[b"f\r\nx\0y"]);
        assert_eq!(told, "ERR unknown command 'f  x', with args beginning with: ");
        let long = [b'x'; 300];
        let told = Unknown::Command.message(&[&long[..], &long[..120], &long[..], b"unseen"][..]);
        let head = "ERR unknown command '".len() + 128 + "', with args beginning with: ".len();
        assert_eq!(told.len(), head + 123 + 5 + 3);
    }

    #[test]
    fn a_subcommand_shouts_its_container() {
        let told = text(Unknown::Subcommand, &[b"Client", b"Nope", b"x"]);
        assert_eq!(told, "ERR unknown subcommand 'Nope'. Try CLIENT HELP.");
    }

    #[test]
    fn a_wrong_arity_names_the_whole_command() {
        let told = by_id(id::CLIENT_SETNAME).arity_error();
        assert_eq!(told, "ERR wrong number of arguments for 'client|setname' command");
    }
}
