//! Commands that concern several nodes of home: sent to each in part or whole, and answered once all have answered.
//!
//! A part is a request like any other: it goes by [`Proxy::direct_by`] or [`Proxy::multi_get`] with its own fences and
//! confirmations, and a [`Gather`] is the client it answers to.

mod gather;
mod info;
mod merge;
mod parts;
mod walk;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;

use super::source::Manner;
use super::{Ask, Client, Proxy, error_reply};
use crate::backend::cluster::{Cluster, NodeId, slot};
use crate::backend::lane::Reply;
use crate::command::{Flags, KeyRef, Merge, Split, Spread, id};
use crate::resp::{Request, Span, encode};
use crate::router::Effect;
use gather::{Gather, Plan};
use parts::Parts;
pub use walk::Walks;
use walk::{Ground, Station, Step};

const UNKNOWN_YET: &str = "CLUSTERDOWN strata: it is not known yet which nodes home has; try again";
const INVALID_CURSOR: &str = "ERR invalid cursor";

/// A request of strata's own making.
struct Made {
    raw: Vec<u8>,
    spans: Vec<Span>,
}

impl Made {
    fn of<'a>(words: impl ExactSizeIterator<Item = &'a [u8]>) -> Self {
        let (mut raw, mut spans) = (Vec::new(), Vec::with_capacity(words.len()));
        encode::array(&mut raw, words.len());
        for word in words {
            encode::bulk(&mut raw, word);
            let end = raw.len() - 2;
            spans.push(Span { start: (end - word.len()) as u32, end: end as u32 });
        }
        Made { raw, spans }
    }

    fn request(&self) -> Request<'_> {
        Request::new(&self.raw, 0, self.raw.len(), &self.spans)
    }
}

impl Proxy {
    /// Sends a request that one node alone cannot answer. False: the command is none that may be sent to several.
    pub(super) fn spread(self: &Rc<Self>, ask: &Ask<'_>, effect: Effect, keys: &[KeyRef]) -> bool {
        let Some(cluster) = &self.shared.cluster else { return false };
        match ask.command.map_or(Spread::One, |command| command.spread) {
            Spread::One => return false,
            Spread::Split(split) => return self.split(ask, split, effect, keys),
            Spread::Every(rule) => self.every(cluster, ask, rule, effect),
            Spread::Nowhere => {
                let name = ask.command.map_or("", |command| command.name).to_uppercase();
                let text = format!("ERR strata: {name} is about one server, and home is several");
                self.fail(ask, &text);
            }
        }
        true
    }

    /// Where a node is, as others know it, too.
    fn place(&self, number: NodeId) -> String {
        self.shared.cluster.as_ref().map_or(String::new(), |cluster| cluster.place(number).to_string())
    }

    fn fail(&self, ask: &Ask<'_>, text: &str) {
        self.counters.errors.add(1);
        ask.client.deliver(ask.slot, Reply::Owned(error_reply(text)), ask.now);
    }

    fn split(self: &Rc<Self>, ask: &Ask<'_>, split: Split, effect: Effect, keys: &[KeyRef]) -> bool {
        let writes = effect == Effect::Writes;
        let step = if split == Split::Pairs { 2 } else { 1 };
        let (Some(first), false) = (keys.first(), writes && self.shared.strict) else { return false };
        if let Some(command) = ask.command.filter(|_| !(ask.request.len() - 1).is_multiple_of(step)) {
            self.fail(ask, &command.arity_error());
            return true;
        }
        let Some(parts) = Parts::of(ask.request, step, slot) else { return false };
        let count = parts.len();
        let gather = Gather::new(self, ask, count, Plan::Split { split, parts, writes });
        let client: Rc<dyn Client> = gather.clone();
        let Some(parts) = gather.parts() else { return false };
        let mut keys = Vec::new();
        for part in 0..count {
            let request = parts.request(part);
            keys.clear();
            let index = |index| KeyRef { index: index as u32, access: first.access };
            keys.extend((1..request.len()).step_by(step).map(index));
            let ask = Ask { client: &client, slot: part as u64, request: &request, own: None, ..*ask };
            if split == Split::Values && ask.lane.of == 0 {
                self.multi_get(&ask, &keys);
            } else if effect != Effect::Reads || !self.through(&ask, Manner::Straight, &keys) {
                let way = self.way_of_slot(ask.lane, Some(parts.slot(part)));
                self.direct_by(&ask, way, effect, &keys);
            }
        }
        true
    }

    fn every(self: &Rc<Self>, cluster: &Cluster, ask: &Ask<'_>, rule: Merge, effect: Effect) {
        let masters = self.masters();
        if masters.is_empty() {
            cluster.ask_around();
            return self.fail(ask, UNKNOWN_YET);
        }
        match ask.command.map(|command| command.id) {
            Some(id::SCRIPT_LOAD) => self.shared.known_scripts.learn(ask.request.arg(2).unwrap_or_default()),
            Some(id::SCRIPT_FLUSH) => self.shared.known_scripts.forget(),
            _ => {}
        }
        match rule {
            Merge::Step => self.step(cluster, ask, effect),
            Merge::AnyKey => {
                let draw = RandomState::new().hash_one(ask.now);
                let words: [&[u8]; 2] = [b"DBSIZE", ask.request.name()];
                let requests = words.map(|word| Made::of([word].into_iter()));
                self.ask_masters(ask, &requests, effect, masters.clone(), Plan::AnyKey { masters, draw });
            }
            _ => {
                let known = ask.command.filter(|command| command.id == id::SCRIPT_EXISTS);
                let known = known.map(|_| self.shared.known_scripts.knows(ask.request.iter().skip(2)));
                let writes =
                    ask.command.is_some_and(|c| c.flags.contains(Flags::WRITE)) || rule == Merge::Done;
                let plan = match known {
                    Some(known) => Plan::Scripts { masters: masters.clone(), known },
                    None => Plan::Every { rule, masters: masters.clone(), writes },
                };
                let whole = Made::of(ask.request.iter());
                self.ask_masters(ask, &[whole], effect, masters, plan);
            }
        }
    }

    /// Sends these requests to each of the masters.
    fn ask_masters(
        self: &Rc<Self>,
        ask: &Ask<'_>,
        requests: &[Made],
        effect: Effect,
        masters: Vec<NodeId>,
        plan: Plan,
    ) {
        let gather = Gather::new(self, ask, masters.len() * requests.len(), plan);
        let client: Rc<dyn Client> = gather;
        let mut part = 0;
        for master in masters {
            for made in requests {
                self.ask_master(&Ask { client: &client, slot: part, ..*ask }, master, made, effect);
                part += 1;
            }
        }
    }

    fn ask_master(self: &Rc<Self>, ask: &Ask<'_>, master: NodeId, made: &Made, effect: Effect) {
        let request = made.request();
        let way = self.way_to(ask.lane, master);
        // Of what home counts, strata's own is put in once, and not here.
        self.direct_by(&Ask { request: &request, own: None, command: None, ..*ask }, way, effect, &[]);
    }

    /// SCAN.
    fn step(self: &Rc<Self>, cluster: &Cluster, ask: &Ask<'_>, effect: Effect) {
        let word = ask.request.arg(1).unwrap_or_default();
        let Some(cursor) = walk::parse_cursor(word) else { return self.fail(ask, INVALID_CURSOR) };
        let (ground, step) = {
            let mut walks = self.shared.walks.lock();
            let ground = walks.ground(cluster.version(), || survey(cluster));
            let step = walks.step(cursor, &ground);
            (ground, step)
        };
        match step {
            Step::Ask { at, master, cursor } => {
                let Some(number) = named(cluster, &master) else {
                    return self.fail(ask, "ERR strata: the node is no part of home any more; try again");
                };
                let gather = Gather::new(self, ask, 1, Plan::Step { at, master: number });
                let client: Rc<dyn Client> = gather;
                let page = page_of(ask.request, cursor);
                self.ask_master(&Ask { client: &client, slot: 0, ..*ask }, number, &page, effect);
            }
            Step::Begin => self.survey_masters(cluster, ask, ground, None, effect),
            Step::Check(at) => self.survey_masters(cluster, ask, ground, Some(at), effect),
        }
    }

    /// Asks the masters what they own: at the end of a pass (`at`), or before the first, whose first page is asked for
    /// behind it.
    fn survey_masters(
        self: &Rc<Self>,
        cluster: &Cluster,
        ask: &Ask<'_>,
        ground: Arc<Ground>,
        at: Option<Station>,
        effect: Effect,
    ) {
        let masters: Option<Vec<NodeId>> = ground.masters().iter().map(|name| named(cluster, name)).collect();
        let Some((masters, first)) = masters.and_then(|all| Some((all.clone(), *all.first()?))) else {
            cluster.ask_around();
            return self.fail(ask, UNKNOWN_YET);
        };
        let pages = usize::from(at.is_none());
        let plan = Plan::Survey { at, ground, masters: masters.clone() };
        let client: Rc<dyn Client> = Gather::new(self, ask, masters.len() + pages, plan);
        let nodes = Made::of([&b"CLUSTER"[..], b"NODES"].into_iter());
        for (part, master) in masters.iter().enumerate() {
            let ask = Ask { client: &client, slot: part as u64, ..*ask };
            self.ask_master(&ask, *master, &nodes, Effect::None);
        }
        if pages > 0 {
            let ask = Ask { client: &client, slot: masters.len() as u64, ..*ask };
            self.ask_master(&ask, first, &page_of(ask.request, 0), effect);
        }
    }
}

/// SCAN as one master gets it.
fn page_of(request: &Request<'_>, cursor: u64) -> Made {
    let cursor = cursor.to_string();
    let words: Vec<&[u8]> =
        [request.name(), cursor.as_bytes()].into_iter().chain(request.iter().skip(2)).collect();
    Made::of(words.into_iter())
}

/// Whose each slot is, by the places of nodes: they are what other processes know them by, too.
fn survey(cluster: &Cluster) -> Ground {
    let mut names = BTreeMap::new();
    let mut slots: BTreeMap<String, Vec<(u16, u16)>> = BTreeMap::new();
    for (slot, owner) in cluster.owners().iter().enumerate().filter(|(_, owner)| **owner != NodeId::NONE) {
        let name: &String = names.entry(*owner).or_insert_with(|| cluster.place(*owner).to_string());
        let ranges = match slots.get_mut(name) {
            Some(ranges) => ranges,
            None => slots.entry(name.clone()).or_default(),
        };
        ranges.push((slot as u16, slot as u16));
    }
    Ground::of(slots.iter().map(|(name, ranges)| (&**name, ranges.clone())))
}

/// The master at a place.
fn named(cluster: &Cluster, name: &str) -> Option<NodeId> {
    cluster.masters().into_iter().find(|number| cluster.place(*number).to_string() == name)
}
