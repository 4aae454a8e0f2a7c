//! SCAN over all nodes, while slots move and masters change.

use std::collections::BTreeSet;

use super::{call, error, good, sorted, text};
use crate::support::{Client, Value};

/// A whole walk; before each step `change` may do something. Returns every key as often as it was returned.
fn walk(client: &mut Client, options: &str, mut change: impl FnMut(usize)) -> Vec<String> {
    let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
    for step in 0..10_000 {
        change(step);
        let reply = good(client, &format!("scan {cursor}{options}"));
        let [next, page] = &reply.elements().expect("a page")[..] else { panic!("{reply:?}") };
        found.extend(sorted(page));
        cursor = text(next);
        assert!(cursor.parse::<u64>().is_ok_and(|cursor| cursor < 1 << 63), "{cursor}");
        if cursor == "0" {
            return found;
        }
    }
    panic!("the walk does not end");
}

fn fill(client: &mut Client, count: usize) -> BTreeSet<String> {
    let keys: BTreeSet<String> = (0..count).map(|number| format!("key:{number}")).collect();
    for key in &keys {
        good(client, &format!("set {key} 1"));
    }
    keys
}

#[test]
fn a_walk_finds_everything_once() {
    let cluster = super::cluster(0, &[]);
    let strata = super::start(&cluster, &[]);
    let mut client = strata.connect();
    let keys = fill(&mut client, 1000);
    for options in ["", " count 50", " count 100000", " match key:*", " type string"] {
        let found = walk(&mut client, options, |_| {});
        assert_eq!(
            (found.len(), found.into_iter().collect::<BTreeSet<_>>()),
            (1000, keys.clone()),
            "{options}"
        );
    }
    assert_eq!(walk(&mut client, " match key:99*", |_| {}).len(), 11);
    assert_eq!(walk(&mut client, " type list count 100", |_| {}).len(), 0);
    // Another connection, and so perhaps another worker, goes on.
    let mut cursor = "0".to_owned();
    let mut found = BTreeSet::new();
    loop {
        let reply = good(&mut strata.connect(), &format!("scan {cursor} count 100"));
        let [next, page] = &reply.elements().expect("a page")[..] else { panic!("{reply:?}") };
        found.extend(sorted(page));
        cursor = text(next);
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found, keys);
    assert_eq!(error(&call(&mut client, "scan 5x")), "ERR invalid cursor");
}

#[test]
fn a_walk_finds_what_moves_meanwhile() {
    let cluster = super::cluster(0, &[]);
    let strata = super::start(&cluster, &[]);
    let mut client = strata.connect();
    let keys = fill(&mut client, 2000);
    // Slots of the last node go to the first, which was asked before, and some back.
    for at in [1, 20, 35, 50] {
        let found = walk(&mut client, " count 50", |step| {
            if step == at {
                cluster.move_slots(11_000..=11_200, 0);
            }
            if step == at + 3 {
                cluster.move_slots(11_000..=11_100, 1);
            }
        });
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), keys, "moved at {at}");
        cluster.move_slots(11_000..=11_200, 2);
    }
}

#[test]
fn a_walk_finds_keys_that_are_on_their_way() {
    let cluster = super::cluster(0, &[]);
    let strata = super::start(&cluster, &[]);
    let mut client = strata.connect();
    fill(&mut client, 300);
    let moving: BTreeSet<String> = (0..200).map(|number| format!("{{moving}}{number}")).collect();
    let slot = crate::support::slot_of(b"moving");
    let (from, to) = (cluster.owner(slot), (cluster.owner(slot) + 2) % 3);
    for key in &moving {
        good(&mut client, &format!("set {key} 1"));
    }
    let found = walk(&mut client, " count 20", |step| match step {
        2 => cluster.begin_move(slot, to),
        3..=40 => drop(cluster.move_keys(slot, to, 3)),
        _ => {}
    });
    let found: BTreeSet<_> = found.into_iter().filter(|key| key.starts_with("{moving}")).collect();
    assert_eq!(found, moving, "from {from} to {to}");
}

#[test]
fn a_walk_goes_on_when_a_master_is_replaced() {
    let cluster = super::cluster(1, &[]);
    let strata = super::start(&cluster, &[]);
    let mut client = strata.connect();
    let keys = fill(&mut client, 1000);
    good(&mut client, "wait 1 30000");
    let replica = cluster.replicas(1)[0];
    let found = walk(&mut client, " count 20", |step| {
        if step == 30 {
            cluster.failover(replica);
        }
    });
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), keys);
}

#[test]
fn a_key_is_drawn_from_all_nodes() {
    let cluster = super::cluster(0, &[]);
    let strata = super::start(&cluster, &[]);
    let mut client = strata.connect();
    assert_eq!(good(&mut client, "randomkey"), Value::Nil);
    let keys = fill(&mut client, 30);
    let drawn: BTreeSet<String> = (0..600).map(|_| text(&good(&mut client, "randomkey"))).collect();
    assert_eq!(drawn, keys);
}
