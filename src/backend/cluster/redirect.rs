//! Replies by which a node of a cluster says that it is not the one to ask, or not now. The command was not executed.

use crate::config::HostPort;

use super::slot::SLOTS;

/// What such a reply says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redirect {
    /// The slot has another owner.
    Moved { slot: u16, to: HostPort },
    /// The slot is on its way to another owner, which has the key already if anybody has. This request only.
    Ask { slot: u16, to: HostPort },
    /// Of several keys some are here and some there (TRYAGAIN), or the cluster is not well (CLUSTERDOWN).
    Later,
}

impl Redirect {
    /// Whether a reply may be one, by its first bytes: it begins as an error of these does.
    #[inline]
    pub fn may_be(reply: &[u8]) -> bool {
        matches!(reply, [b'-', b'M' | b'A' | b'T' | b'C', ..])
    }

    /// What a reply of the node at `asked` says; None: it is an answer.
    pub fn of(reply: &[u8], asked: &HostPort) -> Option<Redirect> {
        if !Self::may_be(reply) {
            return None;
        }
        let text = std::str::from_utf8(reply.get(1..)?).ok()?;
        let mut words = text.split_ascii_whitespace();
        match words.next()? {
            "MOVED" => place(words, asked).map(|(slot, to)| Redirect::Moved { slot, to }),
            "ASK" => place(words, asked).map(|(slot, to)| Redirect::Ask { slot, to }),
            "TRYAGAIN" | "CLUSTERDOWN" => Some(Redirect::Later),
            _ => None,
        }
    }
}

/// `3999 127.0.0.1:6381`; an IPv6 address has no brackets.
fn place<'a>(mut words: impl Iterator<Item = &'a str>, asked: &HostPort) -> Option<(u16, HostPort)> {
    let slot = words.next()?.parse().ok().filter(|slot| usize::from(*slot) < SLOTS)?;
    let (host, port) = words.next()?.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let host = if host.is_empty() || host == "?" { &asked.host } else { host };
    Some((slot, HostPort { host: host.to_owned(), port }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_are_understood() {
        let at = |host: &str, port| HostPort { host: host.to_owned(), port };
        let asked = at("seed", 1);
        let of = |text: &str| Redirect::of(format!("-{text}\r\n").as_bytes(), &asked);
        let moved = |host: &str| Some(Redirect::Moved { slot: 3999, to: at(host, 6381) });
        assert_eq!(of("MOVED 3999 127.0.0.1:6381"), moved("127.0.0.1"));
        assert_eq!(of("MOVED 3999 ::1:6381"), moved("::1"));
        assert_eq!(of("MOVED 3999 :6381"), moved("seed"));
        assert_eq!(of("MOVED 3999 ?:6381"), moved("seed"));
        assert_eq!(of("ASK 1 h:2"), Some(Redirect::Ask { slot: 1, to: at("h", 2) }));
        assert_eq!(of("TRYAGAIN Multiple keys request during rehashing of slot"), Some(Redirect::Later));
        assert_eq!(of("CLUSTERDOWN Hash slot not served"), Some(Redirect::Later));
        for none in ["ERR x", "MOVED", "MOVED 16384 h:1", "MOVED 1 h:0", "MOVED 1 h", "CROSSSLOT x", "ASKED"]
        {
            assert_eq!(of(none), None, "{none}");
        }
        assert_eq!(Redirect::of(b"+MOVED 1 h:1\r\n", &asked), None);
    }
}
