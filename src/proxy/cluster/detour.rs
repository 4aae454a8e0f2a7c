//! Requests that their node did not answer, and where they go next.

use std::rc::Weak;
use std::time::Duration;

use super::waiting::Trouble;
use super::{Proxy, Ticket, Way, Ways, has_several_keys};
use crate::backend::cluster::{NodeId, Redirect};
use crate::backend::lane::{Block, Course, Failure, Onward, Outcome, Reply, Stray, Ticket as _, Why};
use crate::clock;
use crate::proxy::LaneKey;

/// So often a request goes on at most.
const MOST_HOPS: u8 = 16;
/// From so many on it rests in between: nodes that disagree need time.
const MANY_HOPS: u8 = 4;
/// For so long what a node said counts more than a map that may be older.
const FRESH: Duration = Duration::from_secs(1);
/// Before a request is tried again where it was refused.
const PAUSE: Duration = Duration::from_millis(10);

/// What takes the strays of one lane.
pub(in crate::proxy) struct Detour {
    pub(in crate::proxy) proxy: Weak<Proxy>,
    pub(in crate::proxy) lane: LaneKey,
    pub(in crate::proxy) node: NodeId,
}

impl Onward<Ticket> for Detour {
    fn onward(&self, stray: Stray<Ticket>, now: u64) {
        let proxy = self.proxy.upgrade();
        match proxy.as_ref().and_then(|proxy| Some((proxy, proxy.ways.as_ref()?))) {
            Some((proxy, ways)) => proxy.go_on(ways, self, stray, now),
            None => finish(stray, now),
        }
    }

    fn passed(&self, now: u64) {
        let proxy = self.proxy.upgrade();
        if let Some((proxy, ways)) = proxy.as_ref().and_then(|proxy| Some((proxy, proxy.ways.as_ref()?))) {
            proxy.release_waiting(ways, now);
        }
    }
}

/// Gives a request the answer that there is.
pub(super) fn finish(stray: Stray<Ticket>, now: u64) {
    match stray.why {
        Why::Redirected(Redirect::Later, reply) => {
            stray.ticket.complete(Outcome::Reply(Reply::Owned(reply)), now)
        }
        Why::Redirected(_, reply) => {
            let words = String::from_utf8_lossy(&reply).trim_start_matches('-').trim_end().to_owned();
            stray.ticket.complete(Outcome::Failed(Failure::Astray(words)), now);
        }
        Why::Failed(failure) => stray.ticket.complete(Outcome::Failed(failure), now),
    }
}

impl Proxy {
    fn go_on(&self, ways: &Ways, from: &Detour, mut stray: Stray<Ticket>, now: u64) {
        self.counters.home_redirects.add(1);
        stray.ticket.strayed();
        stray.course.asking = false;
        // Nodes between which a slot's keys are on their way may send a request back and forth for as long as it takes.
        let later = matches!(stray.why, Why::Redirected(Redirect::Later, _));
        stray.course.hops = if later { 0 } else { stray.course.hops.saturating_add(1) };
        self.catch_up(ways);
        let to = match &stray.why {
            Why::Redirected(Redirect::Moved { to, .. } | Redirect::Ask { to, .. }, _) => {
                match ways.cluster.meet(to) {
                    Ok(to) if stray.course.hops <= MOST_HOPS => Some(to),
                    _ => return finish(stray, now),
                }
            }
            Why::Redirected(Redirect::Later, _) | Why::Failed(_) => None,
        };
        match (&stray.why, to) {
            (Why::Redirected(Redirect::Moved { slot, .. }, _), Some(to)) => {
                stray.course.slot = *slot;
                self.learn(ways, *slot, from.node, to);
                let hops = stray.course.hops;
                let pause = if hops > MANY_HOPS { PAUSE * u32::from(hops) } else { Duration::ZERO };
                self.send_stray(ways, from.lane, Some(from.node), stray, pause, now);
            }
            (Why::Redirected(Redirect::Ask { slot, .. }, _), Some(to)) => {
                stray.course.slot = *slot;
                let way = Way { lane: from.lane, node: to, slot: *slot };
                moves(ways, *slot, now);
                if self.must_wait(ways, way, Some(from.node), stray.course.number) {
                    return self.hold(ways, from.lane, stray, now);
                }
                stray.course.asking = true;
                self.send_block(ways, way, stray, now);
            }
            _ => self.try_later(ways, from, stray, now),
        }
    }

    /// Tries again where it is refused now, unless that has been so for long.
    fn try_later(&self, ways: &Ways, from: &Detour, stray: Stray<Ticket>, now: u64) {
        ways.cluster.ask_around();
        if let Why::Redirected(..) = stray.why {
            moves(ways, stray.course.slot, now);
        }
        let node = ways.cluster.node(from.node);
        let patience = clock::nanos(node.request_timeout);
        let hopeless = match &stray.why {
            Why::Failed(_) => node.breaker.since().is_some_and(|since| since.saturating_add(patience) <= now),
            Why::Redirected(_, reply) if reply.starts_with(b"-CLUSTERDOWN") => {
                let trouble = ways.down.get().again(now);
                ways.down.set(trouble);
                trouble.lasts(patience, now)
            }
            Why::Redirected(..) => false,
        };
        if hopeless {
            self.counters.home_failures.add(1);
            return finish(stray, now);
        }
        if stray.course.slot == Course::HERE {
            return finish(stray, now);
        }
        if stray.course.slot == Course::NO_SLOT {
            ways.any.set(ways.cluster.any());
        }
        self.send_stray(ways, from.lane, Some(from.node), stray, PAUSE, now);
    }

    /// A node says who owns a slot that it was thought to own.
    pub(super) fn learn(&self, ways: &Ways, slot: u16, from: NodeId, to: NodeId) {
        let place = usize::from(slot);
        let believed = ways.owners.borrow().get(place).copied().unwrap_or(NodeId::NONE);
        if from == to || believed != from && believed != NodeId::NONE {
            return;
        }
        if let Some(owner) = ways.owners.borrow_mut().get_mut(place) {
            *owner = to;
        }
        let until = clock::now().saturating_add(clock::nanos(FRESH));
        ways.learned.borrow_mut().insert(slot, (to, until));
        ways.cluster.moved(slot, believed, to);
        self.depart(ways, from, &[slot].into_iter().collect());
    }

    /// Sends a stray to the owner of its slot, after a pause, and not before those it is behind.
    pub(super) fn send_stray(
        &self,
        ways: &Ways,
        lane: LaneKey,
        from: Option<NodeId>,
        stray: Stray<Ticket>,
        pause: Duration,
        now: u64,
    ) {
        let slot = stray.course.slot;
        let node = if slot == Course::NO_SLOT { ways.any.get() } else { ways.owner(slot) };
        let way = Way { lane, node, slot };
        if pause > Duration::ZERO {
            self.hold_until(ways, lane, stray, now.saturating_add(clock::nanos(pause)), now);
        } else if self.must_wait(ways, way, from, stray.course.number) {
            self.hold(ways, lane, stray, now);
        } else {
            self.send_block(ways, way, stray, now);
        }
    }

    fn send_block(&self, ways: &Ways, way: Way, stray: Stray<Ticket>, now: u64) {
        let Stray { ticket, request, parts, due, course, .. } = stray;
        for name in ticket.scripts() {
            self.provide_script(way, None, name, now);
        }
        let lane = self.lane(way);
        lane.send_on(&Block { requests: &request, parts, due, course }, ticket, now);
        if ways.moving.borrow().contains_key(&course.slot) && has_several_keys(&request) {
            self.answer_first(ways, way, lane);
        }
    }
}

/// A slot is on its way from one node to another.
fn moves(ways: &Ways, slot: u16, now: u64) {
    let until = now.saturating_add(clock::nanos(FRESH));
    ways.moving.borrow_mut().insert(slot, until);
    ways.calm.set(false);
}

impl Trouble {
    /// It was met again.
    fn again(self, now: u64) -> Trouble {
        let over = now.saturating_sub(self.last) > clock::nanos(Duration::from_secs(1));
        Trouble { since: if over { now } else { self.since }, last: now }
    }

    fn lasts(self, patience: u64, now: u64) -> bool {
        self.since.saturating_add(patience) <= now
    }
}
