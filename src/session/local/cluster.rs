//! CLUSTER, and the commands of a connection to a cluster: with `server.cluster_facade` strata is, to its clients, the one
//! node of a cluster that has all slots, in the words of a Redis 7.0 that is; else a Redis without a cluster.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::LazyLock;

use super::{NOT_AN_INTEGER, about};
use crate::backend::cluster::{SLOTS, slot};
use crate::clock;
use crate::command::{Command, id};
use crate::resp::{Proto, Request, encode, parse_i64};
use crate::router::Effect;
use crate::session::Session;

const DISABLED: &str = "ERR This instance has cluster support disabled";
const LAST: i64 = SLOTS as i64 - 1;
/// The port for other nodes is so far above that for clients, unless that is too high.
const BUS: u32 = 10_000;
/// CLUSTER HELP of Redis 7.0, a reply line a line.
const HELP: &str = include_str!("cluster_help.txt");

/// The name of this process among nodes: 40 digits, drawn at its start.
static NAME: LazyLock<String> = LazyLock::new(|| {
    let random = || RandomState::new().hash_one(std::process::id());
    let mut name = format!("{:016x}{:016x}{:016x}", random(), random(), random());
    name.truncate(40);
    name
});

/// What clients are told that they are connected to.
pub(super) fn mode(facade: bool) -> &'static str {
    if facade { "cluster" } else { "standalone" }
}

/// The node that clients see.
struct Node<'a> {
    name: &'a str,
    ip: String,
    port: u16,
}

impl Session {
    /// See [`mode`].
    pub(super) fn mode(&self) -> &'static str {
        mode(self.context.config.server.cluster_facade)
    }

    pub(super) fn run_cluster(&mut self, command: &'static Command, request: &Request<'_>) {
        if !self.context.config.server.cluster_facade {
            return self.reply_error(DISABLED);
        }
        let local = self.info.local;
        let ip = match local.ip() {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
            v4 => v4,
        };
        let node = Node { name: &NAME, ip: ip.to_string(), port: local.port() };
        match command.id {
            // There are no replicas to read from, and nothing is ever on its way.
            id::READONLY | id::READWRITE | id::ASKING => self.ok(),
            id::CLUSTER_INFO => self.say(|out, proto| encode::verbatim(out, proto, "txt", info().as_bytes())),
            id::CLUSTER_NODES => {
                self.say(|out, proto| encode::verbatim(out, proto, "txt", node.line().as_bytes()))
            }
            id::CLUSTER_SLOTS => self.say(|out, proto| node.slots(out, proto)),
            id::CLUSTER_SHARDS => self.say(|out, proto| node.shards(out, proto)),
            id::CLUSTER_MYID => self.say(|out, _| encode::bulk(out, node.name.as_bytes())),
            id::CLUSTER_LINKS => self.say(|out, _| encode::array(out, 0)),
            id::CLUSTER_KEYSLOT => {
                let slot = slot(request.arg(2).unwrap_or_default());
                self.say(|out, _| encode::integer(out, slot.into()));
            }
            id::CLUSTER_COUNTKEYSINSLOT | id::CLUSTER_GETKEYSINSLOT => self.keys_in_slot(command, request),
            id::CLUSTER_REPLICAS | id::CLUSTER_SLAVES | id::CLUSTER_COUNT_FAILURE_REPORTS => {
                self.about_node(command, request.arg(2).unwrap_or_default());
            }
            id::CLUSTER_HELP => self.say(|out, _| {
                encode::array(out, HELP.lines().count());
                HELP.lines().for_each(|line| encode::simple(out, line));
            }),
            _ => {
                let name = command.name.to_uppercase().replace('|', " ");
                self.reply_error(format!(
                    "ERR strata: {name} changes a cluster, and strata only stands for one"
                ));
            }
        }
    }

    fn about_node(&self, command: &Command, name: &[u8]) {
        if !name.eq_ignore_ascii_case(NAME.as_bytes()) {
            return self.reply_error(about("ERR Unknown node ", name, ""));
        }
        self.say(|out, _| match command.id {
            id::CLUSTER_COUNT_FAILURE_REPORTS => encode::integer(out, 0),
            _ => encode::array(out, 0),
        });
    }

    fn keys_in_slot(&mut self, command: &'static Command, request: &Request<'_>) {
        let number = |index| request.arg(index).and_then(parse_i64);
        let (counts, slot, most) = (command.id == id::CLUSTER_COUNTKEYSINSLOT, number(2), number(3));
        let (Some(slot), true) = (slot, counts || most.is_some()) else {
            return self.reply_error(NOT_AN_INTEGER);
        };
        if !(0..=LAST).contains(&slot) || most.is_some_and(|most| most < 0) {
            let text = if counts { "ERR Invalid slot" } else { "ERR Invalid slot or number of keys" };
            return self.reply_error(text);
        }
        let proxy = self.context.proxy.clone();
        if !proxy.is_cluster() {
            return self.reply_error("ERR strata: home is no cluster, and does not know keys by their slots");
        }
        let way = proxy.way_of_slot(self.lane, u16::try_from(slot).ok());
        let (now, slot) = (clock::now(), self.open());
        self.with_ask(request, Some(command), slot, true, now, |ask| {
            proxy.direct_by(ask, way, Effect::ReadsUnnamed, &[]);
        });
    }
}

impl Node<'_> {
    /// CLUSTER NODES.
    fn line(&self) -> String {
        let Node { name, ip, port } = self;
        let bus = u32::from(*port) + BUS;
        format!("{name} {ip}:{port}@{bus} myself,master - 0 0 0 connected 0-{LAST}\n")
    }

    fn slots(&self, out: &mut Vec<u8>, proto: Proto) {
        encode::array(out, 1);
        encode::array(out, 3);
        encode::integer(out, 0);
        encode::integer(out, LAST);
        encode::array(out, 4);
        encode::bulk(out, self.ip.as_bytes());
        encode::integer(out, self.port.into());
        encode::bulk(out, self.name.as_bytes());
        // What else is known of it.
        encode::map(out, proto, 0);
    }

    fn shards(&self, out: &mut Vec<u8>, proto: Proto) {
        encode::array(out, 1);
        encode::map(out, proto, 2);
        encode::bulk(out, b"slots");
        encode::array(out, 2);
        encode::integer(out, 0);
        encode::integer(out, LAST);
        encode::bulk(out, b"nodes");
        encode::array(out, 1);
        encode::map(out, proto, 7);
        let pair = |out: &mut Vec<u8>, key: &str, value: &str| {
            encode::bulk(out, key.as_bytes());
            encode::bulk(out, value.as_bytes());
        };
        pair(out, "id", self.name);
        encode::bulk(out, b"port");
        encode::integer(out, self.port.into());
        pair(out, "ip", &self.ip);
        pair(out, "endpoint", &self.ip);
        pair(out, "role", "master");
        encode::bulk(out, b"replication-offset");
        encode::integer(out, 0);
        pair(out, "health", "online");
    }
}

fn info() -> String {
    let mut text = String::new();
    for (name, value) in [
        ("cluster_state", "ok"),
        ("cluster_slots_assigned", "16384"),
        ("cluster_slots_ok", "16384"),
        ("cluster_slots_pfail", "0"),
        ("cluster_slots_fail", "0"),
        ("cluster_known_nodes", "1"),
        ("cluster_size", "1"),
        ("cluster_current_epoch", "0"),
        ("cluster_my_epoch", "0"),
        ("cluster_stats_messages_sent", "0"),
        ("cluster_stats_messages_received", "0"),
        ("total_cluster_links_buffer_limit_exceeded", "0"),
    ] {
        text.push_str(&format!("{name}:{value}\r\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: Node<'_> =
        Node { name: "65f1ad4f57117a55820452efce17b8dcf8ce64f7", ip: String::new(), port: 17901 };

    fn told(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// What a Redis 7.0.15 said that was the only node of its cluster and had heard of no address of its own.
    #[test]
    fn a_node_is_described_as_by_redis() {
        let nodes =
            "65f1ad4f57117a55820452efce17b8dcf8ce64f7 :17901@27901 myself,master - 0 0 0 connected 0-16383\n";
        assert_eq!(NODE.line(), nodes);
        let slots = "*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n$0\r\n\r\n:17901\r\n$40\r\n65f1ad4f57117a55820452efce17b8dcf8ce64f7\r\n";
        assert_eq!(told(|out| NODE.slots(out, Proto::Resp2)), format!("{slots}*0\r\n"));
        assert_eq!(told(|out| NODE.slots(out, Proto::Resp3)), format!("{slots}%0\r\n"));
        let shards = "$5\r\nslots\r\n*2\r\n:0\r\n:16383\r\n$5\r\nnodes\r\n*1\r\n%7\r\n$2\r\nid\r\n$40\r\n\
            65f1ad4f57117a55820452efce17b8dcf8ce64f7\r\n$4\r\nport\r\n:17901\r\n$2\r\nip\r\n$0\r\n\r\n$8\r\nendpoint\r\n\
            $0\r\n\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$18\r\nreplication-offset\r\n:0\r\n$6\r\nhealth\r\n$6\r\nonline\r\n";
        assert_eq!(told(|out| NODE.shards(out, Proto::Resp3)), format!("*1\r\n%2\r\n{shards}"));
        let shards = shards.replace("%7", "*14");
        assert_eq!(told(|out| NODE.shards(out, Proto::Resp2)), format!("*1\r\n*4\r\n{shards}"));
        assert_eq!((info().len(), info().ends_with("exceeded:0\r\n")), (312, true));
    }

    #[test]
    fn a_name_has_forty_digits() {
        assert!(NAME.len() == 40 && NAME.bytes().all(|digit| digit.is_ascii_hexdigit()), "{}", *NAME);
    }
}
