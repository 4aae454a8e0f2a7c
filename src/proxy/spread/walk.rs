//! SCAN over several nodes: the masters one after the other, with cursors that say where a walk is.
//!
//! Redis' promise is kept though slots move meanwhile: what is there during the whole walk is returned at least once. A
//! pass goes through some masters. Before it, and when it has, the masters are asked what they own, and what moved in
//! between is looked at: slots that have another owner, or are on their way to one. A key goes from the owner to the next
//! one only, so a walk that asked that one first asks it again, now for the keys of these slots alone; and so on until
//! nothing has moved. A slot that went away and came back has its owner in a later epoch. A master that is gone is left
//! out: its slots have moved.
//!
//! A cursor holds the pass (12 bits: a digest of the map it began with, so that any strata before the same home knows it),
//! the place among its nodes, and the node's own cursor. One that nobody knows, or no longer, begins anew: what is
//! returned twice was never promised not to be.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::resp::{encode, reply};

/// Slots of a cluster.
pub(super) const SLOTS: usize = 16_384;
/// Bits of a cursor that name the pass.
const TAG_BITS: u32 = 12;
/// Passes that are remembered. Each may hold a map of its own, of 32 KB.
const REMEMBERED: usize = 64;
/// Stands for the owner of a slot that has none.
const NOBODY: u16 = u16::MAX;
/// A cursor of no pass: all begins anew.
pub(super) const ANEW: u64 = 1 << TAG_BITS;

/// Which masters there are, and whose each slot is, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Ground {
    /// By rising name.
    masters: Vec<Box<str>>,
    /// Places in `masters`.
    owners: Box<[u16]>,
    /// The masters' own, if they were asked: an owner that had a slot back has a later one than before.
    epochs: Vec<u64>,
}

/// What a master says of itself in CLUSTER NODES.
pub(super) struct Said {
    /// The ranges of its slots, both ends included.
    owned: Vec<(u16, u16)>,
    imports: Vec<Import>,
    epoch: u64,
}

/// A slot that is on its way to a node.
pub(super) type Import = (u16, Box<str>);

/// Some masters, to be asked one after the other.
#[derive(Debug)]
pub(super) struct Pass {
    tag: u64,
    masters: Vec<Box<str>>,
    /// The only slots whose keys are wanted, by rising number; None: all.
    only: Option<Vec<u16>>,
    /// What was known when it began.
    ground: Arc<Ground>,
    /// What was on its way when it began, and will have been seen where it goes when it ends.
    imports: Vec<Import>,
}

/// What is to be done for a step.
#[derive(Debug)]
pub(super) enum Step {
    /// All masters are asked what they own, and the first of them for its first page, for [`Walks::begin`].
    Begin,
    /// This master is asked, with this cursor of its own.
    Ask { at: Station, master: Box<str>, cursor: u64 },
    /// All masters are asked what they own and what is on its way to them, for [`Walks::check`].
    Check(Station),
}

/// Where a walk is: a master of a pass, or its end.
#[derive(Debug)]
pub(super) struct Station {
    pass: Arc<Pass>,
    index: usize,
}

/// The passes of all walks that are under way.
#[derive(Debug, Default)]
pub struct Walks {
    passes: VecDeque<Arc<Pass>>,
    /// The map of this version.
    ground: Option<(u64, Arc<Ground>)>,
}

impl Ground {
    /// Of the masters' names, each with the ranges of its slots (both ends included).
    pub(super) fn of<'a>(masters: impl Iterator<Item = (&'a str, Vec<(u16, u16)>)>) -> Self {
        let mut all: Vec<_> = masters.filter(|(_, ranges)| !ranges.is_empty()).collect();
        all.sort_unstable();
        let mut owners = vec![NOBODY; SLOTS].into_boxed_slice();
        for (place, (_, ranges)) in all.iter().enumerate() {
            for (first, last) in ranges {
                let last = usize::from(*last).min(SLOTS - 1);
                owners[usize::from(*first).min(last)..=last].fill(place as u16);
            }
        }
        Ground { masters: all.into_iter().map(|(name, _)| name.into()).collect(), owners, epochs: Vec::new() }
    }

    /// The masters, by rising name.
    pub(super) fn masters(&self) -> &[Box<str>] {
        &self.masters
    }

    /// The same as all the masters say; None: somebody says something else.
    pub(super) fn confirmed(&self, said: &[Said]) -> Option<Arc<Ground>> {
        let mut pairs = self.masters.iter().zip(said);
        let all =
            said.len() == self.masters.len() && pairs.all(|(name, said)| self.agrees(name, &said.owned));
        let epochs = || said.iter().map(|said| said.epoch).collect();
        all.then(|| Arc::new(Ground { epochs: epochs(), ..self.clone() }))
    }

    fn owner(&self, slot: usize) -> Option<&str> {
        self.masters.get(usize::from(self.owners[slot])).map(|name| &**name)
    }

    /// Its owner, and that one's epoch.
    fn tenure(&self, slot: usize) -> Option<(&str, Option<&u64>)> {
        self.owner(slot).map(|owner| (owner, self.epochs.get(usize::from(self.owners[slot]))))
    }

    fn has(&self, name: &str) -> bool {
        self.masters.binary_search_by(|master| (**master).cmp(name)).is_ok()
    }

    /// Whether a master has these ranges and nothing else.
    fn agrees(&self, name: &str, ranges: &[(u16, u16)]) -> bool {
        let owned = (0..SLOTS).filter(|slot| self.owner(*slot) == Some(name)).count();
        let theirs = |slot: u16| usize::from(slot) < SLOTS && self.owner(usize::from(slot)) == Some(name);
        let told: Vec<u16> = ranges.iter().flat_map(|(first, last)| *first..=*last).collect();
        told.len() == owned && told.into_iter().all(theirs)
    }

    fn digest(&self, salt: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self, salt).hash(&mut hasher);
        hasher.finish()
    }
}

impl Walks {
    /// The map of this version.
    pub(super) fn ground(&mut self, version: u64, survey: impl FnOnce() -> Ground) -> Arc<Ground> {
        match &self.ground {
            Some((of, ground)) if *of == version => ground.clone(),
            _ => self.ground.insert((version, Arc::new(survey()))).1.clone(),
        }
    }

    /// The step that a cursor stands for.
    pub(super) fn step(&mut self, cursor: u64, ground: &Arc<Ground>) -> Step {
        let rest = cursor >> TAG_BITS;
        let tag = cursor & ((1 << TAG_BITS) - 1);
        // Tags are not 0.
        let Some(pass) = self.find(tag) else { return Step::Begin };
        let places = pass.masters.len() as u64 + 1;
        let (mut index, mut cursor) = ((rest % places) as usize, rest / places);
        while let Some(master) = pass.masters.get(index) {
            if ground.has(master) {
                return Step::Ask { master: master.clone(), at: Station { pass, index }, cursor };
            }
            (index, cursor) = (index + 1, 0);
        }
        Step::Check(Station { pass, index })
    }

    /// What follows a pass, once the masters have said what they own and what is on its way to them: the next cursor, 0
    /// if the walk is over.
    pub(super) fn check(&mut self, at: &Station, ground: &Arc<Ground>, said: &[Said]) -> u64 {
        let before = &at.pass;
        let imports: Vec<Import> = said.iter().flat_map(|said| said.imports.iter().cloned()).collect();
        let moved = (0..SLOTS).filter(|slot| ground.tenure(*slot) != before.ground.tenure(*slot));
        let moved: Vec<u16> = moved.map(|slot| slot as u16).collect();
        let fresh: Vec<&Import> = imports.iter().filter(|import| !before.imports.contains(import)).collect();
        let gained = moved.iter().filter_map(|slot| ground.owner(usize::from(*slot)));
        let mut masters: Vec<Box<str>> =
            gained.chain(fresh.iter().map(|(_, to)| &**to)).map(Into::into).collect();
        masters.sort_unstable();
        masters.dedup();
        if masters.is_empty() {
            return 0;
        }
        let mut only: Vec<u16> = moved.iter().copied().chain(fresh.iter().map(|(slot, _)| *slot)).collect();
        only.sort_unstable();
        only.dedup();
        let salt = before.tag;
        let pass = Pass { tag: 0, masters, only: Some(only), ground: ground.clone(), imports };
        let pass = self.remember(pass, salt);
        Station { pass, index: 0 }.cursor(0).unwrap_or(0)
    }

    fn find(&mut self, tag: u64) -> Option<Arc<Pass>> {
        let index = self.passes.iter().position(|pass| pass.tag == tag)?;
        // Those that are not used are forgotten first.
        let pass = self.passes.remove(index)?;
        self.passes.push_back(pass.clone());
        Some(pass)
    }

    /// The beginning of a pass over everything, at the first master of what all have said that they own.
    pub(super) fn begin(&mut self, ground: &Arc<Ground>) -> Station {
        let known = self.passes.iter().find(|pass| pass.only.is_none() && pass.ground == *ground).cloned();
        let pass = known.unwrap_or_else(|| {
            let (masters, ground) = (ground.masters.clone(), ground.clone());
            self.remember(Pass { tag: 0, masters, only: None, ground, imports: Vec::new() }, 0)
        });
        Station { pass, index: 0 }
    }

    fn remember(&mut self, mut pass: Pass, salt: u64) -> Arc<Pass> {
        let tags =
            (0..).map(|again: u64| 1 + pass.ground.digest(salt ^ again << TAG_BITS) % ((1 << TAG_BITS) - 1));
        let free = tags.into_iter().find(|tag| self.passes.iter().all(|other| other.tag != *tag));
        pass.tag = free.unwrap_or(1);
        let pass = Arc::new(pass);
        if self.passes.len() >= REMEMBERED {
            self.passes.pop_front();
        }
        self.passes.push_back(pass.clone());
        pass
    }
}

impl Station {
    /// The cursor behind a step, the node's own being `next`. None: it is too large to be told.
    pub(super) fn next(&self, next: u64) -> Option<u64> {
        match next {
            0 => Station { index: self.index + 1, pass: self.pass.clone() }.cursor(0),
            next => self.cursor(next),
        }
    }

    fn cursor(&self, own: u64) -> Option<u64> {
        let places = self.pass.masters.len() as u64 + 1;
        let rest = own.checked_mul(places)?.checked_add(self.index as u64)?;
        (rest >> (u64::BITS - TAG_BITS) == 0).then_some(rest << TAG_BITS | self.pass.tag)
    }

    /// The cursor of this very step.
    pub(super) fn again(&self) -> u64 {
        self.cursor(0).unwrap_or(0)
    }

    /// Whether a key is to be returned.
    fn wants(&self, slot: u16) -> bool {
        self.pass.only.as_ref().is_none_or(|only| only.binary_search(&slot).is_ok())
    }

    /// A node's reply as the client gets it; None: it is none, or its cursor cannot be told.
    pub(super) fn reply(&self, reply: &[u8], slot_of: impl Fn(&[u8]) -> u16) -> Option<Vec<u8>> {
        let mut elements = reply::elements(reply);
        let own: u64 = std::str::from_utf8(reply::bulk(elements.next()?)?).ok()?.parse().ok()?;
        let page = elements.next()?;
        let mut keys: Vec<&[u8]> = reply::elements(page).collect();
        if self.pass.only.is_some() {
            keys.retain(|key| reply::bulk(key).is_some_and(|key| self.wants(slot_of(key))));
        }
        let mut out = Vec::with_capacity(reply.len() + 16);
        let next = self.next(own)?;
        encode::array(&mut out, 2);
        encode::bulk(&mut out, next.to_string().as_bytes());
        encode::array(&mut out, keys.len());
        keys.iter().for_each(|key| out.extend_from_slice(key));
        Some(out)
    }
}

/// The reply to a step that brings no keys.
pub(super) fn empty_page(next: u64) -> Vec<u8> {
    let mut out = Vec::new();
    encode::array(&mut out, 2);
    encode::bulk(&mut out, next.to_string().as_bytes());
    encode::array(&mut out, 0);
    out
}

/// A cursor as Redis reads it. None: it is none.
pub(super) fn parse_cursor(word: &[u8]) -> Option<u64> {
    // What strtoul makes of a sign, and of nothing at all.
    let (negative, digits) = match word {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return word.is_empty().then_some(0);
    }
    let number: u64 =
        digits.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(digits).ok())??.parse().ok()?;
    Some(if negative { number.wrapping_neg() } else { number })
}

impl Said {
    /// Of the reply to CLUSTER NODES of the master of this name; None: it does not say.
    pub(super) fn of(nodes: &[u8], master: &str) -> Option<Said> {
        let text = String::from_utf8_lossy(nodes);
        let myself =
            |line: &&str| line.split(' ').nth(2).is_some_and(|f| f.split(',').any(|f| f == "myself"));
        let mut words = text.lines().find(myself)?.split(' ').skip(6);
        let epoch = words.next()?.parse().ok()?;
        let mut said = Said { owned: Vec::new(), imports: Vec::new(), epoch };
        // Behind the state of the link: `first-last`, one slot, or `[slot-<-node]` for what is on its way here.
        for word in words.skip(1) {
            let slot = |word: &str| word.parse::<u16>().ok();
            if let Some(moving) = word.strip_prefix('[') {
                let import = moving.split_once("-<-").and_then(|(import, _)| slot(import));
                said.imports.extend(import.map(|slot| (slot, Box::from(master))));
            } else {
                let (first, last) = word.split_once('-').unwrap_or((word, word));
                said.owned.extend(slot(first).zip(slot(last)));
            }
        }
        Some(said)
    }
}

#[cfg(test)]
mod tests;
