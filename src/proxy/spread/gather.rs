//! Who waits for the parts of a command, and answers when the last of them has come.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::parts::Parts;
use super::walk::{ANEW, Ground, Said, Station, empty_page};
use super::{info, merge};
use crate::backend::cluster::{NodeId, slot};
use crate::backend::lane::{Outcome, Reply};
use crate::command::{Merge, Split};
use crate::proxy::errand::error_text;
use crate::proxy::on_behalf::OnBehalf;
use crate::proxy::{Ask, Client, Counted, LaneKey, Proxy, error_reply};
use crate::resp::reply;

/// Bytes of a key that an error repeats.
const SHOWN: usize = 64;

/// What was asked, and how the replies are made one.
pub(super) enum Plan {
    /// A part a slot.
    Split { split: Split, parts: Parts, writes: bool },
    /// The same of each master.
    Every { rule: Merge, masters: Vec<NodeId>, writes: bool },
    /// SCRIPT EXISTS of each: a script that is `known` here is loaded wherever it is called.
    Scripts { masters: Vec<NodeId>, known: Vec<bool> },
    /// DBSIZE and RANDOMKEY of each.
    AnyKey { masters: Vec<NodeId>, draw: u64 },
    /// A page of one master's keys.
    Step { at: Station, master: NodeId },
    /// CLUSTER NODES of each, at the end of a pass; or before the first one, and then the first master's first page.
    Survey { at: Option<Station>, ground: Arc<Ground>, masters: Vec<NodeId> },
}

/// The client of parts: each is answered at the slot of its number.
pub(super) struct Gather {
    proxy: Rc<Proxy>,
    client: Rc<dyn Client>,
    slot: u64,
    lane: LaneKey,
    plan: Plan,
    outstanding: Cell<usize>,
    replies: RefCell<Vec<Bytes>>,
    /// The whole is still to be corrected by what home cannot know.
    counted: RefCell<Option<Counted>>,
}

/// A reply that is not what it should be: whose, and what was asked for.
struct Fault<'a> {
    reply: &'a [u8],
    node: NodeId,
    /// ` about 'key'`, or nothing.
    about: String,
    /// Others may have done their part.
    writes: bool,
}

impl Gather {
    pub(super) fn new(proxy: &Rc<Proxy>, ask: &Ask<'_>, parts: usize, plan: Plan) -> Rc<Self> {
        Rc::new(Gather {
            proxy: proxy.clone(),
            client: ask.client.clone(),
            slot: ask.slot,
            lane: ask.lane,
            plan,
            outstanding: Cell::new(parts),
            replies: RefCell::new(vec![Bytes::new(); parts]),
            counted: RefCell::new(Counted::of(proxy, ask)),
        })
    }

    /// The parts of a request that is split.
    pub(super) fn parts(&self) -> Option<&Parts> {
        match &self.plan {
            Plan::Split { parts, .. } => Some(parts),
            _ => None,
        }
    }

    fn finish(&self, now: u64) {
        let replies = self.replies.take();
        let reply = match self.merged(&replies) {
            Ok(reply) => Bytes::from(reply),
            // What all say is about the request, and not about one of them.
            Err(_) if replies.iter().all(|reply| *reply == replies[0]) && reply::is_error(&replies[0]) => {
                self.proxy.counters.errors.add(1);
                replies[0].clone()
            }
            Err(fault) => {
                self.proxy.counters.errors.add(1);
                error_reply(&self.words(&fault))
            }
        };
        match self.counted.take() {
            Some(counted) => counted.complete(Outcome::Reply(Reply::Owned(reply)), now),
            None => self.client.deliver(self.slot, Reply::Owned(reply), now),
        }
    }

    fn merged<'a>(&self, replies: &'a [Bytes]) -> Result<Vec<u8>, Fault<'a>> {
        let fault = |reply: usize, node: NodeId, writes| {
            let reply = replies.get(reply).map_or(&b""[..], |reply| reply);
            Fault { reply, node, about: String::new(), writes }
        };
        let of = |masters: &[NodeId], index: usize| masters.get(index).copied().unwrap_or(NodeId::FIRST);
        match &self.plan {
            Plan::Split { split, parts, writes } => parts.merge(*split, replies).map_err(|part| {
                let node = self.proxy.way_of_slot(self.lane, Some(parts.slot(part))).node;
                Fault { about: about(parts, part), ..fault(part, node, *writes) }
            }),
            Plan::Every { rule: Merge::Info, masters, .. } => {
                info::merge(replies).map_err(|index| fault(index, of(masters, index), false))
            }
            Plan::Every { rule, masters, writes } => {
                merge::merge(*rule, replies).map_err(|index| fault(index, of(masters, index), *writes))
            }
            Plan::Scripts { masters, known } => {
                merge::scripts(replies, known).map_err(|index| fault(index, of(masters, index), false))
            }
            Plan::AnyKey { masters, draw } => {
                let sizes: Vec<&Bytes> = replies.iter().step_by(2).collect();
                let keys: Vec<&Bytes> = replies.iter().skip(1).step_by(2).collect();
                let wrong = |index| {
                    let wrong = |part: &usize| replies.get(*part).is_some_and(|r| reply::is_error(r));
                    let part = [2 * index, 2 * index + 1].into_iter().find(wrong).unwrap_or(2 * index);
                    fault(part, of(masters, index), false)
                };
                merge::any_key(&sizes, &keys, *draw).map_err(wrong)
            }
            Plan::Step { at, master } => {
                let page = replies.first().map_or(&b""[..], |reply| reply);
                at.reply(page, slot).ok_or_else(|| fault(0, *master, false))
            }
            Plan::Survey { at, ground, masters } => {
                self.surveyed(at.as_ref(), ground, masters, replies).map_err(|part| {
                    // Behind what the masters say comes the first one's page.
                    fault(part, of(masters, part % masters.len()), false)
                })
            }
        }
    }

    /// The next page of a walk, or the cursor behind an empty one; `Err` is the part whose reply is of no use.
    fn surveyed(
        &self,
        at: Option<&Station>,
        ground: &Ground,
        masters: &[NodeId],
        replies: &[Bytes],
    ) -> Result<Vec<u8>, usize> {
        let page = replies.get(masters.len());
        if let Some(refused) = page.filter(|page| reply::is_error(page)) {
            return Ok(refused.to_vec());
        }
        let said = ground.masters().iter().zip(replies).enumerate().map(|(part, (name, reply))| {
            let text = reply::bulk(reply).filter(|_| !reply::is_error(reply));
            text.and_then(|text| Said::of(text, name)).ok_or(part)
        });
        let said = said.collect::<Result<Vec<Said>, usize>>()?;
        let Some(ground) = ground.confirmed(&said) else {
            // The map is behind; the step is taken again when it is not.
            self.proxy.shared.cluster.iter().for_each(|cluster| cluster.ask_around());
            return Ok(empty_page(at.map_or(ANEW, Station::again)));
        };
        let mut walks = self.proxy.shared.walks.lock();
        match (at, page) {
            (Some(at), _) => Ok(empty_page(walks.check(at, &ground, &said))),
            (None, page) => {
                let page = page.map_or(&b""[..], |page| page);
                walks.begin(&ground).reply(page, slot).ok_or(masters.len())
            }
        }
    }

    fn words(&self, fault: &Fault<'_>) -> String {
        let Fault { reply, node, about, writes } = fault;
        let node = self.proxy.place(*node);
        let others = if *writes { "; what other nodes were asked may have been done" } else { "" };
        if !reply::is_error(reply) {
            return format!("ERR strata: node {node} of home gave no reply of use{about}{others}");
        }
        format!("{} (strata: from node {node} of home{about}{others})", error_text(reply))
    }
}

/// The keys of a part, for people.
fn about(parts: &Parts, part: usize) -> String {
    let (first, count) = parts.keys(part);
    let shown = first.get(..SHOWN).unwrap_or(first).escape_ascii();
    match count {
        0 | 1 => format!(" about '{shown}'"),
        count => format!(" about '{shown}' and {} more", count - 1),
    }
}

impl OnBehalf for Gather {
    fn whole(&self) -> (&Rc<dyn Client>, u64) {
        (&self.client, self.slot)
    }

    fn replied_to(&self, part: u64, reply: Reply<'_>, now: u64) {
        {
            let mut replies = self.replies.borrow_mut();
            let Some(place) = usize::try_from(part).ok().and_then(|part| replies.get_mut(part)) else {
                return;
            };
            *place = reply.into_bytes();
        }
        self.outstanding.set(self.outstanding.get().saturating_sub(1));
        if self.outstanding.get() == 0 {
            self.finish(now);
        }
    }
}
