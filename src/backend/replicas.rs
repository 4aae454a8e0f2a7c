//! The replicas of home: which there are, and which of them follow their master at present.
//!
//! [`Scout`] asks a master once a lease which replicas it has (of a cluster's nodes, one tells it of all), and each
//! replica four times a lease whether it follows its master. One that has not said so for a lease is not read from.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::cluster::{Cluster, NodeId, replicas_from_slots};
use super::commands::text;
use super::connection::{Address, Control, DialError, Tls};
use super::node::Node;
use crate::clock;
use crate::config::{Endpoint, HostPort, Tls as TlsSettings, Topology, Upstream};
use crate::resp::Proto;
use crate::resp::reply::{elements, parse_integer};

/// Replicas that are followed at once.
const MOST: usize = 1000;

/// A replica of home, or of one of its nodes.
#[derive(Debug)]
pub struct Replica {
    /// How it is reached.
    pub node: Arc<Node>,
    /// Whose it is.
    pub of: NodeId,
    /// Until when it counts as following its master ([`clock::now`]).
    until: AtomicU64,
    gone: AtomicBool,
}

impl Replica {
    /// Whether it has followed its master within the last lease.
    pub fn follows(&self, now: u64) -> bool {
        self.until.load(Relaxed) > now
    }

    /// Whether it is no replica of this home any more.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }
}

/// What all threads know of them.
#[derive(Debug, Default)]
pub struct Replicas(RwLock<Vec<Arc<Replica>>>);

impl Replicas {
    /// Those that are known.
    pub fn all(&self) -> Vec<Arc<Replica>> {
        self.0.read().clone()
    }

    /// One that follows this master; the same for the same `by`, as long as the same ones do. None: none does.
    pub fn pick(&self, master: NodeId, by: u64, now: u64) -> Option<Arc<Replica>> {
        let all = self.0.read();
        let mut good = all.iter().filter(|replica| replica.of == master && replica.follows(now));
        let count = good.clone().count() as u64;
        good.nth(usize::try_from(by.checked_rem(count)?).ok()?).cloned()
    }
}

/// Whose replicas are looked for.
pub enum Home {
    /// One server, or whichever sentinels name.
    One(Arc<Node>),
    /// A cluster.
    Cluster(Arc<Cluster>),
}

/// Keeps [`Replicas`] for as long as the process lives.
pub struct Scout {
    home: Home,
    upstream: Upstream,
    replicas: Arc<Replicas>,
    /// The connection to who was asked last.
    line: Option<(NodeId, Control)>,
    watched: HashMap<(NodeId, HostPort), (Arc<Replica>, AbortHandle)>,
    watchers: JoinSet<()>,
}

type Found = BTreeSet<(NodeId, HostPort)>;

impl Scout {
    /// Of a home that was described so.
    pub fn new(home: Home, upstream: Upstream, replicas: Arc<Replicas>) -> Self {
        Scout { home, upstream, replicas, line: None, watched: HashMap::new(), watchers: JoinSet::new() }
    }

    /// See the type's text. Belongs to a local set.
    pub async fn run(mut self) {
        loop {
            // While nobody tells, those that are known go on to be asked themselves.
            if let Some(found) = self.find().await {
                self.settle(found);
            }
            sleep(self.upstream.lease).await;
        }
    }

    async fn find(&mut self) -> Option<Found> {
        let candidates = match &self.home {
            Home::One(node) => vec![(NodeId::FIRST, node.clone())],
            Home::Cluster(cluster) => {
                let masters = cluster.masters();
                masters.into_iter().map(|number| (number, cluster.node(number))).collect()
            }
        };
        for (number, node) in candidates {
            if node.breaker.check().is_ok()
                && let Ok(Ok(found)) = timeout(node.dial.timeout, self.ask(number, &node)).await
            {
                return Some(found);
            }
        }
        None
    }

    async fn ask(&mut self, number: NodeId, node: &Node) -> Result<Found, DialError> {
        let mut control = match self.line.take() {
            Some((of, control)) if of == number => control,
            _ => Control::new(node.dial.open(Proto::Resp2, 0, "strata-replicas").await?),
        };
        let found = match &self.home {
            Home::One(_) => {
                let role = control.ask_raw(&[b"ROLE"]).await?;
                replicas_of_master(&role).into_iter().map(|at| (number, at)).collect()
            }
            Home::Cluster(cluster) => {
                let slots = control.ask_raw(&[b"CLUSTER", b"SLOTS"]).await?;
                let named = replicas_from_slots(&slots, &cluster.place(number));
                named.into_iter().filter_map(|(master, at)| Some((cluster.number(&master)?, at))).collect()
            }
        };
        self.line = Some((number, control));
        Ok(found)
    }

    fn settle(&mut self, found: Found) {
        self.watched.retain(|who, (replica, watcher)| {
            let stays = found.contains(who);
            if !stays {
                watcher.abort();
                replica.until.store(0, Relaxed);
                replica.gone.store(true, Relaxed);
            }
            stays
        });
        for (of, at) in found.into_iter().take(MOST) {
            if self.watched.contains_key(&(of, at.clone())) {
                continue;
            }
            match self.node(&at) {
                Ok(node) => {
                    let (until, gone) = (AtomicU64::new(0), AtomicBool::new(false));
                    let replica = Arc::new(Replica { node: Arc::new(node), of, until, gone });
                    let watcher = watch(replica.clone(), self.upstream.lease);
                    self.watched.insert((of, at), (replica, self.watchers.spawn_local(watcher)));
                }
                Err(error) => tracing::warn!(replica = %at, "a replica cannot be used: {error:#}"),
            }
        }
        // Those that were ended.
        while self.watchers.try_join_next().is_some() {}
        *self.replicas.0.write() = self.watched.values().map(|(replica, _)| replica.clone()).collect();
    }

    fn node(&self, at: &HostPort) -> anyhow::Result<Node> {
        let tls = tls_of(&self.upstream.topology);
        let tls = tls.map(|tls| Tls::new(self.upstream.section, tls, &at.host)).transpose()?;
        let address = Address::Tcp { host: at.host.clone(), port: at.port, tls };
        let node = Node::new(&self.upstream, address).called("a replica");
        Ok(if matches!(self.home, Home::Cluster(_)) { node.for_reading() } else { node })
    }
}

fn tls_of(topology: &Topology) -> Option<&TlsSettings> {
    match topology {
        Topology::Sentinel { tls, .. }
        | Topology::Cluster { tls, .. }
        | Topology::Single(Endpoint::Tcp { tls, .. }) => tls.as_ref(),
        Topology::Single(Endpoint::Unix { .. } | Endpoint::Embedded { .. }) => None,
    }
}

/// Asks a replica four times a lease whether it follows its master.
async fn watch(replica: Arc<Replica>, lease: Duration) {
    loop {
        replica.node.breaker.allowed().await;
        match replica.node.dial.open(Proto::Resp2, 0, "strata-replica").await {
            Err(error) => replica.node.failed(&error),
            Ok(stream) => {
                replica.node.up();
                let Err(reason) = ask_again(&replica, Control::new(stream), lease).await;
                replica.until.store(0, Relaxed);
                tracing::warn!(replica = %replica.node.dial.address, reason, "a replica is not read from");
            }
        }
        sleep(lease / 4).await;
    }
}

/// Returns when it does not answer any more.
async fn ask_again(
    replica: &Replica,
    mut control: Control,
    lease: Duration,
) -> Result<std::convert::Infallible, String> {
    loop {
        let sent = clock::now();
        let role = timeout(lease, control.ask_raw(&[b"ROLE"])).await;
        let role = role.map_err(|_| format!("no answer for {lease:?}"))?.map_err(|e| e.to_string())?;
        let until = if follows(&role) { sent.saturating_add(clock::nanos(lease)) } else { 0 };
        replica.until.store(until, Relaxed);
        sleep(lease / 4).await;
    }
}

/// Whether a server that answers ROLE so is a replica, and has a connection to its master.
fn follows(role: &[u8]) -> bool {
    let role: Vec<&[u8]> = elements(role).collect();
    let word = |place: usize| role.get(place).and_then(|word| text(word));
    word(0) == Some("slave") && word(3) == Some("connected")
}

/// The replicas that a master names in its answer to ROLE.
fn replicas_of_master(role: &[u8]) -> Vec<HostPort> {
    let role: Vec<&[u8]> = elements(role).collect();
    if role.first().and_then(|word| text(word)) != Some("master") {
        return Vec::new();
    }
    let place = |replica: &[u8]| {
        let fields: Vec<&[u8]> = elements(replica).collect();
        let port = fields.get(1)?;
        let port =
            text(port).and_then(|port| port.parse().ok()).or_else(|| parse_integer(port)?.try_into().ok());
        let host = text(fields.first()?).filter(|host| !host.is_empty())?;
        Some(HostPort { host: host.to_owned(), port: port.filter(|port| *port != 0)? })
    };
    role.get(2).map(|list| elements(list).filter_map(place).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASTER: &str = "*3\r\n$6\r\nmaster\r\n:14\r\n*3\r\n*3\r\n$9\r\n127.0.0.1\r\n$4\r\n7001\r\n$2\r\n14\r\n\
        *3\r\n$0\r\n\r\n$4\r\n7002\r\n$1\r\n0\r\n*3\r\n$3\r\n::1\r\n$1\r\n0\r\n$1\r\n0\r\n";

    fn slave(state: &str) -> String {
        format!("*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:7000\r\n${}\r\n{state}\r\n:14\r\n", state.len())
    }

    #[test]
    fn a_master_names_its_replicas_and_a_replica_none() {
        let at = HostPort { host: "127.0.0.1".to_owned(), port: 7001 };
        assert_eq!(replicas_of_master(MASTER.as_bytes()), [at]);
        for none in ["-ERR x\r\n", "*0\r\n", "*1\r\n$6\r\nmaster\r\n", &slave("connected")] {
            assert_eq!(replicas_of_master(none.as_bytes()), [], "{none}");
        }
    }

    #[test]
    fn who_follows_says_so() {
        assert!(follows(slave("connected").as_bytes()));
        for no in ["connect", "connecting", "sync"] {
            assert!(!follows(slave(no).as_bytes()), "{no}");
        }
        assert!(!follows(MASTER.as_bytes()) && !follows(b"-LOADING x\r\n"));
    }

    #[test]
    fn one_client_reads_from_one_replica_and_only_from_those_that_follow() {
        let upstream = crate::config::L3::default().upstream;
        let replica = |port: u16, until| {
            let address = Address::Tcp { host: "h".to_owned(), port, tls: None };
            let node = Arc::new(Node::new(&upstream, address));
            let (until, gone) = (AtomicU64::new(until), AtomicBool::new(false));
            Arc::new(Replica { node, of: NodeId::FIRST, until, gone })
        };
        let replicas = Replicas(RwLock::new(vec![replica(1, 10), replica(2, 20), replica(3, 30)]));
        let pick = |by, now| replicas.pick(NodeId::FIRST, by, now).map(|r| r.node.dial.address.to_string());
        assert_eq!(
            [0, 1, 2, 3].map(|by| pick(by, 9)),
            ["h:1", "h:2", "h:3", "h:1"].map(|at| Some(at.to_owned()))
        );
        assert_eq!([0, 1, 2].map(|by| pick(by, 10)), ["h:2", "h:3", "h:2"].map(|at| Some(at.to_owned())));
        assert_eq!(pick(0, 30), None);
        assert!(replicas.pick(NodeId::NONE, 0, 0).is_none());
    }
}
