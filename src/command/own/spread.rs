//! Where a command goes if home is several nodes: a column of its own.

/// Where a command goes if home is several nodes, each with a part of the keys. Of those that wait, or need a connection
/// of their own, only what is about all nodes is said here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// To one node: that of its keys, which must share a slot; any if it names none.
    One,
    /// Its keys may be in any slots, and each goes to the node of its own.
    Split(Split),
    /// To every master.
    Every(Merge),
    /// It is about one server, of which there are several.
    Nowhere,
}

/// What the keys of a request that can be split stand for, and what its parts' replies come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// A key a value: an array of all, in the order of the request.
    Values,
    /// Keys that are counted: the sum.
    Count,
    /// A key and what it is set to: OK.
    Pairs,
}

/// What the masters' replies to one request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// What one says, when all have done it.
    Done,
    /// The sum of their numbers.
    Sum,
    /// Each element true only where it is with all of them.
    Both,
    /// All names, each once.
    Names,
    /// Names with numbers: the sums.
    Counts,
    /// One key of one of them, which is chosen by its share of all keys.
    AnyKey,
    /// A step of a walk over all of them, one after the other.
    Step,
    /// INFO: sums where a sum says something, else what the first says.
    Info,
    /// Who did it; if nobody, what the first says.
    Anyone,
    /// Who is busy; if nobody, what the first says.
    Busy,
}

pub(super) const SPREAD: &[(Spread, &str)] = &[
    (Spread::Split(Split::Values), "mget"),
    (Spread::Split(Split::Count), "del unlink exists touch"),
    (Spread::Split(Split::Pairs), "mset"),
    (
        Spread::Every(Merge::Done),
        "flushall flushdb function|delete function|flush function|load function|restore",
    ),
    (
        Spread::Every(Merge::Done),
        "script|flush script|load config|set config|resetstat config|rewrite memory|purge",
    ),
    (Spread::Every(Merge::Done), "save bgsave bgrewriteaof module|load module|loadex module|unload"),
    (Spread::Every(Merge::Sum), "dbsize pubsub|numpat latency|reset"),
    (Spread::Every(Merge::Both), "script|exists"),
    (Spread::Every(Merge::Names), "keys pubsub|channels pubsub|shardchannels"),
    (Spread::Every(Merge::Counts), "pubsub|numsub pubsub|shardnumsub"),
    (Spread::Every(Merge::AnyKey), "randomkey"),
    (Spread::Every(Merge::Step), "scan"),
    (Spread::Every(Merge::Info), "info"),
    (Spread::Every(Merge::Anyone), "script|kill function|kill"),
    (Spread::Every(Merge::Busy), "function|stats"),
    (Spread::Nowhere, "shutdown"),
];
