//! CONFIG SET goes home; what it says of things that strata keeps itself holds for them, too.

use crate::command::Args;
use crate::proxy::Shared;
use crate::proxy::watch::Reason;
use crate::resp::{Request, encode, parse_i64};
use crate::session::Session;

const SLOWER_THAN: &[u8] = b"slowlog-log-slower-than";
const MAX_LEN: &[u8] = b"slowlog-max-len";
const MAX_KEYS: &[u8] = b"tracking-table-max-keys";

/// What a CONFIG SET changes here, once home has accepted it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    slower_than: Option<i64>,
    max_len: Option<usize>,
    max_keys: Option<usize>,
}

impl Session {
    /// Sends a CONFIG SET home if it is about something that strata keeps itself. False: it is not.
    pub(in crate::session) fn follow_config(&mut self, request: &Request<'_>) -> bool {
        let changes = changes(request);
        if changes == Changes::default() {
            return false;
        }
        let (proxy, lane) = (self.context.proxy.clone(), self.lane);
        let words: Vec<Vec<u8>> = request.iter().map(<[u8]>::to_vec).collect();
        self.reply_later(async move {
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            match proxy.ask_all(lane, &words).await {
                Ok(reply) => {
                    changes.apply(&proxy.shared);
                    reply.to_vec()
                }
                Err(text) => {
                    let mut out = Vec::new();
                    encode::error(&mut out, text);
                    out
                }
            }
        });
        true
    }
}

impl Changes {
    fn apply(&self, shared: &Shared) {
        shared.slow.configure(self.slower_than, self.max_len);
        shared.watch.set(Reason::EveryCommand, shared.slow.every());
        if let Some(max) = self.max_keys {
            shared.tell(|listeners, tell| listeners.set_max_keys(max, tell));
        }
    }
}

fn changes<A: Args + ?Sized>(args: &A) -> Changes {
    let mut changes = Changes::default();
    for index in (2..args.len()).step_by(2) {
        let (Some(name), Some(value)) = (args.arg(index), args.arg(index + 1).and_then(parse_i64)) else {
            continue;
        };
        if name.eq_ignore_ascii_case(SLOWER_THAN) {
            changes.slower_than = Some(value);
        } else if name.eq_ignore_ascii_case(MAX_LEN) {
            changes.max_len = usize::try_from(value).ok();
        } else if name.eq_ignore_ascii_case(MAX_KEYS) {
            changes.max_keys = usize::try_from(value).ok();
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strata_keeps_itself_is_found_among_other_settings() {
        let found = |words: &str| changes(words.split(' ').collect::<Vec<_>>().as_slice());
        let all =
            "CONFIG SET maxmemory 1 Slowlog-Max-Len 5 slowlog-log-slower-than -1 tracking-table-max-keys 7";
        let expected = Changes { slower_than: Some(-1), max_len: Some(5), max_keys: Some(7) };
        assert_eq!(found(all), expected);
        for words in ["CONFIG SET maxmemory 1", "CONFIG SET slowlog-max-len", "CONFIG SET slowlog-max-len x"]
        {
            assert_eq!(found(words), Changes::default(), "{words}");
        }
    }
}
