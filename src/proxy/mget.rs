//! MGET: whole from copies of one moment, or whole from home. Never torn.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::compressed::Shown;
use super::read::expiry_of;
use super::source::Manner;
use super::{Ask, Client, Proxy, Receiver, Shows, Ticket, Way, error_reply, failure_text};
use crate::backend::lane::{Failure, Outcome, Reply};
use crate::command::{KeyRef, id};
use crate::resp::{encode, reply};
use crate::router::Effect;
use crate::tier::copies::{Copies, kind, kind_database};
use crate::tier::flight::{Flight, Identity};
use crate::tier::l1::Reader;
use crate::tier::policy::Expiry;

/// An MGET at home, and the copies that its elements become.
pub struct Mget {
    proxy: Rc<Proxy>,
    copies: Arc<Copies>,
    client: Rc<dyn Client>,
    slot: u64,
    sent: u64,
    /// Every key, in order: its hash, and its flight if a copy is wanted.
    keys: Vec<(u64, Option<Arc<Flight>>)>,
    shown: Option<Box<Shown>>,
    way: Way,
    /// Another node of a cluster answered than the guard of its keys.
    strayed: Cell<bool>,
    state: RefCell<State>,
}

struct State {
    outstanding: usize,
    reply: Option<Bytes>,
    failure: Option<Failure>,
    expiries: Vec<Option<Expiry>>,
}

impl Proxy {
    /// Appends the whole reply if every key has a copy and all are of one moment (or the policy of every key
    /// lets them differ); otherwise leaves `out` as it was.
    pub fn multi_get_copies(
        &self,
        reader: &Reader<'_>,
        ask: &Ask<'_>,
        keys: &[KeyRef],
        out: &mut Vec<u8>,
    ) -> bool {
        let (Some(copies), Some(kind)) = (self.vouched(ask.now), kind(id::GET, ask.lane.proto, ask.lane.db))
        else {
            return false;
        };
        let arg = |k: &KeyRef| ask.request.arg(k.index as usize).unwrap_or_default();
        let start = out.len();
        let mut gather = || {
            encode::array(out, keys.len());
            keys.iter().all(|k| {
                let key = arg(k);
                let identity = Identity { hash: copies.l1().hash(key), key, kind, tail: b"" };
                let copy = self.copy(reader, &identity, ask.now);
                copy.map(|reply| out.extend_from_slice(reply)).is_some()
            })
        };
        let loose = keys.iter().all(|k| copies.policies().mget_per_key(arg(k)));
        let whole = if loose { gather() } else { copies.at_one_moment(gather) };
        if !whole {
            out.truncate(start);
        }
        whole
    }

    /// Reads all keys at home in one request; those without a copy get one.
    pub fn multi_get(self: &Rc<Self>, ask: &Ask<'_>, keys: &[KeyRef]) {
        if self.through(ask, Manner::Many, keys) {
            return;
        }
        let kind = kind(id::GET, ask.lane.proto, ask.lane.db);
        let Ok(way) = self.way(ask, keys) else {
            return self.cross(ask, Effect::Reads, keys);
        };
        if self.is_for_replicas(ask, Effect::Reads, keys) {
            return self.direct_by(ask, way, Effect::Reads, keys);
        }
        let copies = self.shared.copies.clone().filter(|_| self.shared.guards.guarded(way.node));
        let (Some(copies), Some(kind)) = (copies, kind) else {
            return self.direct_by(ask, way, Effect::Reads, keys);
        };
        let arg = |k: &KeyRef| ask.request.arg(k.index as usize).unwrap_or_default();
        if !keys.first().is_some_and(|first| self.admit(copies.l1().hash(arg(first)))) {
            return self.direct_by(ask, way, Effect::Reads, keys);
        }
        self.counters.home_reads.add(1);
        let reader = copies.l1().reader();
        let flights = keys.iter().map(|k| {
            let key = arg(k);
            let identity = Identity { hash: copies.l1().hash(key), key, kind, tail: b"" };
            let kept = reader.get(identity.hash, key, kind, b"", ask.now).is_some();
            let wanted = !kept && copies.policies().cacheable(key);
            let flight = || {
                let token = copies.token(identity.hash, &[]);
                copies.lone_flight(&identity, token, ask.now, (self.worker, way.node), true)
            };
            (identity.hash, wanted.then(flight))
        });
        let flights: Vec<_> = flights.collect();
        drop(reader);
        for (hash, _) in &flights {
            ask.client.unsettle(ask.slot, Some(&[*hash]));
        }
        let outgoing = self.outgoing(ask.command, ask.request, &[]);
        let mget = Rc::new(Mget {
            shown: outgoing.shown,
            proxy: self.clone(),
            client: ask.client.clone(),
            slot: ask.slot,
            sent: ask.now,
            way,
            strayed: Cell::new(false),
            state: RefCell::new(State {
                outstanding: 1 + flights.iter().filter(|(_, f)| f.is_some()).count(),
                reply: None,
                failure: None,
                expiries: vec![None; flights.len()],
            }),
            keys: flights,
            copies,
        });
        self.send(way, &outgoing.raw, Ticket::Mget(mget.clone()), ask.now);
        for (index, (key, (_, flight))) in keys.iter().zip(&mget.keys).enumerate() {
            if flight.is_some() {
                self.send_pttl(way, arg(key), Ticket::MgetExpiry(mget.clone(), index), ask.now);
            }
        }
    }
}

impl Mget {
    pub(super) fn strayed(&self) {
        self.strayed.set(true);
    }

    pub(super) fn replied(self: Rc<Self>, outcome: Outcome<'_>, now: u64) {
        match self.proxy.shown(self.shown.as_deref(), outcome) {
            Outcome::Reply(reply) => self.state.borrow_mut().reply = Some(reply.into_bytes()),
            Outcome::Failed(failure) => self.state.borrow_mut().failure = Some(failure),
        }
        self.count_down(now);
    }

    pub(super) fn expiry(self: Rc<Self>, index: usize, outcome: Outcome<'_>, now: u64) {
        self.state.borrow_mut().expiries[index] = expiry_of(&outcome);
        self.count_down(now);
    }

    fn count_down(&self, now: u64) {
        let (reply, failure, expiries) = {
            let mut state = self.state.borrow_mut();
            state.outstanding -= 1;
            if state.outstanding > 0 {
                return;
            }
            (state.reply.take(), state.failure.take(), std::mem::take(&mut state.expiries))
        };
        let Some(reply) = reply else {
            let failure = failure.unwrap_or_else(|| Failure::Lost("no reply".into()));
            self.proxy.counters.errors.add(1);
            let text = failure_text(&self.proxy.node(self.way.node), &failure);
            return self.client.deliver(self.slot, Reply::Owned(error_reply(&text)), now);
        };
        self.proxy.counters.home_hits.add(1);
        self.proxy.counters.home_get.record(now.saturating_sub(self.sent), 1);
        self.copies.show(self.keys.iter().map(|(hash, _)| *hash));
        if self.strayed.get() {
            self.copies.disown(self.keys.iter().map(|(hash, _)| *hash));
        }
        // The reply may be newer than copies of its keys; those that it makes itself are as new.
        let held = self.keys.iter().any(|(hash, _)| self.copies.holds(*hash));
        let mut elements = reply::elements(&reply);
        for ((_, flight), expiry) in self.keys.iter().zip(expiries) {
            let (Some(element), Some(flight)) = (elements.next(), flight) else {
                continue;
            };
            self.land(flight, element, expiry, now.saturating_sub(self.sent));
        }
        if held {
            let receiver = Receiver::Client(self.client.clone(), self.slot);
            let shows = Shows::Keys(self.keys.iter().map(|(hash, _)| *hash).collect());
            self.proxy.after_confirmation(self.way.node, vec![receiver], reply, shows, now);
        } else {
            self.client.deliver(self.slot, Reply::Owned(reply), now);
        }
    }

    /// An element is what GET would say, but for the null of a key of another type, which is no absence.
    fn land(&self, flight: &Arc<Flight>, element: &[u8], expiry: Option<Expiry>, took: u64) {
        let absent = reply::is_absent(element);
        let life = expiry
            .filter(|e| absent == (*e == Expiry::Absent) && !self.strayed.get())
            .filter(|_| {
                !absent || !self.proxy.may_have_row(u32::from(kind_database(flight.kind)), &flight.key)
            })
            .and_then(|e| self.copies.policies().life(&flight.key, absent, e, flight.begun, Some(took)));
        self.copies.land(flight, life.map(|life| (Bytes::copy_from_slice(element), life)));
    }
}
