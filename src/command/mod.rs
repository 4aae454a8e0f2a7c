//! Every command of Redis 7.0 as a row: what the server says of it, and what strata decides.
//!
//! `table.rs` holds the server's facts and is generated; `own.rs` holds the decisions; both are data, joined when
//! compiled. `keys.rs` finds the keys of a request, `errors.rs` the words for what is no command.
//! Nothing here does I/O, allocates on the way of a hit, or keeps state.

mod errors;
mod facts;
mod keys;
mod learned;
mod lookup;
mod own;
#[allow(long_running_const_eval, reason = "the words of own.rs are looked up for every row")]
mod table;
mod wait;

pub use errors::Unknown;
pub use facts::{Access, Acl, Begin, Find, Flags, KeySpec};
pub use keys::{InvalidKeys, KeyRef, blocks, extract, session_need};
pub use learned::{Description, Learned};
pub use lookup::{all, by_id, lookup, resolve};
pub use own::{Admin, Cache, Merge, Reach, SessionNeed, Split, Spread, Values, Why};
pub use table::{COUNT, id};
pub use wait::longest_wait;

use facts::Facts;
use own::Finder;
use table::TABLE;

/// The arguments of a request, its name first.
pub trait Args {
    /// How many there are, the name included.
    fn len(&self) -> usize;
    /// The argument at an index; none from `len` on.
    fn arg(&self, index: usize) -> Option<&[u8]>;
    /// Whether there is not even a name.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: AsRef<[u8]>> Args for [T] {
    fn len(&self) -> usize {
        <[T]>::len(self)
    }
    fn arg(&self, index: usize) -> Option<&[u8]> {
        self.get(index).map(AsRef::as_ref)
    }
}

/// Which row of the table: dense, below [`COUNT`], and constant by name in [`id`]. It changes between versions. What
/// is learned from home has an id from [`COUNT`] on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(u16);

impl CommandId {
    /// As an index into an array of [`COUNT`] places.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One command or subcommand.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Its place in the table.
    pub id: CommandId,
    /// In lower case; of a subcommand `container|subcommand`.
    pub name: &'static str,
    /// The number of arguments, name (and subcommand) included; if negative, at least so many.
    pub arity: i16,
    /// What it is.
    pub flags: Flags,
    /// Its ACL categories.
    pub acl: Acl,
    /// First argument that is a key, 0 if none is.
    pub first_key: i16,
    /// Last argument that is a key, from the end if negative.
    pub last_key: i16,
    /// Distance between keys.
    pub step: i16,
    /// Where its keys are; more exact than the three before.
    pub key_specs: &'static [KeySpec],
    /// Hints for clients, such as how to spread it over a cluster (`request_policy:...`).
    pub tips: &'static [&'static str],
    /// Whether its replies may be kept.
    pub cache: Cache,
    /// What it needs of its connection, whatever the arguments; see [`session_need`].
    pub session: SessionNeed,
    /// What it touches besides its declared keys.
    pub reach: Reach,
    /// Whether it is about the server.
    pub admin: Admin,
    /// Where it goes if home is several nodes.
    pub spread: Spread,
    /// What it does with whole strings.
    pub values: Values,
    /// What follows it can only be run once it has been run.
    pub turns: bool,
    /// Whether its reply may change because a field of a hash expires, which home does not announce; see
    /// [`own::hash_fields`].
    hash_fields: bool,
    finder: Finder,
    replicates: bool,
    /// The argument that is its only key; 0 if that is not the same one in every request.
    only_key: u8,
    /// How many of the rows that follow are its subcommands.
    subcommands: u8,
}

impl Command {
    /// A row without its place.
    const fn of(facts: Facts) -> Self {
        let (first_key, last_key, step) = facts.legacy;
        let session = own::session(facts.name);
        Self {
            id: CommandId(0),
            name: facts.name,
            arity: facts.arity,
            flags: facts.flags,
            acl: facts.acl,
            first_key,
            last_key,
            step,
            key_specs: facts.key_specs,
            tips: facts.tips,
            cache: own::cache(facts.name, facts.flags),
            session,
            reach: own::reach(facts.name),
            admin: own::admin(facts.name),
            spread: own::spread(facts.name),
            values: own::values(facts.name),
            turns: own::turns(facts.name, session),
            hash_fields: own::hash_fields(facts.name),
            finder: own::finder(facts.name),
            replicates: own::may_replicate(facts.name, facts.flags),
            only_key: only_key(facts.key_specs),
            subcommands: 0,
        }
    }

    /// Gives the rows their places, and the containers their subcommands.
    const fn numbered(mut rows: [Self; COUNT]) -> [Self; COUNT] {
        let mut container = 0;
        let mut i = 0;
        while i < COUNT {
            rows[i].id = CommandId(i as u16);
            if is_subcommand(rows[i].name) {
                rows[container].subcommands += 1;
            } else {
                container = i;
            }
            i += 1;
        }
        rows
    }

    /// Whether so many arguments are right, name and subcommand included.
    pub const fn arity_ok(&self, argc: usize) -> bool {
        let arity = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { argc >= arity } else { argc == arity }
    }

    /// The argument that is its only key, if it is the same one in every request: no need to [`extract`].
    pub const fn only_key(&self) -> Option<usize> {
        if self.only_key == 0 { None } else { Some(self.only_key as usize) }
    }

    /// Whether its replies may be kept. No argument changes that.
    pub const fn cacheable(&self) -> bool {
        matches!(self.cache, Cache::Yes)
    }

    /// Whether it begins or ends subscriptions of its client.
    pub const fn subscribes(&self) -> bool {
        self.flags.contains(Flags::PUBSUB.union(Flags::NOSCRIPT))
    }

    /// Whether it works on the bytes that home has of values, gives them away or reads those of unnamed keys.
    pub const fn works_inside(&self) -> bool {
        matches!(self.values, Values::Inside | Values::Moves | Values::Looks)
    }

    /// Whether its reply may be another once a field of a hash has expired.
    pub const fn sees_hash_fields(&self) -> bool {
        self.hash_fields
    }

    /// Whether it may change values, of declared keys or others. Redis does not call `EVAL` or `EXEC` writes.
    pub const fn may_write(&self) -> bool {
        self.flags.contains(Flags::WRITE)
            || matches!(self.reach, Reach::UndeclaredWrites | Reach::OtherDatabase | Reach::Keyspace)
    }

    /// Whether Redis may send it to replicas: writes, and what it passes on or may turn out to be one.
    pub const fn may_replicate(&self) -> bool {
        self.replicates
    }

    /// Whether it runs a script or a function, which may take long, and by which home may be busy.
    pub const fn runs_script(&self) -> bool {
        self.acl.contains(Acl::SCRIPTING) && !matches!(self.reach, Reach::Declared)
    }

    /// Its subcommands; none unless it is a container of the table.
    pub fn subcommands(&self) -> &'static [Self] {
        let first = self.id.index() + 1;
        TABLE.get(first..first + self.subcommands as usize).unwrap_or_default()
    }

    /// Whether it is nothing without a subcommand, or takes one (`COMMAND`).
    pub const fn is_container(&self) -> bool {
        self.subcommands > 0
    }
}

const fn is_subcommand(name: &str) -> bool {
    let name = name.as_bytes();
    let mut i = 0;
    while i < name.len() {
        if name[i] == b'|' {
            return true;
        }
        i += 1;
    }
    false
}

const fn only_key(specs: &[KeySpec]) -> u8 {
    match specs {
        [KeySpec { access, begin: Begin::Index(index), find: Find::Range(0, _, _) }]
            if !access.contains(Access::NOT_KEY) && *index > 0 && *index <= u8::MAX as i16 =>
        {
            *index as u8
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_places_and_names() {
        assert_eq!(TABLE.len(), COUNT);
        for (place, row) in TABLE.iter().enumerate() {
            assert_eq!(row.id.index(), place);
            assert_eq!(by_id(row.id).name, row.name);
        }
        assert_eq!(by_id(id::GET).name, "get");
        assert_eq!(by_id(id::CLIENT_NO_EVICT).name, "client|no-evict");
    }

    #[test]
    fn containers_are_followed_by_their_own() {
        let client = by_id(id::CLIENT);
        assert_eq!(client.subcommands().len(), 16);
        let mut inside = 0;
        for container in TABLE.iter().filter(|row| row.is_container()) {
            for row in container.subcommands() {
                assert_eq!(row.name.split('|').next(), Some(container.name));
                inside += 1;
            }
        }
        assert_eq!(inside, TABLE.iter().filter(|row| row.name.contains('|')).count());
        assert!(by_id(id::GET).subcommands().is_empty());
        assert!(TABLE[COUNT - 1].subcommands().is_empty());
    }

    #[test]
    fn arity_counts_the_name() {
        let get = by_id(id::GET);
        assert_eq!([1, 2, 3].map(|n| get.arity_ok(n)), [false, true, false]);
        let set = by_id(id::SET);
        assert_eq!([2, 3, 9].map(|n| set.arity_ok(n)), [false, true, true]);
    }

    #[test]
    fn an_only_key_is_fixed() {
        assert_eq!(by_id(id::GET).only_key(), Some(1));
        assert_eq!(by_id(id::SET).only_key(), Some(1));
        assert_eq!(by_id(id::OBJECT_FREQ).only_key(), Some(2));
        assert_eq!(by_id(id::PFDEBUG).only_key(), Some(2));
        for id in
            [id::MGET, id::SORT, id::MIGRATE, id::XREAD, id::GEORADIUS, id::SPUBLISH, id::PING, id::EVAL]
        {
            assert_eq!(by_id(id).only_key(), None, "{}", by_id(id).name);
        }
    }

    #[test]
    fn commands_that_subscribe_are_those_six() {
        let six = ["punsubscribe", "psubscribe", "ssubscribe", "subscribe", "sunsubscribe", "unsubscribe"];
        let mut found: Vec<_> = TABLE.iter().filter(|row| row.subscribes()).map(|row| row.name).collect();
        found.sort_unstable_by_key(|name| six.iter().position(|known| known == name));
        assert_eq!(found, six);
    }

    #[test]
    fn scripts_and_functions_are_known() {
        let run: Vec<_> = TABLE.iter().filter(|row| row.runs_script()).map(|row| row.name).collect();
        assert_eq!(run, ["eval", "eval_ro", "evalsha", "evalsha_ro", "fcall", "fcall_ro"]);
        assert!(TABLE.iter().all(|row| !row.runs_script() || row.turns));
    }

    #[test]
    fn what_may_write_is_more_than_what_redis_calls_write() {
        for id in [id::SET, id::EVAL, id::FCALL, id::EXEC, id::FLUSHALL, id::REPLICAOF, id::XREADGROUP] {
            assert!(by_id(id).may_write(), "{}", by_id(id).name);
        }
        for id in [id::GET, id::EVAL_RO, id::KEYS, id::PING, id::WATCH, id::PUBLISH] {
            assert!(!by_id(id).may_write(), "{}", by_id(id).name);
        }
    }
}
