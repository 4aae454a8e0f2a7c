//! The command table against a real redis-server 7.0: every fact, the words of errors, the keys of requests.

#[path = "../fuzz/bodies.rs"]
#[allow(dead_code, reason = "only what concerns commands is used here")]
mod bodies;
mod errors;
mod keys;
mod server;
mod writes;

use std::collections::{BTreeMap, BTreeSet};

use server::{Reply, Server};
use strata::command;

/// A row in words, so that a difference can be read.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    arity: i64,
    flags: BTreeSet<String>,
    acl: BTreeSet<String>,
    range: [i64; 3],
    keys: Vec<(BTreeSet<String>, String, String)>,
    tips: Vec<String>,
    subcommands: BTreeSet<String>,
}

fn ours(row: &command::Command) -> Row {
    let lower = |name: &str| name.to_ascii_lowercase();
    Row {
        arity: row.arity.into(),
        flags: row.flags.iter_names().map(|(name, _)| lower(name)).collect(),
        acl: row.acl.iter_names().map(|(name, _)| format!("@{}", lower(name))).collect(),
        range: [row.first_key, row.last_key, row.step].map(i64::from),
        keys: row
            .key_specs
            .iter()
            .map(|spec| (access_names(spec.access), format!("{:?}", spec.begin), format!("{:?}", spec.find)))
            .collect(),
        tips: row.tips.iter().map(ToString::to_string).collect(),
        subcommands: row.subcommands().iter().map(|row| row.name.to_owned()).collect(),
    }
}

pub(crate) fn access_names(access: command::Access) -> BTreeSet<String> {
    access.iter_names().map(|(name, _)| name.to_ascii_lowercase()).collect()
}

pub(crate) fn lower_names(list: &Reply) -> BTreeSet<String> {
    list.items().iter().map(|name| name.text().to_ascii_lowercase()).collect()
}

fn begin(search: &Reply) -> String {
    let spec = search.field("spec");
    match search.field("type").text().as_str() {
        "index" => format!("Index({})", spec.field("index").integer()),
        "keyword" => {
            format!("Keyword({:?}, {})", spec.field("keyword").text(), spec.field("startfrom").integer())
        }
        "unknown" => "Unknown".to_owned(),
        other => panic!("begin_search {other}"),
    }
}

fn find(keys: &Reply) -> String {
    let spec = keys.field("spec");
    let three = |names: [&str; 3]| names.map(|name| spec.field(name).integer().to_string()).join(", ");
    match keys.field("type").text().as_str() {
        "range" => format!("Range({})", three(["lastkey", "keystep", "limit"])),
        "keynum" => format!("KeyNum({})", three(["keynumidx", "firstkey", "keystep"])),
        "unknown" => "Unknown".to_owned(),
        other => panic!("find_keys {other}"),
    }
}

fn theirs(reply: &Reply, rows: &mut BTreeMap<String, Row>) {
    let facts = reply.items();
    let spec = |spec: &Reply| {
        (lower_names(spec.field("flags")), begin(spec.field("begin_search")), find(spec.field("find_keys")))
    };
    let row = Row {
        arity: facts[1].integer(),
        flags: lower_names(&facts[2]),
        acl: lower_names(&facts[6]),
        range: [3, 4, 5].map(|place| facts[place].integer()),
        keys: facts[8].items().iter().map(spec).collect(),
        tips: facts[7].items().iter().map(Reply::text).collect(),
        subcommands: facts[9].items().iter().map(|row| row.items()[0].text()).collect(),
    };
    rows.insert(facts[0].text(), row);
    for subcommand in facts[9].items() {
        theirs(subcommand, rows);
    }
}

#[test]
fn every_row_is_what_the_server_says() {
    let server = Server::start();
    let mut expected = BTreeMap::new();
    for row in server.connect().call(&["COMMAND"]).items() {
        theirs(row, &mut expected);
    }
    assert_eq!(expected.len(), command::COUNT);
    for row in command::all() {
        let said = expected.remove(row.name);
        assert_eq!(said, Some(ours(row)), "{}", row.name);
    }
}
