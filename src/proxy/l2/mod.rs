//! L2 as a tier of copies, where L3 is home: a miss of L1 asks it first, and what home then says is kept there, for
//! all processes that share it. Why that is never older than it may be: "Why L2 copies are true" in src/README.md.

mod fill;
pub mod link;
mod lookup;
mod pace;
mod put;
pub mod surface;
mod ticket;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::RwLock;

use super::Proxy;
use super::admission::Admission;
use crate::backend::cluster::NodeId;
use crate::backend::connection::Address;
use crate::backend::lane::Lane;
use crate::backend::node::Node;
use crate::backend::steward::Findings;
use crate::clock;
use crate::config::L2 as Config;
use crate::metrics::Counters;
use crate::resp::{Proto, encode};
use crate::tier::l2::ledger::Ledger;
use crate::tier::l2::name::{self, Names};
use crate::tier::l2::record::Codec;
use crate::tier::l2::scripts::{FILL, TAKE};

pub(super) use fill::Claim;
use lookup::Lookup;
use ticket::Ticket;

/// The reads of L2 that its hit ratio is taken over: what is asked in vain costs each time.
const WINDOW: f64 = 2048.0;

/// L2, as all workers see it.
#[derive(Debug)]
pub struct L2 {
    /// How it is reached.
    pub node: Arc<Node>,
    /// The database that copies are in.
    pub database: u16,
    /// What is asked of it for a reader is given up after this long, and it is passed by until it answers again.
    pub patience: Duration,
    /// Who takes it on himself to fill a copy has so long; then somebody else may.
    pub fill_within: Duration,
    /// What copies are called.
    pub names: Names,
    /// What makes them believable.
    pub ledger: Arc<Ledger>,
    /// What the connection of deletes found out.
    pub figures: Figures,
    /// Which of its settings are not as the configuration says.
    pub differs: Arc<Findings>,
    /// The way to the server that `ledger` is about; none: there is no connection to it.
    door: RwLock<Option<Arc<Door>>>,
    /// L2's clock in milliseconds less that of this process, at the most.
    offset: AtomicI64,
}

/// What L2 says of itself, and how it fares; 0: not known.
#[derive(Debug, Default)]
pub struct Figures {
    /// Bytes it uses.
    pub used_memory: AtomicU64,
    /// Bytes it may use.
    pub max_memory: AtomicU64,
    /// Keys it has evicted.
    pub evicted: AtomicU64,
    /// Epochs that this process has begun.
    pub epochs: AtomicU64,
    /// 1 while it takes longer than home to answer half of what it is asked.
    pub slower_than_home: AtomicU64,
}

/// One server's life: connections to another are refused.
#[derive(Debug)]
struct Door {
    node: Arc<Node>,
    /// Digests of the scripts.
    take: Vec<u8>,
    fill: Vec<u8>,
}

impl L2 {
    /// Nobody has been there yet. `home` is what all processes that share it call home.
    pub fn new(node: Arc<Node>, config: &Config, home: &str) -> Self {
        L2 {
            node,
            database: u16::try_from(config.upstream.database).unwrap_or(u16::MAX),
            patience: config.answer_within,
            fill_within: config.fill_within,
            names: Names::new(home),
            ledger: Arc::default(),
            figures: Figures::default(),
            differs: Arc::default(),
            door: RwLock::default(),
            offset: AtomicI64::new(0),
        }
    }

    /// The most that L2's clock can say at `now`, in milliseconds.
    fn clock(&self, now: u64) -> u64 {
        let now = i64::try_from(now / 1_000_000).unwrap_or(i64::MAX);
        u64::try_from(now.saturating_add(self.offset.load(Relaxed))).unwrap_or(0)
    }

    /// L2's clock said `millis` to a question sent at `asked`.
    fn set_clock(&self, asked: u64, millis: i64) {
        let asked = i64::try_from(asked / 1_000_000).unwrap_or(i64::MAX);
        self.offset.store(millis.saturating_sub(asked).saturating_add(1), Relaxed);
    }
}

/// A lane, and the server it leads to.
type Way = (Arc<Door>, Rc<Lane<Ticket>>);

/// A record that waits for this confirmation of the guard.
pub(super) struct Held {
    number: u64,
    lookup: Rc<Lookup>,
    stored: Box<[u8]>,
}

impl Held {
    /// Goes on with it.
    pub(super) fn release(self, now: u64) {
        self.lookup.confirmed(&self.stored, now);
    }
}

/// What a worker has of L2.
pub(super) struct Worker {
    way: RefCell<Option<Way>>,
    /// Lanes to servers of before that still owe answers.
    retired: RefCell<Vec<Rc<Lane<Ticket>>>>,
    codec: RefCell<Codec>,
    admission: Admission,
    /// By the node whose guard is to confirm, and by rising number.
    held: RefCell<HashMap<NodeId, VecDeque<Held>>>,
}

impl Default for Worker {
    fn default() -> Self {
        Worker {
            way: RefCell::default(),
            retired: RefCell::default(),
            codec: RefCell::default(),
            admission: Admission::over(WINDOW),
            held: RefCell::default(),
        }
    }
}

impl Proxy {
    /// The lane to L2, and the server it leads to.
    fn l2_lane(&self, l2: &L2) -> Option<Way> {
        let door = l2.door.read().clone()?;
        let mut way = self.l2.way.borrow_mut();
        if let Some((known, lane)) = &*way
            && Arc::ptr_eq(known, &door)
        {
            return Some((door, lane.clone()));
        }
        // Its failures are counted as L2's, not as home's.
        let apart = Arc::new(Counters::default());
        let new = Rc::new(Lane::new(door.node.clone(), Proto::Resp2, l2.database, apart));
        let old = way.replace((door.clone(), new.clone()));
        self.l2.retired.borrow_mut().extend(old.map(|(_, lane)| lane));
        Some((door, new))
    }

    /// Sends L2 a request; false: there is no way to it.
    fn send_l2(&self, l2: &L2, request: &[u8], ticket: Ticket) -> bool {
        let Some((_, lane)) = self.l2_lane(l2) else { return false };
        lane.send(request, ticket, clock::now());
        true
    }

    /// Somebody has made L2 forget the scripts.
    fn load_l2_scripts(&self, l2: &L2) {
        for script in [TAKE, FILL] {
            let mut request = Vec::new();
            encode::command(&mut request, &[b"SCRIPT", b"LOAD", script.as_bytes()]);
            self.send_l2(l2, &request, Ticket::Nobody);
        }
    }

    /// Takes what waited for a confirmation that has come, or will not.
    pub(super) fn take_l2(&self, now: u64) -> Vec<Held> {
        let mut taken = Vec::new();
        for (node, held) in self.l2.held.borrow_mut().iter_mut() {
            let vouched = self.shared.copies.as_ref().is_some_and(|copies| copies.vouched_by(*node, now));
            let due = |held: &Held| !vouched || self.shared.guards.reached(*node, held.number);
            while held.front().is_some_and(due) {
                taken.extend(held.pop_front());
            }
        }
        taken
    }

    /// What tells the servers apart that a read may have been answered by: a copy is believed only where it was read
    /// at the server whose guard tells of its key. Who still asks an old master fills nothing that others read.
    fn l2_origin(&self, node: NodeId) -> u64 {
        let address = match &self.shared.cluster {
            Some(cluster) => cluster.node(node).dial.address.to_string(),
            None => match &self.shared.node.dial.address {
                master @ Address::Master(_) => master.to_string(),
                Address::Tcp { .. } | Address::Unix(_) => return 0,
            },
        };
        name::digest(&address)
    }

    /// Time-outs of what was asked of L2.
    pub(super) fn tick_l2(&self, now: u64) {
        let current = self.l2.way.borrow().as_ref().map(|(_, lane)| lane.clone());
        let retired = self.l2.retired.borrow().clone();
        for lane in retired.iter().chain(&current) {
            lane.tick(now);
        }
        self.l2.retired.borrow_mut().retain(|lane| lane.depth() > 0);
    }
}
