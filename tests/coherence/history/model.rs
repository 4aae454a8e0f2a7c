//! What happened, as the checker needs it: the states a register went through at home, and what was read of it.

use std::time::Instant;

/// Nanoseconds on the one monotonic clock of the run.
pub(super) type Nanos = u64;

pub(super) const MILLISECOND: Nanos = 1_000_000;
pub(super) const SECOND: Nanos = 1_000_000_000;

/// Starts at 0 with the run and is the same for all threads.
#[derive(Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Clock {
        Clock(Instant::now())
    }

    pub(super) fn now(self) -> Nanos {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(Nanos::MAX)
    }
}

/// What home is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Home is several servers: a script has to name its keys.
    pub(super) cluster: bool,
    /// So many replicas have to hold a write before it is certain to stay. None: home loses nothing that it
    /// acknowledged, and needs no witness.
    pub(super) replicas: Option<usize>,
    /// How much later than its time to live ends a value may vanish.
    pub(super) expiry_late: Nanos,
    /// Whether clients empty home now and then.
    pub(super) flushes: bool,
}

impl Terms {
    /// One server that appends every write to disk. Its clock is read once a command and counts milliseconds.
    pub(super) const ONE: Terms =
        Terms { cluster: false, replicas: None, expiry_late: 5 * MILLISECOND, flushes: true };
    /// A cluster. MIGRATE takes along how long a key has yet to live, and not when it ends.
    pub(super) const CLUSTER: Terms =
        Terms { cluster: true, replicas: Some(2), expiry_late: 250 * MILLISECOND, flushes: false };
}

/// The way an operation took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Route {
    /// Straight to home.
    Home,
    /// Through this proxy.
    Proxy(usize),
}

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Actor {
    pub(super) client: usize,
    pub(super) route: Route,
}

/// When an operation was sent, and its number among those of its client: by that a client's own come in its order, those of
/// one batch too.
pub(super) type Turn = (Nanos, u64);

/// What a register holds: `None` is absent.
pub(super) type Content = Option<Box<[u8]>>;

/// Why a register came to hold what it holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cause {
    /// Nothing was ever written to it.
    Initial,
    /// A command.
    Write { by: Actor, turn: Turn },
    /// Its time to live ended, which a command acknowledged at `told` had set.
    Expiry { told: Nanos },
}

/// One state of a register. Its place in the register's list of states is its version.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) content: Content,
    pub(super) cause: Cause,
    pub(super) what: &'static str,
    /// Not there before.
    pub(super) begin: Nanos,
    /// There, or overtaken, from then on. `None`: whether it was ever there is not known.
    pub(super) done: Option<Nanos>,
}

impl State {
    pub(super) fn initial() -> State {
        State { content: None, cause: Cause::Initial, what: "never written", begin: 0, done: Some(0) }
    }

    /// When no copy may show an older state any more, if copies may be `lease` old.
    ///
    /// An expiry needs no announcement to whoever knew of the time to live, so it has no lease of its own.
    pub(super) fn shown_by(&self, lease: Nanos) -> Option<Nanos> {
        let done = self.done?;
        Some(match self.cause {
            Cause::Initial => done,
            Cause::Write { .. } => done + lease,
            Cause::Expiry { told } => done.max(told + lease),
        })
    }
}

/// What a reply said of the register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Content(Content),
    Length(usize),
    Present(bool),
    /// Parts that were always written together had different contents.
    Torn(String),
}

impl Seen {
    pub(super) fn fits(&self, content: &Content) -> bool {
        match self {
            Seen::Content(seen) => seen == content,
            Seen::Length(length) => content.as_ref().map_or(0, |bytes| bytes.len()) == *length,
            Seen::Present(present) => content.is_some() == *present,
            Seen::Torn(_) => false,
        }
    }
}

/// Which keys of a register an operation was about. Only pairs have a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    First,
    Second,
    All,
}

impl Part {
    /// The indexes of the keys.
    pub(super) fn indexes(self) -> &'static [usize] {
        match self {
            Part::First => &[0],
            Part::Second => &[1],
            Part::All => &[0, 1],
        }
    }
}

/// One answered read.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) register: usize,
    pub(super) part: Part,
    pub(super) by: Actor,
    pub(super) turn: Turn,
    pub(super) begin: Nanos,
    pub(super) end: Nanos,
    pub(super) what: &'static str,
    pub(super) seen: Seen,
}

/// All that is known of one register.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub(super) name: String,
    /// In home's order; never empty.
    pub(super) states: Vec<State>,
    pub(super) reads: Vec<Read>,
}
