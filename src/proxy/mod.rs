//! Long because: what workers share, what a session is to replies and what an ask is are told in one place.
//!
//! The way of a command, once it is known what it is.
//!
//! [`Proxy::copy`] answers from L1. What it cannot answer goes on to [`Proxy::read`] (a flight, joined or begun),
//! [`Proxy::multi_get`] or [`Proxy::direct`] (straight home, with fences around a write). Replies come back
//! through tickets, in any order; the session puts them into the order of its requests.
//!
//! A `Proxy` belongs to one worker thread. What workers share is in [`Shared`].

mod admission;
pub mod announce;
mod cluster;
mod compressed;
mod counted;
mod courier;
mod direct;
mod ear;
mod ears;
mod errand;
mod failure;
mod held;
mod inside;
mod kept;
mod known_scripts;
pub mod l2;
mod lanes;
mod lease;
mod message;
mod mget;
mod on_behalf;
mod overheard;
mod read;
mod ready;
mod receiver;
mod replica;
mod scripts;
pub mod slow_log;
pub mod source;
mod spread;
mod subscribers;
mod ticket;
mod touch;
mod transaction;
mod unpacked;
mod wait;
pub mod watch;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;

use crate::backend::cluster::{Cluster, NodeId, Redirect};
use crate::backend::facts::Facts;
use crate::backend::guards::Guards;
use crate::backend::health::Health;
use crate::backend::lane::Reply;
use crate::backend::node::Node;
use crate::backend::pool::AllPlaces;
pub use crate::backend::subscriptions::Space;
use crate::backend::subscriptions::Subscriptions;
use crate::clock;
use crate::command::Command;
use crate::metrics::{Counters, Metrics};
use crate::resp::{Proto, Request};
use crate::tier::copies::{Copies, kind};
use crate::tier::flight::{Identity, Waiter};
use crate::tier::hotkeys::{HotKeys, Sampler};
use crate::tier::l1::Reader;
use crate::tier::listeners::{Listeners, Notice};
use crate::tier::packing::Packings;

pub use crate::backend::pool::{Purpose, Tag};
use admission::Admission;
use announce::Coverage;
use cluster::Ways;
pub use cluster::{Crossed, Way, common_slot};
use compressed::Compressed;
pub use counted::{Counted, Counting};
pub use direct::Direct;
pub use ear::{Ear, Tracked};
pub use ears::Listening;
pub use errand::Errand;
use failure::{error_reply, failure_text, is_outage};
pub use held::Confirmed;
use held::{Held, Shows};
pub use inside::{Inside, Touched};
pub use known_scripts::KnownScripts;
use known_scripts::LoadedScripts;
use lanes::Lanes;
use lease::Leases;
pub use lease::{Farewell, Follow, Own, turns};
pub use message::{Inbox, May, Message, Revoked};
pub use mget::Mget;
pub use overheard::Overheard;
pub use read::Read;
use receiver::Receiver;
use replica::ReplicaLanes;
pub use replica::{FromReplica, Replicated};
pub use scripts::Scripts;
use slow_log::SlowLog;
pub use spread::Walks;
pub use subscribers::Order;
pub use ticket::Ticket;
pub use transaction::{Effects, Transaction};
pub use unpacked::Job;
use watch::Watch;

/// Hits of one copy are reported to a home that evicts by use at most this often, in seconds.
const TOUCH_EVERY: u16 = 5;

/// What the workers share.
pub struct Shared {
    /// Copies and their rules; None: `l1.enabled = false`.
    pub copies: Option<Arc<Copies>>,
    /// L2, where it holds copies; None: it is home, or off.
    pub l2: Option<Arc<l2::L2>>,
    /// What is below home; None: nothing.
    pub l4: Option<Arc<source::L4>>,
    /// Home; where that is a cluster, the first node that was named.
    pub node: Arc<Node>,
    /// The nodes of home; None: it is no cluster.
    pub cluster: Option<Arc<Cluster>>,
    /// How many connections to a node of it clients may have for themselves.
    pub places: Arc<AllPlaces>,
    /// Scripts that home has not answered.
    pub scripts: Scripts,
    /// Confirmations of the guards.
    pub guards: Arc<Guards>,
    /// Until when changes are announced by each node of a cluster.
    pub coverage: Coverage,
    /// What is subscribed to at home.
    pub subscriptions: Arc<Subscriptions>,
    /// What home said of itself.
    pub facts: Arc<Facts>,
    /// How home fares.
    pub health: Arc<Health>,
    /// The keys that are read most.
    pub hot: parking_lot::Mutex<HotKeys>,
    /// When the process began to serve ([`clock::now`]).
    pub started: u64,
    /// All counters.
    pub metrics: Metrics,
    /// Clients that keep caches of their own.
    pub listeners: Listeners,
    /// What sessions have to be attentive for.
    pub watch: Watch,
    /// What scripts run at home.
    pub overheard: Overheard,
    /// Requests that took long.
    pub slow: SlowLog,
    /// Walks over the keys of several nodes.
    pub walks: parking_lot::Mutex<Walks>,
    /// Scripts, for nodes that have not seen them.
    pub known_scripts: KnownScripts,
    /// Whether writes of keys in several slots are refused.
    pub strict: bool,
    /// Replicas, and what is read from them; None: nothing is.
    pub replicated: Option<Replicated>,
    /// Whose values home keeps compressed; None: nobody's.
    pub packings: Option<Arc<Packings>>,
    /// The workers' doors.
    pub inboxes: parking_lot::RwLock<Vec<UnboundedSender<Message>>>,
}

/// A session, as replies see it.
pub trait Client {
    /// The reply for the request at `slot`, which came from home at `now`.
    fn deliver(&self, slot: u64, reply: Reply<'_>, now: u64);
    /// The request at `slot` goes home; until it is answered, copies of these keys (None: of any) do not answer
    /// this client.
    fn unsettle(&self, slot: u64, keys: Option<&[u64]>);
    /// What the client is told without having asked: whole elements in its protocol. They go out next, before the
    /// replies that are still to come.
    fn push(&self, bytes: &Bytes);
    /// The client listens, and is to be told behind the replies that are outstanding now: they may be older.
    fn notice(&self, notice: &Notice);
    /// The same for another client that redirects its notices to this one: an encoded array of keys, or null.
    fn redirected(&self, keys: &Bytes);
    /// How many channels, patterns and shards it is subscribed to from now on.
    fn subscribed(&self, counts: [usize; 3]);
    /// Whether nothing was asked after the request at `slot`.
    fn is_last(&self, slot: u64) -> bool;
    /// A node of a cluster said to the request at `slot`, by a connection of the client's own, that another is to be
    /// asked. False: the client does not ask again by itself.
    fn goes_elsewhere(&self, slot: u64, redirect: &Redirect) -> bool;
    /// Ends the session once its replies are out.
    fn close(&self);
    /// Has the session look at what changed around it.
    fn wake(&self);
    /// L2 is asked for a read (or it is decided what becomes of that): until then what the client asks next must not go
    /// home before it.
    fn look_up(&self, begins: bool);
    /// When it last had a reply from home.
    fn seen(&self) -> u64;
    /// Whether it keeps a cache of its own, which what it reads must not be behind.
    fn tracks(&self) -> bool;
}

/// Which lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LaneKey {
    /// The client's own protocol: replies are not translated.
    pub proto: Proto,
    /// The client's database.
    pub db: u32,
    /// Scripts have lanes of their own: home does not read on by a connection whose script it runs, and others are to
    /// hear that it is busy.
    pub scripts: bool,
    /// The session that has it for itself ([`Proxy::keep_lanes`]); 0: it is shared.
    pub of: u64,
}

impl LaneKey {
    /// The lane for what runs a script, or does not. Who has lanes for itself needs no other for scripts.
    pub fn for_scripts(self, scripts: bool) -> Self {
        LaneKey { scripts: scripts && self.of == 0, ..self }
    }
}

/// One request of one client.
pub struct Ask<'a> {
    /// Who asks.
    pub client: &'a Rc<dyn Client>,
    /// Its session number.
    pub session: u64,
    /// Where the reply goes.
    pub slot: u64,
    /// When it last had a reply from home.
    pub seen: u64,
    /// Its protocol and database.
    pub lane: LaneKey,
    /// Since when.
    pub lane_since: u64,
    /// Its own connection, by which everything goes while it has one.
    pub own: Option<&'a Rc<Own>>,
    /// Its keys are in requests of this client that home has not answered: nothing older may answer it.
    pub follows: bool,
    /// The command.
    pub command: Option<&'static Command>,
    /// The request.
    pub request: &'a Request<'a>,
    /// Now.
    pub now: u64,
}

/// One worker's half of the program.
pub struct Proxy {
    /// Index of the worker.
    pub worker: u16,
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// The worker's counters.
    pub counters: Arc<Counters>,
    this: Weak<Proxy>,
    /// By node.
    lanes: RefCell<Vec<Lanes>>,
    /// Sessions that have lanes for themselves.
    keepers: RefCell<HashSet<u64>>,
    replica_lanes: ReplicaLanes,
    /// None: home is no cluster.
    ways: Option<Ways>,
    clients: RefCell<HashMap<u64, Rc<dyn Client>>>,
    /// By node.
    held: RefCell<HashMap<NodeId, VecDeque<Held>>>,
    leases: Leases,
    admission: Admission,
    touched: RefCell<Vec<(u32, Box<[u8]>)>>,
    touching: Cell<bool>,
    sampler: Sampler,
    subscribers: subscribers::Subscribers,
    l2: l2::Worker,
    loaded: LoadedScripts,
    compressed: Option<Compressed>,
}

impl Proxy {
    /// A worker without clients.
    pub fn new(worker: u16, shared: Arc<Shared>) -> Rc<Self> {
        let counters = shared.metrics.block();
        let compressed = shared.packings.clone().map(|packings| Compressed::new(packings, counters.clone()));
        let ways = shared.cluster.clone().map(Ways::new);
        Rc::new_cyclic(|this| Proxy {
            compressed,
            worker,
            shared,
            counters,
            this: this.clone(),
            lanes: RefCell::default(),
            keepers: RefCell::default(),
            replica_lanes: ReplicaLanes::default(),
            ways,
            clients: RefCell::default(),
            held: RefCell::default(),
            leases: Leases::default(),
            admission: Admission::default(),
            touched: RefCell::default(),
            touching: Cell::new(false),
            sampler: Sampler::default(),
            subscribers: Default::default(),
            l2: Default::default(),
            loaded: LoadedScripts::default(),
        })
    }

    /// Makes a session known to replies of other workers.
    pub fn enter(&self, session: u64, client: Rc<dyn Client>) {
        self.clients.borrow_mut().insert(session, client);
    }

    /// Forgets a session.
    pub fn leave(&self, session: u64) {
        self.clients.borrow_mut().remove(&session);
        self.unsubscribe_gone(session);
    }

    /// Sessions of this worker.
    pub fn sessions(&self) -> Vec<Rc<dyn Client>> {
        self.clients.borrow().values().cloned().collect()
    }

    /// One session of this worker.
    pub fn session(&self, number: u64) -> Option<Rc<dyn Client>> {
        self.clients.borrow().get(&number).cloned()
    }

    /// The copies, while they may be served as current.
    pub fn vouched(&self, now: u64) -> Option<&Arc<Copies>> {
        self.shared.copies.as_ref().filter(|c| c.vouched(now))
    }

    /// The copies, unless there are none and none can come to be.
    fn fenced_copies(&self) -> Option<&Arc<Copies>> {
        let guarded = self.shared.guards.any();
        self.shared.copies.as_ref().filter(|c| guarded || c.policies().any_stale())
    }

    /// Whether there are copies that are renewed before they end.
    pub fn renews(&self) -> bool {
        self.shared.copies.as_ref().is_some_and(|c| c.policies().any_ahead())
    }

    /// Answers a read of one key from its copy.
    pub fn copy<'r>(&self, reader: &'r Reader<'_>, id: &Identity<'_>, now: u64) -> Option<&'r [u8]> {
        let hit = reader.get(id.hash, id.key, id.kind, id.tail, now)?;
        if self.ways.is_some() && !self.shared.copies.as_ref()?.vouches_for(id.key, now) {
            return None;
        }
        if self.sampler.due() {
            self.sample(id, now);
        }
        if self.touching.get() && hit.touch_due(clock::seconds(now) as u16, TOUCH_EVERY) {
            self.touched.borrow_mut().push((u32::from(id.kind as u16), id.key.into()));
        }
        Some(hit.reply())
    }

    #[cold]
    fn sample(&self, id: &Identity<'_>, now: u64) {
        // Whoever is in the way has samples of the same keys.
        if let Some(mut hot) = self.shared.hot.try_lock() {
            hot.note(id.hash, id.key, now);
        }
    }

    /// Notes how a batch of reads went: hits decide how much of the misses is kept.
    pub fn tally(&self, hits: u64, misses: u64) {
        self.counters.l1_hits.add(hits);
        self.counters.l1_misses.add(misses);
        // While nothing can be copied, misses say nothing of what copies are worth.
        if self.shared.guards.any() {
            self.admission.tally(hits, misses);
        }
    }

    /// Whether the reply of a miss of the key with this hash is wanted as a copy (rule 11: a fill costs home about as
    /// much as the read).
    fn admit(&self, hash: u64) -> bool {
        self.admission.admit(hash)
    }

    fn waiter(&self, ask: &Ask<'_>) -> Waiter {
        Waiter { worker: self.worker, session: ask.session, slot: ask.slot }
    }

    /// Housekeeping: time-outs of lanes, hits to be reported.
    pub fn tick(&self, now: u64) {
        let lanes: Lanes = self.lanes.borrow().iter().flatten().cloned().collect();
        lanes.iter().for_each(|(_, lane)| lane.tick(now));
        self.end_left_lanes();
        self.tick_replicas(now);
        self.tick_l2(now);
        self.tick_ways(now);
        self.tick_leases(now);
        self.note_scripts();
        self.expire_subscriptions(now);
        let by_use = self.shared.facts.evicts_by_use.load(std::sync::atomic::Ordering::Relaxed);
        self.touching.set(by_use);
        self.report_hits(now);
    }

    /// The identity of the copy that answers a read whose first key is `key`.
    pub fn identity<'a>(&self, ask: &Ask<'a>, command: &Command, key: &'a [u8]) -> Option<Identity<'a>> {
        let copies = self.shared.copies.as_ref()?;
        let kind = kind(command.id, ask.lane.proto, ask.lane.db)?;
        Some(Identity { hash: copies.l1().hash(key), key, kind, tail: tail(command, ask.request) })
    }
}

/// What besides the key distinguishes the copies of a request: the arguments behind a key that comes first, all of
/// them where it does not or where there may be several.
pub fn tail<'a>(command: &Command, request: &Request<'a>) -> &'a [u8] {
    request.tail(if command.only_key() == Some(1) { 1 } else { 0 })
}
