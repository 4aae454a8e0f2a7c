//! Hot copies are renewed before they end.

use std::thread;
use std::time::{Duration, Instant};

use super::{bulk, call, pair, statistic};

/// Copies are renewed a sixteenth of their life before its end: long enough for a reader that is not let run at once.
const POLICY: &str = "[[policy]]\nmatch = \"hot:*\"\nl1_ttl = \"2s\"\nrefresh_ahead = true\n\
    [[policy]]\nmatch = \"cold:*\"\nl1_ttl = \"400ms\"\nrefresh_ahead = true\n";

#[test]
fn who_reads_all_the_time_never_waits_for_home() {
    let (home, strata) = pair(POLICY);
    let mut client = strata.connect();
    call(&mut client, "SET hot:a v");
    let warm = crate::support::wait_until(Duration::from_secs(10), || {
        let before = statistic(&mut client, "l1", "hits");
        call(&mut client, "GET hot:a");
        statistic(&mut client, "l1", "hits") > before
    });
    assert!(warm, "the copy never answers");
    let count = |client: &mut _| [statistic(client, "l1", "misses"), statistic(client, "l1", "renewed")];
    let [misses, renewed] = count(&mut client);
    let begin = Instant::now();
    let renewed_often = crate::support::wait_until(Duration::from_secs(60), || {
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            assert_eq!(call(&mut client, "GET hot:a"), bulk("v"));
            thread::sleep(Duration::from_micros(500));
        }
        count(&mut client)[1] - renewed >= 4
    });
    assert!(renewed_often, "copies that live 2 s are hardly ever renewed");
    let (elapsed, [missed, renewals]) = (begin.elapsed(), count(&mut client));
    let renewals = renewals - renewed;
    // A machine that stands still for long enough lets a copy end.
    assert!(missed - misses <= renewals, "{} misses, {renewals} renewals", missed - misses);
    assert!(renewals as u128 <= elapsed.as_millis() / 500, "{renewals} renewals in {elapsed:?}");
    // What is renewed is as true as any copy.
    home.connect().call(&["SET", "hot:a", "w"]).expect("home answers");
    let seen =
        crate::support::wait_until(Duration::from_secs(5), || call(&mut client, "GET hot:a") == bulk("w"));
    assert!(seen);
}

#[test]
fn a_copy_that_nobody_reads_is_not_renewed() {
    let (_home, strata) = pair(POLICY);
    let mut client = strata.connect();
    call(&mut client, "SET cold:a v");
    call(&mut client, "GET cold:a");
    thread::sleep(Duration::from_millis(900));
    assert_eq!(statistic(&mut client, "l1", "renewed"), 0);
    assert_eq!(call(&mut client, "GET cold:a"), bulk("v"));
}
