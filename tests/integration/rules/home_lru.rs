//! Rule 13: a home that evicts by use hears of the hits it does not see.

use std::thread;
use std::time::{Duration, Instant};

use super::{Scene, bulk};
use crate::support::{Arguments, arguments};

const HOT: usize = 50;
/// Longer than hits go unreported, several times over.
const FLOOD: Duration = Duration::from_secs(14);

#[test]
fn keys_in_use_survive_at_home_though_all_their_reads_are_hits() {
    let options = [("maxmemory", "4mb"), ("maxmemory-policy", "allkeys-lru"), ("maxmemory-samples", "10")];
    let scene = Scene::start_with(&options, "", &[]);
    let mut client = scene.client();
    let hot: Vec<Arguments> = (0..HOT).map(|n| arguments(&["GET", &format!("hot:{n}")])).collect();
    let mut home = scene.home.connect();
    for n in 0..HOT {
        home.call(&["SET", &format!("hot:{n}"), "v"]).unwrap();
    }
    let filler = "x".repeat(1_000);
    let started = Instant::now();
    let mut flooded = 0;
    while started.elapsed() < FLOOD {
        for _ in 0..20 {
            home.call(&["SET", &format!("cold:{flooded}"), &filler]).unwrap();
            flooded += 1;
        }
        client.pipeline(&hot).unwrap();
        thread::sleep(Duration::from_millis(50));
    }
    assert!(home.call(&["EXISTS", "cold:0"]).unwrap().integer() == Some(0), "nothing was evicted");
    let alive =
        (0..HOT).filter(|n| home.call(&["EXISTS", &format!("hot:{n}")]).unwrap().integer() == Some(1));
    let alive = alive.count();
    assert!(alive > HOT / 2, "{alive} of {HOT} hot keys are alive after {flooded} others");
    assert_eq!(client.call(&["SET", "hot:0", "w"]).unwrap(), super::ok());
    assert_eq!(client.call(&["GET", "hot:0"]).unwrap(), bulk("w"));
}
