//! Reads that policies leave to replicas (`read_from`): by a lane to one of them, and from the master where none does.
//!
//! What a replica says is never a copy: its keys have none.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::failure::is_outage;
use super::{Ask, Direct, LaneKey, Proxy, Ticket, Way};
use crate::backend::lane::{Lane, Outcome};
use crate::backend::replicas::{Replica, Replicas};
use crate::command::{KeyRef, id};
use crate::router::Effect;
use crate::tier::policy::Policies;

/// Which replicas there are, and for which keys they may be asked.
pub struct Replicated {
    /// The rules.
    pub policies: Policies,
    /// The replicas.
    pub replicas: Arc<Replicas>,
}

/// Lanes of a worker to replicas.
pub(super) type ReplicaLanes = RefCell<Vec<(LaneKey, Arc<Replica>, Rc<Lane<Ticket>>)>>;

/// The claim of a client to a reply that a replica was asked for.
pub struct FromReplica {
    proxy: Rc<Proxy>,
    direct: Direct,
    request: Box<[u8]>,
    way: Way,
}

impl Proxy {
    /// Whether a request may be answered by a replica: all it is about may be as old as one is.
    pub(super) fn is_for_replicas(&self, ask: &Ask<'_>, effect: Effect, keys: &[KeyRef]) -> bool {
        let Some(replicated) = &self.shared.replicated else { return false };
        let may = |k: &KeyRef| {
            ask.request.arg(k.index as usize).is_some_and(|key| replicated.policies.from_replica(key))
        };
        effect == Effect::Reads
            // TOUCH is for the sake of what is evicted, and the master decides that.
            && ask.command.is_some_and(|command| command.id != id::TOUCH)
            && ask.own.is_none()
            && !keys.is_empty()
            && keys.iter().all(may)
            // It would hear of no change that the replica is behind by.
            && !ask.client.tracks()
    }

    /// The lane to the replica that is to answer; None: the master is.
    pub(super) fn replica_for(
        &self,
        ask: &Ask<'_>,
        way: Way,
        effect: Effect,
        keys: &[KeyRef],
    ) -> Option<Rc<Lane<Ticket>>> {
        let replicated =
            self.shared.replicated.as_ref().filter(|_| self.is_for_replicas(ask, effect, keys))?;
        let replica = replicated.replicas.pick(way.node, ask.session, ask.now);
        let lane = replica.map(|replica| self.lane_to(replica, way.lane)).filter(|lane| !lane.congested());
        if lane.is_none() {
            self.counters.replica_misses.add(1);
        }
        lane
    }

    fn lane_to(&self, replica: Arc<Replica>, key: LaneKey) -> Rc<Lane<Ticket>> {
        let mut lanes = self.replica_lanes.borrow_mut();
        let known = lanes.iter().find(|(k, of, _)| *k == key && Arc::ptr_eq(of, &replica));
        if let Some((_, _, lane)) = known {
            return lane.clone();
        }
        let db = u16::try_from(key.db).unwrap_or(u16::MAX);
        let lane = Rc::new(Lane::new(replica.node.clone(), key.proto, db, self.counters.clone()));
        lanes.push((key, replica, lane.clone()));
        lane
    }

    pub(super) fn send_to_replica(
        self: &Rc<Self>,
        lane: &Lane<Ticket>,
        way: Way,
        request: &[u8],
        ticket: Ticket,
        now: u64,
    ) {
        let Ticket::Direct(direct) = ticket else { return self.send(way, request, ticket, now) };
        let read = FromReplica { proxy: self.clone(), direct, request: request.into(), way };
        lane.send(request, Ticket::Replica(Box::new(read)), now);
    }

    /// Time-outs of the lanes to replicas. Who has fallen silent keeps nobody waiting.
    pub(super) fn tick_replicas(&self, now: u64) {
        if self.shared.replicated.is_none() {
            return;
        }
        self.replica_lanes.borrow_mut().retain(|(_, replica, lane)| !replica.is_gone() || lane.depth() > 0);
        let lanes = self.replica_lanes.borrow().clone();
        for (_, replica, lane) in lanes {
            if lane.depth() > 0 && !replica.follows(now) {
                lane.abort("it does not follow its master");
            }
            lane.tick(now);
        }
    }
}

impl FromReplica {
    pub(super) fn complete(mut self, outcome: Outcome<'_>, now: u64) {
        let counters = &self.proxy.counters;
        match outcome {
            Outcome::Reply(reply) if !declines(reply.bytes()) => {
                counters.replica_reads.add(1);
                self.direct.complete(Outcome::Reply(reply), now);
            }
            Outcome::Reply(_) | Outcome::Failed(_) => {
                counters.replica_misses.add(1);
                let way = self.proxy.way_again(self.way);
                self.direct.turn(way);
                self.proxy.send(way, &self.request, Ticket::Direct(self.direct), now);
            }
        }
    }
}

/// Whether a replica says that another is to be asked.
fn declines(reply: &[u8]) -> bool {
    reply.starts_with(b"-MOVED ") || reply.starts_with(b"-ASK ") || is_outage(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_is_an_answer() {
        for none in ["-MOVED 1 h:1", "-ASK 1 h:1", "-LOADING x", "-MASTERDOWN x", "-BUSY x", "-CLUSTERDOWN x"]
        {
            assert!(declines(format!("{none}\r\n").as_bytes()), "{none}");
        }
        for answer in ["-WRONGTYPE x", "-ERR x", "+MOVED ", "$-1"] {
            assert!(!declines(format!("{answer}\r\n").as_bytes()), "{answer}");
        }
    }
}
