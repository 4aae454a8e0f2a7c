//! What strata decides about a command; each decision stands here once, by name.
//!
//! The lists of words are read when the table is compiled. A container stands for its subcommands too.
//! A read-only command that neither [`CACHEABLE`] nor [`NOT_CACHED`] names does not compile.

use super::facts::Flags;
use spread::SPREAD;
pub use spread::{Merge, Split, Spread};

mod spread;

/// Whether replies of a command may be kept as copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// The reply depends on nothing but the arguments and the values of the keys they name.
    Yes,
    /// It does not, or copying it would be wrong for the reason given.
    No(Why),
}

/// Why replies of a command are never kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It writes.
    Write,
    /// It asks for nothing that is in a key.
    NotARead,
    /// The reply is drawn at random.
    Random,
    /// The reply depends on the time.
    Clock,
    /// The reply is about the expiry.
    Expiry,
    /// The reply depends on keys the request does not name.
    WholeKeyspace,
    /// Keys are computed from values.
    UndeclaredKeys,
    /// A script decides what is read.
    Script,
    /// The request may wait.
    Blocking,
    /// The reply is one step of a walk.
    Cursor,
    /// The reply shows how home stores the value.
    Encoding,
    /// Consumer groups change unannounced.
    ConsumerGroup,
    /// It is sent for its effect.
    SideEffect,
    /// The reply is about the server.
    ServerState,
    /// Only home knows the command.
    Learned,
}

impl Why {
    /// The reason as a sentence for people.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Write => "it changes values",
            Self::NotARead => "it does not read keys",
            Self::Random => "its reply is drawn at random, anew for each request",
            Self::Clock => "its reply changes as time passes, without any write",
            Self::Expiry => "it asks when a key expires, which only home can answer",
            Self::WholeKeyspace => "its reply depends on keys that the request does not name",
            Self::UndeclaredKeys => "it reads keys whose names it computes from values",
            Self::Script => "a script decides what it reads",
            Self::Blocking => "it may wait for data, and asks for what is new",
            Self::Cursor => "its reply is one step of a walk whose cursor only home understands",
            Self::Encoding => "its reply shows how home stores the value, which changes unannounced",
            Self::ConsumerGroup => "consumer groups change without an announcement for the key",
            Self::SideEffect => "it is sent for its effect at home",
            Self::ServerState => "its reply is about the server, not about a value",
            Self::Learned => "only home knows what it does",
        }
    }
}

/// What a command needs of the connection it travels on. Arguments may raise it: [`super::session_need`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionNeed {
    /// Nothing: it may share a pipelined connection with other clients.
    None,
    /// It is about the client's own connection, or composed: strata answers it itself.
    Local,
    /// It begins, ends or guards a transaction.
    Transaction,
    /// It begins or ends a stream of what others publish.
    Stream,
    /// A connection of its own for as long as it waits.
    Wait,
    /// A connection of its own, because it must get through while a script holds the shared one, or harms it.
    Lease,
    /// It makes no sense through a proxy, or would harm those who share the connection.
    Refused,
}

/// Which keys a command may touch besides those that it declares; the worst that its arguments can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// None.
    Declared,
    /// It may read others.
    UndeclaredReads,
    /// It may read and write others.
    UndeclaredWrites,
    /// It may write the declared names in another database.
    OtherDatabase,
    /// It may change or exchange all keys, of this or any database.
    Keyspace,
}

/// Whether a command is about the server rather than about keys, and what it does to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin {
    /// It is not.
    No,
    /// It is about strata's own clients and records, which strata keeps itself.
    Own,
    /// It tells of the server and its users.
    Reads,
    /// It changes the server or its users.
    Changes,
}

/// What a command does with whole strings, where home keeps them compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Nothing, or it fails on any that is compressed just as it would on the plain one.
    Unseen,
    /// It sets them or replies with them.
    Whole,
    /// It replies with the length of one.
    Length,
    /// It replies with a part of one.
    Range,
    /// It works on the bytes that home has, or takes them elsewhere.
    Inside,
    /// It gives them to another key.
    Moves,
    /// It replies with those of keys whose names it computes.
    Looks,
}

/// How the keys of a request are found. Redis too uses special code for these commands, because their keys can
/// only be told from the options by reading the options in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finder {
    /// By the key specifications of the row.
    Specs,
    Bitfield,
    GeoRadius,
    Migrate,
    Set,
    Sort,
    SortRo,
    XRead,
}

const CACHEABLE: &[&str] = &[
    "get getrange substr strlen mget lcs getbit bitcount bitpos bitfield_ro",
    "hget hgetall hmget hkeys hvals hlen hexists hstrlen",
    "lrange lindex llen lpos",
    "smembers sismember smismember scard sinter sunion sdiff sintercard",
    "zrange zrangebyscore zrangebylex zrevrange zrevrangebyscore zrevrangebylex",
    "zscore zmscore zcard zcount zlexcount zrank zrevrank zunion zinter zdiff zintercard",
    // Streams, as far as they are logs.
    "xrange xrevrange xlen",
    "geopos geodist geohash geosearch georadius_ro georadiusbymember_ro",
    // A PFCOUNT that has to count stores the count: a write, which home announces to those who track the key.
    "pfcount",
    "exists type",
];

const NOT_CACHED: &[(Why, &str)] = &[
    (Why::Random, "randomkey hrandfield srandmember zrandmember lolwut"),
    (Why::Clock, "object|idletime object|freq xpending"),
    (Why::Expiry, "ttl pttl expiretime pexpiretime"),
    (Why::WholeKeyspace, "keys dbsize"),
    // SORT_RO without BY and GET would do, but nobody needs it who does not use them.
    (Why::UndeclaredKeys, "sort_ro"),
    (Why::Script, "eval_ro evalsha_ro fcall_ro"),
    (Why::Blocking, "xread"),
    (Why::Cursor, "scan hscan sscan zscan"),
    (Why::Encoding, "dump object|encoding memory|usage"),
    (Why::ConsumerGroup, "xinfo"),
    (Why::SideEffect, "touch"),
    (Why::ServerState, "object|refcount"),
];

const SESSION: &[(SessionNeed, &str)] = &[
    (SessionNeed::Local, "ping echo hello auth select client reset quit info acl config|get monitor slowlog"),
    (SessionNeed::Local, "cluster readonly readwrite asking"),
    (SessionNeed::Transaction, "multi exec discard watch unwatch"),
    (SessionNeed::Stream, "subscribe psubscribe ssubscribe unsubscribe punsubscribe sunsubscribe"),
    // XREAD and XREADGROUP wait only with BLOCK.
    (SessionNeed::Wait, "blpop brpop blmove brpoplpush blmpop bzpopmin bzpopmax bzmpop wait"),
    // They must reach a server that is busy with a script, which may have come by the shared connection.
    (SessionNeed::Lease, "script|kill function|kill function|stats shutdown"),
    // DEBUG PROTOCOL PUSH is answered by a push and nothing else.
    (SessionNeed::Lease, "debug"),
    // Replication, and what nodes of a cluster send to one another.
    (SessionNeed::Refused, "sync psync replconf restore-asking"),
    // It makes a debugger session of the connection.
    (SessionNeed::Refused, "script|debug"),
];

/// INCR and its like read numbers, and PFADD and its like their sketches, which are never compressed.
const VALUES: &[(Values, &str)] = &[
    (Values::Whole, "get set setnx setex psetex getset getdel getex mget mset msetnx"),
    (Values::Length, "strlen"),
    (Values::Range, "getrange substr"),
    (
        Values::Inside,
        "append setrange getbit setbit bitcount bitpos bitfield bitfield_ro bitop lcs dump migrate",
    ),
    (Values::Inside, "eval evalsha fcall eval_ro evalsha_ro fcall_ro"),
    (Values::Moves, "rename renamenx copy"),
    (Values::Looks, "sort sort_ro"),
];

/// After these, what follows can only be parsed, or run, once they have been run: they lift the limits of a client
/// that has not authenticated, change its connection, make it attentive, or let it wait.
const TURNS: &str = "auth hello reset quit select multi exec discard watch unwatch xread xreadgroup client|unblock \
    client|tracking client|pause config|set monitor eval evalsha fcall eval_ro evalsha_ro fcall_ro";

const REACH: &[(Reach, &str)] = &[
    (Reach::UndeclaredReads, "eval_ro evalsha_ro fcall_ro sort sort_ro keys scan randomkey dbsize"),
    (Reach::UndeclaredReads, "cluster|getkeysinslot cluster|countkeysinslot"),
    // EXEC: whatever was queued.
    (Reach::UndeclaredWrites, "eval evalsha fcall exec module"),
    (Reach::OtherDatabase, "move copy"),
    (Reach::Keyspace, "flushall flushdb swapdb debug"),
    (Reach::Keyspace, "replicaof slaveof failover cluster|replicate cluster|reset"),
];

/// What Redis may send to replicas without calling it a write.
const MAY_REPLICATE: &[&str] = &["eval evalsha fcall publish spublish pfcount"];
const ADMIN: &[(Admin, &str)] = &[
    (Admin::Own, "client monitor slowlog"),
    (Admin::Reads, "acl|list acl|users acl|getuser acl|dryrun acl|log"),
    (Admin::Changes, "acl|setuser acl|deluser acl|load acl|save"),
    (
        Admin::Reads,
        "config|get latency|doctor latency|graph latency|histogram latency|history latency|latest",
    ),
    (Admin::Reads, "memory|doctor memory|malloc-stats memory|stats module|list"),
    (Admin::Reads, "cluster|count-failure-reports cluster|replicas cluster|slaves"),
    (Admin::Changes, "config|set config|resetstat config|rewrite latency|reset memory|purge"),
    (Admin::Changes, "save bgsave bgrewriteaof shutdown debug pfdebug pfselftest"),
    (
        Admin::Changes,
        "replicaof slaveof failover sync psync replconf module|load module|loadex module|unload",
    ),
    (
        Admin::Changes,
        "cluster|addslots cluster|addslotsrange cluster|bumpepoch cluster|delslots cluster|delslotsrange",
    ),
    (
        Admin::Changes,
        "cluster|failover cluster|flushslots cluster|forget cluster|meet cluster|replicate cluster|reset",
    ),
    (Admin::Changes, "cluster|saveconfig cluster|set-config-epoch cluster|setslot"),
];
/// What shows of a hash: where its fields can expire one by one (Redis from 7.4, Valkey from 9) its replies change
/// unannounced, and PTTL does not say when.
const HASH_FIELDS: &str = "hget hgetall hmget hkeys hvals hlen hexists hstrlen exists type";

const FINDERS: &[(Finder, &str)] = &[
    (Finder::Bitfield, "bitfield"),
    (Finder::GeoRadius, "georadius georadiusbymember"),
    (Finder::Migrate, "migrate"),
    (Finder::Set, "set"),
    (Finder::Sort, "sort"),
    (Finder::SortRo, "sort_ro"),
    (Finder::XRead, "xread xreadgroup"),
];

/// Whether replies of this command may be kept.
///
/// # Panics
/// While compiling, if nobody judged a read-only command.
pub(super) const fn cache(name: &str, flags: Flags) -> Cache {
    if flags.contains(Flags::WRITE) {
        return Cache::No(Why::Write);
    }
    let mut i = 0;
    while i < CACHEABLE.len() {
        if listed(CACHEABLE[i], name) {
            return Cache::Yes;
        }
        i += 1;
    }
    i = 0;
    while i < NOT_CACHED.len() {
        if listed(NOT_CACHED[i].1, name) {
            return Cache::No(NOT_CACHED[i].0);
        }
        i += 1;
    }
    assert!(!flags.contains(Flags::READONLY), "a read-only command must be in CACHEABLE or NOT_CACHED");
    Cache::No(Why::NotARead)
}

/// Whether a command may be sent to replicas, or writes.
pub(super) const fn may_replicate(name: &str, flags: Flags) -> bool {
    let mut i = 0;
    while i < MAY_REPLICATE.len() {
        if listed(MAY_REPLICATE[i], name) {
            return true;
        }
        i += 1;
    }
    flags.contains(Flags::WRITE)
}

/// Whether a batch of commands ends with this one.
pub(super) const fn turns(name: &str, session: SessionNeed) -> bool {
    matches!(session, SessionNeed::Wait | SessionNeed::Lease | SessionNeed::Stream) || listed(TURNS, name)
}

/// A function that finds the list which names a command.
macro_rules! chooser {
    ($function:ident, $lists:ident, $kind:ident, $default:ident) => {
        pub(super) const fn $function(name: &str) -> $kind {
            let mut i = 0;
            while i < $lists.len() {
                if listed($lists[i].1, name) {
                    return $lists[i].0;
                }
                i += 1;
            }
            $kind::$default
        }
    };
}

chooser!(session, SESSION, SessionNeed, None);
chooser!(reach, REACH, Reach, Declared);
chooser!(admin, ADMIN, Admin, No);
chooser!(values, VALUES, Values, Unseen);
chooser!(finder, FINDERS, Finder, Specs);

chooser!(spread, SPREAD, Spread, One);

/// Whether replies of this command are not kept where fields of hashes can expire.
pub(super) const fn hash_fields(name: &str) -> bool {
    listed(HASH_FIELDS, name)
}

/// Whether one of the words is this command or the container of this subcommand.
const fn listed(words: &str, name: &str) -> bool {
    let words = words.as_bytes();
    let name = name.as_bytes();
    let mut start = 0;
    while start < words.len() {
        let mut same = 0;
        while start + same < words.len() && same < name.len() && words[start + same] == name[same] {
            same += 1;
        }
        let word_ends = start + same == words.len() || words[start + same] == b' ';
        if word_ends && (same == name.len() || name[same] == b'|') {
            return true;
        }
        while start < words.len() && words[start] != b' ' {
            start += 1;
        }
        start += 1;
    }
    false
}

#[cfg(test)]
mod tests;
