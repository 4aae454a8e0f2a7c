//! Home, and L2 where it holds copies, as the configuration describes them: the child that may have to be started, the
//! nodes, and the trial of `strata check`.

use std::sync::Arc;

use anyhow::bail;
use redis_protocol::resp3::types::Resp3Frame;

use crate::backend::cluster::{Cluster, NodeId};
use crate::backend::connection::{Address, Control, Tls};
use crate::backend::embedded::Embedded;
use crate::backend::node::Node;
use crate::backend::replicas::{self, Scout};
use crate::backend::sentinel::{Master, Sentinels, Watch};
use crate::backend::steward::{Steward, Wishes};
use crate::config::{Config, Endpoint, ReadFrom, Topology, Upstream};
use crate::metrics::Metrics;
use crate::proxy::l2::L2;
use crate::proxy::source::L4;
use crate::proxy::{Replicated, Shared};
use crate::resp::Proto;
use crate::source::Sources;
use crate::tier::packing::Packings;
use crate::tier::policy::Policies;

/// Tries what `strata check` promises: that home answers. Returns what it is.
///
/// # Errors
/// Why it does not answer, or not as a home must.
pub fn try_home(config: &Config) -> anyhow::Result<String> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(ask_home(config))
}

async fn ask_home(config: &Config) -> anyhow::Result<String> {
    let embedded = embedded(config).await?;
    let node = match cluster(config.home())? {
        Some(cluster) => cluster.node(NodeId::FIRST),
        None => Arc::new(node(config.home(), embedded.as_ref())?),
    };
    let _watch = watch(config.home(), &node).await;
    let stream = node.dial.open(Proto::Resp3, 0, "strata-check").await?;
    // Dictionaries that policies name are read when strata starts.
    Packings::new(config).map_err(anyhow::Error::msg)?;
    let mut control = Control::new(stream);
    control.demand(&[b"CLIENT", b"TRACKING", b"ON", b"BCAST"]).await?;
    let info = control.demand(&[b"INFO", b"server"]).await?;
    let text = Resp3Frame::as_str(&info).unwrap_or_default();
    let field = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("?").trim().to_owned();
    let found =
        format!("Redis {} ({} mode), client tracking works", field("redis_version:"), field("redis_mode:"));
    let found = match &node.dial.address {
        Address::Master(_) => format!("{}: {found}", node.dial.address),
        Address::Tcp { .. } | Address::Unix(_) => found,
    };
    if let Some(embedded) = embedded {
        embedded.stop().await;
    }
    Ok(found)
}

/// The child that is L2, if the configuration says so: home, or copies above L3.
///
/// # Errors
/// Why it does not start.
pub(super) async fn embedded(config: &Config) -> anyhow::Result<Option<Embedded>> {
    match &config.l2.upstream.topology {
        Topology::Single(Endpoint::Embedded { binary }) if !config.l3.enabled || l2_holds_copies(config) => {
            Ok(Some(Embedded::start(binary, config.l2.max_size).await?))
        }
        _ => Ok(None),
    }
}

/// What is below home, if anything is; its tasks live on the present runtime.
///
/// # Errors
/// A file that the configuration names and that is of no use.
pub(super) fn sources(config: &Config, metrics: &Metrics) -> anyhow::Result<Option<Arc<L4>>> {
    if !config.l4.enabled {
        return Ok(None);
    }
    let sources = Sources::start(&config.l4, metrics.block())?;
    Ok(Some(Arc::new(L4::new(sources, &config.l4, config.home().database))))
}

/// Whether home is a child of strata's own.
pub(super) fn embedded_is_home(config: &Config) -> bool {
    matches!(&config.home().topology, Topology::Single(Endpoint::Embedded { .. }))
}

/// Who follows the sentinels of home, if it has any. The master is known by then, if it can be.
pub(super) async fn watch(home: &Upstream, node: &Arc<Node>) -> Option<Watch> {
    let (Address::Master(master), Some(sentinels)) = (&node.dial.address, Sentinels::of(home)) else {
        return None;
    };
    let mut watch = Watch::new(sentinels, master.clone(), node.clone());
    watch.first().await;
    Some(watch)
}

/// The nodes of home, if it is a cluster.
///
/// # Errors
/// A file that the configuration names and that is of no use.
pub(super) fn cluster(home: &Upstream) -> anyhow::Result<Option<Cluster>> {
    match &home.topology {
        Topology::Cluster { seeds, tls } => Ok(Some(Cluster::new(home, seeds, tls.clone())?)),
        Topology::Single(_) | Topology::Sentinel { .. } => Ok(None),
    }
}

/// Whether L2 is a tier of copies. It is none without an L1 to read them by.
fn l2_holds_copies(config: &Config) -> bool {
    config.l3.enabled && config.l2.enabled && config.l1.enabled
}

/// L2 as a tier of copies; None: it is home, or off.
///
/// # Errors
/// A file that the configuration names and that is of no use.
pub(super) fn copies(config: &Config, embedded: Option<&Embedded>) -> anyhow::Result<Option<Arc<L2>>> {
    if !l2_holds_copies(config) {
        return Ok(None);
    }
    let upstream = &config.l2.upstream;
    // A name given by hand is no address.
    let home = match &*config.l2.namespace {
        "" => format!("at {}", config.home().topology),
        name => format!("as {name}"),
    };
    let node = node(upstream, embedded)?.called("L2");
    Ok(Some(Arc::new(L2::new(Arc::new(node), &config.l2, &home))))
}

type Servers = Box<dyn Fn() -> Vec<Arc<Node>>>;

/// Who looks at the settings of the servers of each tier. An embedded one has those it was started with.
pub(super) fn stewards(config: &Config, shared: &Shared) -> Vec<Steward<Servers>> {
    steward_of_home(config, shared).into_iter().chain(steward_of_copies(config, shared)).collect()
}

/// Of L2 where it holds copies: nothing in it is worth a disk.
fn steward_of_copies(config: &Config, shared: &Shared) -> Option<Steward<Servers>> {
    let l2 = shared.l2.clone()?;
    if matches!(config.l2.upstream.topology, Topology::Single(Endpoint::Embedded { .. })) {
        return None;
    }
    let wishes = Wishes {
        section: config.l2.upstream.section,
        max_size: config.l2.max_size,
        manage: config.l2.manage,
        durable: Some(false),
    };
    let (findings, interval) = (l2.differs.clone(), config.l2.upstream.health_interval);
    let servers = Box::new(move || vec![l2.node.clone()]);
    // What is known of it besides is nothing that anybody asks for.
    Some(Steward { wishes, servers, interval, findings, facts: Arc::default() })
}

fn steward_of_home(config: &Config, shared: &Shared) -> Option<Steward<Servers>> {
    let home = config.home();
    if matches!(home.topology, Topology::Single(Endpoint::Embedded { .. })) {
        return None;
    }
    let (cluster, node) = (shared.cluster.clone(), shared.node.clone());
    let servers: Servers = Box::new(move || match &cluster {
        Some(cluster) => cluster.masters().into_iter().map(|number| cluster.node(number)).collect(),
        None => vec![node.clone()],
    });
    let (max_size, manage, durable) = match config.l3.enabled {
        true => (config.l3.max_size, config.l3.manage, Some(true)),
        // What somebody else keeps there, strata does not judge.
        false => (config.l2.max_size, config.l2.manage, None),
    };
    let wishes = Wishes { section: home.section, max_size, manage, durable };
    let (findings, facts) = (shared.health.differs.clone(), shared.facts.clone());
    Some(Steward { wishes, servers, interval: home.health_interval, findings, facts })
}

/// What is read from replicas; None: nothing.
pub(super) fn replicated(config: &Config) -> Option<Replicated> {
    let wanted = config.policies.iter().any(|policy| policy.read_from == ReadFrom::Replica);
    let policies = Policies::new(&config.l1, config.policies.clone());
    wanted.then(|| Replicated { policies, replicas: Arc::default() })
}

/// Who looks for replicas, if any are to be read from.
pub(super) fn scout(config: &Config, shared: &Shared) -> Option<Scout> {
    let replicas = shared.replicated.as_ref()?.replicas.clone();
    let home = match &shared.cluster {
        Some(cluster) => replicas::Home::Cluster(cluster.clone()),
        None => replicas::Home::One(shared.node.clone()),
    };
    Some(Scout::new(home, config.home().clone(), replicas))
}

/// How home is reached.
///
/// # Errors
/// A file that the configuration names and that is of no use.
pub(super) fn node(home: &Upstream, embedded: Option<&Embedded>) -> anyhow::Result<Node> {
    let address = match (&home.topology, embedded) {
        (Topology::Single(Endpoint::Embedded { .. }), Some(child)) => Address::Unix(child.socket()),
        (Topology::Single(Endpoint::Unix { path }), _) => Address::Unix(path.clone()),
        (Topology::Single(Endpoint::Tcp { host, port, tls }), _) => {
            let tls = tls.as_ref().map(|tls| Tls::new(home.section, tls, host)).transpose()?;
            Address::Tcp { host: host.clone(), port: *port, tls }
        }
        (Topology::Single(Endpoint::Embedded { .. }), None) => bail!("the embedded Redis is not running"),
        (Topology::Sentinel { master, .. }, _) => Address::Master(Arc::new(Master::new(master))),
        (Topology::Cluster { .. }, _) => bail!("a cluster is more than one node"),
    };
    Ok(Node::new(home, address))
}
