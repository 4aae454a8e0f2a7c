//! The task that keeps the map of slots: it asks the nodes, and weighs what they say.
//!
//! A node that was cut off, or stopped for a while, still says that it owns what it owned. So a node's word about its
//! own gain counts only once the present owner does not object: because it says the same, or does not answer.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::layout::{Range, from_shards, from_slots};
use super::slot::{SLOTS, SlotSet};
use super::{Cluster, NodeId};
use crate::backend::connection::{Control, DialError};
use crate::clock;
use crate::resp::Proto;

/// Nodes are asked at most this often.
const CALM: Duration = Duration::from_millis(50);
/// A node that takes longer to say what it knows is passed over.
const PATIENCE: Duration = Duration::from_millis(500);
/// For so long the word of a redirection counts more than what others have not heard yet.
const FRESH: Duration = Duration::from_secs(2);

/// Who is told when slots change hands. Calls come from one task.
pub trait Tenure {
    /// These slots have no owner now: nothing kept of them may be served, nor become a copy. They get their new owner
    /// afterwards.
    fn vacate(&self, slots: &SlotSet);
    /// These nodes own slots now.
    fn settle(&self, masters: &[NodeId]);
}

/// What a redirection said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hint {
    pub(super) slot: u16,
    pub(super) from: NodeId,
    pub(super) to: NodeId,
}

/// See the module's text.
pub struct Keeper<T: Tenure> {
    cluster: Arc<Cluster>,
    tenure: Rc<T>,
    lines: HashMap<NodeId, Control>,
    /// Until when a redirection's word counts.
    told: HashMap<u16, (NodeId, u64)>,
    /// Asked last.
    last: NodeId,
    interval: Duration,
    masters: Vec<NodeId>,
    /// Nobody answered last time.
    lost: bool,
}

impl<T: Tenure> Keeper<T> {
    /// Asks at least every `interval`.
    pub fn new(cluster: Arc<Cluster>, tenure: Rc<T>, interval: Duration) -> Self {
        let (last, interval) = (NodeId::FIRST, interval.max(CALM));
        let (lines, told, masters) = Default::default();
        Keeper { cluster, tenure, lines, told, last, interval, masters, lost: false }
    }

    /// See the type's text. Never ends.
    pub async fn run(mut self) {
        let mut next = Instant::now();
        let mut calm = next;
        loop {
            let cluster = self.cluster.clone();
            tokio::select! {
                () = cluster.wanted.notified() => {
                    let hinted = self.take_hints();
                    if calm > Instant::now() {
                        next = next.min(calm);
                        continue;
                    }
                    self.refresh(hinted).await;
                }
                () = sleep_until(next) => self.refresh(None).await,
            }
            calm = Instant::now() + CALM;
            next = Instant::now() + if self.lost { CALM } else { self.interval };
        }
    }

    /// Applies what redirections said; returns the last node that one named.
    fn take_hints(&mut self) -> Option<NodeId> {
        let hints = std::mem::take(&mut *self.cluster.hints.lock());
        let until = clock::now().saturating_add(clock::nanos(FRESH));
        let mut changes = BTreeMap::new();
        for hint in &hints {
            // One that comes late says what was.
            if self.cluster.owner(hint.slot) == hint.from {
                changes.insert(hint.slot, hint.to);
                self.told.insert(hint.slot, (hint.to, until));
            }
        }
        self.apply(&changes);
        self.settle();
        hints.last().map(|hint| hint.to)
    }

    async fn refresh(&mut self, hinted: Option<NodeId>) {
        let mut candidates: Vec<NodeId> = hinted.into_iter().collect();
        let (mut known, all) = (self.cluster.masters(), self.cluster.everybody());
        let turn = known.iter().position(|number| *number > self.last).unwrap_or(0);
        known.rotate_left(turn);
        candidates.extend(known.into_iter().chain(all));
        let mut asked = Vec::new();
        for number in candidates {
            if asked.contains(&number) || self.cluster.node(number).breaker.check().is_err() {
                continue;
            }
            asked.push(number);
            if let Some(ranges) = self.ask(number).await {
                self.last = number;
                self.lost = false;
                return self.weigh(number, &ranges).await;
            }
        }
        if !std::mem::replace(&mut self.lost, true) {
            tracing::warn!(nodes = asked.len(), "no node of the cluster says who owns which slots");
        }
    }

    /// What a node says; None: nothing of use.
    async fn ask(&mut self, number: NodeId) -> Option<Vec<Range>> {
        let node = self.cluster.node(number);
        let mut control = match self.lines.remove(&number) {
            Some(control) => control,
            None => {
                let opened = timeout(PATIENCE, node.dial.open(Proto::Resp2, 0, "strata-cluster")).await;
                match opened.unwrap_or(Err(DialError::Timeout(PATIENCE))) {
                    Ok(stream) => Control::new(stream),
                    Err(e) => {
                        node.failed(&e);
                        return None;
                    }
                }
            }
        };
        let at = self.cluster.place(number);
        let asking = async {
            let slots = control.ask_raw(&[b"CLUSTER", b"SLOTS"]).await?;
            if let Some(ranges) = from_slots(&slots, &at) {
                return Ok(Some(ranges));
            }
            let shards = control.ask_raw(&[b"CLUSTER", b"SHARDS"]).await?;
            if from_shards(&shards, &at).is_none() {
                let said = String::from_utf8_lossy(&slots).trim_end().to_owned();
                tracing::warn!(node = %at, said, "it does not say who owns which slots");
            }
            Ok::<_, DialError>(from_shards(&shards, &at))
        };
        match timeout(PATIENCE, asking).await {
            Ok(Ok(ranges)) => {
                node.up();
                self.lines.insert(number, control);
                ranges.filter(|ranges| !ranges.is_empty())
            }
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// Takes over what a node said, as far as it is to be believed.
    async fn weigh(&mut self, by: NodeId, ranges: &[Range]) {
        let (mut changes, claims) = self.compare(by, ranges);
        // The owner of today is heard about what another claims for itself.
        for (owner, claimed) in claims {
            match self.ask(owner).await {
                None => changes.extend(claimed),
                Some(ranges) => {
                    let (said, _) = self.compare(owner, &ranges);
                    changes.extend(said.into_iter().filter(|(slot, _)| claimed.contains_key(slot)));
                }
            }
        }
        self.apply(&changes);
        self.settle();
    }

    /// What would change by a node's word: what is believed at once, and what it claims for itself, by present owner.
    #[allow(clippy::type_complexity, reason = "two maps of slots, one of them by owner")]
    fn compare(
        &mut self,
        by: NodeId,
        ranges: &[Range],
    ) -> (BTreeMap<u16, NodeId>, BTreeMap<NodeId, BTreeMap<u16, NodeId>>) {
        let now = clock::now();
        self.told.retain(|_, (_, until)| *until > now);
        let (mut changes, mut claims) = (BTreeMap::new(), BTreeMap::<_, BTreeMap<_, _>>::new());
        for range in ranges {
            let to = match self.cluster.meet(&range.master) {
                Ok(to) => to,
                Err(error) => {
                    tracing::warn!(node = %range.master, %error, "a node of the cluster cannot be used");
                    continue;
                }
            };
            for slot in range.first..=range.last {
                let owner = self.cluster.owner(slot);
                if owner == to || self.told.get(&slot).is_some_and(|(told, _)| *told == owner && by != owner)
                {
                    continue;
                }
                if owner != NodeId::NONE && by == to {
                    claims.entry(owner).or_default().insert(slot, to);
                } else {
                    changes.insert(slot, to);
                }
            }
        }
        (changes, claims)
    }

    fn apply(&self, changes: &BTreeMap<u16, NodeId>) {
        if changes.is_empty() {
            return;
        }
        let owners = &self.cluster.owners;
        let slots: SlotSet = changes.keys().copied().collect();
        for slot in changes.keys() {
            owners[usize::from(*slot)].store(NodeId::NONE.0, SeqCst);
        }
        self.tenure.vacate(&slots);
        for (slot, to) in changes {
            owners[usize::from(*slot)].store(to.0, SeqCst);
        }
        self.cluster.version.fetch_add(1, SeqCst);
        tracing::debug!(slots = slots.len(), of = SLOTS, "slots have new owners");
    }

    fn settle(&mut self) {
        let mut masters: Vec<NodeId> = self.cluster.owners().into_iter().collect();
        masters.sort_unstable();
        masters.dedup();
        masters.retain(|number| *number != NodeId::NONE);
        if masters != self.masters {
            let names: Vec<_> = masters.iter().map(|m| self.cluster.place(*m).to_string()).collect();
            tracing::info!(masters = names.join(" "), "the cluster's masters");
            self.masters.clone_from(&masters);
            self.cluster.members.write().masters.clone_from(&masters);
            self.lines.retain(|number, _| masters.contains(number));
            self.tenure.settle(&masters);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::backend::cluster::tests::{at, cluster};

    #[derive(Default)]
    struct Told(RefCell<Vec<String>>);

    impl Tenure for Told {
        fn vacate(&self, slots: &SlotSet) {
            self.0.borrow_mut().push(format!("vacate {}", slots.len()));
        }
        fn settle(&self, masters: &[NodeId]) {
            self.0.borrow_mut().push(format!("settle {masters:?}"));
        }
    }

    fn keeper(seeds: &[u16]) -> (Keeper<Told>, Rc<Told>) {
        let told = Rc::new(Told::default());
        (Keeper::new(Arc::new(cluster(seeds)), told.clone(), Duration::from_secs(1)), told)
    }

    fn range(first: u16, last: u16, port: u16) -> Range {
        Range { first, last, master: at(port), id: Box::default() }
    }

    #[tokio::test]
    async fn owners_change_only_after_their_slots_were_vacated() {
        let (mut keeper, told) = keeper(&[1]);
        keeper.weigh(NodeId(0), &[range(0, 99, 1), range(100, 16_383, 2)]).await;
        assert_eq!(*told.0.borrow(), ["vacate 16384", "settle [NodeId(0), NodeId(1)]"]);
        assert_eq!((keeper.cluster.owner(99), keeper.cluster.owner(100)), (NodeId(0), NodeId(1)));
        let version = keeper.cluster.version();
        keeper.weigh(NodeId(1), &[range(0, 99, 1), range(100, 16_383, 2)]).await;
        assert_eq!((keeper.cluster.version(), told.0.borrow().len()), (version, 2));
        // The owner itself gives one away.
        keeper.weigh(NodeId(0), &[range(0, 98, 1), range(99, 16_383, 2)]).await;
        assert_eq!((keeper.cluster.owner(98), keeper.cluster.owner(99)), (NodeId(0), NodeId(1)));
        assert_eq!(told.0.borrow()[2..], ["vacate 1"]);
    }

    #[tokio::test]
    async fn a_claim_counts_once_the_owner_does_not_object() {
        let (mut keeper, _) = keeper(&[1]);
        keeper.weigh(NodeId(0), &[range(0, 16_383, 1)]).await;
        let (changes, claims) = {
            let number = keeper.cluster.meet(&at(2)).expect("a node");
            keeper.compare(number, &[range(0, 9, 2), range(10, 16_383, 1)])
        };
        assert_eq!((changes.len(), claims[&NodeId(0)].len()), (0, 10));
        // Nothing listens at that port, so nobody objects.
        keeper.weigh(NodeId(1), &[range(0, 9, 2)]).await;
        assert_eq!((keeper.cluster.owner(9), keeper.cluster.owner(10)), (NodeId(1), NodeId(0)));
    }

    #[tokio::test]
    async fn a_redirection_counts_more_than_what_others_have_not_heard() {
        let (mut keeper, _) = keeper(&[1, 2, 3]);
        keeper.weigh(NodeId(2), &[range(0, 16_383, 1)]).await;
        keeper.cluster.moved(5, NodeId(0), NodeId(1));
        assert_eq!(keeper.take_hints(), Some(NodeId(1)));
        assert_eq!(keeper.cluster.owner(5), NodeId(1));
        keeper.weigh(NodeId(2), &[range(0, 16_383, 1)]).await;
        assert_eq!(keeper.cluster.owner(5), NodeId(1));
        // What comes late says what was; the owner itself may know better.
        keeper.cluster.moved(5, NodeId(0), NodeId(2));
        keeper.take_hints();
        assert_eq!(keeper.cluster.owner(5), NodeId(1));
        keeper.weigh(NodeId(1), &[range(5, 5, 3)]).await;
        assert_eq!(keeper.cluster.owner(5), NodeId(2));
    }
}
