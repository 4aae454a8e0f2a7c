//! A worker: one thread with a runtime of its own, its lanes, and the sessions that were given to it.

use std::cell::{Cell, RefCell};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::LocalSet;

use super::guards::{Watch, guard};
use crate::acl::Users;
use crate::backend::cluster::{Keeper, NodeId};
use crate::backend::node::Node;
use crate::backend::subscriptions::{Batch, Link};
use crate::clock;
use crate::config::Config;
use crate::proxy::source::follow;
use crate::proxy::{Inbox, Message, Proxy, Shared, l2};
use crate::session::clients::{ClientInfo, Clients, Mark};
use crate::session::{Context, Scratch, serve};

/// Workers look after time-outs this often.
const TICK: Duration = Duration::from_millis(20);
/// After passing messages on to so many clients a worker turns to its sessions: about a millisecond.
const PASSED_ON: usize = 8192;

/// A worker's thread.
pub(super) type Worker = std::thread::JoinHandle<()>;

/// How many workers there are.
pub(super) fn worker_count(config: &Config) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if config.server.workers == 0 { cores } else { config.server.workers }
}

/// Starts the workers, each with a door in `shared.inboxes`.
pub(super) fn spawn_workers(
    config: &Arc<Config>,
    shared: &Arc<Shared>,
    clients: &Arc<Clients>,
    users: &Arc<Users>,
) -> anyhow::Result<Vec<Worker>> {
    let count = worker_count(config);
    let mut workers = Vec::new();
    for index in 0..count {
        let (sender, inbox) = unbounded_channel();
        shared.inboxes.write().push(sender);
        let (config, shared, clients, users) =
            (config.clone(), shared.clone(), clients.clone(), users.clone());
        // The last one, which is another where there are several, has the subscriptions.
        let link = (index + 1 == count).then(|| Link {
            node: a_node(&shared),
            cluster: shared.cluster.clone(),
            register: shared.subscriptions.clone(),
            post: shared.clone(),
            counters: shared.metrics.block(),
        });
        let worker = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || work(index as u16, config, shared, clients, users, inbox, link))
            .context("cannot start a worker thread")?;
        workers.push(worker);
    }
    Ok(workers)
}

/// Where messages of home come from: any node of a cluster passes on what is published at another.
fn a_node(shared: &Arc<Shared>) -> Box<dyn Fn() -> Arc<Node> + Send> {
    let shared = shared.clone();
    match &shared.cluster {
        None => Box::new(move || shared.node.clone()),
        Some(cluster) => {
            let cluster = cluster.clone();
            Box::new(move || cluster.node(cluster.any()))
        }
    }
}

/// One worker thread, until it is told to drain and its last session has ended.
fn work(
    index: u16,
    config: Arc<Config>,
    shared: Arc<Shared>,
    clients: Arc<Clients>,
    users: Arc<Users>,
    inbox: UnboundedReceiver<Message>,
    link: Option<Link<Shared>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return tracing::error!("worker {index} cannot start: {e}"),
    };
    let context = Rc::new(Context {
        proxy: Proxy::new(index, shared),
        clients,
        users,
        config,
        scratch: RefCell::new(Scratch::default()),
        draining: Cell::new(false),
        inbox: Inbox::new(inbox),
    });
    let tasks = LocalSet::new();
    if index == 0 {
        // The first worker has the guards: under load it is awake anyway, a thread of their own would have to be woken.
        let (config, shared) = (context.config.clone(), context.proxy.shared.clone());
        // What the guards hear goes on to L2 from the same thread.
        if let Some(l2) = shared.l2.clone() {
            let (counters, metrics) = (shared.metrics.block(), shared.metrics.clone());
            tasks.spawn_local(l2::link::Link { l2, counters, metrics }.run());
        }
        if let Some(l4) = shared.l4.clone() {
            tasks.spawn_local(follow(context.proxy.clone(), l4));
        }
        match shared.cluster.clone() {
            None => drop(tasks.spawn_local(guard(config, shared, NodeId::FIRST))),
            Some(cluster) => {
                let interval = config.home().lease;
                tasks.spawn_local(Keeper::new(cluster, Rc::new(Watch::new(config, shared)), interval).run());
            }
        }
    }
    if let Some(link) = link {
        tasks.spawn_local(link.run());
    }
    // As a task of its own: what is blocked on is polled at every turn of the set.
    let attending = tasks.spawn_local(attend(context));
    if let Err(e) = tasks.block_on(&runtime, attending) {
        tracing::error!("worker {index} failed: {e}");
    }
}

async fn attend(context: Rc<Context>) {
    let confirmed = context.proxy.shared.guards.listen();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = context.inbox.next() => match message {
                None => return,
                Some(message) => receive(&context, message).await,
            },
            () = confirmed.notified() => release(&context).await,
            _ = ticks.tick() => {
                // Those, too, whose confirmations will not come.
                release(&context).await;
                let now = clock::now();
                context.proxy.tick(now);
                context.proxy.shared.expire_coverage();
                if context.proxy.shared.watch.end_pause(now) {
                    context.proxy.shared.wake_all();
                }
                close_idle(&context, now);
                if context.proxy.worker == 0 {
                    evict_clients(&context);
                }
                if context.draining.get() && context.proxy.sessions().is_empty() {
                    return;
                }
            }
        }
    }
}

/// Releases replies that wait for confirmations: behind what was announced before these, which is in the inbox when they
/// have come. What is confirmed while the inbox is read has to wait for the next time.
async fn release(context: &Rc<Context>) {
    let confirmed = context.proxy.take_confirmed(clock::now());
    while let Some(message) = context.inbox.take() {
        receive(context, message).await;
    }
    context.proxy.release_confirmed(confirmed, clock::now());
}

async fn hear(context: &Context, mut batch: Batch) {
    let mut passed_on = 0;
    for event in std::mem::take(&mut batch.events) {
        passed_on += context.proxy.hear(event);
        if passed_on >= PASSED_ON {
            passed_on = 0;
            tokio::task::yield_now().await;
        }
    }
}

async fn receive(context: &Rc<Context>, message: Message) {
    match message {
        Message::Heard(batch) => hear(context, batch).await,
        Message::Answer(waiters, reply) => context.proxy.answer(waiters, &reply, clock::now()),
        Message::Notices(notices) => context.pass_on(notices),
        Message::Push(session, bytes) => {
            if let Some(client) = context.proxy.session(session) {
                client.push(&bytes);
            }
        }
        Message::Redirected(session, keys) => {
            if let Some(client) = context.proxy.session(session) {
                client.redirected(&keys);
            }
        }
        Message::Wake => context.proxy.sessions().iter().for_each(|client| client.wake()),
        Message::Close(session) => {
            if let Some(client) = context.proxy.session(session) {
                client.close();
            }
        }
        Message::Revoked(revoked) => context.cut_revoked(&revoked),
        Message::Drain => {
            context.draining.set(true);
            context.proxy.sessions().iter().for_each(|client| client.wake());
        }
        Message::Accept(stream, place) => match admit(context, stream) {
            Ok((stream, info)) => {
                context.clients.insert(info.clone());
                let session = serve(context.clone(), stream, info);
                tokio::task::spawn_local(async move {
                    session.await;
                    drop(place);
                });
            }
            Err(e) => tracing::debug!("a client was gone before it was served: {e}"),
        },
    }
}

fn admit(
    context: &Rc<Context>,
    stream: std::net::TcpStream,
) -> std::io::Result<(TcpStream, Arc<ClientInfo>)> {
    let stream = TcpStream::from_std(stream)?;
    let now = clock::now();
    let info = Arc::new(ClientInfo {
        id: context.clients.number(),
        address: stream.peer_addr()?,
        local: stream.local_addr()?,
        descriptor: stream.as_raw_fd(),
        worker: context.proxy.worker,
        since: now,
        active: AtomicU64::new(now),
        command: AtomicU32::new(0),
        commands: AtomicU64::new(0),
        db: AtomicU32::new(context.config.home().database),
        proto: AtomicU32::new(2),
        input: AtomicU64::new(0),
        output: AtomicU64::new(0),
        killed: AtomicBool::new(false),
        marks: AtomicU32::new(0),
        redirect: AtomicI64::new(-1),
        subscriptions: Default::default(),
        user: Mutex::new(context.users.default_user()),
        multi: AtomicI64::new(-1),
        multi_size: AtomicU64::new(0),
        blocked: Mutex::default(),
        name: Mutex::default(),
    });
    Ok((stream, info))
}

/// Ends clients that have been silent for longer than `server.timeout`, unless they wait for data or messages.
fn close_idle(context: &Rc<Context>, now: u64) {
    let bound = clock::nanos(context.config.server.timeout);
    if bound == 0 {
        return;
    }
    for info in context.clients.list() {
        let idle = now.saturating_sub(info.active.load(Relaxed));
        if info.worker == context.proxy.worker
            && idle > bound
            && !info.is_subscribed()
            && !info.is_blocked()
            && let Some(client) = context.proxy.session(info.id)
        {
            client.close();
        }
    }
}

/// Ends the largest clients while all together hold more than `server.max_memory_clients`.
fn evict_clients(context: &Rc<Context>) {
    let bound = context.config.server.max_memory_clients as u64;
    if bound == 0 {
        return;
    }
    let clients = context.clients.list();
    let mut held: u64 = clients.iter().map(|client| client.memory()).sum();
    if held <= bound {
        return;
    }
    let mut victims: Vec<_> = clients.into_iter().filter(|c| !c.is_marked(Mark::NoEvict)).collect();
    victims.sort_unstable_by_key(|client| std::cmp::Reverse(client.memory()));
    for client in victims {
        if held <= bound {
            return;
        }
        let bytes = client.memory();
        held = held.saturating_sub(bytes);
        tracing::warn!(
            client = client.id,
            bytes,
            "evicted: clients hold more than server.max_memory_clients"
        );
        context.end(&client);
    }
}
