//! CLIENT TRACKING NOLOOP where home is a cluster: each master tracks for the client.
//!
//! As with one home ([`super::noloop`]), but by lanes that the client has for itself, one to each master, each with an
//! ear. Of what a master does not track for it (it was lost, or is new) the client is told behind the reply that it is
//! not valid. When slots change hands it is told to drop everything: what it read at one node is changed at another.
//! Home tracks whatever is read: OPTIN and OPTOUT spare it nothing. What it does by a connection of another kind
//! (commands that wait for data, transactions that watch keys) comes back to it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::noloop::{LONGEST_PAUSE, PAUSE, options, refs, reply};
use super::replies::Shape;
use super::tracking::Mode;
use super::{Core, Session};
use crate::backend::cluster::NodeId;
use crate::backend::lane::Reply;
use crate::clock;
use crate::command::{Access, Args, Command, Flags, KeyRef, extract};
use crate::proxy::{Client, LaneKey, Listening, Proxy};
use crate::tier::listeners::Notice;

const UNKNOWN_YET: &str = "CLUSTERDOWN strata: it is not known yet which nodes home has; try again";

/// A client for which all masters track. Dropped they do so no more.
pub(super) struct AtMasters {
    wanted: watch::Sender<Wanted>,
    state: Rc<State>,
    supervisor: AbortHandle,
}

impl Drop for AtMasters {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

/// What the masters are to do.
#[derive(Clone)]
struct Wanted {
    lane: LaneKey,
    options: Rc<[Box<[u8]>]>,
    /// Moved on with each change.
    version: u64,
}

#[derive(Default)]
struct State {
    /// By master: the connection that it tracks for.
    tracked: RefCell<HashMap<NodeId, (LaneKey, u64)>>,
    /// By master: the version of what was wanted when it was last asked, whatever it said. 0: not yet.
    asked: RefCell<HashMap<NodeId, u64>>,
    error: RefCell<Option<String>>,
    /// The client may know something.
    knows: Cell<bool>,
    refused: Cell<bool>,
    changed: Notify,
}

impl State {
    fn note_asked(&self, node: NodeId, version: u64) {
        self.asked.borrow_mut().insert(node, version);
        self.changed.notify_waiters();
    }

    /// Waits until all masters were asked for this version.
    async fn asked_for(&self, version: u64) {
        loop {
            let changed = self.changed.notified();
            if self.asked.borrow().values().all(|asked| *asked >= version) {
                return;
            }
            changed.await;
        }
    }

    fn covers(&self, proxy: &Proxy, lane: LaneKey, key: &[u8]) -> bool {
        let way = proxy.way_of_key(lane, key);
        let tracked = self.tracked.borrow().get(&way.node).copied();
        tracked == Some((lane, proxy.connection_of(way)))
    }
}

impl Session {
    /// Begins to have all masters track, or changes how. The reply follows.
    pub(super) fn track_at_masters(&mut self, mode: Mode, prefixes: &[&[u8]]) {
        let here = self.core.tracking.get().is_some() && self.at_masters.is_none();
        let forgotten = here && !mode.broadcast;
        self.note_mode(mode, prefixes);
        let prefixes: Vec<&[u8]> = self.prefixes.iter().map(|prefix| &**prefix).collect();
        let told = Mode { opt_in: false, opt_out: false, ..mode };
        let options: Rc<[Box<[u8]>]> = options(told, &prefixes).into();
        let at_masters = match self.at_masters.take() {
            Some(at_masters) => {
                at_masters.wanted.send_modify(|wanted| {
                    wanted.options = options;
                    wanted.version += 1;
                });
                at_masters
            }
            None => self.begin_at_masters(options),
        };
        let (state, version) = (at_masters.state.clone(), at_masters.wanted.borrow().version);
        self.at_masters = Some(at_masters);
        let core = self.core.clone();
        self.reply_later(async move {
            state.asked_for(version).await;
            let error = state.error.borrow().clone().filter(|_| version == 1);
            if error.is_some() {
                state.refused.set(true);
            } else if forgotten {
                core.tell_tracker(&Notice::All);
            }
            reply(error.map_or(Ok(()), Err))
        });
    }

    fn begin_at_masters(&mut self, options: Rc<[Box<[u8]>]>) -> AtMasters {
        self.leave_listeners();
        self.context.proxy.keep_lanes(self.info.id, true);
        self.turn_to(LaneKey { of: self.info.id, ..self.lane });
        let wanted = Wanted { lane: self.lane, options, version: 1 };
        let state = Rc::new(State::default());
        let masters = self.context.proxy.masters();
        if masters.is_empty() {
            *state.error.borrow_mut() = Some(UNKNOWN_YET.to_owned());
        }
        state.asked.borrow_mut().extend(masters.iter().map(|master| (*master, 0)));
        let (wanted, changes) = watch::channel(wanted);
        let keeper = Keeper {
            wanted: changes,
            state: state.clone(),
            proxy: self.context.proxy.clone(),
            core: self.core.clone(),
            lease: self.context.config.home().lease,
        };
        let supervisor = tokio::task::spawn_local(keeper.supervise(masters)).abort_handle();
        AtMasters { wanted, state, supervisor }
    }

    /// Ends it if the masters refused.
    pub(super) fn heed_masters(&mut self) {
        if self.at_masters.as_ref().is_some_and(|at_masters| at_masters.state.refused.get()) {
            self.untrack();
        }
    }

    /// Masters track no more.
    pub(super) fn untrack_at_masters(&mut self) {
        if self.at_masters.take().is_some() {
            self.context.proxy.keep_lanes(self.info.id, false);
            self.turn_to(LaneKey { of: 0, ..self.lane });
        }
    }

    /// Everything goes by other lanes from now on, once all that was asked is answered.
    fn turn_to(&mut self, lane: LaneKey) {
        self.lane = lane;
        self.lane_since = clock::now();
        self.turning = true;
    }

    /// The client speaks another protocol, by other lanes: masters track for these before anything else is asked.
    pub(super) fn masters_follow(&mut self) {
        let Some(at_masters) = &self.at_masters else { return };
        let lane = self.lane;
        at_masters.wanted.send_modify(|wanted| {
            wanted.lane = lane;
            wanted.version += 1;
        });
        let (state, version) = (at_masters.state.clone(), at_masters.wanted.borrow().version);
        let slot = self.core.replies.borrow_mut().open_always(Shape::Silent);
        let core = self.core.clone();
        tokio::task::spawn_local(async move {
            state.asked_for(version).await;
            core.deliver(slot, Reply::Owned(Bytes::new()), clock::now());
        });
    }

    /// As [`remember_reads`](Session::remember_reads).
    pub(super) fn remember_at_masters<A: Args + ?Sized>(
        &self,
        at_masters: &AtMasters,
        command: &Command,
        args: &A,
        keys: &mut Vec<KeyRef>,
    ) -> Option<Notice> {
        let mode = self.core.tracking.get().filter(|mode| mode.wants(command))?;
        extract(command, args, keys).ok()?;
        at_masters.state.knows.set(true);
        let by_lane = self.own().is_none() && !command.flags.contains(Flags::BLOCKING);
        let names = keys.iter().filter(|k| !k.access.contains(Access::NOT_KEY));
        let names = names.filter_map(|k| args.arg(k.index as usize));
        let hears = |name: &[u8]| self.prefixes.iter().any(|prefix| name.starts_with(prefix));
        let proxy = &self.context.proxy;
        let covered = |name: &[u8]| match mode.broadcast {
            true => !hears(name) || at_masters.state.covers(proxy, self.lane, name),
            false => by_lane && at_masters.state.covers(proxy, self.lane, name),
        };
        let names: Vec<&[u8]> = names.filter(|name| !covered(name)).collect();
        (!names.is_empty()).then(|| Notice::keys(&names))
    }
}

/// Keeps all masters tracking for a client.
#[derive(Clone)]
struct Keeper {
    wanted: watch::Receiver<Wanted>,
    state: Rc<State>,
    proxy: Rc<Proxy>,
    core: Rc<Core>,
    lease: Duration,
}

impl Keeper {
    /// Follows the cluster: who is a master, and who owns what.
    async fn supervise(self, masters: Vec<NodeId>) {
        let mut tasks = JoinSet::new();
        let mut nodes: HashMap<NodeId, AbortHandle> = HashMap::new();
        for master in masters {
            nodes.insert(master, tasks.spawn_local(self.clone().keep(master)));
        }
        let mut version = self.proxy.map_version();
        loop {
            tokio::time::sleep(self.lease / 4).await;
            let next = self.proxy.map_version();
            if std::mem::replace(&mut version, next) == next {
                continue;
            }
            let masters = self.proxy.masters();
            nodes.retain(|node, task| {
                let stays = masters.contains(node);
                if !stays {
                    task.abort();
                    self.state.tracked.borrow_mut().remove(node);
                    self.state.asked.borrow_mut().remove(node);
                    self.state.changed.notify_waiters();
                }
                stays
            });
            for master in masters {
                nodes.entry(master).or_insert_with(|| {
                    self.state.asked.borrow_mut().insert(master, 0);
                    tasks.spawn_local(self.clone().keep(master))
                });
            }
            self.tell_all();
        }
    }

    /// Keeps one master tracking.
    async fn keep(mut self, node: NodeId) {
        let (mut pause, mut first) = (PAUSE, true);
        let client: Rc<dyn Client> = self.core.clone();
        loop {
            let lane = self.wanted.borrow().lane;
            let error = match self.proxy.listen_to(&client, lane, node).await {
                Ok(listening) => self.track(&listening, node, &mut first, &mut pause).await,
                Err(error) => error,
            };
            if self.state.tracked.borrow_mut().remove(&node).is_some() {
                self.tell_all();
            }
            tracing::debug!(error, "CLIENT TRACKING NOLOOP: a master does not track; trying again");
            if self.state.asked.borrow().get(&node) == Some(&0) {
                *self.state.error.borrow_mut() = Some(error);
            }
            first = false;
            let version = self.wanted.borrow().version;
            self.state.note_asked(node, version);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Has a master track for as long as it is heard; returns why it is not any more.
    async fn track(
        &mut self,
        listening: &Listening,
        node: NodeId,
        first: &mut bool,
        pause: &mut Duration,
    ) -> String {
        loop {
            let Wanted { lane, options, version } = self.wanted.borrow_and_update().clone();
            let (mut ear, connection) = match self.proxy.track_lane(listening, lane, &refs(&options)).await {
                Ok(tracked) => tracked,
                Err(error) => return error,
            };
            let before = self.state.tracked.borrow_mut().insert(node, (lane, connection));
            match before {
                // It was tracked for until the other is.
                Some((before, _)) if before != lane => {
                    self.proxy.stop_tracking(before, node);
                    self.tell_of_reads();
                }
                None if *first => {}
                _ => self.tell_all(),
            }
            (*first, *pause) = (false, PAUSE);
            self.state.note_asked(node, version);
            tokio::select! {
                () = ear.hear(&self.proxy, self.lease) => return "it is not heard any more".to_owned(),
                changed = self.wanted.changed() => if changed.is_err() {
                    return "nobody wants it".to_owned();
                },
            }
        }
    }

    /// What was read so far may change unheard.
    fn tell_of_reads(&self) {
        if self.state.knows.get() && !self.broadcasts() {
            self.core.tell_tracker(&Notice::All);
        }
    }

    /// Anything may have changed unheard.
    fn tell_all(&self) {
        if self.state.knows.get() || self.broadcasts() {
            self.core.tell_tracker(&Notice::All);
        }
    }

    fn broadcasts(&self) -> bool {
        self.core.tracking.get().is_some_and(|mode| mode.broadcast)
    }
}
