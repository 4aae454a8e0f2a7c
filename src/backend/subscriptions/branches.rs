//! Which nodes of a cluster are asked for what, besides the one that is heard anyway: all masters for what nodes tell of
//! their own keys, the owner of its slot for a shard channel.
//!
//! Who is asked follows the map of slots. A shard channel whose node is not the right one (any more) is *homeless* until
//! another confirms it.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::answers::Answer;
use super::branch::{Branch, Brought};
use super::link::Life;
use super::runs::{is_key_event, may_be_key_event, topic};
use super::{Post, Space, What};
use crate::backend::cluster::{Cluster, NodeId, Redirect, slot};
use crate::resp::reply;

/// The map of slots is looked at so often, and homeless channels are asked for.
const LOOK: Duration = Duration::from_millis(20);
/// A silent node is asked so often whether it lives, and a lost branch is replaced after so long.
const PROBE: Duration = Duration::from_secs(1);
/// A shard channel that is homeless for so long is refused.
const PATIENCE: Duration = Duration::from_secs(2);
/// Reads of branches that wait to be looked at.
const MOST_BROUGHT: usize = 64;

/// What is to be looked at next.
pub(super) enum Heard {
    Brought(Brought),
    Look,
}

/// A shard channel without a node: who waits for it, and since when.
struct Homeless {
    name: Bytes,
    place: Option<u64>,
    since: Instant,
}

/// See the module's text.
pub(super) struct Branches {
    cluster: Arc<Cluster>,
    list: Vec<Branch>,
    homeless: Vec<Homeless>,
    brought: mpsc::Receiver<Brought>,
    brings: mpsc::Sender<Brought>,
    lives: u64,
    /// Of the map of slots, when branches were as it says.
    version: u64,
    next_look: Instant,
    next_probe: Instant,
}

impl Branches {
    pub(super) fn of(cluster: Arc<Cluster>) -> Self {
        let (brings, brought) = mpsc::channel(MOST_BROUGHT);
        let (version, now) = (cluster.version(), Instant::now());
        Branches {
            cluster,
            list: Vec::new(),
            homeless: Vec::new(),
            brought,
            brings,
            lives: 0,
            version,
            next_look: now + LOOK,
            next_probe: now + PROBE,
        }
    }

    /// Waits for what branches bring, or until it is time to look; without branches for ever.
    pub(super) async fn next(branches: Option<&mut Branches>) -> Heard {
        let Some(branches) = branches else { return pending().await };
        tokio::select! {
            Some(brought) = branches.brought.recv() => Heard::Brought(brought),
            () = sleep_until(branches.next_look) => Heard::Look,
        }
    }

    /// The nodes that are to be asked for a topic.
    fn nodes(&self, space: Space, name: &[u8]) -> Vec<NodeId> {
        match space {
            Space::Shards => {
                let owner = self.cluster.owner(slot(name));
                if owner == NodeId::NONE { Vec::new() } else { vec![owner] }
            }
            _ if may_be_key_event(space, name) => self.cluster.masters(),
            _ => Vec::new(),
        }
    }

    /// The branch to a node, opened if there is none. None: the node is known to be down.
    fn branch(&mut self, id: NodeId) -> Option<&mut Branch> {
        let at = match self.list.iter().position(|branch| branch.id == id) {
            Some(at) => at,
            None => {
                let node = self.cluster.node(id);
                node.breaker.check().ok()?;
                self.lives += 1;
                self.list.push(Branch::open(id, node, self.lives, self.brings.clone()));
                self.list.len() - 1
            }
        };
        self.list.get_mut(at)
    }

    /// Asks a node for a topic, unless it was. Whether somebody waits for its answer now.
    fn subscribe(&mut self, id: NodeId, space: Space, name: &Bytes, place: Option<u64>) -> bool {
        let Some(branch) = self.branch(id).filter(|b| !b.on.contains(&(space, name.clone()))) else {
            return false;
        };
        branch.on.insert((space, name.clone()));
        branch.ask(place, What::Subscribe(space, name.clone()));
        place.is_some()
    }

    /// How many branches were asked for a topic.
    fn count(&self, space: Space, name: &Bytes) -> usize {
        let topic = (space, name.clone());
        self.list.iter().filter(|branch| branch.on.contains(&topic)).count()
    }

    fn lodge(&mut self, name: Bytes, place: Option<u64>) {
        self.homeless.push(Homeless { name, place, since: Instant::now() });
    }
}

impl<P: Post> Life<'_, P> {
    /// Asks the branches that a question concerns, if there is a cluster.
    pub(super) fn ask_branches(&mut self, place: u64) {
        let (Some(branches), Some(what)) = (&mut self.branches, self.asked.what(place)) else { return };
        match &what {
            What::Ping => return,
            What::PingOf(name) => {
                let owner = branches.cluster.owner(slot(name));
                if let Some(branch) = branches.list.iter_mut().find(|branch| branch.id == owner) {
                    branch.ask(Some(place), what);
                    self.asked.add(place);
                }
                return;
            }
            What::Subscribe(space, name) => {
                let mut lodged = *space != Space::Shards;
                for node in branches.nodes(*space, name) {
                    if branches.subscribe(node, *space, name, Some(place)) {
                        lodged = true;
                        self.asked.add(place);
                    }
                }
                if !lodged {
                    branches.lodge(name.clone(), Some(place));
                    self.asked.add(place);
                }
            }
            What::Unsubscribe(space, name) => {
                let topic = (*space, name.clone());
                for branch in &mut branches.list {
                    if branch.on.remove(&topic) {
                        branch.ask(Some(place), what.clone());
                        self.asked.add(place);
                    }
                }
            }
        }
        if let What::Subscribe(space, name) | What::Unsubscribe(space, name) = &what {
            self.note_branches(*space, name);
        }
    }

    fn note_branches(&self, space: Space, name: &Bytes) {
        let Some(branches) = self.branches.as_ref().filter(|_| space != Space::Shards) else { return };
        if let Some(entry) = self.link.register.register.lock().entry(space, name) {
            entry.branches = branches.count(space, name);
        }
    }

    /// Takes what branches have brought, or looks after them.
    pub(super) fn hear_branches(&mut self, heard: Heard) {
        match heard {
            Heard::Look => self.look_after_branches(),
            Heard::Brought((life, Ok(frames))) => {
                for frame in &frames {
                    if let Err(reason) = self.hear_frame(life, frame) {
                        return self.lose(life, &reason);
                    }
                }
            }
            Heard::Brought((life, Err(reason))) => self.lose(life, &reason),
        }
        self.reach();
    }

    fn hear_frame(&mut self, life: u64, frame: &[u8]) -> Result<(), String> {
        let Some(branches) = &mut self.branches else { return Ok(()) };
        let Some(branch) = branches.list.iter_mut().find(|branch| branch.life == life) else { return Ok(()) };
        branch.last_read = Instant::now();
        if let Some((space, name)) = topic(frame) {
            if space == Space::Shards || is_key_event(frame) {
                self.take(space, name, frame);
            }
            return Ok(());
        }
        self.finish_run();
        self.branch_answered(life, frame)
    }

    fn branch_answered(&mut self, life: u64, frame: &[u8]) -> Result<(), String> {
        let Some(branches) = &mut self.branches else { return Ok(()) };
        let Some(branch) = branches.list.iter_mut().find(|branch| branch.life == life) else { return Ok(()) };
        let front = branch.sent.front();
        let expected = front.is_some_and(|(_, what, _)| matches!(what, What::Unsubscribe(Space::Shards, _)));
        let mut words = reply::elements(frame).filter_map(reply::bulk);
        if words.next() == Some(b"sunsubscribe") && !expected {
            // The node has given the slot away.
            let name = Bytes::copy_from_slice(words.next().unwrap_or_default());
            if branch.on.remove(&(Space::Shards, name.clone())) {
                branches.lodge(name, None);
                branches.cluster.ask_around();
            }
            return Ok(());
        }
        let Some((place, what, _)) = branch.sent.pop_front() else {
            return Err("home sent an answer to nothing".to_owned());
        };
        match Answer::to(&what, frame) {
            Answer::Odd => return Err("home answered something else than was asked".to_owned()),
            Answer::Refused(Space::Shards, name, _) if Redirect::may_be(frame) => {
                branch.on.remove(&(Space::Shards, name.clone()));
                branches.lodge(name, place);
                branches.cluster.ask_around();
                return Ok(());
            }
            Answer::Refused(space, name, error) => {
                branch.on.remove(&(space, name.clone()));
                self.note_branches(space, &name);
                self.refuse(space, name, &error);
            }
            Answer::Done if matches!(what, What::Subscribe(Space::Shards, _)) => self.confirm(&what),
            Answer::Done => {}
        }
        if let Some(place) = place {
            self.asked.answered(place);
        }
        Ok(())
    }

    /// A branch has ended: what it was asked for is asked again of the next one.
    fn lose(&mut self, life: u64, reason: &str) {
        let Some(branches) = &mut self.branches else { return };
        let Some(at) = branches.list.iter().position(|branch| branch.life == life) else { return };
        let mut branch = branches.list.swap_remove(at);
        let home = &branch.node.dial.address;
        tracing::warn!(node = %home, reason, "a connection of subscriptions lost; messages are missed until it is back");
        branches.cluster.ask_around();
        for (place, what, _) in branch.sent.drain(..) {
            match (what, place) {
                (What::Subscribe(Space::Shards, name), Some(_)) => branches.lodge(name, place),
                (_, Some(place)) => self.asked.answered(place),
                _ => {}
            }
        }
        let lost = std::mem::take(&mut branch.on);
        for (space, name) in lost {
            if space == Space::Shards {
                branches.lodge(name, None);
            } else if let Some(entry) = self.link.register.register.lock().entry(space, &name) {
                entry.branches = branches.count(space, &name);
            }
        }
    }

    fn look_after_branches(&mut self) {
        let now = Instant::now();
        let Some(branches) = &mut self.branches else { return };
        branches.next_look = now + LOOK;
        let late: Vec<u64> = branches.list.iter().filter(|b| b.is_late(now)).map(|b| b.life).collect();
        let version = branches.cluster.version();
        let moved = std::mem::replace(&mut branches.version, version) != version;
        let probes = branches.next_probe <= now;
        if probes {
            branches.next_probe = now + PROBE;
            let silent = |b: &&mut Branch| b.sent.is_empty() && b.last_read + PROBE <= now;
            branches.list.iter_mut().filter(silent).for_each(|branch| branch.ask(None, What::Ping));
        }
        for life in late {
            self.lose(life, "no answer");
        }
        if moved || probes {
            self.balance();
        }
        self.house(now);
    }

    /// Asks the nodes that are concerned for what is wanted, and no others.
    fn balance(&mut self) {
        let Some(branches) = &mut self.branches else { return };
        let concerns = |space, name: &[u8]| space == Space::Shards || may_be_key_event(space, name);
        let wanted = self.link.register.register.lock().wanted_of(concerns);
        for (space, name) in &wanted {
            let nodes = branches.nodes(*space, name);
            let topic = (*space, name.clone());
            for branch in &mut branches.list {
                if !nodes.contains(&branch.id) && branch.on.remove(&topic) {
                    branch.ask(None, What::Unsubscribe(*space, name.clone()));
                }
            }
            // Shards that have no node are housed elsewhere.
            for node in nodes.into_iter().filter(|_| *space != Space::Shards) {
                branches.subscribe(node, *space, name, None);
            }
            let housed = branches.count(*space, name) > 0 || branches.homeless.iter().any(|h| h.name == name);
            if *space == Space::Shards && !housed {
                branches.lodge(name.clone(), None);
            }
        }
        branches.list.retain(|branch| !branch.on.is_empty() || !branch.sent.is_empty());
        wanted.iter().for_each(|(space, name)| self.note_branches(*space, name));
    }

    /// Finds nodes for shard channels that have none.
    fn house(&mut self, now: Instant) {
        let Some(branches) = &mut self.branches else { return };
        let mut refused = Vec::new();
        for Homeless { name, place, since } in std::mem::take(&mut branches.homeless) {
            let housed = branches.count(Space::Shards, &name) > 0;
            let mut register = self.link.register.register.lock();
            let wanted = register.entry(Space::Shards, &name).filter(|entry| !housed && entry.wanted > 0);
            let waits = wanted.map(|entry| (entry.confirmed, entry.asked) = (false, true)).is_some();
            drop(register);
            let owner = branches.cluster.owner(slot(&name));
            if !waits {
                place.into_iter().for_each(|place| self.asked.answered(place));
            } else if owner != NodeId::NONE && branches.branch(owner).is_some() {
                branches.subscribe(owner, Space::Shards, &name, place);
            } else if since + PATIENCE <= now && place.is_some() {
                refused.push(name);
                place.into_iter().for_each(|place| self.asked.answered(place));
            } else {
                branches.homeless.push(Homeless { name, place, since });
            }
        }
        for name in refused {
            let error =
                "CLUSTERDOWN strata: the node of home that the shard channel belongs to cannot be had";
            self.refuse(Space::Shards, name, error);
        }
    }
}
