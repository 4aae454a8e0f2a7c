//! CONFIG SET goes home; what it says of things that strata keeps itself holds for them, too. Not home's, but
//! strata's own is the address that CONFIG GET tells, and stays as it is.

use crate::command::Args;
use crate::config::Secret;
use crate::proxy::Shared;
use crate::proxy::watch::Reason;
use crate::resp::{Request, encode, parse_i64};
use crate::session::Session;

const SLOWER_THAN: &[u8] = b"slowlog-log-slower-than";
const MAX_LEN: &[u8] = b"slowlog-max-len";
const MAX_KEYS: &[u8] = b"tracking-table-max-keys";
const PASSWORD: &[u8] = b"requirepass";
const NOT_TEXT: &str = "ERR strata: it logs in at home with this password, which has to be UTF-8";

/// What a CONFIG SET changes here, once home has accepted it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    slower_than: Option<i64>,
    max_len: Option<usize>,
    max_keys: Option<usize>,
    /// What strata itself has to log in with at home; empty: nothing.
    password: Option<Secret>,
}

impl Session {
    /// Sends a CONFIG SET home if it is about something that strata keeps itself. False: it is not.
    pub(in crate::session) fn follow_config(&mut self, request: &Request<'_>) -> bool {
        if sets_password(request) && request.iter().skip(3).any(|word| std::str::from_utf8(word).is_err()) {
            self.reply_error(NOT_TEXT);
            return true;
        }
        let changes = changes(request);
        let words = match without_address(request, &self.address()) {
            Err(name) => {
                let why = match name {
                    "bind" => "Failed to bind to specified addresses",
                    _ => "Unable to listen on this port",
                };
                self.reply_error(format!(
                    "ERR CONFIG SET failed (possibly related to argument '{name}') - {why}: where strata listens is server.listen's"
                ));
                return true;
            }
            Ok(words) if words.len() == request.len() && changes == Changes::default() => return false,
            Ok(words) if words.len() == 2 && request.len() > 2 => {
                self.ok();
                return true;
            }
            Ok(words) => words,
        };
        let (proxy, lane) = (self.context.proxy.clone(), self.lane);
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
        if let Some(password) = &self.password {
            let credentials = &shared.node.dial.credentials;
            // It is the default user's.
            if credentials.username.as_deref().is_none_or(|name| name == "default") {
                let password = Some(password.clone()).filter(|password| !password.expose().is_empty());
                credentials.password.learn(password);
                tracing::warn!(
                    "CONFIG SET requirepass: strata follows until it is started again; configure the new password"
                );
            }
        }
    }
}

/// Whether a CONFIG SET is about the password by which strata is let in.
pub(in crate::session) fn sets_password<A: Args + ?Sized>(args: &A) -> bool {
    let mut names = (2..args.len()).step_by(2).filter_map(|index| args.arg(index));
    names.any(|name| name.eq_ignore_ascii_case(PASSWORD))
}

/// The words of a CONFIG SET but for the settings that are strata's `address` and are to stay as they are; the name of
/// one that is not.
fn without_address<A: Args + ?Sized>(
    args: &A,
    address: &[(&'static str, String)],
) -> Result<Vec<Vec<u8>>, &'static str> {
    let arg = |index: usize| args.arg(index).unwrap_or_default();
    if !args.len().is_multiple_of(2) {
        // Home has words for it.
        return Ok((0..args.len()).map(|index| arg(index).to_vec()).collect());
    }
    let mut words = vec![arg(0).to_vec(), arg(1).to_vec()];
    for index in (2..args.len()).step_by(2) {
        let own = address.iter().find(|(name, _)| arg(index).eq_ignore_ascii_case(name.as_bytes()));
        match own {
            Some((_, value)) if arg(index + 1) == value.as_bytes() => {}
            Some((name, _)) => return Err(name),
            None => words.extend([arg(index).to_vec(), arg(index + 1).to_vec()]),
        }
    }
    Ok(words)
}

fn changes<A: Args + ?Sized>(args: &A) -> Changes {
    let mut changes = Changes::default();
    for index in (2..args.len()).step_by(2) {
        let (Some(name), Some(word)) = (args.arg(index), args.arg(index + 1)) else { continue };
        if name.eq_ignore_ascii_case(PASSWORD) {
            changes.password = std::str::from_utf8(word).ok().map(Secret::new);
        }
        let Some(value) = parse_i64(word) else { continue };
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
    fn the_address_is_stratas_own() {
        let address = [("port", "7379".to_owned()), ("bind", "::".to_owned())];
        let left = |words: &str| {
            let words = without_address(words.split(' ').collect::<Vec<_>>().as_slice(), &address)?;
            Ok(words
                .iter()
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect::<Vec<_>>()
                .join(" "))
        };
        for kept in ["CONFIG SET", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 1 port", "CONFIG SET bind"]
        {
            assert_eq!(left(kept), Ok(kept.to_owned()));
        }
        let expected = Ok("CONFIG SET maxmemory 1".to_owned());
        assert_eq!(left("CONFIG SET PORT 7379 maxmemory 1 bind ::"), expected);
        assert_eq!(left("CONFIG SET maxmemory 1 port 7380"), Err("port"));
    }

    #[test]
    fn what_strata_keeps_itself_is_found_among_other_settings() {
        let found = |words: &str| changes(words.split(' ').collect::<Vec<_>>().as_slice());
        let all =
            "CONFIG SET maxmemory 1 Slowlog-Max-Len 5 slowlog-log-slower-than -1 tracking-table-max-keys 7";
        let expected = Changes { slower_than: Some(-1), max_len: Some(5), max_keys: Some(7), password: None };
        assert_eq!(found(all), expected);
        let password = Some(Secret::new("12"));
        assert_eq!(found("config set REQUIREPASS 12"), Changes { password, ..Changes::default() });
        for words in ["CONFIG SET maxmemory 1", "CONFIG SET slowlog-max-len", "CONFIG SET slowlog-max-len x"]
        {
            assert_eq!(found(words), Changes::default(), "{words}");
        }
    }
}
