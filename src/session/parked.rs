//! A command that must wait before it is run: until what was asked before it is answered, and until its client has a
//! connection of its own. The client's next commands wait behind it.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context as Cx, Poll};

use bytes::Bytes;

use super::batch::Tally;
use super::elsewhere::Elsewhere;
use super::inside::{Plainly, Working};
use super::queue::Queue;
use super::replies::Shape;
use super::socket::poll_into;
use super::vet::full_name;
use super::{ReplyMode, Session};
use crate::backend::lane::Reply;
use crate::clock;
use crate::command::{Flags, Unknown, id, longest_wait};
use crate::proxy::{Client, Own, Purpose, Touched};
use crate::resp::{Request, with_request};
use crate::router::{Effect, Route, route};

/// What is to be done with it.
pub(super) enum What {
    /// Home watches keys.
    Watch,
    /// It waits for data.
    Wait,
    /// It needs a connection of its own for itself alone.
    Lease,
    /// It works on the bytes that home has of these keys.
    Inside(Touched),
    /// EXEC of a transaction that may not go by a connection that is shared.
    Exec(Box<Queue>),
    /// It begins or ends subscriptions. Commands that do, and all others, wait for one another: so nothing is heard
    /// that was published before, and everything that is published after.
    Subscription,
    /// It goes another way than what was asked before it.
    Later,
    /// Home is asked whether it knows the command, which is to be queued; or whether it is busy.
    Vet(Option<Unknown>),
}

pub(super) enum Stage {
    /// Earlier replies are outstanding.
    Settling,
    /// A connection is being leased.
    Leasing(Task<Result<Rc<Own>, String>>),
    /// Home is to confirm subscriptions.
    Confirming,
    /// Home is being asked.
    Asking(Task<Result<Bytes, String>>),
    /// It was sent by this connection.
    Sent(Rc<Own>),
    /// It runs where values are plain.
    Working(Working),
}

/// See the module's text.
pub(super) struct Parked {
    pub(super) what: What,
    pub(super) raw: Vec<u8>,
    pub(super) slot: u64,
    pub(super) stage: Stage,
}

impl Parked {
    fn working(slot: u64, working: Working) -> Self {
        Parked { what: What::Lease, raw: Vec::new(), slot, stage: Stage::Working(working) }
    }

    /// Whether it waits for data: nothing is lost if its client goes.
    pub(super) fn waits(&self) -> bool {
        matches!(self.what, What::Wait)
    }
}

/// Work that the session's own task does when it is polled: mostly it is done at once. Dropped it is given up.
pub(super) struct Task<T>(Pin<Box<dyn Future<Output = T>>>);

impl<T> Task<T> {
    pub(super) fn start(work: impl Future<Output = T> + 'static) -> Self {
        Task(Box::pin(work))
    }
}

impl Session {
    /// Parks a command, behind which nothing of its group may come.
    pub(super) fn park(&mut self, request: &Request<'_>, what: What) {
        debug_assert!(self.parked.is_none(), "only one command is parked");
        let slot = match &what {
            What::Exec(queue) => self.open_for(queue),
            // Confirmations are pushes: CLIENT REPLY does not silence them.
            What::Subscription => self.core.replies.borrow_mut().open_always(Shape::Plain),
            _ => self.open(),
        };
        self.parked = Some(Parked { what, raw: request.raw().to_vec(), slot, stage: Stage::Settling });
        // It is the session's task that takes it from here.
        self.core.wake();
    }

    /// Whether a command waits on this connection.
    pub(super) fn waits_by(&self, own: &Rc<Own>) -> bool {
        let stage = self.parked.as_ref().map(|parked| &parked.stage);
        matches!(stage, Some(Stage::Sent(sent)) if Rc::ptr_eq(sent, own))
    }

    /// Takes the parked command as far as it goes.
    pub(super) fn poll_parked(&mut self, cx: &mut Cx<'_>) {
        while let Some(mut parked) = self.parked.take() {
            let moved = match &mut parked.stage {
                Stage::Settling if self.core.replies.borrow().waiting() > 1 => None,
                Stage::Settling if matches!(parked.what, What::Later) => Some(Next::Settled),
                Stage::Settling => Some(self.start(&parked)),
                Stage::Leasing(task) => task.poll(cx).map(Next::Leased),
                Stage::Asking(task) => task.poll(cx).map(Next::Told),
                Stage::Sent(own) if self.core.elsewhere.borrow().to.is_some() => {
                    Some(Next::Elsewhere(own.clone()))
                }
                Stage::Sent(_) | Stage::Confirming
                    if self.core.replies.borrow().shape(parked.slot).is_some() =>
                {
                    None
                }
                Stage::Confirming => Some(Next::Done),
                Stage::Sent(own) => Some(Next::Answered(own.clone())),
                Stage::Working(working) => working.task.poll(cx).map(Next::Worked),
            };
            match moved {
                None => {
                    self.parked = Some(parked);
                    return;
                }
                Some(Next::Stage(stage)) => self.parked = Some(Parked { stage, ..parked }),
                Some(Next::Settled) => self.run_parked(&parked),
                Some(Next::Leased(Ok(own))) => self.launch(parked, own),
                Some(Next::Leased(Err(text))) => self.conclude(parked.slot, |s| s.reply_error(text)),
                Some(Next::Told(answer)) => self.told(parked, answer),
                Some(Next::Done) => {}
                Some(Next::Elsewhere(own)) => self.go_elsewhere(parked, own),
                Some(Next::Worked(reply)) => {
                    if let Stage::Working(working) = parked.stage {
                        self.worked(parked.slot, working, reply);
                    }
                }
                Some(Next::Answered(own)) => {
                    *self.core.elsewhere.borrow_mut() = Elsewhere::default();
                    // What watches keys is kept for EXEC.
                    if !matches!(parked.what, What::Watch) {
                        // It was not idle.
                        self.info.active.store(clock::now(), Relaxed);
                        self.info.blocked.lock().take();
                        self.give_back(own, true);
                    }
                }
            }
        }
    }

    fn start(&self, parked: &Parked) -> Next {
        // Mostly one is there by which another has waited.
        if let (What::Wait, None) = (&parked.what, &self.at_home)
            && let Ok(slot) = self.slot_of(parked)
            && let Some(own) = self.context.proxy.lease_ready(self.context.proxy.way_of_slot(self.lane, slot))
        {
            return Next::Leased(Ok(own));
        }
        Next::Stage(self.begin(parked))
    }

    fn begin(&self, parked: &Parked) -> Stage {
        let proxy = self.context.proxy.clone();
        let lane = self.lane;
        if let What::Subscription = parked.what {
            with_request(&parked.raw, |request| self.run_subscription(request, parked.slot, false));
            return Stage::Confirming;
        }
        if parked.waits()
            && proxy.is_cluster()
            && let Some(Some(waiting)) = with_request(&parked.raw, |request| self.waits_everywhere(request))
        {
            return Stage::Asking(waiting);
        }
        if let What::Vet(None) = parked.what {
            return Stage::Asking(Task::start(async move { proxy.ask_home(lane, &[b"PING"]).await }));
        }
        if let What::Vet(Some(unknown)) = parked.what {
            let name = with_request(&parked.raw, |request| full_name(request, unknown)).unwrap_or_default();
            return Stage::Asking(Task::start(async move {
                proxy.ask_home(lane, &[b"COMMAND", b"INFO", &name]).await
            }));
        }
        let tracked = self.own().filter(|own| self.at_home.as_ref().is_some_and(|at_home| at_home.is(own)));
        let own = match &parked.what {
            What::Wait => tracked,
            // What it watches is not to be forgotten.
            What::Inside(_) => tracked.filter(|own| !self.watches_by(own)),
            What::Exec(_) => self.own(),
            _ => None,
        };
        if let Some(own) = own.cloned() {
            return Stage::Leasing(Task::start(async move { Ok(own) }));
        }
        let purpose = if parked.waits() { Purpose::Wait } else { Purpose::State };
        // What is let through while a script runs is not kept out by a SELECT that is not.
        let busy = |r: &Request<'_>| self.resolve(r).is_ok_and(|c| c.flags.contains(Flags::ALLOW_BUSY));
        let anywhere = matches!(parked.what, What::Lease) && with_request(&parked.raw, busy) == Some(true);
        match self.slot_of(parked) {
            Err(crossed) => Stage::Leasing(Task::start(async move { Err(crossed.to_string()) })),
            Ok(slot) => {
                let way = proxy.way_of_slot(lane, slot);
                Stage::Leasing(Task::start(async move { proxy.lease(purpose, way, anywhere).await }))
            }
        }
    }

    /// Runs a command that only had to wait for what came before it.
    fn run_parked(&mut self, parked: &Parked) {
        with_request(&parked.raw, |request| {
            self.conclude(parked.slot, |session| {
                let (now, command) = (clock::now(), session.resolve(request));
                session.run_slow(request, command, None, now, &mut Tally::default(), &mut Vec::new());
            });
        });
    }

    /// Runs the command by the connection that is here.
    fn launch(&mut self, parked: Parked, own: Rc<Own>) {
        let Parked { what, raw, slot, .. } = parked;
        let now = clock::now();
        match what {
            What::Watch => {
                with_request(&raw, |request| self.watch_by(own.clone(), request, slot, now));
                if self.context.proxy.is_cluster() {
                    self.core.elsewhere.borrow_mut().slot = Some(slot);
                    self.parked = Some(Parked { what, raw, slot, stage: Stage::Sent(own) });
                }
            }
            What::Inside(touched) => match self.work_inside(own, &raw, touched) {
                Some(working) => self.parked = Some(Parked::working(slot, working)),
                None => self.conclude(slot, |s| s.reply_error(super::local::SYNTAX)),
            },
            What::Exec(queue) if !queue.touched.is_empty() => {
                let working = self.work_on_queue(own, *queue);
                self.parked = Some(Parked::working(slot, working));
            }
            What::Exec(queue) => {
                with_request(&raw, |request| self.exec_at_home(request, slot, *queue, Some(own), now));
            }
            What::Wait | What::Lease | What::Later | What::Vet(_) | What::Subscription => {
                with_request(&raw, |request| self.send_by(&own, request, slot, now));
                let cluster = self.context.proxy.is_cluster();
                self.core.elsewhere.borrow_mut().slot = cluster.then_some(slot);
                let raw = if cluster { raw } else { Vec::new() };
                self.parked = Some(Parked { what, raw, slot, stage: Stage::Sent(own) });
            }
        }
    }

    fn send_by(&self, own: &Rc<Own>, request: &Request<'_>, slot: u64, now: u64) {
        let Ok(command) = self.resolve(request) else { return };
        let mut keys = Vec::new();
        let effect = match route(command, request, &mut keys) {
            Route::Wait(effect) => {
                *self.info.blocked.lock() = Some(own.tag().clone());
                own.allow(longest_wait(command, request));
                effect
            }
            Route::Leased(effect) => effect,
            _ => Effect::None,
        };
        if command.id == id::WAIT {
            self.context.proxy.follow_writes(own, now);
        }
        self.with_ask_by(Some(own), request, Some(command), slot, true, now, |ask| match command.id {
            id::SHUTDOWN => self.context.proxy.farewell(ask, own),
            _ => self.context.proxy.direct_by(ask, own.way(), effect, &keys),
        });
    }

    /// Replies in the place that was kept, which is the last.
    pub(super) fn conclude(&mut self, slot: u64, say: impl FnOnce(&mut Self)) {
        let silent = self.core.replies.borrow().shape(slot) == Some(Shape::Silent);
        self.core.deliver(slot, Reply::Owned(Bytes::new()), clock::now());
        self.core.replies.borrow_mut().set_silent(silent);
        say(self);
        self.core.replies.borrow_mut().set_silent(self.reply_mode == ReplyMode::Off);
    }

    /// Reads what a client sends while a command is parked; Ready when it is gone.
    pub(super) fn poll_gone(&mut self, cx: &mut Cx<'_>) -> Poll<std::io::Result<()>> {
        let context = self.context.clone();
        let mut scratch = context.scratch.borrow_mut();
        while !self.ended {
            match poll_into(&mut self.stream, cx, &mut scratch.buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(n)) => {
                    self.input.extend_from_slice(&scratch.buffer[..n]);
                    self.paused = true;
                    self.check_input(n)?;
                }
            }
        }
        // As in Redis, who waits has nothing to say and nobody to hear it.
        if self.parked.as_ref().is_some_and(Parked::waits) { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

/// What moves a parked command on.
enum Next {
    Settled,
    Stage(Stage),
    Leased(Result<Rc<Own>, String>),
    Told(Result<Bytes, String>),
    Done,
    Answered(Rc<Own>),
    Elsewhere(Rc<Own>),
    Worked(Plainly),
}

impl<T> Task<T> {
    /// Its result, once it is there.
    fn poll(&mut self, cx: &mut Cx<'_>) -> Option<T> {
        match self.0.as_mut().poll(cx) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    }
}
