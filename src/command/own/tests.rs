use super::*;
use crate::command::{Acl, Flags, TABLE};

fn words<Kind>(list: &[(Kind, &'static str)]) -> Vec<&'static str> {
    list.iter().flat_map(|(_, words)| words.split(' ')).collect()
}

fn lists() -> [Vec<&'static str>; 9] {
    let cacheable = CACHEABLE.iter().flat_map(|words| words.split(' '));
    let hashes = HASH_FIELDS.split(' ').collect();
    [
        cacheable.chain(words(NOT_CACHED)).collect(),
        words(SESSION),
        words(REACH),
        words(ADMIN),
        words(spread::SPREAD),
        words(FINDERS),
        words(VALUES),
        hashes,
        MAY_REPLICATE.iter().flat_map(|words| words.split(' ')).collect(),
    ]
}

#[test]
fn every_word_names_a_command() {
    for word in lists().concat().into_iter().chain(TURNS.split(' ')) {
        assert!(TABLE.iter().any(|row| row.name == word), "{word:?}");
    }
}

#[test]
fn a_command_is_decided_once() {
    for mut list in lists() {
        list.sort_unstable();
        let twice: Vec<_> = list.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert_eq!(twice, Vec::<&[&str]>::new());
    }
}

#[test]
fn a_word_stands_for_itself_and_its_subcommands() {
    assert!(["get", "mget", "client", "client|id"].iter().all(|name| listed("get mget client", name)));
    assert!(!["ge", "gett", "m", "clients", "id", ""].iter().any(|name| listed("get mget client", name)));
    assert!(listed("object|freq", "object|freq") && !listed("object|freq", "object"));
}

#[test]
fn every_copy_that_shows_a_hash_is_known_as_one() {
    for row in TABLE.iter().filter(|row| row.cacheable() && row.acl.contains(Acl::HASH)) {
        assert!(row.sees_hash_fields(), "{}", row.name);
    }
    assert!(!crate::command::by_id(crate::command::id::GET).sees_hash_fields());
}

#[test]
fn only_reads_of_declared_keys_on_shared_connections_are_cached() {
    for row in &TABLE {
        match row.cache {
            Cache::Yes => {
                assert!(row.flags.contains(Flags::READONLY), "{}", row.name);
                assert!(!row.flags.intersects(Flags::WRITE | Flags::BLOCKING), "{}", row.name);
                assert!(!row.key_specs.is_empty(), "{}", row.name);
                assert_eq!(row.session, SessionNeed::None, "{}", row.name);
                assert_eq!(row.reach, Reach::Declared, "{}", row.name);
            }
            Cache::No(why) => {
                assert!(!why.reason().is_empty());
                assert_eq!(why == Why::Write, row.flags.contains(Flags::WRITE), "{}", row.name);
                assert!(why != Why::NotARead || !row.flags.contains(Flags::READONLY), "{}", row.name);
            }
        }
    }
}

/// Redis calls more commands administrative than are about the server, so each is judged by name. Commands that
/// empty the keyspace or the script cache are about data: clients send them.
#[test]
fn every_administrative_command_is_judged() {
    for row in TABLE.iter().filter(|row| row.flags.contains(Flags::ADMIN)) {
        assert_ne!(row.admin, Admin::No, "{}", row.name);
    }
    for name in
        ["flushall", "flushdb", "swapdb", "script|flush", "function|load", "info", "get", "acl|whoami"]
    {
        let row = TABLE.iter().find(|row| row.name == name).unwrap();
        assert_eq!(row.admin, Admin::No, "{name}");
    }
}

#[test]
fn what_home_says_may_block_never_shares_a_connection_unasked() {
    for row in TABLE.iter().filter(|row| row.flags.contains(Flags::BLOCKING)) {
        let asks = row.finder == Finder::XRead;
        let expected = if asks { SessionNeed::None } else { SessionNeed::Wait };
        assert_eq!(row.session, expected, "{}", row.name);
        assert!(row.turns, "{}", row.name);
    }
}

#[test]
fn what_is_split_has_its_keys_where_they_can_be_told() {
    use crate::command::{Begin, Find};
    for row in &TABLE {
        let Spread::Split(split) = row.spread else { continue };
        let step = if split == Split::Pairs { 2 } else { 1 };
        let [spec] = row.key_specs else { panic!("{}", row.name) };
        assert_eq!((spec.begin, spec.find), (Begin::Index(1), Find::Range(-1, step, 0)), "{}", row.name);
    }
}

#[test]
fn what_goes_to_every_node_names_no_key() {
    for row in TABLE.iter().filter(|row| matches!(row.spread, Spread::Every(_) | Spread::Nowhere)) {
        assert!(row.key_specs.is_empty(), "{}", row.name);
    }
}

/// Redis' own hints for clients of a cluster, followed but for what tells one node's story.
#[test]
fn redis_tells_of_every_node_too() {
    let story = ["latency", "memory", "slowlog"];
    for row in TABLE.iter().filter(|row| row.session != SessionNeed::Local && row.spread == Spread::One) {
        let spread =
            row.tips.iter().any(|tip| tip.starts_with("request_policy:all") || tip.ends_with("multi_shard"));
        let told = story.contains(&row.name.split('|').next().unwrap_or_default());
        assert!(!spread || told || ["msetnx", "wait"].contains(&row.name), "{}", row.name);
    }
}

/// What is new among the commands of strings has to be judged.
#[test]
fn every_command_of_strings_is_judged() {
    let of_strings = TABLE.iter().filter(|row| row.acl.intersects(Acl::STRING.union(Acl::BITMAP)));
    let unseen: Vec<_> = of_strings.filter(|row| row.values == Values::Unseen).map(|row| row.name).collect();
    assert_eq!(unseen, ["decr", "decrby", "incr", "incrby", "incrbyfloat"]);
}
