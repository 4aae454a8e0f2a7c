//! Connections to home that one client has for itself for a while.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::cluster::OwnDetour;
use super::errand::Errand;
use super::ready::Ready;
use super::{Ask, Client, LaneKey, Proxy, Ticket, Way, error_reply, failure_text};
use crate::backend::cluster::NodeId;
use crate::backend::lane::{Course, Failure, Lane, Onward, Outcome, Reply};
use crate::backend::node::Node;
use crate::backend::pool::{NoLease, Place, Pools, Purpose, Tag};
use crate::clock;
use crate::resp::{Proto, encode, reply};

/// Time-outs of leased connections are looked after this often.
const TICK: Duration = Duration::from_millis(200);

/// A connection that a client has for itself. Dropped it is closed, whatever it is waiting for.
pub struct Own {
    lane: Lane<Ticket>,
    tag: Arc<Tag>,
    place: Place,
    purpose: Purpose,
    /// What a request may take, in nanoseconds.
    bound: Cell<u64>,
    /// The same, if nothing else is allowed.
    usual: u64,
    /// It is no longer in the protocol and database it was lent in.
    turned: Cell<bool>,
    /// What it was leased for.
    way: Way,
    /// The node did not answer what was asked by it: another is to be asked.
    astray: Cell<bool>,
}

impl Own {
    /// The node of home that it goes to.
    pub fn node(&self) -> NodeId {
        self.tag.node
    }

    /// The way that it was leased for.
    pub fn way(&self) -> Way {
        Way { node: self.node(), ..self.way }
    }

    /// Whether a request that goes this way may go by it.
    pub(super) fn takes(&self, way: Way) -> bool {
        way.node == self.node() || way.slot == Course::NO_SLOT
    }

    /// Whether what it was leased for is on another node now.
    pub fn is_astray(&self) -> bool {
        self.astray.get()
    }

    /// Whether it is lost.
    pub fn is_gone(&self) -> bool {
        self.lane.is_gone()
    }

    /// Whether another client may have it after this one.
    pub(super) fn is_fit(&self) -> bool {
        !self.turned.get() && !self.is_gone() && !self.tag.is_retired()
    }

    /// It takes no place until it is lent again.
    pub(super) fn rest(&self) {
        self.place.release();
    }

    /// It is lent as it was.
    pub(super) fn lend(&self, place: OwnedSemaphorePermit) {
        self.place.renew(place);
        self.allow_usual();
    }

    /// What others may know of it.
    pub fn tag(&self) -> &Arc<Tag> {
        &self.tag
    }

    /// What carries it.
    pub fn lane(&self) -> &Lane<Ticket> {
        &self.lane
    }

    /// Lets requests from now on take so much longer than others; None: for ever.
    pub fn allow(&self, longer: Option<Duration>) {
        let bound = longer.map_or(u64::MAX, |longer| self.bound.get().saturating_add(clock::nanos(longer)));
        self.bound.set(bound);
    }

    /// Requests from now on may take as long as others.
    pub fn allow_usual(&self) {
        self.bound.set(self.usual);
    }

    /// It has state that no other client is to find.
    pub(super) fn spoil(&self) {
        self.turned.set(true);
    }

    /// Asks home one command, which is on its way when this returns, and waits for its reply, which may be any but an
    /// error.
    ///
    /// # Errors
    /// As [`Proxy::ask_home`].
    pub(super) fn ask<'n>(
        &self,
        node: &'n Node,
        command: &[&[u8]],
    ) -> impl Future<Output = Result<Bytes, String>> + use<'n> {
        let mut request = Vec::new();
        encode::command(&mut request, command);
        let (errand, answer) = Errand::new();
        self.send(&request, 0, Ticket::Errand(errand), clock::now());
        answer.of(node)
    }

    /// Sends a request whose reply nobody wants to see.
    pub fn send_aside(&self, command: &[&[u8]], now: u64) {
        let mut request = Vec::new();
        encode::command(&mut request, command);
        self.send(&request, 0, Ticket::Nobody, now);
    }

    /// Another node is to be asked.
    pub(super) fn stray(&self) {
        self.astray.set(true);
    }

    pub(super) fn send(&self, requests: &[u8], parts: u32, ticket: Ticket, now: u64) {
        self.lane.send_block(requests, parts, ticket, now, now.saturating_add(self.bound.get()));
    }
}

/// Leased connections of a worker.
#[derive(Default)]
pub(super) struct Leases {
    pools: RefCell<HashMap<NodeId, Rc<Pools>>>,
    lent: RefCell<Vec<Weak<Own>>>,
    pub(super) ready: Ready,
    /// Given back with replies outstanding.
    finishing: RefCell<Vec<Rc<Own>>>,
    ticked: Cell<u64>,
}

/// The claim to the reply of what a connection's client must not be without (SELECT, HELLO).
pub struct Follow {
    own: Weak<Own>,
    client: Rc<dyn Client>,
    slot: u64,
}

impl Follow {
    pub(super) fn complete(self, outcome: Outcome<'_>, now: u64) {
        let done = matches!(&outcome, Outcome::Reply(r) if !reply::is_error(r.bytes()));
        if let (false, Some(own)) = (done, self.own.upgrade()) {
            own.lane.abort("home does not let it follow its client to another database or protocol");
        }
        self.client.deliver(self.slot, Reply::Owned(Bytes::new()), now);
    }
}

/// The claim to the reply of SHUTDOWN: if it succeeds there is none, and the connection ends.
pub struct Farewell {
    client: Rc<dyn Client>,
    slot: u64,
    /// Its address, and the section of its settings.
    home: (String, &'static str),
}

impl Farewell {
    pub(super) fn complete(self, outcome: Outcome<'_>, now: u64) {
        match outcome {
            Outcome::Reply(reply) => self.client.deliver(self.slot, reply, now),
            Outcome::Failed(Failure::Timeout(bound)) => {
                let text = format!(
                    "ERR strata: home {} did not answer within {bound:?} ({}.request_timeout)",
                    self.home.0, self.home.1
                );
                self.client.deliver(self.slot, Reply::Owned(error_reply(&text)), now);
            }
            Outcome::Failed(_) => {
                self.client.deliver(self.slot, Reply::Owned(Bytes::new()), now);
                self.client.close();
            }
        }
    }
}

impl Proxy {
    /// Leases a connection that speaks the lane's protocol and is in its database (`anywhere`: in any).
    ///
    /// # Errors
    /// Why there is none, as a reply, code first.
    pub async fn lease(
        self: &Rc<Self>,
        purpose: Purpose,
        way: Way,
        anywhere: bool,
    ) -> Result<Rc<Own>, String> {
        let (lane, node) = (way.lane, self.node(way.node));
        let pools = self.pools_of(way.node, &node);
        let db = (!anywhere).then_some(lane.db);
        let lease = pools.lease(purpose, lane.proto, db).await.map_err(|why| {
            self.counters.home_failures.add(1);
            no_lease_text(&node, why)
        })?;
        let (tag, place) = (lease.tag(), lease.place());
        let usual = clock::nanos(node.request_timeout);
        let own = Rc::new_cyclic(|own| {
            let onward: Option<Box<dyn Onward<Ticket>>> = match self.is_cluster() {
                true => Some(Box::new(OwnDetour::new(self, own.clone(), way))),
                false => None,
            };
            Own {
                lane: Lane::over(lease, node, self.counters.clone(), onward),
                tag,
                place,
                purpose,
                bound: Cell::new(usual),
                usual,
                turned: Cell::new(false),
                way,
                astray: Cell::new(false),
            }
        });
        self.leases.lent.borrow_mut().push(Rc::downgrade(&own));
        Ok(own)
    }

    fn pools_of(&self, number: NodeId, node: &Arc<Node>) -> Rc<Pools> {
        let mut pools = self.leases.pools.borrow_mut();
        let new = || {
            let places = self.shared.places.at(number);
            Rc::new(Pools::new(number, node.clone(), places, self.counters.clone()))
        };
        pools.entry(number).or_insert_with(new).clone()
    }

    /// A client no longer needs its connection. It may be lent again, once everything is answered, if it is
    /// `reusable`: it watches nothing, and no transaction took it to another protocol or database.
    pub fn give_back(&self, own: Rc<Own>, reusable: bool) {
        let waited = own.purpose == Purpose::Wait && own.lane.depth() == 0;
        if waited && reusable && own.is_fit() && !self.is_cluster() {
            return self.keep_ready(own);
        }
        own.lane.finish(reusable && !own.turned.get());
        if own.lane.depth() > 0 {
            self.leases.finishing.borrow_mut().push(own);
        }
    }

    /// Takes a connection along to its client's protocol or database. The reply at `slot` is empty; if home refuses,
    /// the connection is lost.
    pub fn follow(&self, client: &Rc<dyn Client>, slot: u64, own: &Rc<Own>, request: &[u8], now: u64) {
        own.turned.set(true);
        let follow = Follow { own: Rc::downgrade(own), client: client.clone(), slot };
        own.send(request, 0, Ticket::Follow(follow), now);
    }

    /// Sends SHUTDOWN by the connection of its client.
    pub fn farewell(&self, ask: &Ask<'_>, own: &Own) {
        let node = self.node(own.node());
        let home = (node.dial.address.to_string(), node.section);
        let ticket = Ticket::Farewell(Farewell { client: ask.client.clone(), slot: ask.slot, home });
        own.send(ask.request.raw(), 0, ticket, ask.now);
    }

    pub(super) fn tick_leases(&self, now: u64) {
        if now.saturating_sub(self.leases.ticked.get()) < clock::nanos(TICK) {
            return;
        }
        self.leases.ticked.set(now);
        self.leases.ready.expire(now);
        let mut lent = Vec::new();
        self.leases.lent.borrow_mut().retain(|own| {
            lent.extend(own.upgrade());
            own.strong_count() > 0
        });
        lent.iter().for_each(|own| own.lane.tick(now));
        self.leases.finishing.borrow_mut().retain(|own| own.lane.depth() > 0);
    }
}

fn no_lease_text(node: &Node, why: NoLease) -> String {
    let home = &node.dial.address;
    match why {
        NoLease::Unreachable(u) => failure_text(node, &Failure::Unreachable(u)),
        NoLease::Refused(reason) => {
            format!("ERR strata: home {home} does not give the client a connection of its own: {reason}")
        }
        NoLease::Taken { purpose: Purpose::State, places, waited } => format!(
            "ERR strata: all {places} connections to home {home} that clients may have for themselves were taken for {waited:?}; raise {}.max_connections",
            node.section
        ),
        NoLease::Taken { purpose: Purpose::Wait | Purpose::Track, places, waited } => format!(
            "ERR strata: all {places} connections to home {home} for clients that wait, or are told what others change, were taken for {waited:?}; raise server.max_clients"
        ),
    }
}

/// HELLO or SELECT, which takes a connection from one protocol and database to another.
pub fn turns(from: LaneKey, to: LaneKey) -> impl Iterator<Item = Vec<u8>> {
    let hello = (from.proto != to.proto).then(|| {
        let version: &[u8] = if to.proto == Proto::Resp3 { b"3" } else { b"2" };
        let mut out = Vec::new();
        encode::command(&mut out, &[b"HELLO", version]);
        out
    });
    let select = (from.db != to.db).then(|| {
        let mut out = Vec::new();
        encode::command(&mut out, &[b"SELECT", to.db.to_string().as_bytes()]);
        out
    });
    hello.into_iter().chain(select)
}
