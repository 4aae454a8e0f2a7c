//! How soon a commit is told of.

use std::collections::HashMap;
use std::thread;
use std::time::Instant;

use super::*;

/// Of these the time to be told is printed: `--nocapture` shows it.
fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let share = |of: f64| times[((times.len() - 1) as f64 * of) as usize];
    println!("{what}: median {:?}, p99 {:?}, of {}", share(0.5), share(0.99), times.len());
}

#[test]
fn a_commit_wakes_those_who_follow() {
    let postgres = Postgres::start(&[]);
    postgres.execute("CREATE TABLE t (id text PRIMARY KEY, n int)");
    // Only NOTIFY can be in time.
    let source = "match = 't:{id}'\nquery = 'SELECT n FROM t WHERE id = $1'\nwatch = 't'";
    let l4 = l4(&postgres, "poll_interval = '1m'", &[source]);
    migrated(&l4, &Migration::default());
    let mut running = Running::start(&l4);
    running.settle();
    let (runtime, client) = postgres.connect();
    let mut times = Vec::new();
    for n in 0..100 {
        let id = n.to_string();
        runtime.block_on(client.execute("INSERT INTO t VALUES ($1, 0)", &[&id])).unwrap();
        let committed = Instant::now();
        running.until_told(&format!("t:{id}"));
        times.push(committed.elapsed());
    }
    report("one writer", times);
}

/// Of several that commit at the same moment one wakes for all.
#[test]
fn commits_beside_each_other_are_all_told() {
    const WRITERS: usize = 8;
    const COMMITS: usize = 50;
    let postgres = Postgres::start(&[]);
    postgres.execute("CREATE TABLE t (id text PRIMARY KEY, n int)");
    let source = "match = 't:{id}'\nquery = 'SELECT n FROM t WHERE id = $1'\nwatch = 't'";
    let l4 = l4(&postgres, "", &[source]);
    migrated(&l4, &Migration::default());
    let mut running = Running::start(&l4);
    running.settle();
    let mut told: HashMap<String, Instant> = HashMap::new();
    let committed: HashMap<String, Instant> = thread::scope(|scope| {
        let write = |writer: usize| {
            let (runtime, client) = postgres.connect();
            let commit = |n: usize| {
                let id = format!("{writer}-{n}");
                runtime.block_on(client.execute("INSERT INTO t VALUES ($1, 0)", &[&id])).unwrap();
                (format!("t:{id}"), Instant::now())
            };
            (0..COMMITS).map(commit).collect::<Vec<_>>()
        };
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
        while told.len() < WRITERS * COMMITS {
            if let Change::Keys { keys, .. } = running.change() {
                let now = Instant::now();
                let keys = keys.iter().map(|key| String::from_utf8_lossy(key).into_owned());
                told.extend(keys.map(|key| (key, now)));
            }
        }
        writers.into_iter().flat_map(|writer| writer.join().expect("a writer")).collect()
    });
    assert_eq!(committed.len(), WRITERS * COMMITS);
    let took = |(key, at): (&String, &Instant)| told[key].saturating_duration_since(*at);
    report("8 writers", committed.iter().map(took).collect());
}
