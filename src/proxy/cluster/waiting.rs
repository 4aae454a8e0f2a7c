//! Requests that wait: for what was asked before them, or for a slot to be served again.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::detour::finish;
use super::{Leaving, Proxy, Ticket, Way, Ways};
use crate::backend::cluster::NodeId;
use crate::backend::lane::{Course, Stray};
use crate::clock;
use crate::proxy::LaneKey;

/// A node that is no master any more has so long to answer what it was sent.
const GRACE: Duration = Duration::from_millis(500);

/// For how long something has been refused.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trouble {
    pub(super) since: u64,
    pub(super) last: u64,
}

/// Those of one slot and lane, in the order asked.
#[derive(Default)]
struct Queue {
    requests: BTreeMap<u64, Stray<Ticket>>,
    not_before: u64,
}

/// See the module's text.
#[derive(Default)]
pub(super) struct Waiting {
    queues: HashMap<(LaneKey, u16), Queue>,
}

impl Waiting {
    /// What was refused may be tried at once: the map changed.
    pub(super) fn hurry(&mut self) {
        self.queues.values_mut().for_each(|queue| queue.not_before = 0);
    }
}

impl Proxy {
    /// Whether a request may not go by this way yet. `from`: where it was before.
    pub(super) fn must_wait(&self, ways: &Ways, way: Way, from: Option<NodeId>, number: u64) -> bool {
        let Way { lane, slot, .. } = way;
        if [Course::NO_SLOT, Course::HERE].contains(&slot) {
            return false;
        }
        let waiting = ways.waiting.borrow();
        let before =
            |queue: &Queue| queue.requests.first_key_value().is_some_and(|(first, _)| *first < number);
        let behind = waiting.queues.get(&(lane, slot)).is_some_and(before);
        behind || ways.leaving.borrow().iter().any(|l| l.keeps(lane, slot) && Some(l.node) != from)
    }

    /// Lets a request wait.
    pub(super) fn hold(&self, ways: &Ways, lane: LaneKey, stray: Stray<Ticket>, now: u64) {
        self.hold_until(ways, lane, stray, 0, now);
    }

    pub(super) fn hold_until(
        &self,
        ways: &Ways,
        lane: LaneKey,
        stray: Stray<Ticket>,
        not_before: u64,
        now: u64,
    ) {
        if stray.due <= now {
            return finish(stray, now);
        }
        ways.calm.set(false);
        let mut waiting = ways.waiting.borrow_mut();
        let queue = waiting.queues.entry((lane, stray.course.slot)).or_default();
        queue.not_before = queue.not_before.max(not_before);
        queue.requests.insert(stray.course.number, stray);
    }

    /// Sends what need not wait any more.
    pub(super) fn release_waiting(&self, ways: &Ways, now: u64) {
        ways.leaving.borrow_mut().retain(|l| !l.line.has_passed(l.mark));
        // One lane may be left more than once.
        ways.leaving.borrow().iter().for_each(|l| l.line.watch(l.mark));
        let free: Vec<_> = {
            let (mut waiting, leaving) = (ways.waiting.borrow_mut(), ways.leaving.borrow());
            let free = |(lane, slot): &(LaneKey, u16), queue: &Queue| {
                queue.not_before <= now && !leaving.iter().any(|l| l.keeps(*lane, *slot))
            };
            waiting.queues.extract_if(|key, queue| free(key, queue)).collect()
        };
        for ((lane, _), queue) in free {
            for (_, stray) in queue.requests {
                self.send_stray(ways, lane, None, stray, Duration::ZERO, now);
            }
        }
        ways.moving.borrow_mut().retain(|_, until| *until > now);
        let (leaving, waiting) = (ways.leaving.borrow(), ways.waiting.borrow());
        ways.calm.set(leaving.is_empty() && waiting.queues.is_empty() && ways.moving.borrow().is_empty());
    }

    /// Looks after what waits, and after nodes that are slow to answer what they no longer have to.
    pub(in crate::proxy) fn tick_ways(&self, now: u64) {
        let Some(ways) = &self.ways else { return };
        self.catch_up(ways);
        if ways.calm.get() {
            return;
        }
        let masters = ways.cluster.masters();
        for left in ways.leaving.borrow().iter() {
            let late = left.since.saturating_add(clock::nanos(GRACE)) <= now;
            if late && !masters.contains(&left.node) {
                left.line.abort("it is no master any more");
            }
        }
        let mut late = Vec::new();
        for queue in ways.waiting.borrow_mut().queues.values_mut() {
            let numbers: Vec<_> =
                queue.requests.iter().filter(|(_, s)| s.due <= now).map(|(n, _)| *n).collect();
            late.extend(numbers.iter().filter_map(|number| queue.requests.remove(number)));
        }
        for stray in late {
            self.counters.home_failures.add(1);
            finish(stray, now);
        }
        self.release_waiting(ways, now);
        if !ways.waiting.borrow().queues.is_empty() {
            ways.cluster.ask_around();
        }
    }
}

impl Leaving {
    /// Whether requests about a slot wait for it.
    fn keeps(&self, lane: LaneKey, slot: u16) -> bool {
        self.lane == lane && self.slots.contains(slot) && !self.line.has_passed(self.mark)
    }
}
