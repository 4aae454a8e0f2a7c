//! A read of one key that L1 has no copy of asks L2 before it goes home.
//!
//! Until it is decided whether home is asked, the client's next commands wait, unless they are reads of other keys: a
//! write must not overtake it on the way home. What is decided is told by [`Client::look_up`].

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};

use super::ticket::Ticket;
use super::{Claim, Held, L2};
use crate::backend::cluster::NodeId;
use crate::backend::lane::{Failure, Outcome, Reply};
use crate::clock;
use crate::command::{Command, KeyRef};
use crate::proxy::{Ask, Client, LaneKey, Proxy};
use crate::resp::{Request, encode, reply, with_request};
use crate::tier::copies::Copies;
use crate::tier::fence::Token;
use crate::tier::flight::{Identity, Life};
use crate::tier::l2::ledger::{Pass, Standing};
use crate::tier::l2::name::field;
use crate::tier::l2::record::{Epoch, Record};
use crate::tier::l2::scripts::RANDOM;
use crate::tier::policy::Expiry;

/// The first and the longest pause between two looks whether he is done.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(8));
/// A claim ends by itself after this time, which is longer than anybody may have to fill.
const CLAIM_MS: &[u8] = b"20000";
/// Requests of one key whose replies are kept, about.
const MOST_FIELDS: &[u8] = b"256";

/// One read that L2 was asked for.
pub(super) struct Lookup {
    proxy: Rc<Proxy>,
    l2: Arc<L2>,
    copies: Arc<Copies>,
    client: Rc<dyn Client>,
    session: u64,
    slot: u64,
    lane: LaneKey,
    lane_since: u64,
    command: &'static Command,
    request: Box<[u8]>,
    key: KeyRef,
    /// Whose guard tells of the key.
    node: NodeId,
    hash: u64,
    kind: u32,
    name: Vec<u8>,
    field: Vec<u8>,
    /// Taken before L2 was asked.
    token: Token,
    pass: Pass,
    begun: u64,
    /// A copy in L1 is wanted.
    admitted: bool,
    looks: Cell<u32>,
}

impl Proxy {
    /// Asks L2, if a copy there could be believed; false: it is to be read at home.
    pub(in crate::proxy) fn ask_l2(
        self: &Rc<Self>,
        ask: &Ask<'_>,
        node: NodeId,
        copies: &Arc<Copies>,
        identity: &Identity<'_>,
        key: KeyRef,
        admitted: bool,
    ) -> bool {
        let (Some(l2), Some(command)) = (&self.shared.l2, ask.command) else {
            return false;
        };
        if ask.follows
            || ask.own.is_some()
            || !copies.vouched_at(node, identity.key, ask.now)
            || copies.flies(identity)
        {
            return false;
        }
        if !copies.policies().in_l2(identity.key) {
            return false;
        }
        // What was read at home by then is told by the token, what is asked later by the pass.
        let token = copies.token(identity.hash, &[]);
        let Some(pass) = l2.ledger.pass(identity.hash).filter(|_| self.l2.admission.admit(identity.hash))
        else {
            self.counters.l2_passed_by.add(1);
            return false;
        };
        let Some((_, lane)) = self.l2_lane(l2) else { return false };
        let db = u16::try_from(ask.lane.db).unwrap_or(u16::MAX);
        let lookup = Rc::new(Lookup {
            proxy: self.clone(),
            l2: l2.clone(),
            copies: copies.clone(),
            client: ask.client.clone(),
            session: ask.session,
            slot: ask.slot,
            lane: ask.lane,
            lane_since: ask.lane_since,
            command,
            request: ask.request.raw().into(),
            key,
            node,
            hash: identity.hash,
            kind: identity.kind,
            name: l2.names.copies(identity.key),
            field: field(command.name, ask.lane.proto, db, self.l2_origin(node), identity.tail),
            token,
            pass,
            begun: ask.now,
            admitted,
            looks: Cell::new(0),
        });
        ask.client.unsettle(ask.slot, Some(&[identity.hash]));
        ask.client.look_up(true);
        let mut request = Vec::with_capacity(lookup.name.len() + lookup.field.len() + 48);
        encode::command(&mut request, &[b"HGET", &lookup.name, &lookup.field]);
        lane.send(&request, Ticket::Get(lookup), ask.now);
        true
    }
}

impl Lookup {
    pub(super) fn got(self: Rc<Self>, outcome: Outcome<'_>, now: u64) {
        match outcome {
            Outcome::Failed(failure) => self.failed(&failure, now),
            Outcome::Reply(reply) => match reply::bulk(reply.bytes()) {
                Some(stored) => self.judge(stored, true, now),
                None => self.take(now),
            },
        }
    }

    /// What the record is worth. One of an unknown epoch is looked at by the script, which knows the current one.
    fn judge(self: Rc<Self>, stored: &[u8], ask_again: bool, now: u64) {
        let Some(record) = Record::parse(stored) else {
            return self.go_home(None, now);
        };
        // These first: what a guard on another thread announces before it confirms, is then seen by `stands`.
        let trails = self.l2.ledger.trails(self.pass, self.node);
        let standing = self.l2.ledger.standing(&record.epoch, record.number, self.node);
        if !self.stands(now) {
            return self.go_home(None, now);
        }
        let fresh = match standing {
            Standing::Unknown if ask_again => return self.take(now),
            Standing::Unknown => return self.go_home(None, now),
            Standing::Fresh => true,
            Standing::Settled => false,
        };
        if fresh {
            self.l2.ledger.want_poll();
        }
        // It may be older than what was said of the key before, or newer than L1's copies of it. Once the guard has
        // confirmed, it is neither, or its key was announced.
        if trails || fresh && self.copies.holds(self.hash) {
            return self.hold(stored, now);
        }
        if fresh {
            self.copies.show([self.hash]);
        }
        self.serve(&record, now);
    }

    /// Keeps the record until the guard has confirmed.
    fn hold(self: Rc<Self>, stored: &[u8], now: u64) {
        let proxy = self.proxy.clone();
        match proxy.shared.guards.ask(self.node) {
            Some(number) => {
                let node = self.node;
                let held = Held { number, lookup: self, stored: stored.into() };
                proxy.l2.held.borrow_mut().entry(node).or_default().push_back(held);
            }
            None => self.go_home(None, now),
        }
    }

    /// The guard has confirmed, or never will.
    pub(super) fn confirmed(self: Rc<Self>, stored: &[u8], now: u64) {
        match Record::parse(stored)
            .filter(|_| !self.l2.ledger.trails(self.pass, self.node) && self.stands(now))
        {
            Some(record) => self.serve(&record, now),
            None => self.go_home(None, now),
        }
    }

    /// Whether what L2 says may be believed: nothing has changed that would have kept from asking it.
    fn stands(&self, now: u64) -> bool {
        let key = self.l2.names.key(&self.name).unwrap_or_default();
        self.l2.ledger.holds(self.pass)
            && self.copies.current(&self.token)
            && self.copies.vouched_at(self.node, key, now)
    }

    fn serve(self: Rc<Self>, record: &Record<'_>, now: u64) {
        let left = record.ends_at.saturating_sub(self.l2.clock(self.begun));
        let reply = self.proxy.l2.codec.borrow_mut().unpack(record).filter(|_| left > 0);
        let Some(reply) = reply else {
            return self.go_home(None, now);
        };
        let counters = &self.proxy.counters;
        counters.l2_hits.add(1);
        counters.l2_bytes_read.add(record.len as u64);
        counters.l2_get.record(now.saturating_sub(self.begun), 1);
        self.proxy.l2.admission.tally(1, 0);
        if self.admitted {
            self.promote(&reply, left);
        }
        self.client.deliver(self.slot, Reply::Owned(reply), now);
        self.client.look_up(false);
    }

    /// Lets the reply become a copy in L1, by the way of what was read at home: the guard has to confirm it.
    fn promote(&self, reply: &Bytes, left_ms: u64) {
        with_request(&self.request, |request| {
            let absent = reply::is_absent(reply);
            let key = request.arg(self.key.index as usize).unwrap_or_default();
            let expiry = if absent { Expiry::Absent } else { Expiry::In(left_ms) };
            let Some(life) = self.copies.policies().life(key, absent, expiry, self.begun, None) else {
                return;
            };
            let end = self.begun.saturating_add(left_ms.saturating_mul(1_000_000));
            let life = Life { fresh_until: life.fresh_until.min(end), ..life };
            let identity = self.identity(key, request);
            let from = (self.proxy.worker, self.node);
            let flight = self.copies.lone_flight(&identity, self.token.clone(), self.begun, from, true);
            self.copies.land(&flight, Some((reply.clone(), life)));
        });
    }

    fn identity<'a>(&self, key: &'a [u8], request: &Request<'a>) -> Identity<'a> {
        Identity { hash: self.hash, key, kind: self.kind, tail: crate::proxy::tail(self.command, request) }
    }

    /// There is no copy: takes it on itself to bring one, if nobody else has.
    fn take(self: Rc<Self>, now: u64) {
        let mut random = [0; RANDOM];
        let lane = self.proxy.l2_lane(&self.l2).filter(|_| self.stands(now));
        let (Some((door, lane)), Ok(())) = (lane, SystemRandom::new().fill(&mut random)) else {
            return self.go_home(None, now);
        };
        let lease = self.l2.fill_within.as_millis().to_string();
        let mut request = Vec::with_capacity(self.name.len() + self.field.len() + 256);
        encode::command(
            &mut request,
            &[
                b"EVALSHA",
                &door.take,
                b"2",
                &self.name,
                self.l2.names.epoch(),
                &self.field,
                &random,
                lease.as_bytes(),
                CLAIM_MS,
                MOST_FIELDS,
            ],
        );
        lane.send(&request, Ticket::Take(self), now);
    }

    pub(super) fn took(self: Rc<Self>, outcome: Outcome<'_>, now: u64) {
        let answer = match outcome {
            Outcome::Reply(reply) => reply,
            Outcome::Failed(failure) => return self.failed(&failure, now),
        };
        if reply::parse_integer(answer.bytes()).is_some() {
            return self.wait(now);
        }
        if answer.bytes().starts_with(b"-NOSCRIPT") {
            self.proxy.load_l2_scripts(&self.l2);
        }
        let parts: Vec<&[u8]> = reply::elements(answer.bytes()).collect();
        let epoch = parts.get(1).and_then(|e| reply::bulk(e)).and_then(|e| Epoch::try_from(e).ok());
        let first = parts.first().and_then(|p| reply::bulk(p));
        let (Some(first), Some(epoch)) = (first, epoch) else {
            return self.go_home(None, now);
        };
        self.l2.ledger.adopt(self.pass, epoch);
        match parts.get(2).and_then(|clock| reply::parse_integer(clock)) {
            None => self.judge(first, false, now),
            Some(given) => {
                let claim = Claim {
                    l2: self.l2.clone(),
                    pass: self.pass,
                    node: self.node,
                    name: self.name.clone(),
                    field: self.field.clone(),
                    nonce: first.to_vec(),
                    epoch,
                    given: u64::try_from(given).unwrap_or(0),
                };
                self.go_home(Some(claim), now);
            }
        }
    }

    /// Somebody else brings the copy: looks again soon.
    fn wait(self: Rc<Self>, now: u64) {
        let patience = clock::nanos(self.l2.fill_within * 3 / 2);
        if now.saturating_sub(self.begun) > patience || !self.stands(now) {
            return self.go_home(None, now);
        }
        let look = self.looks.replace(self.looks.get() + 1);
        if look == 0 {
            self.proxy.counters.l2_waits.add(1);
        }
        let pause = PAUSES.1.min(PAUSES.0 * 2_u32.saturating_pow(look.min(8)));
        tokio::task::spawn_local(async move {
            tokio::time::sleep(pause).await;
            let now = clock::now();
            // He may be of this process.
            let here = with_request(&self.request, |request| {
                let key = request.arg(self.key.index as usize).unwrap_or_default();
                self.copies.flies(&self.identity(key, request))
            });
            if here == Some(true) { self.go_home(None, now) } else { self.take(now) }
        });
    }

    fn failed(self: Rc<Self>, failure: &Failure, now: u64) {
        self.proxy.counters.l2_failures.add(1);
        if matches!(failure, Failure::Timeout(_)) {
            self.l2.ledger.shun();
        }
        self.go_home(None, now);
    }

    /// The read goes the way it would without L2; with a claim what comes back is offered to L2.
    fn go_home(self: Rc<Self>, claim: Option<Claim>, now: u64) {
        self.proxy.counters.l2_misses.add(1);
        self.proxy.l2.admission.tally(0, 1);
        with_request(&self.request, |request| {
            let key = request.arg(self.key.index as usize).unwrap_or_default();
            let ask = Ask {
                client: &self.client,
                session: self.session,
                slot: self.slot,
                // Other replies may have come since it asked.
                seen: self.client.seen(),
                lane: self.lane,
                lane_since: self.lane_since,
                own: None,
                follows: false,
                command: Some(self.command),
                request,
                now,
            };
            let identity = self.identity(key, request);
            self.proxy.read_at_home(&ask, &self.copies, &identity, &[self.key], self.admitted, claim);
        });
        self.client.look_up(false);
    }
}
