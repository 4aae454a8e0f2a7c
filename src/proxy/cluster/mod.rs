//! A worker's ways through a cluster: which node a request goes to, and what becomes of it when that was the wrong one.
//!
//! Two requests about one key by one client are executed in the order asked, whatever moves meanwhile. So when a slot
//! has a new owner, requests about it wait while the old one has not answered all it was sent by the same lane before:
//! what it sends away again goes first. While a slot moves, of the keys of one request some may be here and some there,
//! and neither node executes it (TRYAGAIN), though both execute what is about one of them: so what was asked after it
//! waits until it is answered. A worker has its own view of the map, which changes when the shared one does, or when a
//! node says so first.

mod detour;
mod own;
mod waiting;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Ask, LaneKey, Proxy, Ticket, error_reply};
use crate::backend::cluster::{Cluster, NodeId, Redirect, SLOTS, SlotSet, slot};
use crate::backend::lane::{Block, Course, Lane, Reply};
use crate::backend::node::Node;
use crate::clock;
use crate::command::{Command, KeyRef, Spread, extract, id, resolve};
use crate::resp::{Request, with_request};
use crate::router::Effect;

pub(super) use detour::Detour;
pub(super) use own::OwnDetour;
use waiting::Waiting;

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The kind of lane.
    pub lane: LaneKey,
    /// Whose.
    pub node: NodeId,
    /// The slot of its keys; [`Course::NO_SLOT`] without keys, and where home is no cluster.
    pub slot: u16,
}

/// The keys of a request are in several slots. `Display` gives Redis' reply, code first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("CROSSSLOT Keys in request don't hash to the same slot")]
pub struct Crossed;

/// A node that had these slots has not answered all that it was sent while it did.
struct Leaving {
    lane: LaneKey,
    node: NodeId,
    line: Rc<Lane<Ticket>>,
    mark: u64,
    slots: SlotSet,
    since: u64,
}

/// What a worker knows of a cluster.
pub(super) struct Ways {
    cluster: Arc<Cluster>,
    /// The version of the map that was taken over last.
    seen: Cell<u64>,
    owners: RefCell<Box<[NodeId]>>,
    /// What nodes said that the shared map may not know yet, and until when that counts more.
    learned: RefCell<HashMap<u16, (NodeId, u64)>>,
    any: Cell<NodeId>,
    leaving: RefCell<Vec<Leaving>>,
    waiting: RefCell<Waiting>,
    /// Slots that were seen to move, each with the time until which that counts.
    moving: RefCell<HashMap<u16, u64>>,
    /// Nothing leaves, nothing waits, nothing moves.
    calm: Cell<bool>,
    /// Requests so far.
    number: Cell<u64>,
    down: Cell<waiting::Trouble>,
}

impl Ways {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        Ways {
            seen: Cell::new(0),
            owners: RefCell::new(vec![NodeId::NONE; SLOTS].into()),
            learned: RefCell::default(),
            any: Cell::new(cluster.any()),
            leaving: RefCell::default(),
            waiting: RefCell::default(),
            moving: RefCell::default(),
            calm: Cell::new(true),
            number: Cell::new(0),
            down: Cell::default(),
            cluster,
        }
    }

    fn owner(&self, slot: u16) -> NodeId {
        let owner = self.owners.borrow().get(usize::from(slot)).copied().unwrap_or(NodeId::NONE);
        if owner == NodeId::NONE { self.any.get() } else { owner }
    }
}

/// The slot of all keys; None: there are no keys.
pub fn common_slot<'k>(mut keys: impl Iterator<Item = &'k [u8]>) -> Result<Option<u16>, Crossed> {
    let Some(first) = keys.next().map(slot) else { return Ok(None) };
    if keys.all(|key| slot(key) == first) { Ok(Some(first)) } else { Err(Crossed) }
}

impl Proxy {
    /// Whether home is a cluster.
    pub fn is_cluster(&self) -> bool {
        self.ways.is_some()
    }

    /// The slot that a request is about; None: it has no keys, or home is no cluster.
    ///
    /// # Errors
    /// Its keys are in several, or it is about all.
    pub fn slot_of(
        &self,
        command: Option<&Command>,
        request: &Request<'_>,
        keys: &[KeyRef],
    ) -> Result<Option<u16>, Crossed> {
        if !self.is_cluster() {
            return Ok(None);
        }
        let of_all =
            |c: &Command| matches!(c.spread, Spread::Every(_) | Spread::Nowhere) && c.arity_ok(request.len());
        if command.is_some_and(of_all) {
            return Err(Crossed);
        }
        if command.is_some_and(|c| c.id == id::SPUBLISH) {
            return Ok(request.arg(1).map(slot));
        }
        common_slot(keys.iter().filter_map(|key| request.arg(key.index as usize)))
    }

    /// The way of a request with these keys.
    ///
    /// # Errors
    /// They are in several slots.
    pub fn way(&self, ask: &Ask<'_>, keys: &[KeyRef]) -> Result<Way, Crossed> {
        if self.ways.is_none() {
            return Ok(Way { lane: ask.lane, node: NodeId::FIRST, slot: Course::NO_SLOT });
        }
        Ok(self.way_of_slot(ask.lane, self.slot_of(ask.command, ask.request, keys)?))
    }

    /// The way of what is about this slot; None: of what has no keys.
    pub fn way_of_slot(&self, lane: LaneKey, slot: Option<u16>) -> Way {
        let Some(ways) = &self.ways else {
            return Way { lane, node: NodeId::FIRST, slot: Course::NO_SLOT };
        };
        self.catch_up(ways);
        match slot {
            Some(slot) => Way { lane, node: ways.owner(slot), slot },
            None => Way { lane, node: ways.any.get(), slot: Course::NO_SLOT },
        }
    }

    /// The way of what is about this key.
    pub fn way_of_key(&self, lane: LaneKey, key: &[u8]) -> Way {
        self.way_of_slot(lane, Some(slot(key)))
    }

    /// Moves on when slots have other owners; never where home is no cluster.
    pub fn map_version(&self) -> u64 {
        self.ways.as_ref().map_or(0, |ways| ways.cluster.version())
    }

    /// The same way as it is now.
    pub(super) fn way_again(&self, way: Way) -> Way {
        match way.slot {
            Course::NO_SLOT | Course::HERE => way,
            slot => self.way_of_slot(way.lane, Some(slot)),
        }
    }

    /// The way to where a redirection points. None: it cannot be used.
    pub fn way_by(&self, lane: LaneKey, redirect: &Redirect) -> Option<Way> {
        let (Redirect::Moved { slot, to } | Redirect::Ask { slot, to }) = redirect else { return None };
        let node = self.ways.as_ref()?.cluster.meet(to).ok()?;
        Some(Way { lane, node, slot: *slot })
    }

    /// The way of what goes to this node, whatever it is about.
    pub fn way_to(&self, lane: LaneKey, node: NodeId) -> Way {
        Way { lane, node, slot: Course::HERE }
    }

    /// Every node with keys.
    pub fn masters(&self) -> Vec<NodeId> {
        match &self.ways {
            None => vec![NodeId::FIRST],
            Some(ways) => ways.cluster.masters(),
        }
    }

    /// How many databases there are; 0: not known yet.
    pub fn databases(&self) -> u32 {
        if self.is_cluster() { 1 } else { self.shared.facts.databases.load(Relaxed) }
    }

    /// A node by its number.
    pub fn node(&self, number: NodeId) -> Arc<Node> {
        match &self.ways {
            None => self.shared.node.clone(),
            Some(ways) => ways.cluster.node(number),
        }
    }

    /// Sends a request that is not about one slot to the nodes it concerns, or says that its keys are in several.
    pub(super) fn cross(self: &Rc<Self>, ask: &Ask<'_>, effect: Effect, keys: &[KeyRef]) {
        if !self.spread(ask, effect, keys) {
            self.refuse_crossing(ask);
        }
    }

    /// Says that the keys of a request are in several slots.
    pub(super) fn refuse_crossing(&self, ask: &Ask<'_>) {
        self.counters.errors.add(1);
        ask.client.deliver(ask.slot, Reply::Owned(error_reply(&Crossed.to_string())), ask.now);
    }

    /// Sends a request (or several that are one) on its way.
    pub(super) fn send_parts(&self, way: Way, requests: &[u8], parts: u32, ticket: Ticket, now: u64) {
        match &self.ways {
            None => self.lane(way).send_parts(requests, parts, ticket, now),
            Some(ways) => self.set_out(ways, way, requests, parts, ticket, now),
        }
    }

    fn set_out(&self, ways: &Ways, way: Way, requests: &[u8], parts: u32, ticket: Ticket, now: u64) {
        let number = ways.number.get() + 1;
        ways.number.set(number);
        let course = Course { number, slot: way.slot, ..Course::default() };
        let lane = self.lane(way);
        let due = now.saturating_add(clock::nanos(lane.request_timeout()));
        let block = Block { requests, parts, due, course };
        if ways.calm.get() {
            return lane.send_on(&block, ticket, now);
        }
        if self.must_wait(ways, way, None, number) {
            return self.hold(ways, way.lane, block.unsent(ticket, lane.request_timeout()), now);
        }
        lane.send_on(&block, ticket, now);
        if ways.moving.borrow().contains_key(&way.slot) && has_several_keys(requests) {
            self.answer_first(ways, way, lane);
        }
    }

    /// Takes over what changed in the shared map.
    #[inline]
    fn catch_up(&self, ways: &Ways) {
        let version = ways.cluster.version();
        if version != ways.seen.get() {
            self.take_over(ways, version);
        }
    }

    #[cold]
    fn take_over(&self, ways: &Ways, version: u64) {
        ways.seen.set(version);
        let (now, at) = (ways.cluster.owners(), clock::now());
        let mut learned = ways.learned.borrow_mut();
        learned.retain(|slot, (to, until)| *until > at && now.get(usize::from(*slot)) != Some(to));
        let mut left: Vec<(NodeId, SlotSet)> = Vec::new();
        for (slot, (before, owner)) in ways.owners.borrow_mut().iter_mut().zip(now).enumerate() {
            if owner == NodeId::NONE || *before == owner || learned.contains_key(&(slot as u16)) {
                continue;
            }
            let before = std::mem::replace(before, owner);
            // Before anything was known, requests went anywhere.
            let before = if before == NodeId::NONE { ways.any.get() } else { before };
            match left.iter_mut().find(|(node, _)| *node == before) {
                Some((_, slots)) => slots.insert(slot as u16),
                None => left.push((before, [slot as u16].into_iter().collect())),
            }
        }
        drop(learned);
        ways.any.set(ways.cluster.any());
        for (node, slots) in left {
            self.depart(ways, node, &slots);
        }
        ways.waiting.borrow_mut().hurry();
    }

    /// A node no longer has these slots: what comes now waits until it has answered what it was sent before.
    fn depart(&self, ways: &Ways, node: NodeId, slots: &SlotSet) {
        for (lane, line) in self.lanes_of(node) {
            leave(ways, Way { lane, node, slot: Course::NO_SLOT }, line, slots.clone());
        }
    }

    /// What comes now about a slot waits until the last request about it is answered.
    fn answer_first(&self, ways: &Ways, way: Way, line: Rc<Lane<Ticket>>) {
        leave(ways, way, line, [way.slot].into_iter().collect());
    }
}

fn leave(ways: &Ways, Way { lane, node, .. }: Way, line: Rc<Lane<Ticket>>, slots: SlotSet) {
    if let Some(mark) = line.mark() {
        line.watch(mark);
        let since = clock::now();
        ways.leaving.borrow_mut().push(Leaving { lane, node, line, mark, slots, since });
        ways.calm.set(false);
    }
}

/// Whether the first of some requests is about more than one key, as far as is known.
fn has_several_keys(requests: &[u8]) -> bool {
    let several = |request: &Request<'_>| {
        let mut keys = Vec::new();
        resolve(request).is_ok_and(|command| extract(command, request, &mut keys).is_ok() && keys.len() > 1)
    };
    with_request(requests, several) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_one_slot_in_common_or_none() {
        let of = |keys: &[&str]| common_slot(keys.iter().map(|key| key.as_bytes()));
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["foo"]), Ok(Some(12182)));
        assert_eq!(of(&["{foo}a", "foo", "b{foo}"]), Ok(Some(12182)));
        assert_eq!(of(&["foo", "bar"]), Err(Crossed));
    }

    #[test]
    fn requests_about_several_keys_are_known() {
        assert!(has_several_keys(b"*3\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n"));
        assert!(!has_several_keys(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$4\r\nPTTL\r\n$1\r\na\r\n"));
        assert!(!has_several_keys(b"*1\r\n$4\r\nPING\r\n") && !has_several_keys(b"*1\r\n$1\r\n"));
    }
}
