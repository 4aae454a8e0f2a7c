//! CLIENT UNBLOCK: strata's number of a client becomes home's number of the connection by which it waits.

use std::sync::Arc;
use std::time::Duration;

use super::{NOT_AN_INTEGER, about};
use crate::proxy::{LaneKey, Proxy, Tag};
use crate::resp::{Request, encode, parse_i64, reply};
use crate::session::Session;
use crate::session::clients::ClientInfo;

/// A command that was just sent may not have reached home: home is asked so often, with pauses.
const ATTEMPTS: usize = 50;
const PAUSE: Duration = Duration::from_millis(2);

impl Session {
    pub(super) fn client_unblock(&mut self, request: &Request<'_>) {
        let reason = request.arg(3);
        let known = |r: &[u8]| r.eq_ignore_ascii_case(b"TIMEOUT") || r.eq_ignore_ascii_case(b"ERROR");
        if request.len() > 4 {
            let word = request.arg(1).unwrap_or_default();
            let before = "ERR unknown subcommand or wrong number of arguments for '";
            return self.reply_error(about(before, word, "'. Try CLIENT HELP."));
        }
        if reason.is_some_and(|r| !known(r)) {
            return self.reply_error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
        }
        let Some(number) = request.arg(2).and_then(parse_i64) else {
            return self.reply_error(NOT_AN_INTEGER);
        };
        let client = u64::try_from(number).ok().and_then(|n| self.context.clients.get(n));
        let waiting = client.and_then(|client| {
            let tag = client.blocked.lock().as_ref().inspect(|tag| tag.retire()).cloned()?;
            Some((client, tag))
        });
        let Some((client, tag)) = waiting else {
            return self.say(|out, _| encode::integer(out, 0));
        };
        let (proxy, lane) = (self.context.proxy.clone(), self.lane);
        let reason = reason.unwrap_or(b"TIMEOUT").to_vec();
        self.reply_later(async move {
            let mut out = Vec::new();
            match unblock(&proxy, lane, &client, &tag, &reason).await {
                Ok(done) => encode::integer(&mut out, i64::from(done)),
                Err(error) => encode::error(&mut out, error),
            }
            out
        });
    }
}

async fn unblock(
    proxy: &Proxy,
    lane: LaneKey,
    client: &ClientInfo,
    tag: &Arc<Tag>,
    reason: &[u8],
) -> Result<bool, String> {
    let id = tag.id.to_string();
    let waits = || client.blocked.lock().as_ref().is_some_and(|now| Arc::ptr_eq(now, tag));
    for _ in 0..ATTEMPTS {
        let way = proxy.way_to(lane, tag.node);
        let answer = proxy.ask_by(way, &[b"CLIENT", b"UNBLOCK", id.as_bytes(), reason]).await?;
        if reply::parse_integer(&answer) == Some(1) {
            return Ok(true);
        }
        if !waits() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(false)
}
