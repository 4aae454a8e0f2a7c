//! Transactions: MULTI, its commands and EXEC go home as one, and only EXEC's reply comes back.

use std::rc::Rc;

use super::compressed::Shown;
use super::held::Shows;
use super::known_scripts::Digest;
use super::lease::Own;
use super::{Ask, Client, Counting, Crossed, Proxy, Receiver, Ticket, Way, error_reply, failure_text};
use crate::backend::cluster::NodeId;
use crate::backend::lane::{Outcome, Reply};
use crate::command::{Command, KeyRef};
use crate::resp::{Request, encode, reply};
use crate::router::Effect;
use crate::tier::copies::Copies;

/// What several commands together mean for copies.
#[derive(Debug, Default, Clone)]
pub struct Effects {
    /// Hashes of keys that they may change.
    writes: Vec<u64>,
    /// Hashes of keys that their replies tell of.
    reads: Vec<u64>,
    reads_unnamed: bool,
    writes_unnamed: bool,
    writes_all: bool,
    scripts: bool,
    /// Those that are called by their digests.
    called: Vec<Digest>,
    slot: Slot,
    counted: Counted,
    /// Where in home's reply subscribers are counted, and which.
    counting: Vec<(u32, Counting)>,
    /// Commands that come before those, whose replies are nobody's.
    before: usize,
    /// Where EXEC's reply shows values that may be compressed: places among its elements.
    shown: Vec<(usize, Box<Shown>)>,
}

/// The slot of all keys.
#[derive(Debug, Default, Clone, Copy)]
enum Slot {
    /// There are no keys so far, or home is no cluster.
    #[default]
    Any,
    One(u16),
    Crossed,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counted {
    reads: u64,
    writes: u64,
    deletes: u64,
}

impl Effects {
    /// Adds a command.
    pub fn add(
        &mut self,
        proxy: &Proxy,
        request: &Request<'_>,
        command: Option<&Command>,
        effect: Effect,
        keys: &[KeyRef],
    ) {
        match effect {
            Effect::None => {}
            Effect::Reads | Effect::ReadsUnnamed => self.counted.reads += 1,
            Effect::Writes | Effect::WritesUnnamed | Effect::WritesAll => {
                self.counted.writes += 1;
                self.counted.deletes += u64::from(command.is_some_and(super::direct::deletes));
            }
        }
        self.scripts |= command.is_some_and(Command::runs_script);
        self.called.extend(command.and_then(|command| proxy.script_of(command, request)));
        let Some(copies) = &proxy.shared.copies else { return };
        let hash = |k: &KeyRef| copies.l1().hash(request.arg(k.index as usize).unwrap_or_default());
        match effect {
            Effect::None => {}
            Effect::Reads => self.reads.extend(keys.iter().map(hash)),
            Effect::ReadsUnnamed => self.reads_unnamed = true,
            Effect::Writes => self.writes.extend(keys.iter().map(hash)),
            Effect::WritesUnnamed => {
                self.writes.extend(keys.iter().map(hash));
                self.writes_unnamed = true;
            }
            Effect::WritesAll => self.writes_all = true,
        }
    }

    /// The reply at `index` of home's counts subscribers.
    pub fn counts(&mut self, index: u32, what: Counting) {
        self.counting.push((index, what));
    }

    /// Something in it is about this slot.
    pub fn at(&mut self, slot: Option<u16>) {
        self.slot = match (self.slot, slot) {
            (same, None) => same,
            (Slot::Any, Some(slot)) => Slot::One(slot),
            (Slot::One(before), Some(slot)) if before == slot => Slot::One(slot),
            _ => Slot::Crossed,
        };
    }

    /// The slot of all its keys, if there are any.
    ///
    /// # Errors
    /// They are in several slots.
    pub fn slot(&self) -> Result<Option<u16>, Crossed> {
        match self.slot {
            Slot::Any => Ok(None),
            Slot::One(slot) => Ok(Some(slot)),
            Slot::Crossed => Err(Crossed),
        }
    }

    /// Adds what only shows keys (None: many), such as that one of those watched was changed.
    pub fn shows(&mut self, hashes: Option<&[u64]>) {
        match hashes {
            Some(hashes) => self.reads.extend_from_slice(hashes),
            None => self.reads_unnamed = true,
        }
    }

    /// EXEC's reply shows at this place what is to be made plain, in this way.
    pub(super) fn show(&mut self, place: usize, shown: Box<Shown>) {
        self.shown.push((place, shown));
    }

    /// So many elements of EXEC's reply are nobody's.
    pub(super) fn show_from(&mut self, before: usize) {
        self.before = before;
    }

    /// Whether there are scripts among them.
    pub fn run_scripts(&self) -> bool {
        self.scripts
    }

    /// Bytes it takes.
    pub fn size(&self) -> usize {
        let counting = self.counting.iter().map(|(_, what)| what.size()).sum::<usize>();
        (self.writes.len() + self.reads.len()) * size_of::<u64>() + counting
    }

    fn pack(&mut self) {
        for keys in [&mut self.writes, &mut self.reads] {
            keys.sort_unstable();
            keys.dedup();
        }
    }

    /// All keys; None: some are not known.
    fn keys(&self) -> Option<Vec<u64>> {
        let all = self.reads_unnamed || self.writes_unnamed || self.writes_all;
        (!all).then(|| [&self.writes[..], &self.reads[..]].concat())
    }

    fn writes(&self) -> bool {
        self.counted.writes > 0
    }

    /// Whether it may change what nobody names or announces.
    fn touches_all(&self, proxy: &Proxy, node: NodeId) -> bool {
        self.writes_all || self.writes_unnamed && !proxy.shared.guards.guarded(node)
    }

    /// When the reply is about to be released.
    fn fence(&self, proxy: &Proxy, node: NodeId, copies: &Copies) {
        if self.touches_all(proxy, node) {
            return copies.fence_all();
        }
        copies.show(self.reads.iter().copied());
        let dropped: usize = self.writes.iter().map(|hash| copies.fence(*hash)).sum();
        proxy.counters.l1_deletes.add(dropped as u64);
    }

    /// Of what the reply may be newer than copies that this client could read next.
    fn must_wait(&self, copies: &Copies) -> Option<Shows> {
        if self.writes_unnamed {
            Some(Shows::UnnamedWrite)
        } else if self.reads_unnamed {
            Some(Shows::Unnamed)
        } else if self.reads.iter().any(|hash| copies.holds(*hash)) {
            Some(Shows::Keys(self.reads.as_slice().into()))
        } else {
            None
        }
    }
}

/// The claim to EXEC's reply.
pub struct Transaction {
    proxy: Rc<Proxy>,
    client: Rc<dyn Client>,
    slot: u64,
    effects: Effects,
    sent: u64,
    way: Way,
    /// Another node of a cluster answered than the guard of its keys.
    strayed: bool,
    /// Replies so far.
    parts: u32,
    /// Home's error to MULTI, by which the commands were run one by one.
    unopened: Option<String>,
    /// Home's first error to a command that it did not queue.
    unqueued: Option<String>,
}

impl Proxy {
    /// Sends a transaction: `block` is MULTI, `commands` commands and EXEC, by `own` or the lane that is shared.
    pub fn transact(
        self: &Rc<Self>,
        ask: &Ask<'_>,
        own: Option<&Own>,
        block: &[u8],
        commands: u32,
        mut effects: Effects,
    ) {
        let lane = ask.lane.for_scripts(effects.scripts);
        let Ok(slot) = effects.slot() else { return self.refuse_crossing(ask) };
        let way = self.way_of_slot(lane, slot);
        effects.pack();
        let Counted { reads, writes, deletes } = effects.counted;
        self.counters.home_reads.add(reads);
        self.counters.home_sets.add(writes);
        self.counters.home_deletes.add(deletes);
        ask.client.unsettle(ask.slot, effects.keys().as_deref());
        if let (Some(copies), true) = (self.fenced_copies(), effects.touches_all(self, way.node)) {
            copies.fence_all();
        }
        let transaction = Transaction {
            proxy: self.clone(),
            client: ask.client.clone(),
            slot: ask.slot,
            effects,
            sent: ask.now,
            way,
            strayed: false,
            parts: 0,
            unopened: None,
            unqueued: None,
        };
        for name in transaction.scripts() {
            self.provide_script(way, own, name, ask.now);
        }
        let ticket = Ticket::Transaction(Box::new(transaction));
        let parts = commands + 1;
        match own {
            Some(own) => own.send(block, parts, ticket, ask.now),
            None => self.send_parts(way, block, parts, ticket, ask.now),
        }
        if lane.scripts {
            self.note_scripts();
        }
    }
}

impl Transaction {
    /// It begins anew elsewhere.
    pub(super) fn strayed(&mut self) {
        (self.strayed, self.parts, self.unopened, self.unqueued) = (true, 0, None, None);
    }

    /// The scripts that it calls by their digests.
    pub(super) fn scripts(&self) -> &[Digest] {
        &self.effects.called
    }

    /// The keys that its client watches are on another node now.
    pub(super) fn lost_watch(self, now: u64) {
        let mut reply = Vec::new();
        encode::null_array(&mut reply, self.way.lane.proto);
        self.complete(Outcome::Reply(Reply::Owned(reply.into())), now);
    }

    pub(super) fn part(&mut self, reply: &[u8]) {
        if reply::is_error(reply) {
            let words = || super::errand::error_text(reply);
            match self.parts {
                0 => self.unopened = Some(words()),
                _ => self.unqueued = self.unqueued.take().or_else(|| Some(words())),
            }
        }
        self.parts += 1;
    }

    pub(super) fn complete(self, outcome: Outcome<'_>, now: u64) {
        let proxy = self.proxy.clone();
        if self.effects.scripts {
            proxy.note_scripts();
        }
        let copies = proxy.fenced_copies();
        if let Some(copies) = copies {
            self.effects.fence(&proxy, self.way.node, copies);
            if self.strayed {
                copies.disown(self.effects.reads.iter().copied());
            }
        }
        let reply = match outcome {
            Outcome::Failed(failure) => {
                proxy.counters.errors.add(1);
                let text = failure_text(&proxy.node(self.way.node), &failure);
                return self.client.deliver(self.slot, Reply::Owned(error_reply(&text)), now);
            }
            Outcome::Reply(reply) => {
                proxy.shown_of_many(self.effects.before, &self.effects.shown, self.worded(reply))
            }
        };
        let (reply, heard) = proxy.counted_of_many(reply, &self.effects.counting);
        let took = now.saturating_sub(self.sent);
        let latency =
            if self.effects.counted.writes > 0 { &proxy.counters.home_set } else { &proxy.counters.home_get };
        latency.record(took, 1);
        // Clients that keep caches of their own are told of writes before they are acknowledged.
        let told =
            || (self.effects.writes() && !proxy.shared.listeners.is_empty()).then(|| Shows::Keys([].into()));
        match copies.and_then(|copies| self.effects.must_wait(copies)).or_else(told) {
            None if heard => proxy.after_messages(self.client, self.slot, reply.into_bytes(), None),
            Some(shows) => {
                let receiver = match heard {
                    true => Receiver::AfterMessages(self.client, self.slot),
                    false => Receiver::Client(self.client, self.slot),
                };
                proxy.after_confirmation(self.way.node, vec![receiver], reply.into_bytes(), shows, now);
            }
            None => self.client.deliver(self.slot, reply, now),
        }
    }

    /// EXEC's reply, or what became of the transaction before EXEC: the client has been told QUEUED already.
    fn worded<'a>(&self, reply: Reply<'a>) -> Reply<'a> {
        let error = |text: String| {
            let mut out = Vec::new();
            encode::error(&mut out, text);
            Reply::Owned(out.into())
        };
        match (&self.unopened, &self.unqueued) {
            (Some(refusal), _) => {
                self.proxy.shared.facts.refuse_transactions(refusal);
                error(format!(
                    "ERR strata: home refused MULTI, so the commands were run one by one; it said: {refusal}"
                ))
            }
            (None, Some(refusal)) if reply::is_error(reply.bytes()) => {
                error(format!("EXECABORT Transaction discarded because of: {refusal}"))
            }
            _ => reply,
        }
    }
}
