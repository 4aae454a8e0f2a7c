//! Nodes that join and get slots, nodes that leave, and one that hangs.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use super::{good, text};
use crate::support::{Cluster, Shape, Strata, Value, slot_of};

/// Counts up a key until told to end, and reads it each time. Returns how far it came and the longest it waited.
fn count_up(strata: &Strata, key: &str, end: &AtomicBool) -> (i64, Duration) {
    let mut client = strata.connect();
    let (mut count, mut longest) = (0, Duration::ZERO);
    while !end.load(SeqCst) {
        let began = Instant::now();
        count += 1;
        assert_eq!(good(&mut client, &["INCR", key]), Value::Integer(count));
        assert_eq!(good(&mut client, &["GET", key]), text(&count.to_string()));
        longest = longest.max(began.elapsed());
    }
    (count, longest)
}

#[test]
#[ignore = "open: a write on its way to a node that is taken away ends in an error"]
fn nodes_join_and_leave_unnoticed() {
    let mut cluster = Cluster::start_as(Shape { replicas: 0, ..Shape::default() });
    let strata = cluster.strata(&[]);
    let end = AtomicBool::new(false);
    let keys: Vec<String> = (0..3).map(|node| cluster.key_of_node(node, "k")).collect();
    let slots: Vec<u16> = keys.iter().map(|key| slot_of(key.as_bytes())).collect();
    let counts = thread::scope(|scope| {
        let counting: Vec<_> =
            keys.iter().map(|key| scope.spawn(|| count_up(&strata, key, &end).0)).collect();
        let joined = cluster.add_master();
        slots.iter().for_each(|&slot| cluster.move_slot(slot, joined));
        thread::sleep(Duration::from_millis(300));
        let heir = cluster.add_master();
        cluster.move_all(joined, heir);
        cluster.remove(joined);
        thread::sleep(Duration::from_millis(300));
        end.store(true, SeqCst);
        counting.into_iter().map(|count| count.join().expect("counted without an error")).collect::<Vec<_>>()
    });
    for (key, count) in keys.iter().zip(counts) {
        assert_eq!(cluster.connect_to(key).call(&["GET", key]).unwrap(), text(&count.to_string()));
    }
}

#[test]
fn a_node_that_hangs_holds_up_nobody_who_does_not_need_it() {
    // Nobody takes its place while this test runs.
    let mut cluster = Cluster::start(&[("cluster-node-timeout", "60000")]);
    let strata = cluster.strata(&[("server.workers", "1"), ("l3.request_timeout", "3s")]);
    let end = AtomicBool::new(false);
    let (hung, well) = (cluster.key_of_node(1, "k"), cluster.key_of_node(2, "k"));
    good(&mut strata.connect(), &["SET", &hung, "1"]);
    cluster.pause(1);
    let (count, longest) = thread::scope(|scope| {
        // More than there are connections to lease, each of which needs the node in its own way.
        let waiting: Vec<_> = (0..80)
            .map(|number| {
                let (strata, hung) = (&strata, &hung);
                scope.spawn(move || {
                    let words: &[&str] = match number % 4 {
                        0 => &["GET", hung],
                        1 => &["SET", hung, "2"],
                        2 => &["BLPOP", hung, "1"],
                        _ => &["WATCH", hung],
                    };
                    strata.connect().call(words).expect("an answer or an error")
                })
            })
            .collect();
        let counting = scope.spawn(|| count_up(&strata, &well, &end));
        thread::sleep(Duration::from_secs(2));
        end.store(true, SeqCst);
        let counted = counting.join().expect("counted without an error");
        waiting.into_iter().for_each(|client| drop(client.join()));
        counted
    });
    // Who waited for the node would wait as long as a request may.
    assert!(count > 20 && longest < Duration::from_secs(2), "{count} rounds, at most {longest:?}");
    cluster.resume(1);
    let mut client = strata.connect();
    let back = crate::support::wait_until(Duration::from_secs(20), || {
        client.call(&["GET", &hung]).is_ok_and(|reply| !reply.is_error())
    });
    assert!(back, "{}", strata.output());
}
