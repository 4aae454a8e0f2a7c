//! Values that home keeps compressed, as far as a session has to do with them: commands that work on the bytes that
//! home has wait until these are plain, and transactions are rewritten before they go home.

use std::rc::Rc;

use super::Session;
use super::parked::{Task, What};
use super::queue::{MULTI, Queue, Replay};
use super::transaction::Watch;
use crate::backend::lane::Reply;
use crate::clock;
use crate::command::{Command, KeyRef};
use crate::proxy::{Client, Effects, Inside, Job, Own, Touched};
use crate::resp::{Request, with_request};
use crate::router::{Effect, Route, route};

/// A connection, unless it was given up, and the reply.
pub(super) type Plainly = (Option<Rc<Own>>, bytes::Bytes);

/// Commands under way that were to find plain values.
pub(super) struct Working {
    pub(super) task: Task<Plainly>,
    replay: Option<Replay>,
    /// The connection may be lent again.
    reusable: bool,
}

impl Session {
    /// Parks a command that works on the bytes that home has, or refuses it; false if it does not.
    pub(super) fn goes_inside(
        &mut self,
        request: &Request<'_>,
        command: &'static Command,
        keys: &mut Vec<KeyRef>,
    ) -> bool {
        match self.context.proxy.inside(command, request, keys) {
            None => return false,
            Some(Inside::Refused(text)) => self.reply_error(text),
            Some(Inside::Bytes(touched)) => self.park(request, What::Inside(touched)),
        }
        true
    }

    /// Runs a command whose keys' values are to be plain.
    pub(super) fn work_inside(&self, own: Rc<Own>, raw: &[u8], touched: Touched) -> Option<Working> {
        let (effects, block) = with_request(raw, |request| {
            let (command, mut keys) = (self.resolve(request).ok()?, Vec::new());
            let effect = match route(command, request, &mut keys) {
                Route::Direct(effect) | Route::Wait(effect) | Route::Leased(effect) => effect,
                _ => Effect::Reads,
            };
            let (mut effects, mut block) = (Effects::default(), Vec::new());
            effects.add(&self.context.proxy, request, Some(command), effect, &keys);
            effects.at(self.context.proxy.slot_of(Some(command), request, &keys).unwrap_or_default());
            self.context.proxy.pack(Some(command), request, &touched.plain, 0, &mut block, &mut effects);
            Some((effects, block))
        })??;
        let job = Job { block, commands: 1, effects, touched, whole: false, watching: false };
        Some(self.work(own, job, None, true))
    }

    /// Runs a transaction, some of whose keys' values are to be plain.
    pub(super) fn work_on_queue(&mut self, own: Rc<Own>, mut queue: Queue) -> Working {
        let watched = std::mem::take(&mut self.watch);
        if let Watch::Held { keys, .. } = &watched {
            queue.effects.shows(keys.as_deref());
        }
        let now = clock::now();
        let unguarded = self.watch_queue(&queue, now);
        unguarded.iter().for_each(|notice| self.core.tell_tracker(notice));
        self.pack(&mut queue);
        let job = Job {
            block: queue.block.split_off(MULTI.len()),
            commands: queue.sent,
            effects: std::mem::take(&mut queue.effects),
            touched: std::mem::take(&mut queue.touched),
            whole: true,
            watching: matches!(watched, Watch::Held { .. }),
        };
        let reusable = !queue.apart;
        let replay = (!queue.here.is_empty()).then(|| queue.into_replay());
        self.end_transaction();
        self.work(own, job, replay, reusable)
    }

    fn work(&self, own: Rc<Own>, job: Job, replay: Option<Replay>, reusable: bool) -> Working {
        let (proxy, lane) = (self.context.proxy.clone(), self.lane);
        let task = Task::start(async move { proxy.run_plain(own, lane, &job).await });
        Working { task, replay, reusable }
    }

    /// Gives the client the reply.
    pub(super) fn worked(&mut self, slot: u64, working: Working, (own, reply): Plainly) {
        let Working { replay, reusable, .. } = working;
        if let Some(own) = own {
            self.give_back(own, reusable);
        }
        self.replay = replay;
        self.core.deliver(slot, Reply::Owned(reply), clock::now());
    }

    /// Finds the commands of a transaction that work on the bytes that home has.
    pub(super) fn note_inside(&self, queue: &mut Queue) {
        if !self.context.proxy.compresses() {
            return;
        }
        let (mut touched, mut keys) = (Touched::default(), Vec::new());
        self.each(queue, |_, request, command| {
            let inside = command.and_then(|c| self.context.proxy.inside(c, request, &mut keys));
            if let Some(Inside::Bytes(found)) = inside {
                touched.add(found);
            }
        });
        queue.touched = touched;
    }

    /// Puts what goes home in the place of the commands of a transaction.
    pub(super) fn pack(&self, queue: &mut Queue) {
        if !self.context.proxy.compresses() {
            return;
        }
        let mut block = MULTI.to_vec();
        let mut effects = std::mem::take(&mut queue.effects);
        self.each(queue, |place, request, command| {
            self.context.proxy.pack(command, request, &queue.touched.plain, place, &mut block, &mut effects);
        });
        queue.effects = effects;
        queue.block = block;
    }

    /// Shows the commands of a transaction that home gets, with their places among these.
    fn each(&self, queue: &Queue, mut see: impl FnMut(usize, &Request<'_>, Option<&'static Command>)) {
        let mut rest = queue.block.get(MULTI.len()..).unwrap_or_default();
        let mut place = 0;
        while let Some(length) = with_request(rest, |request| {
            see(place, request, self.resolve(request).ok());
            request.raw().len()
        }) {
            rest = &rest[length..];
            place += 1;
        }
    }
}
