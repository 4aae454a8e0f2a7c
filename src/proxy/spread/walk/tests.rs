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
    imports: BTreeMap<u16, &'static str>,
    keys: BTreeSet<(&'static str, u16, u32)>,
}

impl Home {
    fn new(owners: &[(u16, &'static str)], keys_each: u32) -> Self {
        let owners: BTreeMap<_, _> = owners.iter().copied().collect();
        let keys = owners.iter().flat_map(|(slot, node)| (0..keys_each).map(|n| (*node, *slot, n))).collect();
        Home { owners, imports: BTreeMap::new(), keys }
    }

    fn ground(&self) -> Arc<Ground> {
        let ranges: Vec<_> = self.owners.iter().map(|(slot, node)| (*node, *slot, *slot)).collect();
        ground(&ranges)
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
        let page = match walks.step(cursor, &ground) {
            Step::Ask { at, master, cursor } => {
                at.reply(&home.scan(&master, cursor), slot_of).expect("a page")
            }
            Step::Check(at) => {
                let imports = home.imports.iter().map(|(slot, to)| (*slot, Box::from(*to))).collect();
                empty_page(walks.check(&at, &ground, imports))
            }
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
        assert!(found.iter().filter(|key| slot_of(key.as_bytes()) != 5).count() == 30, "others once");
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
    let Step::Ask { at, .. } = Walks::default().step(0, &ground) else { panic!("a step") };
    let cursor = at.next(77).expect("a cursor");
    let Step::Ask { master, cursor, .. } = Walks::default().step(cursor, &ground) else { panic!("a step") };
    assert_eq!((&*master, cursor), ("a", 77));
}

#[test]
fn a_cursor_that_nobody_knows_begins_anew() {
    let ground = ground(&[("a", 0, 16383)]);
    let mut walks = Walks::default();
    for cursor in [1, 4095, 123_456_789, u64::MAX] {
        let Step::Ask { master, cursor, .. } = walks.step(cursor, &ground) else { panic!("a step") };
        assert_eq!((&*master, cursor), ("a", 0));
    }
}

#[test]
fn a_cursor_has_room_for_a_large_node_and_is_never_cut() {
    let ground = ground(&[("a", 0, 5000), ("b", 5001, 10000), ("c", 10001, 16383)]);
    let place = || match Walks::default().step(0, &ground) {
        Step::Ask { at, .. } => at,
        Step::Check(_) => panic!("a step"),
    };
    assert!(place().next(1 << 48).is_some_and(|cursor| cursor < 1 << 63));
    assert_eq!(place().next(1 << 50), None);
    assert_eq!(place().next(u64::MAX), None);
}

#[test]
fn passes_are_forgotten_in_turn() {
    let mut walks = Walks::default();
    for first in 1..200 {
        walks.step(0, &ground(&[("a", 0, first), ("b", first + 1, 16383)]));
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
    assert_eq!(imports(text.as_bytes(), "bb"), [(7, "bb".into()), (5, "bb".into())]);
    assert_eq!(imports(b"nonsense", "bb"), []);
    assert_eq!(owned(text.as_bytes()), [(6, 6), (8, 9)]);
    let ground = ground(&[("aa", 0, 5), ("bb", 6, 6), ("bb", 8, 9)]);
    assert!(ground.agrees("bb", &owned(text.as_bytes())) && !ground.agrees("bb", &[(6, 6), (8, 8)]));
    assert!(!ground.agrees("bb", &[(6, 10)]) && !ground.agrees("aa", &[(6, 6)]) && ground.agrees("cc", &[]));
}
