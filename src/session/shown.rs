//! A request as others may see it, in MONITOR and in the slow log: what is secret is not shown.

use crate::command::{Args, Command, id};
use crate::resp::Request;

const REDACTED: &[u8] = b"(redacted)";
/// Settings of home whose values Redis hides.
const SECRET_SETTINGS: [&[u8]; 3] = [b"masteruser", b"masterauth", b"requirepass"];

/// The arguments, with what Redis hides hidden.
pub(super) fn shown<'a>(command: &Command, request: &Request<'a>) -> Vec<&'a [u8]> {
    let mut arguments: Vec<&[u8]> = request.iter().collect();
    for index in secrets(command, request) {
        if let Some(argument) = arguments.get_mut(index) {
            *argument = REDACTED;
        }
    }
    arguments
}

/// Whether arguments of this command may be secret.
pub(super) fn has_secrets(command: &Command) -> bool {
    [id::AUTH, id::ACL_SETUSER, id::HELLO, id::MIGRATE, id::CONFIG_SET].contains(&command.id)
}

/// Which arguments are secret.
fn secrets<A: Args + ?Sized>(command: &Command, args: &A) -> Vec<usize> {
    let is = |index: usize, word: &str| {
        args.arg(index).is_some_and(|argument| argument.eq_ignore_ascii_case(word.as_bytes()))
    };
    match command.id {
        // More words than it takes are refused before anything is hidden.
        id::AUTH if args.len() <= 3 => vec![1, 2],
        id::ACL_SETUSER => (2..args.len()).collect(),
        id::HELLO => {
            let options = (2..args.len()).filter(|i| is(*i, "auth") && i + 2 < args.len());
            options.flat_map(|i| [i + 1, i + 2]).collect()
        }
        id::MIGRATE => {
            let one = (6..args.len()).filter(|i| is(*i, "auth")).map(|i| i + 1);
            let two = (6..args.len()).filter(|i| is(*i, "auth2")).flat_map(|i| [i + 1, i + 2]);
            one.chain(two).collect()
        }
        id::CONFIG_SET => {
            let secret = |i: &usize| {
                let name = args.arg(*i).unwrap_or_default();
                SECRET_SETTINGS.iter().any(|s| name.eq_ignore_ascii_case(s))
            };
            (2..args.len()).step_by(2).filter(secret).map(|i| i + 1).collect()
        }
        _ => Vec::new(),
    }
}

/// Appends an argument as MONITOR shows it, quoted.
pub(super) fn quote(out: &mut Vec<u8>, argument: &[u8]) {
    out.push(b'"');
    for byte in argument {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(*byte),
            _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::resolve;

    #[test]
    fn secrets_are_found() {
        let cases: [(&str, &[usize]); 9] = [
            ("AUTH pw", &[1, 2]),
            ("AUTH user pw", &[1, 2]),
            ("GET auth", &[]),
            ("HELLO 3 AUTH user pw SETNAME n", &[3, 4]),
            ("ACL SETUSER u >pw", &[2, 3]),
            ("CONFIG SET maxmemory 1 requirepass pw", &[5]),
            ("MIGRATE h 1 k 0 9 COPY AUTH pw", &[8]),
            ("MIGRATE h 1 k 0 9 AUTH2 user pw", &[7, 8]),
            ("CONFIG SET requirepass", &[3]),
        ];
        for (words, secret) in cases {
            let args: Vec<&str> = words.split(' ').collect();
            let command = resolve(args.as_slice()).expect("a command");
            assert_eq!(secrets(command, args.as_slice()), secret, "{words}");
        }
    }

    #[test]
    fn arguments_are_quoted_as_redis_quotes_them() {
        let mut out = Vec::new();
        quote(&mut out, b"a \"b\" \\ \n\r\t\x07\x08\x00\xff~");
        assert_eq!(String::from_utf8_lossy(&out), r#""a \"b\" \\ \n\r\t\a\b\x00\xff~""#);
    }
}
