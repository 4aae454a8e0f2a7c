//! What an L1 promises, whatever its policy.

mod hit_ratio;
mod model;
mod threads;

use super::*;

const NS: u64 = 1_000_000_000;
/// Seconds that most copies live.
const LIFE: u32 = 1000;

const BOTH: [Policy; 2] = [Policy::S3Fifo, Policy::Lru];

fn l1(policy: Policy, max_bytes: usize, shards: usize) -> L1 {
    L1::new(L1Options { max_bytes, policy, shards: Some(shards) })
}

fn fill<'a>(l1: &L1, key: &'a [u8], kind: u32, tail: &'a [u8], reply: &'a [u8]) -> Fill<'a> {
    let hash = l1.hash(key);
    let fresh_until = u64::from(LIFE) * NS;
    Fill {
        hash,
        key,
        kind,
        tail,
        reply,
        fresh_until,
        stale_until: LIFE,
        absent: false,
        filled_at: 1,
        ahead: 0,
    }
}

/// Inserts. Readers of other tests may be pinned for a moment, which refuses fills.
fn keep(l1: &L1, fill: &Fill<'_>) -> bool {
    let mut tries = 0..1_000;
    tries.any(|_| {
        l1.insert(fill) || {
            std::thread::sleep(std::time::Duration::from_millis(1));
            false
        }
    })
}

fn put(l1: &L1, key: &[u8], reply: &[u8]) -> bool {
    keep(l1, &fill(l1, key, 0, b"", reply))
}

fn read(l1: &L1, key: &[u8], kind: u32, tail: &[u8]) -> Option<Vec<u8>> {
    let reader = l1.reader();
    let hit = reader.get(l1.hash(key), key, kind, tail, 2 * NS)?;
    Some(hit.reply().to_vec())
}

fn get(l1: &L1, key: &[u8]) -> Option<Vec<u8>> {
    read(l1, key, 0, b"")
}

fn check(l1: &L1) {
    (0..l1.tables.len()).for_each(|shard| l1.edit(shard, |edit| edit.check()));
}

#[test]
fn a_copy_answers_its_own_request_only() {
    for l1 in BOTH.map(|policy| l1(policy, 1 << 20, 4)) {
        assert!(l1.insert(&fill(&l1, b"h", 1, b"f1", b"one")));
        assert!(l1.insert(&fill(&l1, b"h", 1, b"f2", b"two")));
        assert!(l1.insert(&fill(&l1, b"h", 2, b"f1", b"three")));
        assert_eq!(read(&l1, b"h", 1, b"f1"), Some(b"one".to_vec()));
        assert_eq!(read(&l1, b"h", 1, b"f2"), Some(b"two".to_vec()));
        assert_eq!(read(&l1, b"h", 2, b"f1"), Some(b"three".to_vec()));
        assert_eq!(read(&l1, b"h", 2, b"f2"), None);
        assert_eq!(read(&l1, b"hf1", 1, b""), None);
        assert_eq!(l1.stats().entries, 3);
        check(&l1);
    }
}

#[test]
fn a_newer_reply_takes_the_place_of_the_older() {
    for l1 in BOTH.map(|policy| l1(policy, 1 << 20, 1)) {
        for (kind, tail) in [(0, &b""[..]), (1, b"field")] {
            l1.insert(&fill(&l1, b"k", kind, tail, b"old"));
            l1.insert(&fill(&l1, b"k", kind, tail, b"newer"));
            assert_eq!(read(&l1, b"k", kind, tail), Some(b"newer".to_vec()));
        }
        assert_eq!(l1.stats().entries, 2);
        check(&l1);
    }
}

#[test]
fn copies_end_and_absence_is_never_served_stale() {
    let l1 = l1(Policy::S3Fifo, 1 << 20, 1);
    let lives = Fill { fresh_until: 5 * NS, stale_until: 9, ..fill(&l1, b"k", 0, b"", b"v") };
    l1.insert(&lives);
    l1.insert(&Fill { key: b"nil", hash: l1.hash(b"nil"), absent: true, ..lives });
    let reader = l1.reader();
    let fresh = |key: &[u8], now| reader.get(l1.hash(key), key, 0, b"", now).is_some();
    let stale = |key: &[u8], now| reader.get_stale(l1.hash(key), key, 0, b"", now).is_some();
    assert!(fresh(b"k", 5 * NS - 1) && !fresh(b"k", 5 * NS));
    assert!(stale(b"k", 8) && !stale(b"k", 9));
    assert!(fresh(b"nil", 0) && !stale(b"nil", 0));
}

#[test]
fn an_old_copy_is_reported_home_once_a_period() {
    let l1 = l1(Policy::S3Fifo, 1 << 20, 1);
    l1.insert(&Fill { filled_at: 0xffff_fffe, ..fill(&l1, b"k", 0, b"", b"v") });
    let reader = l1.reader();
    let hit = reader.get(l1.hash(b"k"), b"k", 0, b"", 0).expect("a copy");
    assert!(!hit.touch_due(0xffff, 10));
    assert!(hit.touch_due(8, 10) && !hit.touch_due(9, 10));
    assert!(hit.touch_due(18, 10));
}

#[test]
fn removing_a_key_removes_all_its_copies_and_no_other() {
    for l1 in BOTH.map(|policy| l1(policy, 64 << 20, 4)) {
        let before = l1.stats().bytes;
        put(&l1, b"other", b"v");
        for field in 0..10_000_u32 {
            l1.insert(&fill(&l1, b"h", 1, &field.to_le_bytes(), b"value"));
        }
        check(&l1);
        assert_eq!(l1.copies_of(b"h").len(), 10_000);
        assert_eq!(l1.remove(l1.hash(b"h")), 10_000);
        assert_eq!(l1.remove(l1.hash(b"h")), 0);
        assert_eq!(get(&l1, b"other"), Some(b"v".to_vec()));
        assert_eq!(l1.remove(l1.hash(b"other")), 1);
        check(&l1);
        assert!(l1.stats().bytes < before + 4096, "structures shrink with their use");
    }
}

#[test]
fn a_primary_that_is_evicted_leaves_the_others_reachable() {
    let l1 = l1(Policy::Lru, 1 << 20, 1);
    l1.insert(&fill(&l1, b"h", 1, b"first", b"1"));
    l1.insert(&fill(&l1, b"h", 1, b"second", b"2"));
    read(&l1, b"h", 1, b"second");
    let evict_one = || l1.edit(0, |edit| edit.evict((1 << 20) - l1.stats().bytes + 1, 0, 0));
    evict_one();
    check(&l1);
    assert_eq!(read(&l1, b"h", 1, b"first"), None);
    assert_eq!(read(&l1, b"h", 1, b"second"), Some(b"2".to_vec()));
    assert_eq!((l1.stats().entries, l1.copies_of(b"h").len()), (1, 1));

    l1.insert(&fill(&l1, b"h", 1, b"third", b"3"));
    check(&l1);
    assert_eq!(read(&l1, b"h", 1, b"third"), Some(b"3".to_vec()));
    assert_eq!(l1.remove(l1.hash(b"h")), 2);
    check(&l1);
}

#[test]
fn a_stub_goes_with_the_last_copy_it_led_to() {
    let l1 = l1(Policy::Lru, 1 << 20, 1);
    for tail in [b"1", b"2", b"3"] {
        l1.insert(&Fill { stale_until: 5, fresh_until: 5 * NS, ..fill(&l1, b"h", 1, tail, b"v") });
    }
    let empty = self::l1(Policy::Lru, 1 << 20, 1).stats().bytes;
    assert_eq!(l1.sweep(4 * NS, 100), 0);
    assert_eq!(l1.sweep(5 * NS, 100), 3);
    check(&l1);
    let stats = l1.stats();
    assert_eq!((stats.entries, stats.expired), (0, 3));
    assert!(stats.bytes < empty + 2048);
}

#[test]
fn keys_of_one_hash_are_told_apart_and_removed_together() {
    for l1 in BOTH.map(|policy| l1(policy, 1 << 20, 1)) {
        let forged = |key, reply| Fill { hash: 42, ..fill(&l1, key, 0, b"", reply) };
        l1.insert(&forged(b"a", b"of a"));
        l1.insert(&forged(b"b", b"of b"));
        l1.insert(&forged(b"c", b"of c"));
        let reader = l1.reader();
        let reply = |key| reader.get(42, key, 0, b"", 0).map(|hit| hit.reply().to_vec());
        assert_eq!(reply(b"a"), Some(b"of a".to_vec()));
        // Only one of them is the primary; the others share a place as well.
        assert_eq!(reply(b"b"), Some(b"of b".to_vec()));
        assert_eq!(reply(b"c"), Some(b"of c".to_vec()));
        assert_eq!(reply(b"d"), None);
        assert_eq!(l1.remove(42), 3);
        assert_eq!(reply(b"a"), None);
        check(&l1);
    }
}

#[test]
fn entries_over_an_eighth_are_refused() {
    let l1 = l1(Policy::S3Fifo, 80_000, 1);
    assert!(!l1.insert(&fill(&l1, b"k", 0, b"", &[0; 10_000])));
    assert!(l1.insert(&fill(&l1, b"k", 0, b"", &[0; 9_900])));
    assert_eq!((l1.stats().refused, l1.stats().entries), (1, 1));
    let nothing = self::l1(Policy::S3Fifo, 0, 1);
    assert!(!nothing.insert(&fill(&nothing, b"k", 0, b"", b"")));
}

#[test]
fn the_budget_holds_at_every_size() {
    for policy in BOTH {
        for (size, shards) in [(10, 16), (100, 1), (3_000, 4), (100_000, 16)] {
            let l1 = l1(policy, 1 << 20, shards);
            for n in 0..(4 << 20) / (size + 100) {
                assert!(put(&l1, &usize::to_le_bytes(n), &vec![0; size]));
                assert!(l1.stats().bytes <= 1 << 20);
            }
            check(&l1);
            assert!(l1.stats().bytes > (1 << 20) * 3 / 4, "{policy:?} {size}: {:?}", l1.stats());
            assert!(l1.stats().evictions > 0);
        }
    }
}

#[test]
fn what_is_read_outlives_what_is_not() {
    for l1 in BOTH.map(|policy| l1(policy, 200_000, 1)) {
        let hot = |n: u32| format!("hot{n}").into_bytes();
        (0..50).for_each(|n| assert!(put(&l1, &hot(n), &[0; 100])));
        for n in 0..5_000_u32 {
            put(&l1, format!("cold{n}").as_bytes(), &[0; 100]);
            (0..50).for_each(|n| assert!(get(&l1, &hot(n)).is_some(), "hot{n} is here"));
        }
        check(&l1);
    }
}

#[test]
fn eviction_takes_all_and_takes_the_expired_first() {
    for l1 in BOTH.map(|policy| l1(policy, 1 << 20, 1)) {
        for n in 0..100_u32 {
            let key = n.to_le_bytes();
            let lives = fill(&l1, &key, 0, b"", b"v");
            l1.insert(&Fill { stale_until: if n % 2 == 0 { 5 } else { LIFE }, fresh_until: 0, ..lives });
            // Read often: only its expiry lets it go before the others.
            let reader = l1.reader();
            (0..3).for_each(|_| assert!(reader.get_stale(lives.hash, &key, 0, b"", 1).is_some()));
        }
        let evict = |need, now| l1.edit(0, |edit| edit.evict(need, 0, now));
        if l1.policy == Policy::S3Fifo {
            while l1.stats().entries > 50 {
                evict((1 << 20) - l1.stats().bytes + 1, 5);
            }
            assert!(l1.sweep(5 * NS, 1000) < 5, "the expired went first");
        }
        evict(1 << 30, 5);
        assert_eq!(l1.stats().entries, 0);
        check(&l1);
    }
}

#[test]
fn a_visit_shows_every_key_while_some_go() {
    for l1 in BOTH.map(|policy| l1(policy, 4 << 20, 4)) {
        for n in 0..2_000_u32 {
            let key = n.to_le_bytes();
            l1.insert(&fill(&l1, &key, 0, b"", b"v"));
            l1.insert(&fill(&l1, &key, 1, b"", b"w"));
        }
        let mut seen = vec![false; 2_000];
        let mut cursor = Some(Cursor::START);
        let mut steps = 0;
        while let Some(at) = cursor {
            steps += 1;
            cursor = l1.visit(at, 100, |key| {
                let n = u32::from_le_bytes(key.try_into().expect("four bytes"));
                seen[n as usize] = true;
                n % 3 == 0
            });
            put(&l1, &1_u32.to_le_bytes(), b"refilled");
        }
        assert!(steps > 10, "a slice at a time");
        assert!(seen.iter().all(|&seen| seen));
        let left = (0..2_000_u32).filter(|n| get(&l1, &n.to_le_bytes()).is_some());
        assert!(left.clone().all(|n| n % 3 != 0) && left.count() == 1_333);
        assert_eq!(l1.stats().entries, 2 * 1_333);
        check(&l1);
    }
}

#[test]
fn clear_leaves_nothing() {
    for l1 in BOTH.map(|policy| l1(policy, 4 << 20, 8)) {
        let before = l1.stats();
        (0..5_000_u32).for_each(|n| assert!(put(&l1, &n.to_le_bytes(), b"v")));
        assert_eq!(l1.clear(), 5_000);
        assert_eq!((l1.stats().entries, l1.stats().bytes), (0, before.bytes));
        assert!((0..5_000_u32).all(|n| get(&l1, &n.to_le_bytes()).is_none()));
        assert!(put(&l1, b"k", b"v"));
        check(&l1);
    }
}

#[test]
fn garbage_is_bounded_and_a_reader_that_stays_stops_fills() {
    let l1 = l1(Policy::S3Fifo, 1 << 20, 1);
    let insert = |n: u32| l1.insert(&fill(&l1, &n.to_le_bytes(), 0, b"", &[0; 100]));
    let reader = l1.reader();
    let refused = (0..20_000).filter(|&n| !insert(n)).count();
    assert!(refused > 0);
    assert!(l1.stats().garbage_bytes <= (1 << 20) / 8 + 4096);
    drop(reader);
    assert!(put(&l1, b"k", b"v"));
}

#[test]
fn shards_follow_the_budget() {
    let shards =
        |max_bytes| L1::new(L1Options { max_bytes, policy: Policy::S3Fifo, shards: None }).stats().shards;
    assert_eq!(shards(100), 1);
    assert_eq!(shards(5_000_000), 16);
    assert_eq!(shards(1 << 40), 64);
}
