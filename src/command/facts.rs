//! The vocabulary of a command's facts, in the words of Redis' own `COMMAND` reply.

use bitflags::bitflags;

bitflags! {
    /// What a command is, as far as `COMMAND` tells: `may_replicate`, `protected`, `sentinel` and
    /// `only_sentinel` are hidden there on purpose, and modules bring rows of their own.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u32 {
        /// May change the dataset.
        const WRITE = 1 << 0;
        /// Only reads the dataset.
        const READONLY = 1 << 1;
        /// Refused when the server is out of memory.
        const DENYOOM = 1 << 2;
        /// Administration of the server.
        const ADMIN = 1 << 3;
        /// About channels.
        const PUBSUB = 1 << 4;
        /// Not allowed in scripts.
        const NOSCRIPT = 1 << 5;
        /// May wait for other clients.
        const BLOCKING = 1 << 6;
        /// Allowed while the dataset is being loaded.
        const LOADING = 1 << 7;
        /// Allowed on a replica that lost its master.
        const STALE = 1 << 8;
        /// Not shown to `MONITOR`.
        const SKIP_MONITOR = 1 << 9;
        /// Not kept in the slow log.
        const SKIP_SLOWLOG = 1 << 10;
        /// Carries its own `ASKING`.
        const ASKING = 1 << 11;
        /// O(1) or O(log N).
        const FAST = 1 << 12;
        /// Allowed before `AUTH`.
        const NO_AUTH = 1 << 13;
        /// The keys are not given by first, last and step.
        const MOVABLEKEYS = 1 << 14;
        /// Not allowed in `MULTI`.
        const NO_MULTI = 1 << 15;
        /// Not allowed while a replica loads asynchronously.
        const NO_ASYNC_LOADING = 1 << 16;
        /// May name no key although it has key specifications.
        const NO_MANDATORY_KEYS = 1 << 17;
        /// Allowed while a script runs for too long.
        const ALLOW_BUSY = 1 << 18;
    }
}

bitflags! {
    /// The ACL categories a command is in.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Acl: u32 {
        /// `@keyspace`
        const KEYSPACE = 1 << 0;
        /// `@read`
        const READ = 1 << 1;
        /// `@write`
        const WRITE = 1 << 2;
        /// `@set`
        const SET = 1 << 3;
        /// `@sortedset`
        const SORTEDSET = 1 << 4;
        /// `@list`
        const LIST = 1 << 5;
        /// `@hash`
        const HASH = 1 << 6;
        /// `@string`
        const STRING = 1 << 7;
        /// `@bitmap`
        const BITMAP = 1 << 8;
        /// `@hyperloglog`
        const HYPERLOGLOG = 1 << 9;
        /// `@geo`
        const GEO = 1 << 10;
        /// `@stream`
        const STREAM = 1 << 11;
        /// `@pubsub`
        const PUBSUB = 1 << 12;
        /// `@admin`
        const ADMIN = 1 << 13;
        /// `@fast`
        const FAST = 1 << 14;
        /// `@slow`
        const SLOW = 1 << 15;
        /// `@blocking`
        const BLOCKING = 1 << 16;
        /// `@dangerous`
        const DANGEROUS = 1 << 17;
        /// `@connection`
        const CONNECTION = 1 << 18;
        /// `@transaction`
        const TRANSACTION = 1 << 19;
        /// `@scripting`
        const SCRIPTING = 1 << 20;
    }
}

bitflags! {
    /// How a key is used: one of the first four says what happens to the value, the rest what for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Access: u16 {
        /// Reads the value.
        const RO = 1 << 0;
        /// Reads and changes the value.
        const RW = 1 << 1;
        /// Overwrites the value whatever it was.
        const OW = 1 << 2;
        /// Removes the key.
        const RM = 1 << 3;
        /// The reply, or another key, tells something of the value.
        const ACCESS = 1 << 4;
        /// The value changes, depending on the value it has or on the arguments.
        const UPDATE = 1 << 5;
        /// Data is added; what is there stays.
        const INSERT = 1 << 6;
        /// Data, or the key, is removed.
        const DELETE = 1 << 7;
        /// Not a key, but routed like one (a shard channel).
        const NOT_KEY = 1 << 8;
        /// The specification may miss keys.
        const INCOMPLETE = 1 << 9;
        /// The arguments decide which of these flags hold.
        const VARIABLE_FLAGS = 1 << 10;
    }
}

impl Access {
    /// Whether the value may be another afterwards. True for `PFCOUNT`, which stores what it counted.
    pub const fn writes(self) -> bool {
        self.intersects(Self::RW.union(Self::OW).union(Self::RM))
    }
}

/// Where some keys of a command stand: where to begin, and which arguments from there on are keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// How these keys are used.
    pub access: Access,
    /// Where to begin.
    pub begin: Begin,
    /// Which arguments are keys.
    pub find: Find,
}

/// Where the search for keys begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At this argument; the command's name is argument 0.
    Index(i16),
    /// After the first argument that equals the keyword in any case, searched from the given argument on
    /// (counted from the end, and searched towards the front, if negative).
    Keyword(&'static str, i16),
    /// Only the command's own parser knows.
    Unknown,
}

/// Which arguments are keys, counted from where the search began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// Last key (counted from the end of the arguments if negative), distance between keys, limit: if above 1
    /// only the first 1/limit of the arguments that are left.
    Range(i16, i16, i16),
    /// Where the number of keys stands, where the first key stands, distance between keys.
    KeyNum(i16, i16, i16),
    /// Only the command's own parser knows.
    Unknown,
}

/// One row as the server tells it; see [`super::Command`] for what the fields mean.
pub(super) struct Facts {
    pub(super) name: &'static str,
    pub(super) arity: i16,
    pub(super) flags: Flags,
    pub(super) acl: Acl,
    /// First key, last key, step.
    pub(super) legacy: (i16, i16, i16),
    pub(super) key_specs: &'static [KeySpec],
    pub(super) tips: &'static [&'static str],
}
