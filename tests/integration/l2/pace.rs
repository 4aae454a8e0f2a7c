//! An L2 that takes longer than home is of no use, and somebody should know.

use std::time::Duration;

use super::{Scene, bulk};
use crate::support::{Client, Part, Value, arguments, wait_until};

/// `far:*` is read at home whatever there is.
const POLICY: &str = "[[policy]]\nmatch = \"far:*\"\nl2_ttl = \"0s\"\n";
/// L2 is judged every 5 s, and by a thousand reads.
const LONG: Duration = Duration::from_secs(180);
/// Longer than a busy machine takes for anything.
const DELAY: Duration = Duration::from_millis(200);
const KEYS: usize = 500;

/// Reads keys that L2 has, and keys that it never has.
fn read(client: &mut Client) {
    for prefix in ["near", "far"] {
        let reads: Vec<_> = (0..KEYS).map(|n| arguments(&["GET", &format!("{prefix}:{n}")])).collect();
        let replies = client.pipeline(&reads).unwrap();
        assert!(replies.iter().all(|reply| *reply == bulk("v")), "{prefix}");
    }
}

fn says(client: &mut Client) -> Value {
    let stats = client.call(&["CACHE", "STATS", "L2"]).unwrap().elements().unwrap();
    let found = stats.chunks(2).find(|pair| pair[0] == bulk("slower_than_home"));
    found.unwrap()[1].clone()
}

#[test]
fn an_l2_that_is_slower_than_home_is_named_in_stats_health_and_log_while_it_is() {
    let mut scene = Scene::start(0, &[]);
    scene.add_with(POLICY, &[]);
    scene.nodes[0].await_vouched();
    let set = |prefix: &str| {
        let sets: Vec<_> = (0..KEYS).map(|n| arguments(&["SET", &format!("{prefix}:{n}"), "v"])).collect();
        scene.home.connect().pipeline(&sets).unwrap();
    };
    set("near");
    set("far");
    let member = &scene.nodes[0];
    let mut client = scene.client(0);
    client.set_patience(LONG);
    assert_eq!(says(&mut client), bulk("no"));
    // L2 is slow.
    member.to_l2.delay_part(Part::Lane2, DELAY);
    let told = wait_until(LONG, || {
        read(&mut client);
        says(&mut client) == bulk("yes")
    });
    assert!(told, "{:?}", member.l2_lines());
    let health = format!("{:?}", client.call(&["CACHE", "HEALTH"]).unwrap());
    assert!(health.contains(&format!("{:?}", bulk("L2 is slower than home at the median"))), "{health}");
    assert!(member.strata.output().contains("L2 is slower than home at the median: it is of no use"));
    // Home is.
    member.to_l2.delay_part(Part::Lane2, Duration::ZERO);
    member.to_home.delay_part(Part::Lane2, DELAY);
    let told = wait_until(LONG, || {
        read(&mut client);
        says(&mut client) == bulk("no")
    });
    assert!(told, "{:?}", member.l2_lines());
    let health = format!("{:?}", client.call(&["CACHE", "HEALTH"]).unwrap());
    assert!(!health.contains(&format!("{:?}", bulk("L2 is slower than home at the median"))), "{health}");
    assert!(member.strata.output().contains("L2 is faster than home at the median"));
}
