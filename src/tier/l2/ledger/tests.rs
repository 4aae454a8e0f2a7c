use super::*;

const NODE: NodeId = NodeId::FIRST;
const KEY: u64 = 5 << 24;
const OTHER: u64 = 6 << 24;
const FIRST: Epoch = [1; 16];
const SECOND: Epoch = [2; 16];

/// Covered, vouched for in the first epoch, and confirmed by the guard.
fn vouched() -> Ledger {
    let ledger = Ledger::default();
    ledger.covered(NODE);
    let number = ledger.wants_epoch().expect("an epoch is wanted");
    ledger.vouch(number, FIRST);
    confirmed(&ledger, 1);
    ledger
}

fn confirmed(ledger: &Ledger, round: u64) {
    ledger.gather(NODE, round);
    ledger.confirm(NODE, round);
}

fn delete_all(ledger: &Ledger) -> usize {
    let slots: Vec<u32> = ledger.deletes(usize::MAX).into_iter().map(|(slot, _)| slot).collect();
    let count = slots.len();
    ledger.deleted(slots);
    count
}

#[test]
fn nothing_is_believed_without_coverage_epoch_and_confirmation() {
    let ledger = Ledger::default();
    assert_eq!((ledger.pass(KEY), ledger.wants_epoch()), (None, None));
    ledger.covered(NODE);
    let number = ledger.wants_epoch().expect("an epoch is wanted");
    assert_eq!(ledger.pass(KEY), None);
    ledger.vouch(number, FIRST);
    let pass = ledger.pass(KEY).expect("a pass");
    assert!(ledger.trails(pass, NODE) && ledger.wants_epoch().is_none());
    confirmed(&ledger, 1);
    assert!(!ledger.trails(pass, NODE));
    ledger.uncovered(NODE);
    assert_eq!((ledger.pass(KEY), ledger.vouched(), ledger.wants_epoch()), (None, false, None));
}

#[test]
fn a_key_is_not_read_before_its_delete_is_confirmed() {
    let ledger = vouched();
    ledger.announced(KEY, b"k");
    assert!(ledger.pass(KEY).is_none() && ledger.pass(OTHER).is_some());
    let taken = ledger.deletes(10);
    assert_eq!((taken.len(), ledger.outstanding()), (1, 1));
    assert!(ledger.pass(KEY).is_none());
    ledger.deleted(taken.into_iter().map(|(slot, _)| slot));
    assert!(ledger.pass(KEY).is_some() && ledger.outstanding() == 0);
}

#[test]
fn what_was_shown_waits_for_a_confirmation_asked_later() {
    let ledger = vouched();
    ledger.gather(NODE, 2);
    ledger.show(KEY);
    ledger.confirm(NODE, 2);
    let (pass, other) = (ledger.pass(KEY).expect("a pass"), ledger.pass(OTHER).expect("a pass"));
    assert!(ledger.trails(pass, NODE) && !ledger.trails(other, NODE));
    confirmed(&ledger, 3);
    assert!(!ledger.trails(pass, NODE));
    // What is released after L2 was asked is no concern of the question.
    ledger.show(KEY);
    assert!(!ledger.trails(pass, NODE));
}

#[test]
fn an_epoch_that_another_has_overtaken_does_not_vouch() {
    let ledger = Ledger::default();
    ledger.covered(NODE);
    let number = ledger.wants_epoch().expect("an epoch is wanted");
    ledger.renew();
    ledger.vouch(number, FIRST);
    assert!(!ledger.vouched());
    let number = ledger.wants_epoch().expect("an epoch is wanted");
    ledger.vouch(number, SECOND);
    assert_eq!(
        (ledger.standing(&FIRST, 0, NODE), ledger.standing(&SECOND, 1, NODE)),
        (Standing::Unknown, Standing::Fresh)
    );
}

#[test]
fn a_pass_ends_with_its_vouching() {
    let ledger = vouched();
    let pass = ledger.pass(KEY).expect("a pass");
    assert!(ledger.holds(pass));
    ledger.renew();
    assert!(!ledger.holds(pass));
    ledger.adopt(pass, SECOND);
    assert_eq!(ledger.standing(&SECOND, 0, NODE), Standing::Unknown);
}

#[test]
fn a_lost_connection_unvouches_and_forgets_its_deletes() {
    let ledger = vouched();
    ledger.announced(KEY, b"k");
    ledger.lost();
    assert!(!ledger.vouched() && ledger.deletes(10).is_empty());
    // Nobody would take them.
    ledger.announced(KEY, b"k");
    assert_eq!(delete_all(&ledger), 0);
    let number = ledger.wants_epoch().expect("an epoch is wanted");
    ledger.announced(KEY, b"k");
    ledger.vouch(number, SECOND);
    confirmed(&ledger, 2);
    assert_eq!(ledger.pass(KEY), None);
    assert_eq!(delete_all(&ledger), 1);
    assert!(ledger.pass(KEY).is_some());
}

#[test]
fn too_many_deletes_are_another_epoch() {
    let ledger = vouched();
    let key = vec![b'k'; MAX_DELETE_BYTES];
    ledger.announced(KEY, &key);
    assert!(ledger.vouched());
    ledger.announced(KEY, b"k");
    assert!(!ledger.vouched() && ledger.deletes(10).is_empty());
    let number = ledger.wants_epoch().expect("an epoch is wanted");
    ledger.vouch(number, SECOND);
    assert!(ledger.pass(KEY).is_some());
}

#[test]
fn copies_settle_with_a_confirmation_after_l2_was_asked() {
    let ledger = vouched();
    ledger.gather(NODE, 2);
    ledger.polled(FIRST, 7);
    ledger.confirm(NODE, 2);
    assert_eq!(ledger.standing(&FIRST, 7, NODE), Standing::Fresh);
    confirmed(&ledger, 3);
    assert_eq!(
        (ledger.standing(&FIRST, 7, NODE), ledger.standing(&FIRST, 8, NODE)),
        (Standing::Settled, Standing::Fresh)
    );
}

#[test]
fn an_older_epoch_settles_whole_when_l2_has_another() {
    let ledger = vouched();
    let pass = ledger.pass(KEY).expect("a pass");
    ledger.adopt(pass, SECOND);
    ledger.polled(SECOND, 3);
    confirmed(&ledger, 2);
    assert_eq!(ledger.standing(&FIRST, 1 << 40, NODE), Standing::Settled);
    assert_eq!(
        (ledger.standing(&SECOND, 3, NODE), ledger.standing(&SECOND, 4, NODE)),
        (Standing::Settled, Standing::Fresh)
    );
    for n in 0..EPOCHS as u8 {
        ledger.adopt(pass, [n + 10; 16]);
    }
    assert_eq!(ledger.standing(&SECOND, 1, NODE), Standing::Unknown);
}

#[test]
fn a_slow_l2_is_asked_again_once_it_answers_what_was_asked_later() {
    let ledger = vouched();
    let before = clock::now();
    ledger.shun();
    assert_eq!(ledger.pass(KEY), None);
    ledger.answered(before);
    assert_eq!(ledger.pass(KEY), None);
    ledger.answered(clock::now() + 1);
    assert!(ledger.pass(KEY).is_some());
}

#[test]
fn each_node_of_a_cluster_confirms_what_is_its_own() {
    let [_, other] = crate::backend::cluster::two_nodes();
    let ledger = vouched();
    // What is announced from now on was not before.
    ledger.covered(other);
    assert!(!ledger.vouched());
    let number = ledger.wants_epoch().expect("an epoch is wanted");
    ledger.vouch(number, SECOND);
    ledger.polled(SECOND, 3);
    confirmed(&ledger, 2);
    let pass = ledger.pass(KEY).expect("a pass");
    let standings = |ledger: &Ledger| [NODE, other].map(|node| ledger.standing(&SECOND, 3, node));
    assert_eq!(standings(&ledger), [Standing::Settled, Standing::Fresh]);
    assert!(!ledger.trails(pass, NODE) && ledger.trails(pass, other));
    ledger.gather(other, 1);
    ledger.confirm(other, 1);
    assert_eq!(standings(&ledger), [Standing::Settled; 2]);
    assert!(!ledger.trails(pass, other));
    // The other's keys are still told of.
    ledger.uncovered(NODE);
    assert!(ledger.vouched() && ledger.trails(pass, NODE) && !ledger.trails(pass, other));
    ledger.uncovered(other);
    assert_eq!((ledger.vouched(), ledger.wants_epoch()), (false, None));
}
