use super::*;
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
