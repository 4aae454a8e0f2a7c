//! CONFIG GET: home's settings, and strata's own where the endpoint is meant.

use std::rc::Rc;

use crate::config::AdminCommands;
use crate::resp::{Proto, Request, encode, reply};
use crate::session::{Context, Session};
use crate::tier::glob;

/// What it is that clients are connected to.
type Own = Vec<(&'static str, String)>;

impl Session {
    pub(super) fn config_get(&mut self, request: &Request<'_>) {
        let words: Vec<Vec<u8>> = request.iter().map(<[u8]>::to_vec).collect();
        let (context, lane, own) = (self.context.clone(), self.lane, self.own_settings());
        self.reply_later(async move { answer(&context, lane, &words, own).await });
    }

    /// Where clients find strata. Home is elsewhere.
    pub(super) fn address(&self) -> [(&'static str, String); 3] {
        let listen = self.context.config.server.listen;
        let port = self.info.local.port().to_string();
        [("port", port), ("tls-port", "0".to_owned()), ("bind", listen.ip().to_string())]
    }

    /// Redis' names of strata's own settings. Where commands pass as on Redis, what was set at home is told.
    fn own_settings(&self) -> Own {
        let server = &self.context.config.server;
        let shared = &self.context.proxy.shared;
        let (slower_than, max_len) = shared.slow.configured();
        let mut own: Own = vec![
            ("unixsocket", String::new()),
            ("aclfile", String::new()),
            ("slowlog-log-slower-than", slower_than.to_string()),
            ("slowlog-max-len", max_len.to_string()),
            ("tracking-table-max-keys", shared.listeners.max_keys().to_string()),
        ];
        own.extend(self.address());
        if server.admin_commands == AdminCommands::Pass {
            return own;
        }
        own.extend([
            ("maxclients", server.max_clients.to_string()),
            ("timeout", server.timeout.as_secs().to_string()),
            ("tcp-keepalive", server.tcp_keepalive.as_secs().to_string()),
            ("protected-mode", if server.protected_mode { "yes" } else { "no" }.to_owned()),
            ("client-query-buffer-limit", server.max_query_buffer.to_string()),
            ("proto-max-bulk-len", server.max_bulk.to_string()),
            ("maxmemory-clients", server.max_memory_clients.to_string()),
        ]);
        // Passwords are nobody's who may not change the server.
        let secrets = ["requirepass", "masterauth", "tls-key-file-pass", "tls-client-key-file-pass"];
        own.extend(secrets.map(|name| (name, String::new())));
        own
    }
}

async fn answer(context: &Rc<Context>, lane: crate::proxy::LaneKey, words: &[Vec<u8>], own: Own) -> Vec<u8> {
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    match context.proxy.ask_home(lane, &words).await {
        Ok(home) => merge(&home, &words[2..], own, lane.proto),
        Err(error) => {
            context.proxy.counters.errors.add(1);
            let mut out = Vec::new();
            encode::error(&mut out, error);
            out
        }
    }
}

/// Home's names and values with strata's in place of some, and those that home does not know behind them.
fn merge(home: &[u8], patterns: &[&[u8]], mut own: Own, proto: Proto) -> Vec<u8> {
    let elements: Vec<&[u8]> = reply::elements(home).collect();
    let mut pairs: Vec<(&[u8], Vec<u8>)> = Vec::with_capacity(elements.len() / 2);
    for pair in elements.chunks_exact(2) {
        let name = reply::bulk(pair[0]).unwrap_or_default();
        let mine = own
            .iter()
            .position(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name))
            .map(|at| own.swap_remove(at));
        let value =
            mine.map_or_else(|| reply::bulk(pair[1]).unwrap_or_default().to_vec(), |(_, v)| v.into_bytes());
        pairs.push((name, value));
    }
    let lower: Vec<Vec<u8>> = patterns.iter().map(|pattern| pattern.to_ascii_lowercase()).collect();
    let asked = |name: &str| lower.iter().any(|pattern| glob::matches(pattern, name.as_bytes()));
    for (name, value) in own.into_iter().filter(|(name, _)| asked(name)) {
        pairs.push((name.as_bytes(), value.into_bytes()));
    }
    let mut out = Vec::with_capacity(home.len());
    encode::map(&mut out, proto, pairs.len());
    for (name, value) in pairs {
        encode::bulk(&mut out, name);
        encode::bulk(&mut out, &value);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_values_stand_in_for_homes() {
        let mut home = Vec::new();
        encode::map(&mut home, Proto::Resp2, 2);
        for word in ["maxmemory", "7", "port", "6379"] {
            encode::bulk(&mut home, word.as_bytes());
        }
        let own =
            || vec![("port", "7379".to_owned()), ("timeout", "0".to_owned()), ("bind", "::".to_owned())];
        let merged = merge(&home, &[b"max*", b"PORT", b"time*"], own(), Proto::Resp3);
        let expected =
            "%3\r\n$9\r\nmaxmemory\r\n$1\r\n7\r\n$4\r\nport\r\n$4\r\n7379\r\n$7\r\ntimeout\r\n$1\r\n0\r\n";
        assert_eq!(String::from_utf8_lossy(&merged), expected);
        assert_eq!(merge(b"*0\r\n", &[b"nothing"], own(), Proto::Resp2), b"*0\r\n");
    }
}
