//! Who owns which slots, in the words of one node: the replies to CLUSTER SLOTS and CLUSTER SHARDS.
//!
//! Names of nodes are what each node is configured to announce (`cluster-announce-*`,
//! `cluster-preferred-endpoint-type`). Where it announces none, it is where the node is that was asked.

use std::collections::BTreeSet;

use crate::config::HostPort;
use crate::resp::reply::{bulk, elements, is_error, parse_integer};

use super::slot::SLOTS;

/// Slots `first` to `last`, and their master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The first slot.
    pub first: u16,
    /// The last slot.
    pub last: u16,
    /// Where their master is.
    pub master: HostPort,
    /// The master's name in the cluster; empty before Redis 4.
    pub id: Box<[u8]>,
}

/// The ranges in a reply to CLUSTER SLOTS, by a node at `asked`. None: it is no such reply.
pub fn from_slots(reply: &[u8], asked: &HostPort) -> Option<Vec<Range>> {
    if is_error(reply) || reply.first() != Some(&b'*') {
        return None;
    }
    // A range that is not understood has no known owner: redirections will tell.
    Some(elements(reply).filter_map(|row| slots_row(row, asked)).collect())
}

fn slots_row(row: &[u8], asked: &HostPort) -> Option<Range> {
    let mut row = elements(row);
    let (first, last) = (slot_of(row.next()?)?, slot_of(row.next()?)?);
    let node = row.next()?;
    let id = elements(node).nth(2).and_then(bulk).unwrap_or_default().into();
    Some(Range { first, last, master: slots_node(node, asked)?, id })
}

fn slots_node(node: &[u8], asked: &HostPort) -> Option<HostPort> {
    let node: Vec<&[u8]> = elements(node).collect();
    let host = bulk(node.first()?).filter(|host| !host.is_empty() && *host != b"?");
    // Redis 7.0 adds what else is known of the node.
    let host = host.or_else(|| field(node.get(3)?, b"ip"));
    Some(HostPort { host: host_text(host, asked)?, port: port_of(node.get(1)?)? })
}

/// The replicas in a reply to CLUSTER SLOTS by a node at `asked`, each behind its master.
pub fn replicas_from_slots(reply: &[u8], asked: &HostPort) -> BTreeSet<(HostPort, HostPort)> {
    let mut all = BTreeSet::new();
    for row in elements(reply) {
        let mut nodes = elements(row).skip(2);
        let Some(master) = nodes.next().and_then(|node| slots_node(node, asked)) else { continue };
        all.extend(nodes.filter_map(|node| Some((master.clone(), slots_node(node, asked)?))));
    }
    all
}

/// The same of CLUSTER SHARDS.
pub fn from_shards(reply: &[u8], asked: &HostPort) -> Option<Vec<Range>> {
    if is_error(reply) || reply.first() != Some(&b'*') {
        return None;
    }
    let mut ranges = Vec::new();
    for shard in elements(reply) {
        let numbers: Vec<_> = map_value(shard, b"slots").map(elements).into_iter().flatten().collect();
        let nodes = map_value(shard, b"nodes").map(elements).into_iter().flatten();
        let Some((master, id)) = nodes.into_iter().find_map(|node| shards_master(node, asked)) else {
            continue;
        };
        for pair in numbers.chunks(2) {
            if let [first, last] = pair
                && let (Some(first), Some(last)) = (slot_of(first), slot_of(last))
            {
                ranges.push(Range { first, last, master: master.clone(), id: id.clone() });
            }
        }
    }
    Some(ranges)
}

fn shards_master(node: &[u8], asked: &HostPort) -> Option<(HostPort, Box<[u8]>)> {
    if field(node, b"role")? != b"master" {
        return None;
    }
    let endpoint = field(node, b"endpoint").filter(|host| *host != b"?");
    let host = host_text(endpoint.or_else(|| field(node, b"ip")), asked)?;
    // A connection of TLS is told of both.
    let port = map_value(node, b"tls-port").or_else(|| map_value(node, b"port")).and_then(port_of)?;
    Some((HostPort { host, port }, field(node, b"id")?.into()))
}

/// The value of a map's field; a map may come as an array.
fn map_value<'a>(map: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut entries = elements(map);
    while let (Some(key), Some(value)) = (entries.next(), entries.next()) {
        if bulk(key) == Some(name) {
            return Some(value);
        }
    }
    None
}

/// The same of a string that is not empty.
fn field<'a>(map: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    map_value(map, name).and_then(bulk).filter(|text| !text.is_empty())
}

fn slot_of(reply: &[u8]) -> Option<u16> {
    u16::try_from(parse_integer(reply)?).ok().filter(|slot| usize::from(*slot) < SLOTS)
}

fn port_of(reply: &[u8]) -> Option<u16> {
    u16::try_from(parse_integer(reply)?).ok().filter(|port| *port != 0)
}

fn host_text(host: Option<&[u8]>, asked: &HostPort) -> Option<String> {
    match host {
        Some(host) => Some(std::str::from_utf8(host).ok()?.to_owned()),
        None => Some(asked.host.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> HostPort {
        HostPort { host: host.to_owned(), port }
    }

    fn shown(ranges: Option<Vec<Range>>) -> Vec<(u16, u16, String)> {
        ranges.expect("ranges").into_iter().map(|r| (r.first, r.last, r.master.to_string())).collect()
    }

    const NODE: &str = ":7001\r\n$1\r\nx\r\n";

    #[test]
    fn a_host_is_announced_or_is_the_one_that_was_asked() {
        let row = |host: &str, more: &str| {
            let count = if more.is_empty() { 3 } else { 4 };
            format!("*1\r\n*4\r\n:0\r\n:99\r\n*{count}\r\n{host}{NODE}{more}*3\r\n$1\r\nr\r\n{NODE}")
        };
        let asked = at("seed", 1);
        let host = |host, more| shown(from_slots(row(host, more).as_bytes(), &asked)).remove(0).2;
        assert_eq!(host("$9\r\n127.0.0.1\r\n", ""), "127.0.0.1:7001");
        assert_eq!(host("$3\r\n::1\r\n", ""), "[::1]:7001");
        for none in ["$-1\r\n", "_\r\n", "$0\r\n\r\n", "$1\r\n?\r\n"] {
            assert_eq!(host(none, ""), "seed:7001", "{none:?}");
        }
        let ip = "*2\r\n$2\r\nip\r\n$8\r\n10.0.0.1\r\n";
        assert_eq!(host("$1\r\n?\r\n", ip), "10.0.0.1:7001");
        assert_eq!(host("$-1\r\n", ip), "10.0.0.1:7001");
        assert_eq!(host("$4\r\nname\r\n", ip), "name:7001");
    }

    #[test]
    fn replicas_stand_behind_their_masters() {
        let node = |host: &str, port: u16| format!("*3\r\n{host}:{port}\r\n$1\r\nx\r\n");
        let (none, named) = ("$0\r\n\r\n", "$1\r\nh\r\n");
        let (first, second) = (node(none, 1), node(named, 2) + &node(none, 3));
        let rows = format!("*2\r\n*3\r\n:0\r\n:1\r\n{first}*5\r\n:2\r\n:3\r\n{first}{second}");
        let found = replicas_from_slots(rows.as_bytes(), &at("seed", 9));
        let expected = [("h", 2), ("seed", 3)].map(|(host, port)| (at("seed", 1), at(host, port)));
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
        assert_eq!(replicas_from_slots(b"-ERR x\r\n", &at("seed", 9)).len(), 0);
    }

    #[test]
    fn what_is_no_slot_or_no_port_is_left_out() {
        let row = |first: i64, last: i64, port: i64| {
            format!("*1\r\n*3\r\n:{first}\r\n:{last}\r\n*3\r\n$1\r\nh\r\n:{port}\r\n$1\r\nx\r\n")
        };
        let count = |text: String| from_slots(text.as_bytes(), &at("s", 1)).map(|ranges| ranges.len());
        assert_eq!(count(row(0, 16383, 1)), Some(1));
        for (first, last, port) in [(-1, 5, 1), (0, 16384, 1), (0, 1, 0), (0, 1, 65536)] {
            assert_eq!(count(row(first, last, port)), Some(0));
        }
        assert_eq!(count("-ERR This instance has cluster support disabled\r\n".into()), None);
        assert_eq!(count("*1\r\n:1\r\n".into()), Some(0));
    }

    #[test]
    fn shards_say_the_same() {
        let node = |role: &str, port: &str| {
            let len = role.len();
            format!(
                "*8\r\n$2\r\nid\r\n$1\r\nx\r\n{port}$8\r\nendpoint\r\n$9\r\n127.0.0.1\r\n$4\r\nrole\r\n${len}\r\n{role}\r\n"
            )
        };
        let port = "$4\r\nport\r\n:7001\r\n";
        let shard = |nodes: &str, count: usize| {
            format!(
                "*1\r\n*4\r\n$5\r\nslots\r\n*4\r\n:0\r\n:9\r\n:20\r\n:20\r\n$5\r\nnodes\r\n*{count}\r\n{nodes}"
            )
        };
        let both = node("replica", "$4\r\nport\r\n:7002\r\n") + &node("master", port);
        let expected =
            |port: u16| vec![(0, 9, format!("127.0.0.1:{port}")), (20, 20, format!("127.0.0.1:{port}"))];
        let ranges = |text: String| shown(from_shards(text.as_bytes(), &at("seed", 1)));
        assert_eq!(ranges(shard(&both, 2)), expected(7001));
        let tls = node("master", &format!("{port}$8\r\ntls-port\r\n:7443\r\n")).replace("*8", "*10");
        assert_eq!(ranges(shard(&tls, 1)), expected(7443));
        assert_eq!(ranges(shard(&node("replica", port), 1)), []);
    }
}
