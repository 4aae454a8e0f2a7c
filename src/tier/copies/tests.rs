use super::*;
use crate::backend::cluster::SlotSet;
use crate::backend::tracking::Sink;
use crate::config::Config;
use crate::tier::l1::Policy;

fn copies() -> Copies {
    let options = L1Options { max_bytes: 1 << 20, policy: Policy::S3Fifo, shards: None };
    let policies = Policies::new(&Config::default().l1, Vec::new());
    Copies::new(options, policies, Arc::default(), Arc::default())
}

#[test]
fn what_the_guard_changes_meanwhile_is_not_of_one_moment() {
    let copies = copies();
    assert!(copies.at_one_moment(|| true));
    assert!(!copies.at_one_moment(|| false));
    let invalidated = || copies.ward(NodeId::FIRST).invalidate(&mut [b"k".as_slice()].into_iter());
    assert!(!copies.at_one_moment(|| {
        invalidated();
        true
    }));
    copies.moving(|| assert!(!copies.at_one_moment(|| true)));
    assert!(copies.at_one_moment(|| true));
}

/// The next owner's guard says nothing of what the last one's has yet to announce.
#[test]
fn copies_in_l2_are_not_believed_once_a_slot_was_vacated() {
    let ledger = Arc::new(Ledger::default());
    let copies = copies().of_cluster().above(ledger.clone());
    let epoch = [7; 16];
    copies.ward(NodeId::FIRST).covered();
    ledger.vouch(ledger.wants_epoch().expect("an epoch is wanted"), epoch);
    // Owners that nobody knew of have no copies.
    copies.vacate(&SlotSet::default());
    let pass = ledger.pass(1).expect("a pass");
    assert!(ledger.believes(&epoch));
    copies.vacate(&[5].into_iter().collect());
    assert!(!ledger.believes(&epoch) && !ledger.holds(pass) && ledger.pass(1).is_none());
    assert!(ledger.wants_epoch().is_some());
}
