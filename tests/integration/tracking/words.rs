//! Errors and replies of CLIENT TRACKING, CACHING, TRACKINGINFO, GETREDIR, PAUSE and SLOWLOG, byte for byte.

use super::{Pair, connect, frames, resp3};
use crate::support::{is_redis_7_0, skip};

/// Each on a connection of its own.
const CONVERSATIONS: &[&[&str]] = &[
    &["CLIENT TRACKING", "CLIENT TRACKING maybe", "CLIENT TRACKING ON FOO", "CLIENT TRACKING ON PREFIX"],
    &["CLIENT TRACKING ON REDIRECT", "CLIENT TRACKING ON REDIRECT x", "CLIENT TRACKING ON REDIRECT 99999"],
    &["CLIENT TRACKING ON REDIRECT 0", "CLIENT TRACKING ON REDIRECT -1", "CLIENT TRACKINGINFO"],
    &["CLIENT TRACKING ON PREFIX a", "CLIENT TRACKING ON BCAST OPTIN", "CLIENT TRACKING ON BCAST OPTOUT"],
    &["CLIENT TRACKING ON OPTIN OPTOUT", "CLIENT TRACKING OFF FOO", "CLIENT TRACKING OFF", "CLIENT GETREDIR"],
    &["CLIENT TRACKING ON", "CLIENT TRACKING ON BCAST", "CLIENT TRACKINGINFO", "CLIENT GETREDIR"],
    &["CLIENT TRACKING ON OPTIN", "CLIENT TRACKING ON OPTOUT", "CLIENT CACHING NO", "CLIENT CACHING maybe"],
    &["CLIENT TRACKING ON OPTIN", "CLIENT CACHING YES", "CLIENT TRACKINGINFO", "PING", "CLIENT TRACKINGINFO"],
    &["CLIENT TRACKING ON OPTOUT", "CLIENT CACHING YES", "CLIENT CACHING NO", "CLIENT TRACKINGINFO"],
    &["CLIENT TRACKING ON NOLOOP", "CLIENT TRACKINGINFO", "CLIENT TRACKING ON", "CLIENT TRACKINGINFO"],
    &["CLIENT TRACKING ON OPTIN", "CLIENT CACHING YES", "CLIENT TRACKING OFF", "CLIENT TRACKINGINFO"],
    &["CLIENT TRACKING ON OPTIN", "CLIENT TRACKING ON", "CLIENT TRACKING ON OPTOUT", "CLIENT TRACKINGINFO"],
    &["CLIENT CACHING", "CLIENT CACHING YES", "CLIENT CACHING maybe", "CLIENT TRACKINGINFO x"],
    &["CLIENT TRACKING ON BCAST", "CLIENT TRACKINGINFO", "CLIENT TRACKING ON BCAST PREFIX a"],
    &["CLIENT TRACKING ON BCAST PREFIX foo PREFIX bar", "CLIENT TRACKINGINFO", "CLIENT GETREDIR"],
    &[
        "CLIENT TRACKING ON BCAST PREFIX FOO PREFIX FOOBAR",
        "CLIENT TRACKING ON BCAST PREFIX FOOBAR PREFIX FOO",
    ],
    &[
        "CLIENT TRACKING ON BCAST PREFIX b PREFIX a",
        "CLIENT TRACKING ON BCAST PREFIX ab",
        "CLIENT TRACKINGINFO",
    ],
    &["CLIENT TRACKING ON BCAST PREFIX a", "CLIENT TRACKING ON BCAST PREFIX b", "CLIENT TRACKINGINFO"],
    &["CLIENT TRACKING ON BCAST PREFIX a", "CLIENT TRACKING ON BCAST PREFIX a", "CLIENT TRACKING OFF"],
    &["CLIENT TRACKING ON BCAST PREFIX a", "RESET", "CLIENT TRACKINGINFO", "CLIENT TRACKING ON OPTIN"],
    &["CLIENT TRACKING ON BCAST REDIRECT 99999 REDIRECT 99998", "client tracking on bcast prefix a noloop"],
    &["CLIENT PAUSE", "CLIENT PAUSE x", "CLIENT PAUSE -1", "CLIENT PAUSE 9223372036854775807"],
    &["CLIENT PAUSE 0 maybe", "CLIENT PAUSE 0 ALL x", "CLIENT PAUSE 0", "CLIENT PAUSE 0 write", "PING"],
    &["CLIENT UNPAUSE", "CLIENT UNPAUSE x", "CLIENT HELP"],
    &["SLOWLOG", "SLOWLOG RESET", "SLOWLOG LEN", "SLOWLOG GET", "SLOWLOG GET 5", "SLOWLOG GET -1"],
    &["SLOWLOG GET -2", "SLOWLOG GET x", "SLOWLOG GET 1 2", "SLOWLOG LEN x", "SLOWLOG HELP", "SLOWLOG nix"],
    &["MONITOR x", "MONITOR", "GET k", "SET k v", "PUBLISH c m", "EVAL_RO x 0", "RESET", "GET k"],
];

#[test]
fn replies_are_those_of_redis() {
    if !is_redis_7_0() {
        return skip("the words of CLIENT");
    }
    let pair = Pair::start();
    for conversation in CONVERSATIONS {
        for protocol in [2, 3] {
            pair.same(|endpoint| {
                let mut client = if protocol == 3 { resp3(endpoint) } else { connect(endpoint) };
                conversation.iter().flat_map(|command| frames(&mut client, command, 1)).collect()
            });
        }
    }
}

#[test]
fn client_list_shows_who_tracks_and_who_monitors() {
    if !is_redis_7_0() {
        return skip("the flags of CLIENT LIST");
    }
    let pair = Pair::start();
    pair.same(|endpoint| {
        let mut client = resp3(endpoint);
        let mut shown = Vec::new();
        let fields = |info: &str| {
            let chosen = info.split(' ').filter(|f| f.starts_with("flags=") || f.starts_with("redir="));
            chosen.collect::<Vec<_>>().join(" ")
        };
        for command in [
            "PING",
            "CLIENT TRACKING ON",
            "CLIENT TRACKING OFF",
            "CLIENT TRACKING ON BCAST",
            "CLIENT NO-EVICT ON",
            "RESET",
            "HELLO 3",
        ] {
            frames(&mut client, command, 1);
            shown.push(fields(&frames(&mut client, "CLIENT INFO", 1)[0]));
        }
        let mut monitor = connect(endpoint);
        frames(&mut monitor, "CLIENT SETNAME watcher", 1);
        frames(&mut monitor, "MONITOR", 1);
        let list = frames(&mut client, "CLIENT LIST", 1).remove(0);
        let line = list.lines().find(|line| line.contains(" name=watcher ")).unwrap();
        shown.push(fields(line));
        shown
    });
}
