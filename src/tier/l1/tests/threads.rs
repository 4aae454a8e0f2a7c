//! Threads that fill, remove and clear, while others check what they find.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

/// A reply that names its key and version, of a length that varies.
fn versioned(key: u32, version: u64) -> Vec<u8> {
    let mut reply = format!("{key}:{version}:").into_bytes();
    reply.resize(reply.len() + (version % 200) as usize, b'x');
    reply
}

fn parse(reply: &[u8]) -> (u32, u64) {
    let text = std::str::from_utf8(reply).expect("text");
    let mut parts = text.split(':');
    let key = parts.next().and_then(|key| key.parse().ok()).expect("a key");
    let version = parts.next().and_then(|version| version.parse().ok()).expect("a version");
    assert_eq!(versioned(key, version), reply);
    (key, version)
}

/// Each writer owns some keys: it raises a key's floor, removes its copies, and from then on fills newer versions only. So
/// what a reader finds that read the floor before it was made is never below it.
fn write(l1: &L1, floors: &[AtomicU64], mine: impl Iterator<Item = usize>, rounds: u64) {
    let mine: Vec<usize> = mine.collect();
    for round in 1..=rounds {
        for &key in &mine {
            let name = (key as u32).to_le_bytes();
            let request = round % 3;
            let reply = versioned(key as u32, round);
            l1.insert(&fill(l1, &name, request as u32, &[request as u8], &reply));
            if round % 5 == 0 {
                l1.remove(l1.hash(&name));
                floors[key].store(round + 1, Ordering::SeqCst);
            }
        }
        if round % 64 == 0 {
            l1.clear();
            mine.iter().for_each(|&key| floors[key].store(round + 1, Ordering::SeqCst));
        }
    }
}

fn watch(l1: &L1, floors: &[AtomicU64], stop: &AtomicBool) -> u64 {
    let mut hits = 0;
    while !stop.load(Ordering::Relaxed) {
        let seen: Vec<u64> = floors.iter().map(|floor| floor.load(Ordering::SeqCst)).collect();
        let reader = l1.reader();
        for (key, floor) in seen.iter().enumerate() {
            let name = (key as u32).to_le_bytes();
            let hash = l1.hash(&name);
            reader.prefetch_slot(hash);
            reader.prefetch_record(hash);
            for request in 0..3_u8 {
                if let Some(hit) = reader.get(hash, &name, request.into(), &[request], 0) {
                    let (of, version) = parse(hit.reply());
                    assert_eq!(of as usize, key);
                    assert_eq!(version % 3, u64::from(request));
                    assert!(version >= *floor, "version {version} after {floor} was removed");
                    hits += 1;
                }
            }
        }
    }
    hits
}

#[test]
fn readers_see_whole_replies_and_nothing_removed() {
    for policy in BOTH {
        let l1 = l1(policy, 1 << 20, 2);
        let floors: Vec<AtomicU64> = (0..4_000).map(|_| AtomicU64::new(0)).collect();
        let stop = AtomicBool::new(false);
        let hits: u64 = std::thread::scope(|scope| {
            let readers = [(); 2].map(|()| scope.spawn(|| watch(&l1, &floors, &stop)));
            let writers = [0, 1].map(|writer| {
                let (l1, floors) = (&l1, &floors);
                scope.spawn(move || write(l1, floors, (writer..floors.len()).step_by(2), 100))
            });
            for writer in writers {
                writer.join().expect("a writer");
            }
            stop.store(true, Ordering::Relaxed);
            readers.map(|reader| reader.join().expect("a reader")).iter().sum()
        });
        assert!(hits > 0, "{policy:?}");
        check(&l1);
        assert!(l1.stats().bytes <= 1 << 20);
    }
}
