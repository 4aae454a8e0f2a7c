//! For how long a request may wait, as it says itself.

use std::time::Duration;

use super::keys::StreamOptions;
use super::{Args, COUNT, Command, id};

/// The longest that a request which waits asks home to wait; None: for ever. What cannot be read is zero: home answers
/// it at once, with an error.
pub fn longest_wait<A: Args + ?Sized>(command: &Command, args: &A) -> Option<Duration> {
    let last = args.len().saturating_sub(1);
    match command.id {
        id::BLMPOP | id::BZMPOP => seconds(args.arg(1)),
        id::WAIT => milliseconds(args.arg(last)),
        id::XREAD | id::XREADGROUP => milliseconds(StreamOptions::read(args).wait.and_then(|i| args.arg(i))),
        // How a command says it that home has beyond the table is not known.
        learned if learned.index() >= COUNT => None,
        _ => seconds(args.arg(last)),
    }
}

fn seconds(word: Option<&[u8]>) -> Option<Duration> {
    let number = word.and_then(|w| std::str::from_utf8(w).ok()?.trim().parse::<f64>().ok());
    match number {
        Some(0.0) => None,
        // What Redis cannot count in milliseconds it refuses.
        Some(n) => Some(Duration::try_from_secs_f64(n).unwrap_or_default()),
        None => Some(Duration::ZERO),
    }
}

fn milliseconds(word: Option<&[u8]>) -> Option<Duration> {
    match word.and_then(|w| std::str::from_utf8(w).ok()?.parse::<u64>().ok()) {
        Some(0) => None,
        number => Some(Duration::from_millis(number.unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::resolve;

    #[test]
    fn requests_say_how_long_they_may_wait() {
        let ms = |n| Some(Duration::from_millis(n));
        for (words, wait) in [
            ("BLPOP a b 0", None),
            ("BRPOP a 0.25", ms(250)),
            ("BLMOVE a b LEFT RIGHT 2", ms(2000)),
            ("BRPOPLPUSH a b 3", ms(3000)),
            ("BLMPOP 1.5 2 a b LEFT", ms(1500)),
            ("BZMPOP 0 1 a MIN", None),
            ("BZPOPMAX a nonsense", ms(0)),
            ("BZPOPMIN a -1", ms(0)),
            ("BZPOPMIN a nan", ms(0)),
            ("BZPOPMIN a 1e300", ms(0)),
            ("WAIT 1 100", ms(100)),
            ("WAIT 1 0", None),
            ("XREAD COUNT 1 BLOCK 70 STREAMS s $", ms(70)),
            ("XREAD BLOCK 0 STREAMS BLOCK 5", None),
            ("XREADGROUP GROUP g c BLOCK 9 NOACK STREAMS s >", ms(9)),
            ("XREAD BLOCK", ms(0)),
        ] {
            let args: Vec<&str> = words.split(' ').collect();
            let command = resolve(args.as_slice()).expect("a command");
            assert_eq!(longest_wait(command, args.as_slice()), wait, "{words}");
        }
    }
}
