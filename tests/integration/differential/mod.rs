//! The differential test: random commands go to the target and, in lock-step, to a bare redis-server, and the replies are
//! compared byte for byte.
//!
//! What is sent comes from `STRATA_SEED`; `STRATA_DIFF_COMMANDS` (20,000 by default) says how many commands a protocol. A few hot
//! keys and several connections make hits, misses and invalidations all happen; every read goes to the target twice, so
//! that it is answered once from below and once from a copy. A mismatch is shrunk by running ever fewer of the
//! commands against both servers, emptied, and what is left is printed.

mod compare;
mod conversation;
mod generate;
mod phrases;
mod run;
mod shrink;
mod templates;

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::support::{Endpoint, RedisServer, Strata, Target, Value, is_redis_7_0, seed, setting, skip};
use conversation::{Line, Script, Talk};
use generate::Generator;
use run::{Lockstep, Mismatch};

/// Runs `count` commands of `protocol` in random batches; panics with the shrunk commands on a mismatch.
fn differ(target: &Endpoint, reference: &Endpoint, protocol: u8, unlike: &[&str], seed: u64, count: usize) {
    let random = StdRng::seed_from_u64(seed ^ u64::from(protocol));
    let mut generator = Generator::new(random, protocol, unlike);
    let mut history = Vec::new();
    let mut both = Lockstep::connect(target, reference, protocol).expect("both servers accept");
    let mut sent = 0;
    while sent < count {
        let batch = generator.batch();
        sent += batch.steps.len();
        history.push(batch);
        let Some(batch) = history.last() else { break };
        if let Err(mismatch) = both.run(batch) {
            let report = explain(target, reference, protocol, &history, &mismatch);
            panic!("{sent} commands into RESP{protocol} with STRATA_SEED={seed}:\n{report}");
        }
    }
}

fn explain(
    target: &Endpoint,
    reference: &Endpoint,
    protocol: u8,
    history: &[run::Batch],
    seen: &Mismatch,
) -> String {
    match shrink::shrink(target, reference, protocol, history) {
        Some((batches, mismatch)) => {
            let commands: Vec<String> = batches.iter().map(ToString::to_string).collect();
            format!("{}\n{mismatch}", commands.join("\n"))
        }
        None => format!("(not seen again when run anew)\n{seen}"),
    }
}

/// The servers a run needs, alive as long as this is.
struct Servers {
    home: RedisServer,
    reference: RedisServer,
    strata: Option<Strata>,
}

impl Servers {
    fn start(target: Target) -> Servers {
        Servers::start_with(target, &[])
    }

    fn start_with(target: Target, settings: &[(&str, &str)]) -> Servers {
        let home = RedisServer::start(&[]);
        let strata = (target == Target::Strata).then(|| Strata::start(&home.unix(), settings));
        Servers { reference: RedisServer::start(&[]), home, strata }
    }

    fn target(&self) -> Endpoint {
        self.strata.as_ref().map_or_else(|| self.home.unix(), Strata::endpoint)
    }

    fn differ(&self, protocol: u8, count: usize) {
        self.differ_but_for(&[], protocol, count);
    }

    fn differ_but_for(&self, unlike: &[&str], protocol: u8, count: usize) {
        differ(&self.target(), &self.reference.unix(), protocol, unlike, seed(), count);
    }
}

fn commands() -> usize {
    setting("STRATA_DIFF_COMMANDS", 20_000)
}

#[test]
fn replies_are_those_of_redis_in_resp2() {
    Servers::start(Target::chosen()).differ(2, commands());
}

#[test]
fn replies_are_those_of_redis_in_resp3() {
    Servers::start(Target::chosen()).differ(3, commands());
}

/// All strings that are long enough are kept compressed: nothing of it shows.
const COMPRESSED: [(&str, &str); 2] = [("l3.compression", "zstd"), ("l3.compression_min_size", "32B")];
/// But to who asks how a value is kept.
const SHOWN: [&str; 1] = ["OBJECT ENCODING"];

#[test]
fn replies_are_those_of_redis_where_values_are_compressed_in_resp2() {
    Servers::start_with(Target::chosen(), &COMPRESSED).differ_but_for(&SHOWN, 2, commands());
}

#[test]
fn replies_are_those_of_redis_where_values_are_compressed_in_resp3() {
    Servers::start_with(Target::chosen(), &COMPRESSED).differ_but_for(&SHOWN, 3, commands());
}

/// What several clients hear of each other.
fn converse(servers: &Servers, seed: u64, count: usize) {
    let (target, reference, home) = (servers.target(), servers.reference.unix(), servers.home.unix());
    let begin = |patience| Talk::begin(&target, &reference, &home, patience).expect("all servers accept");
    let mut talk = begin(Duration::from_secs(20));
    let (mut script, mut said) = (Script::new(StdRng::seed_from_u64(seed)), Vec::new());
    for count in 0..count {
        said.push(script.line());
        let Err(seen) = talk.run(&said[count]) else { continue };
        drop(talk);
        let again = |lines: &[Line]| {
            run::empty(&target).and_then(|()| run::empty(&reference)).ok()?;
            let mut talk = begin(Duration::from_millis(500));
            lines.iter().find_map(|line| talk.run(line).err())
        };
        let report = match shrink::fewest(said, again) {
            Some((lines, misheard)) => {
                let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
                format!("{}\n{misheard}", lines.join("\n"))
            }
            None => format!("(not seen again when run anew)\n{seen}"),
        };
        panic!("{count} lines into a conversation with STRATA_SEED={seed}:\n{report}");
    }
}

#[test]
fn clients_hear_of_each_other_what_they_hear_of_redis() {
    if !is_redis_7_0() {
        return skip("transactions and scripts word for word");
    }
    converse(&Servers::start(Target::chosen()), seed(), commands() / 4);
}

#[test]
fn redis_does_not_differ_from_itself() {
    let servers = Servers::start(Target::Bare);
    servers.differ(2, 3_000);
    servers.home.connect().call(&["FLUSHALL"]).expect("FLUSHALL is answered");
    servers.reference.connect().call(&["FLUSHALL"]).expect("FLUSHALL is answered");
    servers.differ(3, 3_000);
    converse(&Servers::start(Target::Bare), seed(), 2_000);
}

/// A server without memory differs in every write, and one command is enough to show it.
#[test]
fn a_difference_is_found_and_shrunk() {
    let servers = Servers::start(Target::Bare);
    let bent = servers.home.connect().call(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(bent.expect("CONFIG SET is answered"), Value::Simple("OK".into()));
    let found =
        std::panic::catch_unwind(|| servers.differ(2, 1_000)).expect_err("one of them takes no writes");
    let report = found.downcast_ref::<String>().expect("a report in words").clone();
    let shown: Vec<_> = report.lines().filter(|line| line.starts_with("connection")).collect();
    assert_eq!(shown.len(), 1, "{report}");
    assert!(report.contains("target: -OOM"), "{report}");
}
