//! CLUSTER NODES: what one node believes of all.

use std::collections::BTreeMap;

struct Line {
    id: String,
    flags: Vec<String>,
    master: Option<String>,
    /// The config epoch of the node, or of its master.
    epoch: u64,
    linked: bool,
    /// Ranges, first and last; slots on their way are left out.
    slots: Vec<(u16, u16)>,
}

/// The belief of the node that was asked.
pub(super) struct View {
    lines: Vec<Line>,
}

impl View {
    pub(super) fn parse(text: &str) -> View {
        View { lines: text.lines().filter_map(line).collect() }
    }

    fn myself(&self) -> Option<&Line> {
        self.lines.iter().find(|line| line.has("myself"))
    }

    /// Whether the asked node is a master.
    pub(super) fn is_master(&self) -> bool {
        self.myself().is_some_and(|line| line.has("master"))
    }

    /// How many slots the asked node has.
    pub(super) fn slots(&self) -> usize {
        let own = self.myself().map_or(&[][..], |line| &line.slots);
        own.iter().map(|&(first, last)| usize::from(last - first) + 1).sum()
    }

    /// Who is there, each with its master (None: it is one itself) and its epoch.
    pub(super) fn roles(&self) -> BTreeMap<String, (Option<String>, u64)> {
        self.lines.iter().map(|line| (line.id.clone(), (line.master.clone(), line.epoch))).collect()
    }

    /// The config epoch of node `id`.
    pub(super) fn epoch(&self, id: &str) -> Option<u64> {
        self.lines.iter().find(|line| line.id == id).map(|line| line.epoch)
    }

    /// The master that node `id` follows.
    pub(super) fn master_of(&self, id: &str) -> Option<&str> {
        self.lines.iter().find(|line| line.id == id)?.master.as_deref()
    }

    /// Whether the node is known, past its handshake, and reached.
    pub(super) fn is_linked(&self, id: &str) -> bool {
        let well = |line: &Line| line.linked && !["handshake", "fail", "fail?"].iter().any(|f| line.has(f));
        self.lines.iter().any(|line| line.id == id && well(line))
    }

    /// Who has which slots.
    pub(super) fn owners(&self) -> BTreeMap<String, Vec<(u16, u16)>> {
        let with_slots = self.lines.iter().filter(|line| !line.slots.is_empty());
        with_slots.map(|line| (line.id.clone(), line.slots.clone())).collect()
    }

    /// The node that has `slot`.
    pub(super) fn owner(&self, slot: u16) -> Option<&str> {
        let has = |line: &&Line| line.slots.iter().any(|&(first, last)| (first..=last).contains(&slot));
        self.lines.iter().find(has).map(|line| &*line.id)
    }
}

impl Line {
    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|known| known == flag)
    }
}

fn line(text: &str) -> Option<Line> {
    let words: Vec<&str> = text.split(' ').collect();
    let [id, _, flags, master, _, _, epoch, link, slots @ ..] = &words[..] else {
        return None;
    };
    Some(Line {
        id: (*id).to_owned(),
        flags: flags.split(',').map(str::to_owned).collect(),
        master: (*master != "-").then(|| (*master).to_owned()),
        epoch: epoch.parse().ok()?,
        linked: *link == "connected",
        slots: slots.iter().filter_map(|range| parse_range(range)).collect(),
    })
}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}
