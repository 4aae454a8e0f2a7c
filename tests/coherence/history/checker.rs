//! Decides whether what was read of a register is what the guarantee allows.
//!
//! Every read is matched with the states it may have seen. Where several fit (absence, a length) it counts as having seen the
//! oldest that is allowed, so that doubt never makes a violation. From below a read is bound by what its client wrote and saw,
//! by what was seen through the same proxy before it began, and by the lease; from above by what had begun when it ended.
//! Of several faults of one read the first of `Wrong` is named. Once a read was wrong, verdicts on later ones of the same
//! register may be consequences of it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::model::{Cause, History, Nanos, Read, Route, State};

/// What a copy may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// No copy is older than this.
    pub(super) lease: Nanos,
    /// What the machine's scheduling is granted on top. Reads that need it are counted.
    pub(super) slack: Nanos,
    /// Whether a write in doubt may vanish after it was seen, as one may that a failover loses.
    pub(super) doubts_vanish: bool,
}

/// What may be wrong with a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wrong {
    /// Keys written together were read apart.
    Torn,
    /// No state the register had had by then.
    Impossible,
    /// Older than the lease allows.
    TooOld,
    /// Older than an acknowledged write of the same client.
    OwnWriteLost,
    /// Older than what the same client saw before.
    WentBack,
    /// Older than what another client of the same proxy had written or seen before this read began.
    WentBackAcrossClients,
    /// Home itself showed an old state: the check is wrong, or home.
    StaleAtHome,
}

#[derive(Debug)]
pub(super) struct Violation {
    pub(super) wrong: Wrong,
    /// The read in words, and all that happened to the register around it.
    pub(super) story: String,
}

/// A read that was allowed, of a state that had been overtaken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stale {
    pub(super) at: Nanos,
    /// How long before the read began the next state was acknowledged.
    pub(super) by: Nanos,
}

#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) violations: Vec<Violation>,
    pub(super) stale: Vec<Stale>,
    /// Reads older than the lease by no more than the slack.
    pub(super) late: usize,
}

/// The newest version known at a moment that only moves forward.
#[derive(Default)]
struct Floor {
    coming: BinaryHeap<Reverse<(Nanos, usize)>>,
    version: usize,
}

impl Floor {
    fn rises(&mut self, at: Nanos, version: usize) {
        self.coming.push(Reverse((at, version)));
    }

    /// Of all that came before `now`.
    fn before(&mut self, now: Nanos) -> usize {
        while let Some(&Reverse((at, version))) = self.coming.peek()
            && at < now
        {
            self.version = self.version.max(version);
            self.coming.pop();
        }
        self.version
    }
}

/// What bounds reads from below, as of the read in hand.
struct Floors {
    limits: Limits,
    home: Floor,
    lease: Floor,
    lease_and_slack: Floor,
    /// Per proxy and key.
    through: BTreeMap<(Route, usize), Floor>,
    /// Per client and key: written, seen.
    own: BTreeMap<(usize, usize), (usize, usize)>,
}

/// What one read has to show at least.
struct Least {
    written: usize,
    seen: usize,
    through: usize,
    lease: usize,
    lease_and_slack: usize,
    home: usize,
}

impl Floors {
    fn new(states: &[State], limits: Limits) -> Floors {
        let mut floors = Floors {
            limits,
            home: Floor::default(),
            lease: Floor::default(),
            lease_and_slack: Floor::default(),
            through: BTreeMap::new(),
            own: BTreeMap::new(),
        };
        for (version, state) in states.iter().enumerate() {
            if let (Some(done), Some(shown)) = (state.done, state.shown_by(limits.lease)) {
                floors.home.rises(done, version);
                floors.lease.rises(shown, version);
                floors.lease_and_slack.rises(shown + limits.slack, version);
            }
        }
        floors
    }

    fn least(&mut self, read: &Read) -> Least {
        let indexes = read.part.indexes();
        let own = indexes.iter().filter_map(|&index| self.own.get(&(read.by.client, index)));
        let (written, seen) = own.fold((0, 0), |most, own| (most.0.max(own.0), most.1.max(own.1)));
        let through = indexes.iter().map(|&index| {
            self.through.get_mut(&(read.by.route, index)).map_or(0, |floor| floor.before(read.begin))
        });
        Least {
            written,
            seen,
            through: through.max().unwrap_or(0),
            lease: self.lease.before(read.begin),
            lease_and_slack: self.lease_and_slack.before(read.begin),
            home: self.home.before(read.begin),
        }
    }

    /// A write was acknowledged to its client.
    fn wrote(&mut self, version: usize, state: &State) {
        let (Cause::Write { by, .. }, Some(done)) = (state.cause, state.done) else {
            return;
        };
        for index in [0, 1] {
            let own = self.own.entry((by.client, index)).or_default();
            own.0 = own.0.max(version);
            self.through.entry((by.route, index)).or_default().rises(done, version);
        }
    }

    /// A read was answered with this version, so home had it by then.
    fn saw(&mut self, version: usize, read: &Read) {
        for &index in read.part.indexes() {
            let own = self.own.entry((read.by.client, index)).or_default();
            own.1 = own.1.max(version);
            self.through.entry((read.by.route, index)).or_default().rises(read.end, version);
        }
        self.home.rises(read.end, version);
        self.lease.rises(read.end + self.limits.lease, version);
        self.lease_and_slack.rises(read.end + self.limits.lease + self.limits.slack, version);
    }
}

enum Event<'a> {
    Write(usize, &'a State),
    Read(&'a Read),
}

/// Writes by clients and reads in the order they began, those of one client in its own order.
fn events(history: &History) -> Vec<Event<'_>> {
    let writes = history.states.iter().enumerate().filter_map(|(version, state)| match state.cause {
        Cause::Write { turn, .. } => Some((turn, Event::Write(version, state))),
        Cause::Initial | Cause::Expiry { .. } => None,
    });
    let reads = history.reads.iter().map(|read| (read.turn, Event::Read(read)));
    let mut events: Vec<_> = writes.chain(reads).collect();
    events.sort_by_key(|(order, _)| *order);
    events.into_iter().map(|(_, event)| event).collect()
}

/// Checks all reads of one register.
pub(super) fn check(history: &History, limits: Limits) -> Verdict {
    let mut floors = Floors::new(&history.states, limits);
    let mut verdict = Verdict::default();
    for event in events(history) {
        match event {
            Event::Write(version, state) => floors.wrote(version, state),
            Event::Read(read) => judge(history, read, &mut floors, &mut verdict),
        }
    }
    verdict
}

fn judge(history: &History, read: &Read, floors: &mut Floors, verdict: &mut Verdict) {
    let states = &history.states;
    let begun = states.partition_point(|state| state.begin <= read.end);
    let newest = (0..begun).rev().find(|&version| read.seen.fits(&states[version].content));
    let least = floors.least(read);
    if let Some((wrong, expected)) = wrong(read, newest, &least) {
        let story = super::story::tell(history, read, wrong, newest, expected);
        verdict.violations.push(Violation { wrong, story });
        return;
    }
    let Some(newest) = newest else { return };
    let floor = match read.by.route {
        Route::Home => least.home,
        Route::Proxy(_) => least.lease_and_slack.max(least.through),
    };
    let floor = floor.max(least.written).max(least.seen);
    let oldest = (floor..=newest).find(|&version| read.seen.fits(&states[version].content));
    let oldest = oldest.unwrap_or(newest);
    let lasting = |version: &usize| !floors.limits.doubts_vanish || states[*version].done.is_some();
    floors.saw((0..=oldest).rev().find(lasting).unwrap_or(0), read);
    if newest < least.lease && matches!(read.by.route, Route::Proxy(_)) {
        verdict.late += 1;
    }
    if newest < least.home
        && let Some(overtaken) = states[newest + 1].done
    {
        verdict.stale.push(Stale { at: read.begin, by: read.begin.saturating_sub(overtaken) });
    }
}

/// What is wrong with a read that can have seen nothing newer than `newest`, and the version it should have shown at least.
fn wrong(read: &Read, newest: Option<usize>, least: &Least) -> Option<(Wrong, usize)> {
    if let super::model::Seen::Torn(_) = read.seen {
        return Some((Wrong::Torn, least.lease_and_slack));
    }
    let Some(newest) = newest else {
        return Some((Wrong::Impossible, least.lease_and_slack));
    };
    let through_proxy = [
        (Wrong::TooOld, least.lease_and_slack),
        (Wrong::OwnWriteLost, least.written),
        (Wrong::WentBack, least.seen),
        (Wrong::WentBackAcrossClients, least.through),
    ];
    let at_home = [(Wrong::StaleAtHome, least.home.max(least.written).max(least.seen))];
    let rules = match read.by.route {
        Route::Home => &at_home[..],
        Route::Proxy(_) => &through_proxy[..],
    };
    rules.iter().copied().find(|&(_, version)| newest < version)
}
