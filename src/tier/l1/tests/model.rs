//! Random operations on an L1 and on a map.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Insert(u8, u8, u16),
    Get(u8, u8),
    Remove(u8),
    Clear,
    Sweep,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => (0..30_u8, 0..6_u8, 0..300_u16).prop_map(|(key, request, size)| Op::Insert(key, request, size)),
        10 => (0..30_u8, 0..6_u8).prop_map(|(key, request)| Op::Get(key, request)),
        3 => (0..30_u8).prop_map(Op::Remove),
        1 => Just(Op::Clear),
        2 => Just(Op::Sweep),
    ]
}

/// Applies operations to an L1 and to a map that forgets nothing.
fn run(l1: &L1, ops: &[Op], evicts: bool) {
    let mut model: HashMap<(u8, u8), Vec<u8>> = HashMap::new();
    for (step, op) in ops.iter().enumerate() {
        match *op {
            Op::Insert(key, request, size) => {
                let reply = [&step.to_le_bytes()[..], &vec![key; size.into()]].concat();
                assert!(keep(l1, &fill(l1, &[key], (request / 3).into(), &[request % 3], &reply)));
                model.insert((key, request), reply);
            }
            Op::Get(key, request) => {
                let reply = read(l1, &[key], (request / 3).into(), &[request % 3]);
                if reply.is_some() || !evicts {
                    assert_eq!(reply.as_ref(), model.get(&(key, request)));
                }
            }
            Op::Remove(key) => {
                let removed = l1.remove(l1.hash(&[key]));
                let copies = model.len();
                model.retain(|of, _| of.0 != key);
                assert!(removed == copies - model.len() || evicts);
            }
            Op::Clear => {
                l1.clear();
                model.clear();
            }
            Op::Sweep => assert_eq!(l1.sweep(2 * NS, 1000), 0),
        }
        assert!(l1.stats().bytes <= l1.stats().max_bytes);
        assert!(l1.stats().entries == model.len() || evicts);
    }
    check(l1);
}

proptest! {
    #[test]
    fn behaves_like_a_map(ops in prop::collection::vec(op(), 1..400), policy in prop::sample::select(&BOTH[..])) {
        run(&l1(policy, 1 << 20, 2), &ops, false);
    }

    #[test]
    fn behaves_like_a_map_that_forgets(ops in prop::collection::vec(op(), 1..400), policy in prop::sample::select(&BOTH[..])) {
        run(&l1(policy, 6_000, 2), &ops, true);
    }
}
