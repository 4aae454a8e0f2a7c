//! MULTI, EXEC, DISCARD, WATCH and UNWATCH.
//!
//! Commands are queued here, and go home as one when EXEC comes: by the lane that is shared, or by the connection on
//! which the client watches keys. Those that are about the client's connection never reach home; they take effect at
//! EXEC, and their replies stand in its array at their places.

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use super::batch::Tally;
use super::noloop::AtHome;
use super::parked::What;
use super::queue::{Queue, Replay};
use super::replies::Shape;
use super::{ReplyMode, Session};
use crate::clock;
use crate::command::{Command, id};
use crate::proxy::watch::Reason;
use crate::proxy::{Crossed, LaneKey, Own, common_slot, turns};
use crate::resp::{Request, encode, reply, with_request};
use crate::router::Effect;
use crate::tier::listeners::Notice;

const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
const ABORTED: &str = "EXECABORT Transaction discarded because of previous errors.";
/// Above this many keys it no longer matters which they are.
const MOST_WATCHED: usize = 1024;
/// Stands where home's array is shorter than the transaction.
const MISSING: &[u8] = b"-ERR strata: home did not answer this command\r\n";

/// What a client's WATCH has come to.
#[derive(Default)]
pub(super) enum Watch {
    /// It watches nothing.
    #[default]
    None,
    /// Home watches these keys (their hashes; None: too many to be told) for it.
    Held { own: Rc<Own>, keys: Option<Vec<u64>> },
    /// The connection that did is lost: EXEC will do nothing.
    Lost,
}

/// Why no node of a cluster can run a transaction.
enum Torn {
    /// Its keys, or those that are watched, are in several places.
    Crossed(Crossed),
    /// What is watched is elsewhere now, and so was changed.
    Moved,
}

impl Session {
    /// MULTI, EXEC, DISCARD, WATCH and UNWATCH. Their arity has been checked.
    pub(super) fn run_transaction(&mut self, request: &Request<'_>, command: &'static Command, now: u64) {
        match command.id {
            id::MULTI => self.multi(),
            id::EXEC => self.exec(request, now),
            id::DISCARD => self.discard(),
            id::WATCH => self.watch(request, command, now),
            _ => self.unwatch(request, command, now),
        }
    }

    fn multi(&mut self) {
        if self.transaction.is_some() {
            return self.reply_error("ERR MULTI calls can not be nested");
        }
        if let Some(refusal) = self.context.proxy.shared.facts.no_transactions() {
            return self.reply_error(refusal);
        }
        self.transaction = Some(Box::new(Queue::new(self.lane, self.access.seen())));
        self.info.multi.store(0, Relaxed);
        self.attend();
        self.ok();
    }

    fn exec(&mut self, request: &Request<'_>, now: u64) {
        self.review_queue();
        let scripts = self.transaction.as_ref().is_some_and(|queue| queue.effects.run_scripts());
        if scripts && self.must_settle(true) {
            return self.park(request, What::Later);
        }
        let Some(mut queue) = self.transaction.take() else {
            return self.reply_error("ERR EXEC without MULTI");
        };
        self.notice_loss();
        let watching = matches!(self.watch, Watch::Held { .. });
        queue.silent = self.core.replies.borrow().is_silent();
        self.note_inside(&mut queue);
        if queue.doomed {
            self.end_transaction();
            self.reply_error(ABORTED);
        } else if matches!(self.watch, Watch::Lost) {
            self.end_transaction();
            self.say(encode::null_array);
        } else if let Some(torn) = self.torn(&queue) {
            self.end_transaction();
            match torn {
                Torn::Crossed(crossed) => self.reply_error(crossed.to_string()),
                Torn::Moved => self.say(encode::null_array),
            }
        } else if queue.sent == 0 && !watching {
            // Nothing of it concerns home.
            self.watch_queue(&queue, now);
            self.end_transaction();
            self.replay = Some(queue.into_replay());
            self.run_replay(b"*0\r\n");
        } else if !queue.touched.is_empty() || queue.apart && self.own().is_none() {
            if !watching {
                self.end_transaction();
            }
            self.park(request, What::Exec(queue));
        } else {
            let slot = self.open_for(&queue);
            self.exec_at_home(request, slot, *queue, None, now);
        }
    }

    /// Why a transaction cannot be run by one node of a cluster.
    fn torn(&self, queue: &Queue) -> Option<Torn> {
        let slot = match queue.effects.slot() {
            Ok(slot) => slot?,
            Err(crossed) => return Some(Torn::Crossed(crossed)),
        };
        let Watch::Held { own, .. } = &self.watch else { return None };
        if self.context.proxy.way_of_slot(self.lane, Some(slot)).node == own.node() {
            return None;
        }
        Some(if own.way().slot == slot { Torn::Moved } else { Torn::Crossed(Crossed) })
    }

    /// The place of EXEC's reply.
    pub(super) fn open_for(&self, queue: &Queue) -> u64 {
        let mut replies = self.core.replies.borrow_mut();
        if queue.here.is_empty() {
            replies.open(Shape::Plain)
        } else {
            self.core.defer();
            replies.open_always(Shape::Transaction)
        }
    }

    /// Sends a transaction, by `own` if it must not go by the lane that is shared.
    pub(super) fn exec_at_home(
        &mut self,
        request: &Request<'_>,
        slot: u64,
        mut queue: Queue,
        own: Option<Rc<Own>>,
        now: u64,
    ) {
        let unguarded = self.watch_queue(&queue, now);
        let own = match std::mem::take(&mut self.watch) {
            Watch::Held { own, keys } => {
                // Nil shows that one of them was changed.
                queue.effects.shows(keys.as_deref());
                Some(own)
            }
            Watch::None | Watch::Lost => own.or_else(|| self.own().cloned()),
        };
        self.pack(&mut queue);
        queue.block.extend_from_slice(EXEC);
        let (block, effects) = (std::mem::take(&mut queue.block), std::mem::take(&mut queue.effects));
        self.with_ask(request, None, slot, true, now, |ask| {
            self.context.proxy.transact(ask, own.as_deref(), &block, queue.sent, effects);
        });
        unguarded.iter().for_each(|notice| self.core.tell_tracker(notice));
        if let Some(own) = own {
            self.give_back(own, !queue.apart);
        }
        if !queue.here.is_empty() {
            self.replay = Some(queue.into_replay());
        }
        self.end_transaction();
    }

    /// Shows the commands of a transaction to those who monitor, and remembers what they are about to read. Returns what
    /// is to be said behind EXEC's reply.
    pub(super) fn watch_queue(&self, queue: &Queue, now: u64) -> Vec<Notice> {
        let monitored = self.context.proxy.shared.watch.has(Reason::Monitor);
        if !monitored && self.core.tracking.get().is_none() {
            return Vec::new();
        }
        let mut keys = Vec::new();
        let commands = queue.commands().filter_map(|raw| {
            with_request(raw, |request| {
                let command = self.resolve(request).ok()?;
                self.feed_monitors(command, request);
                self.remember_reads(command, request, now, &mut keys)
            })
        });
        commands.flatten().collect()
    }

    /// Makes EXEC's reply of home's: what is about the connection happens now.
    pub(super) fn run_replay(&mut self, reply: &[u8]) {
        let Some(replay) = self.replay.take() else { return };
        // Nothing is outstanding on either lane, and nothing may be parked now.
        self.on_scripts = false;
        self.make_reply(replay, reply);
        self.core.end_deferral();
    }

    fn make_reply(&mut self, replay: Replay, reply: &[u8]) {
        self.core.replies.borrow_mut().set_silent(replay.silent);
        if reply.first() == Some(&b'*') && reply != b"*-1\r\n" {
            self.say(|out, _| encode::array(out, replay.count));
            self.info.multi.store(replay.count as i64, Relaxed);
            let mut home = reply::elements(reply);
            let mut here = replay.here.into_iter().peekable();
            for index in 0..replay.count {
                match here.next_if(|h| h.index == index) {
                    Some(here) => {
                        if here.twin {
                            home.next();
                        }
                        match here.refused {
                            Some(error) => self.reply_error(error),
                            None => self.run_here(&here.raw),
                        }
                    }
                    None => self.say(|out, _| out.extend_from_slice(home.next().unwrap_or(MISSING))),
                }
            }
            self.info.multi.store(-1, Relaxed);
        } else {
            self.say(|out, _| out.extend_from_slice(reply));
        }
        self.core.replies.borrow_mut().set_silent(self.reply_mode == ReplyMode::Off);
    }

    fn run_here(&mut self, raw: &[u8]) {
        with_request(raw, |request| match self.resolve(request) {
            Ok(command) if command.subscribes() => self.subscribe_in_transaction(request),
            Ok(command) if command.id == id::MONITOR => {
                self.reply_error("ERR MONITOR isn't allowed for DENY BLOCKING client");
            }
            command => {
                self.run_slow(request, command, None, clock::now(), &mut Tally::default(), &mut Vec::new());
            }
        });
    }

    fn discard(&mut self) {
        if self.transaction.is_none() {
            return self.reply_error("ERR DISCARD without MULTI");
        }
        self.end_transaction();
        self.ok();
    }

    /// The transaction is over, and with it all watching.
    pub(super) fn end_transaction(&mut self) {
        self.transaction = None;
        self.info.multi.store(-1, Relaxed);
        self.info.multi_size.store(0, Relaxed);
        if let Watch::Held { own, .. } = std::mem::take(&mut self.watch) {
            own.send_aside(&[b"UNWATCH"], clock::now());
            self.give_back(own, true);
        }
        self.attend();
    }

    fn watch(&mut self, request: &Request<'_>, command: &'static Command, now: u64) {
        if self.transaction.is_some() {
            return self.reply_error("ERR WATCH inside MULTI is not allowed");
        }
        self.notice_loss();
        match self.watch {
            Watch::None => match self.own().cloned() {
                Some(own) => {
                    let slot = self.open();
                    self.watch_by(own, request, slot, now);
                }
                None => self.park(request, What::Watch),
            },
            Watch::Held { .. } if !self.may_watch(request) => self.reply_error(Crossed.to_string()),
            Watch::Held { .. } => {
                self.note_watched(request);
                self.send(request, Some(command), Effect::None, now, &[]);
            }
            // Redis, too, does not care what a client watches that has lost.
            Watch::Lost => self.ok(),
        }
    }

    /// Whether these keys can be watched where others are already.
    fn may_watch(&self, request: &Request<'_>) -> bool {
        let (Watch::Held { own, .. }, proxy) = (&self.watch, &self.context.proxy) else { return true };
        if !proxy.is_cluster() {
            return true;
        }
        let slot = common_slot(request.iter().skip(1));
        slot.is_ok_and(|slot| proxy.way_of_slot(self.lane, slot).node == own.node())
    }

    /// The client has a connection on which home can watch keys for it.
    pub(super) fn watch_by(&mut self, own: Rc<Own>, request: &Request<'_>, slot: u64, now: u64) {
        self.watch = Watch::Held { own, keys: Some(Vec::new()) };
        self.note_watched(request);
        self.send_to(slot, request, None, Effect::None, now, &[]);
        self.attend();
    }

    fn note_watched(&mut self, request: &Request<'_>) {
        let Some(copies) = &self.context.proxy.shared.copies else { return };
        if let Watch::Held { keys, .. } = &mut self.watch {
            let Some(known) = keys else { return };
            known.extend(request.iter().skip(1).map(|key| copies.l1().hash(key)));
            if known.len() > MOST_WATCHED {
                known.sort_unstable();
                known.dedup();
            }
            if known.len() > MOST_WATCHED {
                *keys = None;
            }
        }
    }

    fn unwatch(&mut self, request: &Request<'_>, command: &'static Command, now: u64) {
        self.notice_loss();
        let watching = matches!(self.watch, Watch::Held { .. });
        if watching {
            self.send(request, Some(command), Effect::None, now, &[]);
        } else {
            self.ok();
        }
        if let Watch::Held { own, .. } = std::mem::take(&mut self.watch) {
            self.give_back(own, true);
        }
        self.attend();
    }

    /// What has been asked by the connection is answered before anything goes another way.
    pub(super) fn give_back(&mut self, own: Rc<Own>, reusable: bool) {
        // For as long as home tracks, the client has it for everything.
        if self.at_home.as_ref().is_some_and(|at_home| at_home.is(&own)) {
            return own.allow_usual();
        }
        self.context.proxy.give_back(own, reusable);
        self.turning = true;
    }

    /// Whether home watches keys on this connection.
    pub(super) fn watches_by(&self, own: &Rc<Own>) -> bool {
        matches!(&self.watch, Watch::Held { own: watching, .. } if Rc::ptr_eq(watching, own))
    }

    fn notice_loss(&mut self) {
        match &self.watch {
            Watch::Held { own, .. } if own.is_gone() => self.watch = Watch::Lost,
            // What was watched is on another node now.
            Watch::Held { own, .. } if own.is_astray() => {
                self.context.proxy.give_back(own.clone(), false);
                self.watch = Watch::Lost;
            }
            _ => {}
        }
    }

    /// The connection by which everything of this client goes.
    pub(super) fn own(&self) -> Option<&Rc<Own>> {
        match &self.watch {
            Watch::Held { own, .. } if !own.is_gone() => Some(own),
            _ => self.at_home.as_ref().and_then(AtHome::own),
        }
    }

    /// Whether everything of this client goes home by connections of its own.
    pub(super) fn passes_copies(&self) -> bool {
        self.lane.of != 0 || self.own().is_some()
    }

    /// The client has gone to another protocol or database: its own connections follow.
    pub(super) fn follow(&mut self, from: LaneKey) {
        self.masters_follow();
        if let Some(own) = self.own() {
            self.take_along(own, from);
        }
    }

    /// Takes a connection to where the client is.
    pub(super) fn take_along(&self, own: &Rc<Own>, from: LaneKey) {
        for request in turns(from, self.lane) {
            let slot = self.core.replies.borrow_mut().open_always(Shape::Silent);
            self.context.proxy.follow(&self.client, slot, own, &request, clock::now());
        }
    }
}
