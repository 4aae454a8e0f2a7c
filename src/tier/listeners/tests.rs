use super::*;

/// What is told while `act` runs.
fn told(act: impl FnOnce(&mut Tell<'_>)) -> Vec<(u64, Notice)> {
    let mut all = Vec::new();
    act(&mut |_, session, notice| all.push((session, notice)));
    all
}

fn covered(max_keys: usize) -> Listeners {
    let table = Listeners::new(max_keys);
    table.lease(100);
    table
}

fn remember(table: &Listeners, session: u64, key: &[u8]) -> Vec<(u64, Notice)> {
    told(|tell| assert_eq!(table.remember(session, key, 1, tell), Remembered::Yes))
}

#[test]
fn a_change_is_told_once_to_those_who_read_the_key() {
    let table = covered(0);
    (1..4).for_each(|session| table.enter(session, 0, false));
    for (session, key) in [(1, b"a"), (2, b"a"), (2, b"a"), (3, b"b")] {
        assert_eq!(remember(&table, session, key), []);
    }
    assert_eq!(table.figures(), (2, 3, 0));
    let a = Notice::key(b"a");
    assert_eq!(told(|tell| table.changed(&[b"x", b"a"], tell)), [(1, a.clone()), (2, a)]);
    assert_eq!(told(|tell| table.changed(&[b"a"], tell)), []);
    table.leave(3, std::iter::empty());
    assert_eq!(told(|tell| table.changed(&[b"b"], tell)), []);
    assert_eq!(table.figures(), (0, 0, 0));
}

#[test]
fn a_prefix_is_told_of_all_its_keys_at_once() {
    let table = covered(0);
    table.enter(1, 0, true);
    table.enter(2, 0, true);
    table.add_prefix(1, b"a:");
    table.add_prefix(1, b"b:");
    table.add_prefix(2, b"");
    remember(&table, 1, b"a:1");
    let changes: [&[u8]; 4] = [b"a:1", b"a:2", b"b", b"b:1"];
    let expected =
        [(2, Notice::keys(&changes)), (1, Notice::keys(&changes[..2])), (1, Notice::keys(&changes[3..]))];
    assert_eq!(told(|tell| table.changed(&changes, tell)), expected);
    table.leave(1, [&b"a:"[..], b"b:"].into_iter());
    assert_eq!(told(|tell| table.changed(&[b"a:1"], tell)), [(2, Notice::key(b"a:1"))]);
    assert_eq!(table.figures().2, 1);
}

#[test]
fn what_makes_room_is_told_as_changed() {
    let table = covered(100);
    table.enter(1, 0, false);
    let mut known = std::collections::HashSet::new();
    for n in 0..20_000 {
        let key = format!("key:{n}");
        for (_, notice) in remember(&table, 1, key.as_bytes()) {
            assert!(known.remove(&notice), "{notice:?}");
        }
        known.insert(Notice::key(key.as_bytes()));
    }
    let (keys, readers, _) = table.figures();
    assert_eq!((keys, readers), (known.len(), known.len()));
    assert_eq!(keys, 100);
}

#[test]
fn those_who_have_gone_do_not_pile_up_with_a_key() {
    let table = covered(0);
    table.enter(0, 0, false);
    for session in 1..10_000 {
        table.enter(session, 0, false);
        remember(&table, session, b"k");
        table.leave(session, std::iter::empty());
    }
    assert!(table.figures().1 <= 2 * CROWD, "{:?}", table.figures());
}

#[test]
fn without_coverage_nothing_counts_as_remembered_and_its_end_is_told() {
    let table = covered(0);
    table.enter(1, 0, false);
    remember(&table, 1, b"k");
    assert_eq!(told(|tell| table.expire(99, tell)), []);
    assert_eq!(told(|tell| table.expire(100, tell)), [(1, Notice::All)]);
    assert_eq!(told(|tell| table.expire(200, tell)), []);
    assert_eq!(told(|tell| table.changed(&[b"k"], tell)), []);
    told(|tell| assert_eq!(table.remember(1, b"k", 100, tell), Remembered::No));
    table.lease(300);
    remember(&table, 1, b"k");
    assert_eq!(told(|tell| table.lost(tell)), [(1, Notice::All)]);
    told(|tell| assert_eq!(table.remember(1, b"k", 201, tell), Remembered::No));
    table.lease(300);
    told(|tell| assert_eq!(table.remember(1, &[b'x'; MAX_NAME + 1], 201, tell), Remembered::No));
}
