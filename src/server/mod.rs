//! The composition root: builds everything from a configuration, accepts clients, and takes it down again.

mod below;
mod guards;
mod home;
mod train;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

pub use below::{migrate, try_sources};
pub use home::try_home;
pub use train::train_dictionary;
use worker::{Worker, spawn_workers, worker_count};

use crate::acl::Users;
use crate::backend::cluster::NodeId;
use crate::backend::embedded::Embedded;
use crate::backend::facts::Facts;
use crate::backend::guards::Guards;
use crate::backend::health::{Health, Monitor};
use crate::backend::pool::AllPlaces;
use crate::backend::subscriptions::Subscriptions;
use crate::clock;
use crate::config::{Config, Eviction, Topology};
use crate::metrics::{Counters, Metrics};
use crate::proxy::announce::Coverage;
use crate::proxy::l2::L2;
use crate::proxy::slow_log::SlowLog;
use crate::proxy::watch::{Reason, Watch};
use crate::proxy::{KnownScripts, Message, Overheard, Scripts, Shared};
use crate::session::clients::Clients;
use crate::tier::copies::Copies;
use crate::tier::l1::{L1Options, Policy as L1Policy};
use crate::tier::listeners::Listeners;
use crate::tier::packing::Packings;
use crate::tier::policy::Policies;

/// Descriptors kept for the program itself: connections to home, the listener, the log.
const OWN_DESCRIPTORS: usize = 128;
/// Expired copies are swept this often, so many at a time.
const SWEEP: (Duration, usize) = (Duration::from_millis(100), 2_000);

/// What a client is told that is not on this machine, while nobody needs a password: Redis' words about its own
/// settings, said of strata's.
const PROTECTED: &str = "-DENIED strata is running in protected mode because protected mode is enabled and no password is \
    set for the default user. In this mode connections are only accepted from the loopback interface. If you want to \
    connect from external computers to strata you may adopt one of the following solutions: 1) Just disable protected \
    mode by setting server.protected_mode to false in the configuration, or by starting strata with '--set \
    server.protected_mode=false', however MAKE SURE strata is not publicly accessible from internet if you do so. \
    2) Setup an authentication password for the default user, by server.password or server.password_file. NOTE: You \
    only need to do one of the above things in order for strata to start accepting connections from the outside.\r\n";

/// Runs strata until it is asked to end.
///
/// # Errors
/// What keeps it from starting, in words for the operator.
pub fn run(mut config: Config) -> anyhow::Result<()> {
    config.server.max_clients = most_clients(config.server.max_clients);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(LocalSet::new().run_until(control(Arc::new(config))))
}

/// As many clients as are configured, or as the descriptors that this process may open allow for.
fn most_clients(configured: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    if let Err(e) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!("cannot raise the limit of open files: {e}");
    }
    let most = limit.maximum.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let clients = most.saturating_sub(OWN_DESCRIPTORS).max(1);
    if clients < configured {
        let text = "fewer clients than server.max_clients, because of the limit of open files (ulimit -n)";
        tracing::warn!(configured, clients, "{text}");
    }
    clients.min(configured)
}

async fn control(config: Arc<Config>) -> anyhow::Result<()> {
    let mut embedded = home::embedded(&config).await?;
    let metrics = Metrics::default();
    let counters = metrics.block();
    let cluster = home::cluster(config.home())?.map(Arc::new);
    let node = match &cluster {
        Some(cluster) => cluster.node(NodeId::FIRST),
        None => Arc::new(home::node(config.home(), embedded.as_ref())?),
    };
    let watch = home::watch(config.home(), &node).await;
    let guards = Arc::new(Guards::new());
    let facts = Arc::new(Facts::default());
    let l2 = home::copies(&config, embedded.as_ref())?;
    let copies = config.l1.enabled.then(|| Arc::new(copies(&config, &guards, &counters, l2.as_deref())));
    let l4 = home::sources(&config, &metrics)?;
    let shared = Arc::new(Shared {
        copies: copies.clone(),
        l2,
        l4,
        node: node.clone(),
        cluster,
        scripts: Scripts::new(worker_count(&config)),
        places: Arc::new(AllPlaces::new(config.home().max_connections, config.server.max_clients)),
        guards,
        coverage: Coverage::default(),
        subscriptions: Arc::new(Subscriptions::default()),
        facts: facts.clone(),
        health: Arc::new(Health::default()),
        hot: Mutex::default(),
        started: clock::now(),
        metrics,
        listeners: Listeners::new(config.server.tracking_table_max_keys),
        watch: Watch::default(),
        overheard: Overheard::default(),
        slow: slow_log(&config),
        walks: Mutex::default(),
        known_scripts: KnownScripts::default(),
        strict: config.cluster.strict,
        replicated: home::replicated(&config),
        packings: Packings::new(&config).map_err(anyhow::Error::msg)?.map(Arc::new),
        inboxes: parking_lot::RwLock::default(),
    });
    shared.watch.set(Reason::EveryCommand, shared.slow.every());
    let clients = Arc::new(Clients::default());
    let users = Arc::new(Users::configured(&config).map_err(anyhow::Error::msg)?);
    let listener = TcpListener::bind(config.server.listen)
        .await
        .with_context(|| format!("cannot listen on {} (server.listen)", config.server.listen))?;
    let workers = spawn_workers(&config, &shared, &clients, &users)?;
    if shared.cluster.is_none() {
        tokio::task::spawn_local(monitor(&config, &shared, NodeId::FIRST));
    }
    for steward in home::stewards(&config, &shared) {
        tokio::task::spawn_local(steward.run());
    }
    if let Some(scout) = home::scout(&config, &shared) {
        tokio::task::spawn_local(scout.run());
    }
    first_contact(&config, &shared).await;
    banner(&config, &listener, &shared, embedded.as_ref(), workers.len());
    let ending = tokio::select! {
        signal = end_signal() => signal,
        () = accept(&config, &listener, &shared, &users, &counters) => Ok("the listener failed"),
        () = async { match &mut embedded { Some(e) => e.keep().await, None => std::future::pending().await } } => Ok("the embedded Redis ended"),
        () = sweep(copies) => Ok("unreachable"),
        () = async { match watch { Some(watch) => watch.run().await, None => std::future::pending().await } } => Ok("nobody follows the sentinels"),
    }?;
    drop(listener);
    drain(&config, &shared, &clients, ending, workers).await;
    if let Some(embedded) = embedded {
        embedded.stop().await;
    }
    Ok(())
}

fn copies(config: &Config, guards: &Arc<Guards>, counters: &Arc<Counters>, l2: Option<&L2>) -> Copies {
    let policy = match config.l1.policy {
        Eviction::S3Fifo => L1Policy::S3Fifo,
        Eviction::Lru => L1Policy::Lru,
    };
    let options = L1Options { max_bytes: config.l1.max_size, policy, shards: None };
    let policies = Policies::new(&config.l1, config.policies.clone());
    let policies = policies.with_l2(config.l2.ttl);
    let copies = match &config.home().topology {
        Topology::Cluster { .. } => {
            // What is absent here may be written where the slot went, and nobody says so.
            let policies = policies.with_absence_up_to(config.home().lease);
            Copies::new(options, policies, guards.clone(), counters.clone()).of_cluster()
        }
        Topology::Single(_) | Topology::Sentinel { .. } => {
            Copies::new(options, policies, guards.clone(), counters.clone())
        }
    };
    match l2 {
        Some(l2) => copies.above(l2.ledger.clone()),
        None => copies,
    }
}

fn slow_log(config: &Config) -> SlowLog {
    let server = &config.server;
    let micros = i64::try_from(server.slowlog_log_slower_than.as_micros()).unwrap_or(i64::MAX);
    SlowLog::new(if server.slowlog_max_len == 0 { -1 } else { micros }, server.slowlog_max_len)
}

/// Looks at home, or at one master of a cluster, for as long as the task lives.
fn monitor(config: &Config, shared: &Shared, number: NodeId) -> impl Future<Output = ()> + 'static {
    let latency = &config.targets.latency;
    let slow = if config.l3.enabled { latency.l3 } else { latency.l2 };
    let node = match &shared.cluster {
        None => shared.node.clone(),
        Some(cluster) => cluster.node(number),
    };
    let (health, facts) = (shared.health.clone(), shared.facts.clone());
    Monitor::new((number, node), health, facts, config.home().health_interval, slow).run()
}

/// Waits until home has said what it is, or was found to be away: a client that comes at once may SELECT at once.
async fn first_contact(config: &Config, shared: &Shared) {
    let unknown = || shared.facts.databases.load(Relaxed) == 0 && shared.node.breaker.trouble().is_none();
    let waiting = async {
        while unknown() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    // Who does not answer in time is away, too.
    let _ = tokio::time::timeout(config.home().connect_timeout, waiting).await;
}

async fn sweep(copies: Option<Arc<Copies>>) {
    let Some(copies) = copies else {
        return std::future::pending().await;
    };
    let mut interval = tokio::time::interval(SWEEP.0);
    loop {
        interval.tick().await;
        copies.l1().sweep(clock::now(), SWEEP.1);
    }
}

async fn accept(
    config: &Config,
    listener: &TcpListener,
    shared: &Shared,
    users: &Users,
    counters: &Counters,
) {
    let places = Arc::new(Semaphore::new(config.server.max_clients));
    let mut turn = 0;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if config.server.protected_mode && users.anybody() && !peer.ip().to_canonical().is_loopback()
                {
                    counters.rejected.bump();
                    let _ = stream.try_write(PROTECTED.as_bytes());
                } else if let Err(e) = welcome(config, stream, shared, &places, counters, turn) {
                    tracing::debug!(%peer, "client refused: {e}");
                }
                turn += 1;
            }
            // Out of descriptors, or a client that gave up: neither ends the listener.
            Err(e) => {
                tracing::warn!("cannot accept a client: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn welcome(
    config: &Config,
    stream: TcpStream,
    shared: &Shared,
    places: &Arc<Semaphore>,
    counters: &Counters,
    turn: usize,
) -> std::io::Result<()> {
    let Ok(place) = places.clone().try_acquire_owned() else {
        counters.rejected.bump();
        stream.try_write(b"-ERR max number of clients reached\r\n")?;
        return Ok(());
    };
    counters.connections.bump();
    stream.set_nodelay(true)?;
    if config.server.tcp_keepalive > Duration::ZERO {
        let interval = (config.server.tcp_keepalive / 3).max(Duration::from_secs(1));
        let keepalive = TcpKeepalive::new()
            .with_time(config.server.tcp_keepalive)
            .with_interval(interval)
            .with_retries(3);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    }
    let inboxes = shared.inboxes.read();
    let worker = &inboxes[turn % inboxes.len()];
    worker.send(Message::Accept(stream.into_std()?, place)).map_err(std::io::Error::other)
}

async fn end_signal() -> anyhow::Result<&'static str> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    })
}

/// No new clients; those in the middle of something get their replies, within the bound.
async fn drain(config: &Config, shared: &Shared, clients: &Clients, why: &str, workers: Vec<Worker>) {
    tracing::info!(why, clients = clients.len(), "ending");
    for inbox in shared.inboxes.read().iter() {
        let _ = inbox.send(Message::Drain);
    }
    let deadline = tokio::time::Instant::now() + config.server.shutdown_timeout;
    while workers.iter().any(|w| !w.is_finished()) {
        if tokio::time::Instant::now() > deadline {
            tracing::warn!(
                clients = clients.len(),
                "commands were still in flight after server.shutdown_timeout"
            );
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn banner(
    config: &Config,
    listener: &TcpListener,
    shared: &Shared,
    embedded: Option<&Embedded>,
    workers: usize,
) {
    let address: SocketAddr = listener.local_addr().unwrap_or(config.server.listen);
    let l1 = match config.l1.enabled {
        true => format!(
            "{} bytes in memory, {}, at most {:?}",
            config.l1.max_size,
            config.l1.policy.name(),
            config.l1.ttl
        ),
        false => "off".to_owned(),
    };
    let child =
        embedded.and_then(Embedded::pid).map(|pid| format!(" (embedded, pid {pid})")).unwrap_or_default();
    eprintln!(
        "strata {} listens on {address}, pid {}, {workers} workers",
        env!("CARGO_PKG_VERSION"),
        std::process::id()
    );
    eprintln!("  L1  {l1}");
    if let Some(l2) = &shared.l2 {
        eprintln!("  L2  {}: copies, at most {:?}", l2.node.dial.address, config.l2.ttl);
    }
    if let Some(l4) = &shared.l4 {
        eprintln!("  L4  {}: {} sources", l4.sources.state().place, config.l4.sources.len());
    }
    let (home, address) = (config.home(), &shared.node.dial.address);
    eprintln!("  {}  {address}{child}: home, serving lease {:?}", home.section.to_uppercase(), home.lease);
}
