//! The coherence checker: many clients read and write through two proxies and straight at home, while things break, and
//! every read is checked against the guarantee.
//!
//! **What is checked.** Through one proxy a client reads its own writes and never goes back in time, nor does it see less than
//! another client of that proxy was shown before it asked; an acknowledged write is visible through every proxy when the lease is over;
//! keys written together are never read apart; nothing is read that was never written. Errors are allowed, wrong answers never.
//!
//! **How versions get their order.** By one writer at a time for each register (see `field`): writes are made through both
//! proxies and at home in turn, each after the one before was acknowledged, so their order is home's. A write in doubt is the
//! last of its register, counted as seen when it is seen. Values say their version; where a reply tells less (absent, a
//! length) it is taken for the oldest version it may be (see `checker`). A time to live makes two versions: the value,
//! and its absence from the moment home's clock says. FLUSHALL is a write to all registers at once.
//!
//! **Over a cluster** home loses by itself what a replaced master had acknowledged alone. So a write counts only once a witness has
//! found it at home and on the replicas; one that is not there though home lost nothing is a wrong answer. What is read while a
//! replaced master may answer without knowing better is left out. Strings that are prolonged by what was read under WATCH
//! show lost updates (see `logs`).
//!
//! **What it stands on.** All times are of one monotonic clock in this process. Home appends every write to disk before it
//! acknowledges it, and so loses none when it is killed. Reads at home are checked too, with no lease at all: if one of those
//! is wrong, the check is.
//!
//! A run is made of rounds, each with new registers, so that its memory is bounded. `STRATA_HISTORY_SECONDS`
//! says how long it takes, `STRATA_SEED` repeats its choices (not the machine's timing).

mod checker;
mod client;
mod commands;
mod errors;
mod faults;
mod field;
mod link;
mod logs;
mod losses;
mod many;
mod model;
mod one;
mod report;
mod run;
mod stage;
mod story;
mod synthetic;
mod ways;
mod witness;

use std::time::Duration;

use crate::support::{Target, seed, setting};
use checker::Wrong;
use many::Many;
use one::One;
use run::{Between, Run};

/// Two on each of two nodes.
const PROXIES_OF_CLUSTER: usize = 4;

/// A proxy that answers fewer reads than this from copies, before anything breaks, proves nothing. How many it could
/// is for the load to say: here one command of five is a write, and few keys are read twice between two.
const FEWEST_FROM_COPIES: u64 = 100;

#[test]
fn no_read_is_older_than_the_guarantee_allows_whatever_breaks() {
    let duration = Duration::from_secs(setting("STRATA_HISTORY_SECONDS", 60));
    let target = Target::chosen();
    let mut run = Run::start(
        One::start,
        if target == Target::Strata { Between::Strata } else { Between::Nothing },
        true,
    );
    let report = run.go(seed(), duration);
    println!("{report}");
    assert!(report.passed(), "{report}");
    assert!(target == Target::Bare || report.answered_by_copies() >= FEWEST_FROM_COPIES, "{report}");
}

#[test]
fn processes_that_share_an_l2_read_nothing_older_either() {
    let duration = Duration::from_secs(setting("STRATA_HISTORY_SECONDS", 60));
    let report = Run::start(One::start_over_l2, Between::Strata, true).go(seed(), duration);
    println!("{report}");
    assert!(report.passed(), "{report}");
}

#[test]
fn redis_itself_passes() {
    let report = Run::start(One::start, Between::Nothing, true).go(seed(), Duration::from_secs(6));
    assert!(report.passed(), "{report}");
    assert!(report.reads > 1_000, "{report}");
}

#[test]
fn a_cache_that_hears_of_no_writes_is_found_out() {
    let report = Run::start(One::start, Between::Forgetful, false).go(seed(), Duration::from_secs(4));
    let found = report.kinds();
    for wrong in [Wrong::TooOld, Wrong::OwnWriteLost, Wrong::WentBack] {
        assert!(found.contains(&wrong), "{wrong:?} is missing:\n{report}");
    }
    assert!(!found.contains(&Wrong::Impossible), "{report}");
}

#[test]
fn no_read_is_older_than_the_guarantee_allows_over_a_cluster() {
    let duration = Duration::from_secs(setting("STRATA_HISTORY_SECONDS", 60));
    let target = Target::chosen();
    let between = if target == Target::Strata { Between::Strata } else { Between::Nothing };
    let mut run = Run::start(|strata| Many::start(PROXIES_OF_CLUSTER, strata, true), between, true);
    let report = run.go(seed(), duration);
    println!("{report}");
    assert!(report.passed(), "{report}");
    assert!(target == Target::Bare || report.answered_by_copies() >= FEWEST_FROM_COPIES, "{report}");
}

#[test]
fn a_cluster_itself_passes() {
    let mut run = Run::start(|strata| Many::start(2, strata, false), Between::Nothing, true);
    let report = run.go(seed(), Duration::from_secs(20));
    assert!(report.passed(), "{report}");
    assert!(report.reads > 1_000, "{report}");
}

#[test]
fn a_cache_in_front_of_a_cluster_that_hears_of_no_writes_is_found_out() {
    let mut run = Run::start(|strata| Many::start(2, strata, false), Between::Forgetful, false);
    let report = run.go(seed(), Duration::from_secs(4));
    let found = report.kinds();
    for wrong in [Wrong::TooOld, Wrong::OwnWriteLost, Wrong::WentBack] {
        assert!(found.contains(&wrong), "{wrong:?} is missing:\n{report}");
    }
    assert!(!found.contains(&Wrong::Impossible), "{report}");
}
