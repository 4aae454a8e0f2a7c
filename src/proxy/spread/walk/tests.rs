use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn ground(ranges: &[(&str, u16, u16)]) -> Arc<Ground> {
    let mut by_name: BTreeMap<&str, Vec<(u16, u16)>> = BTreeMap::new();
    for (name, first, last) in ranges {
        by_name.entry(name).or_default().push((*first, *last));
    }
    Arc::new(Ground::of(by_name.into_iter()))
}

/// A cluster whose keys are `slot:number`, scanned two buckets at a time.
struct Home {
    owners: BTreeMap<u16, &'static str>,
    epochs: BTreeMap<&'static str, u64>,
    imports: BTreeMap<u16, &'static str>,
    keys: BTreeSet<(&'static str, u16, u32)>,
}

impl Home {
    fn new(owners: &[(u16, &'static str)], keys_each: u32) -> Self {
        let owners: BTreeMap<_, _> = owners.iter().copied().collect();
        let keys = owners.iter().flat_map(|(slot, node)| (0..keys_each).map(|n| (*node, *slot, n))).collect();
        Home { owners, epochs: BTreeMap::new(), imports: BTreeMap::new(), keys }
    }

    fn ground(&self) -> Arc<Ground> {
        let ranges: Vec<_> = self.owners.iter().map(|(slot, node)| (*node, *slot, *slot)).collect();
        ground(&ranges)
    }

    fn says(&self, name: &str) -> Said {
        let own = |(_, owner): &(&u16, &&'static str)| **owner == name;
        Said {
            owned: self.owners.iter().filter(own).map(|(slot, _)| (*slot, *slot)).collect(),
            imports: self.imports.iter().filter(own).map(|(slot, to)| (*slot, Box::from(*to))).collect(),
            epoch: self.epochs.get(name).copied().unwrap_or(0),
        }
    }

    /// Buckets by number of the key; the cursor is the next bucket.
    fn scan(&self, node: &str, cursor: u64) -> Vec<u8> {
        let page = |(at, _, n): &&(&str, u16, u32)| *at == node && u64::from(*n) / 2 == cursor;
        let keys: Vec<String> =
            self.keys.iter().filter(page).map(|(_, slot, n)| format!("{slot}:{n}")).collect();
        let more = self.keys.iter().any(|(at, _, n)| *at == node && u64::from(*n) / 2 > cursor);
        let next = if more { cursor + 1 } else { 0 };
        let mut out = Vec::new();
        encode::array(&mut out, 2);
        encode::bulk(&mut out, next.to_string().as_bytes());
        encode::command(&mut out, &keys.iter().map(|k| k.as_bytes()).collect::<Vec<_>>());
        out
    }

    fn move_key(&mut self, slot: u16, n: u32, to: &'static str) {
        self.keys.retain(|(_, s, m)| (*s, *m) != (slot, n));
        self.keys.insert((to, slot, n));
    }

    fn move_slot(&mut self, slot: u16, to: &'static str) {
        self.owners.insert(slot, to);
        self.imports.remove(&slot);
        let latest = self.epochs.values().max().copied().unwrap_or(0);
        if self.epochs.get(to) != Some(&latest) {
            self.epochs.insert(to, latest + 1);
        }
        for n in 0..100 {
            if self.keys.iter().any(|(_, s, m)| (*s, *m) == (slot, n)) {
                self.move_key(slot, n, to);
            }
        }
    }
}

fn slot_of(key: &[u8]) -> u16 {
    String::from_utf8_lossy(key).split(':').next().and_then(|slot| slot.parse().ok()).unwrap_or(0)
}

/// Walks; before each step `change` may change home. Returns what was found, and the number of steps.
fn walk(home: &mut Home, mut change: impl FnMut(usize, &mut Home)) -> (Vec<String>, usize) {
    let mut walks = Walks::default();
    let (mut cursor, mut found) = (0, Vec::new());
    for step in 0..1000 {
        change(step, home);
        let ground = home.ground();
        let said: Vec<Said> = ground.masters().iter().map(|name| home.says(name)).collect();
        let confirmed = ground.confirmed(&said).expect("all say the same");
        let page = match walks.step(cursor, &ground) {
            Step::Begin => {
                let first = home.scan(&ground.masters()[0], 0);
                walks.begin(&confirmed).reply(&first, slot_of).expect("a page")
            }
            Step::Ask { at, master, cursor } => {
                at.reply(&home.scan(&master, cursor), slot_of).expect("a page")
            }
            Step::Check(at) => empty_page(walks.check(&at, &confirmed, &said)),
        };
        let mut elements = reply::elements(&page);
        let text = |e: &[u8]| String::from_utf8_lossy(reply::bulk(e).expect("a string")).into_owned();
        cursor = text(elements.next().expect("a cursor")).parse().expect("a number");
        found.extend(reply::elements(elements.next().expect("keys")).map(text));
        if cursor == 0 {
            return (found, step + 1);
        }
        assert!(cursor < 1 << 53);
    }
    panic!("the walk does not end");
}

fn all_of(home: &Home) -> BTreeSet<String> {
    home.keys.iter().map(|(_, slot, n)| format!("{slot}:{n}")).collect()
}

fn three() -> Home {
    Home::new(&[(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "c"), (6, "c")], 6)
}

#[test]
fn a_quiet_walk_finds_everything_once() {
    let mut home = three();
    let (found, steps) = walk(&mut home, |_, _| {});
    assert_eq!((found.len(), steps), (36, 3 * 3 + 1));
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), all_of(&home));
}

#[test]
fn slots_that_move_backwards_are_found_where_they_went() {
    for at in 0..10 {
        let mut home = three();
        let (found, _) = walk(&mut home, |step, home| {
            if step == at {
                home.move_slot(5, "a");
            }
        });
        assert!(found.iter().cloned().collect::<BTreeSet<_>>() == all_of(&home), "moved at {at}");
        let others = |key: &&String| ![1, 2, 5].contains(&slot_of(key.as_bytes()));
        assert!(found.iter().filter(others).count() == 18, "what is elsewhere once");
    }
}

#[test]
fn keys_of_a_slot_that_is_on_its_way_are_found() {
    for at in 0..10 {
        let mut home = three();
        let (found, steps) = walk(&mut home, |step, home| {
            if step >= at && step < at + 6 {
                home.imports.insert(6, "a");
                home.move_key(6, (step - at) as u32, "a");
            }
        });
        assert!(found.into_iter().collect::<BTreeSet<_>>() == all_of(&home), "moved from {at}");
        assert!(steps < 20, "an import that never ends does not keep the walk from ending");
    }
}

#[test]
fn what_a_lost_master_had_is_found_with_who_has_it_now() {
    for at in 0..10 {
        let mut home = three();
        let (found, _) = walk(&mut home, |step, home| {
            if step == at {
                home.move_slot(3, "d");
                home.move_slot(4, "a");
            }
        });
        assert!(found.into_iter().collect::<BTreeSet<_>>() == all_of(&home), "lost at {at}");
    }
}

#[test]
fn a_slot_that_went_away_and_came_back_is_found() {
    for (gone, back) in (0..9).flat_map(|gone| (gone + 1..10).map(move |back| (gone, back))) {
        let mut home = three();
        let (found, _) = walk(&mut home, |step, home| {
            if step == gone {
                home.move_slot(5, "a");
            }
            if step == back {
                home.move_slot(5, "c");
            }
        });
        assert!(found.into_iter().collect::<BTreeSet<_>>() == all_of(&home), "from {gone} to {back}");
    }
}

#[test]
fn slots_that_keep_moving_are_followed() {
    let mut home = three();
    let (found, _) = walk(&mut home, |step, home| match step {
        9 => home.move_slot(5, "a"),
        10 => home.move_slot(3, "a"),
        12 => home.move_slot(5, "b"),
        14 => home.move_slot(5, "a"),
        _ => {}
    });
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), all_of(&home));
}

#[test]
fn a_walk_goes_on_with_another_strata() {
    let ground = ground(&[("a", 0, 8000), ("b", 8001, 16383)]);
    let cursor = Walks::default().begin(&ground).next(77).expect("a cursor");
    let mut walks = Walks::default();
    assert!(matches!(walks.step(cursor, &ground), Step::Begin));
    walks.begin(&ground);
    let Step::Ask { master, cursor, .. } = walks.step(cursor, &ground) else { panic!("a step") };
    assert_eq!((&*master, cursor), ("a", 77));
}

#[test]
fn a_cursor_that_nobody_knows_begins_anew() {
    let ground = ground(&[("a", 0, 16383)]);
    let mut walks = Walks::default();
    for cursor in [0, 1, 4095, 123_456_789, u64::MAX, ANEW] {
        assert!(matches!(walks.step(cursor, &ground), Step::Begin), "{cursor}");
    }
}

#[test]
fn a_cursor_has_room_for_a_large_node_and_is_never_cut() {
    let ground = ground(&[("a", 0, 5000), ("b", 5001, 10000), ("c", 10001, 16383)]);
    let place = || Walks::default().begin(&ground);
    assert!(place().next(1 << 48).is_some_and(|cursor| cursor < 1 << 63));
    assert_eq!(place().next(1 << 50), None);
    assert_eq!(place().next(u64::MAX), None);
}

#[test]
fn passes_are_forgotten_in_turn() {
    let mut walks = Walks::default();
    for first in 1..200 {
        walks.begin(&ground(&[("a", 0, first), ("b", first + 1, 16383)]));
    }
    assert_eq!(walks.passes.len(), REMEMBERED);
    let mut tags: Vec<u64> = walks.passes.iter().map(|pass| pass.tag).collect();
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), REMEMBERED);
}

#[test]
fn cursors_are_read_as_redis_reads_them() {
    for (word, number) in [
        ("0", Some(0)),
        ("", Some(0)),
        ("+5", Some(5)),
        ("-1", Some(u64::MAX)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        (" 5", None),
        ("5x", None),
        ("0x10", None),
        ("-", None),
        ("x", None),
    ] {
        assert_eq!(parse_cursor(word.as_bytes()), number, "{word:?}");
    }
}

#[test]
fn a_node_tells_what_is_on_its_way_to_it() {
    let text = "aa 127.0.0.1:1@11 master - 0 1 1 connected 0-5 [7->-bb]\n\
        bb 127.0.0.1:2@12 myself,master - 0 1 2 connected 6 8-9 [7-<-aa] [5-<-cc] [9->-aa]\n";
    let said = Said::of(text.as_bytes(), "bb").expect("it says");
    assert_eq!((said.epoch, &said.owned[..]), (2, &[(6, 6), (8, 9)][..]));
    assert_eq!(said.imports, [(7, "bb".into()), (5, "bb".into())]);
    assert!(Said::of(b"nonsense", "bb").is_none());
    let ground = ground(&[("aa", 0, 5), ("bb", 6, 6), ("bb", 8, 9)]);
    assert!(ground.agrees("bb", &said.owned) && !ground.agrees("bb", &[(6, 6), (8, 8)]));
    assert!(!ground.agrees("bb", &[(6, 10)]) && !ground.agrees("aa", &[(6, 6)]) && ground.agrees("cc", &[]));
    let first = || Said { owned: vec![(0, 5)], imports: Vec::new(), epoch: 7 };
    assert_eq!(ground.confirmed(&[first()]), None);
    assert_eq!(ground.confirmed(&[first(), said]).map(|g| g.epochs.clone()), Some(vec![7, 2]));
}
