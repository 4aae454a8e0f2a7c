//! The loads that go as fast as they can: CPU time, rate and latency per depth, server against server.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::Options;
use crate::load::{self, CLIENTS, Load, Request, Sample};
use crate::report::{Figure, Report, Row, median};
use crate::stack::{Home, Kind, Lab, Stack};

/// One load at several depths against several servers, and what is to come out.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    title: &'static str,
    request: Request,
    keys: u32,
    depths: &'static [u32],
    home: Home,
    stacks: &'static [Kind],
    /// Settings of strata, as for `--set`.
    settings: &'static [&'static str],
    /// Whether every key is to be read into L1 first.
    warm: bool,
    goals: &'static [Goal],
}

/// A ratio of strata to another server in the same round.
#[derive(Debug)]
struct Goal {
    measure: Measure,
    depth: u32,
    against: Kind,
    /// At most this; at least this for `Rate`. None: reported only.
    target: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    Cpu,
    HomeCpu,
    Rate,
}

const fn goal(measure: Measure, depth: u32, against: Kind, target: f64) -> Goal {
    Goal { measure, depth, against, target: Some(target) }
}

const fn told(measure: Measure, depth: u32, against: Kind) -> Goal {
    Goal { measure, depth, against, target: None }
}

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "get-hit",
        title: "GET hit",
        request: Request::Get,
        keys: 1_000,
        depths: &[1, 16, 64],
        home: Home::One,
        stacks: &[Kind::Redis, Kind::Bare, Kind::Strata],
        settings: &[],
        warm: true,
        goals: &[
            goal(Measure::Cpu, 1, Kind::Redis, 0.92),
            goal(Measure::Cpu, 16, Kind::Redis, 0.55),
            goal(Measure::Cpu, 64, Kind::Redis, 0.42),
            // 1M a second where redis-server reaches 0.9M.
            goal(Measure::Rate, 16, Kind::Redis, 1.11),
        ],
    },
    Case {
        name: "get-hit-1m",
        title: "GET hit, 1,000,000 keys",
        request: Request::Get,
        keys: 1_000_000,
        depths: &[1, 16, 64],
        home: Home::One,
        stacks: &[Kind::Redis, Kind::Strata],
        settings: &["l1.max_size=1GB", "l1.ttl=1h"],
        warm: true,
        goals: &[
            goal(Measure::Cpu, 1, Kind::Redis, 0.92),
            goal(Measure::Cpu, 16, Kind::Redis, 0.45),
            goal(Measure::Cpu, 64, Kind::Redis, 0.30),
        ],
    },
    Case {
        name: "mget",
        title: "MGET of 10 hits",
        request: Request::Mget,
        keys: 1_000,
        depths: &[1, 16],
        home: Home::One,
        stacks: &[Kind::Redis, Kind::Strata],
        settings: &[],
        warm: true,
        goals: &[goal(Measure::Cpu, 1, Kind::Redis, 0.80), goal(Measure::Cpu, 16, Kind::Redis, 0.80)],
    },
    Case {
        name: "set",
        title: "SET passed through",
        request: Request::Set,
        keys: 100_000,
        depths: &[1, 16, 64],
        home: Home::One,
        stacks: &[Kind::Redis, Kind::Strata, Kind::Twemproxy, Kind::Predixy],
        settings: &[],
        warm: false,
        goals: &[
            goal(Measure::Cpu, 1, Kind::Twemproxy, 0.85),
            goal(Measure::Cpu, 16, Kind::Twemproxy, 0.40),
            goal(Measure::Cpu, 64, Kind::Twemproxy, 0.15),
            goal(Measure::HomeCpu, 1, Kind::Redis, 0.40),
            told(Measure::Cpu, 1, Kind::Predixy),
            told(Measure::Cpu, 16, Kind::Predixy),
            told(Measure::Cpu, 64, Kind::Predixy),
        ],
    },
    Case {
        name: "get-through",
        title: "GET passed through, L1 off",
        request: Request::Get,
        keys: 100_000,
        depths: &[1, 16, 64],
        home: Home::One,
        stacks: &[Kind::Redis, Kind::Strata, Kind::Twemproxy, Kind::Predixy],
        settings: &["l1.enabled=false"],
        warm: false,
        goals: &[
            told(Measure::Cpu, 1, Kind::Twemproxy),
            told(Measure::Cpu, 16, Kind::Twemproxy),
            told(Measure::Cpu, 64, Kind::Twemproxy),
            told(Measure::HomeCpu, 1, Kind::Redis),
            told(Measure::Cpu, 1, Kind::Predixy),
            told(Measure::Cpu, 16, Kind::Predixy),
            told(Measure::Cpu, 64, Kind::Predixy),
        ],
    },
    Case {
        name: "transaction",
        title: "Transaction of 10 commands",
        request: Request::Transaction,
        keys: 0,
        depths: &[1],
        home: Home::One,
        stacks: &[Kind::Redis, Kind::Strata, Kind::Predixy],
        settings: &[],
        warm: false,
        goals: &[goal(Measure::Cpu, 1, Kind::Predixy, 1.10), told(Measure::Cpu, 1, Kind::Redis)],
    },
    Case {
        name: "hand-over",
        title: "BLPOP answered by RPUSH",
        request: Request::HandOver,
        keys: 0,
        depths: &[1],
        home: Home::One,
        stacks: &[Kind::Redis, Kind::Strata, Kind::Predixy],
        settings: &[],
        warm: false,
        goals: &[goal(Measure::Cpu, 1, Kind::Predixy, 1.10), told(Measure::Cpu, 1, Kind::Redis)],
    },
    Case {
        name: "cluster-get",
        title: "GET over a cluster",
        request: Request::Get,
        // Far more than L1 holds: misses.
        keys: 1_000_000,
        depths: &[1, 16],
        home: Home::Cluster,
        stacks: OVER_CLUSTER,
        settings: &[],
        warm: false,
        goals: &CLUSTER_GOALS,
    },
    Case {
        name: "cluster-set",
        title: "SET over a cluster",
        request: Request::Set,
        keys: 100_000,
        depths: &[1, 16],
        home: Home::Cluster,
        stacks: OVER_CLUSTER,
        settings: &[],
        warm: false,
        goals: &CLUSTER_GOALS,
    },
    Case {
        name: "cluster-mget",
        title: "MGET of 10 over a cluster",
        request: Request::Mget,
        keys: 1_000_000,
        depths: &[1, 16],
        home: Home::Cluster,
        stacks: OVER_CLUSTER,
        settings: &[],
        warm: false,
        goals: &[
            goal(Measure::Cpu, 1, Kind::Twemproxy, 0.80),
            goal(Measure::Cpu, 16, Kind::Twemproxy, 0.80),
            told(Measure::Cpu, 1, Kind::Predixy),
            told(Measure::Cpu, 16, Kind::Predixy),
        ],
    },
];

const OVER_CLUSTER: &[Kind] = &[Kind::Redis, Kind::Strata, Kind::Twemproxy, Kind::Predixy];

/// predixy's figures count where it is there.
const CLUSTER_GOALS: [Goal; 4] = [
    goal(Measure::Cpu, 1, Kind::Predixy, 0.90),
    goal(Measure::Cpu, 16, Kind::Predixy, 0.75),
    goal(Measure::Cpu, 1, Kind::Twemproxy, 0.80),
    goal(Measure::Cpu, 16, Kind::Twemproxy, 0.40),
];

/// Runs a case: every round measures every server at one depth after the other.
///
/// # Errors
/// When a server does not start, a load fails, or strata's copies cannot be warmed.
pub(crate) fn run(lab: &Lab, case: &Case, options: &Options, report: &mut Report) -> Result<()> {
    let stacks = start(lab, case, options)?;
    let mut samples: BTreeMap<(u32, Kind), Vec<Sample>> = BTreeMap::new();
    for round in 1..=options.rounds() {
        for &depth in case.depths {
            for stack in &stacks {
                let load = load_at(case, options, depth);
                let sample = load::run(lab, stack, load)?;
                eprintln!(
                    "{} {round}/{} depth {depth} {}: {:.2} µs/op, {:.0} ops/s",
                    case.name,
                    options.rounds(),
                    stack.kind,
                    sample.cpu,
                    sample.rate
                );
                samples.entry((depth, stack.kind)).or_default().push(sample);
            }
        }
    }
    for ((depth, kind), rounds) in &samples {
        let direct = samples.get(&(*depth, Kind::Redis));
        report.row(row(case.title, *depth, *kind, rounds, direct.map(Vec::as_slice)));
    }
    for goal in case.goals {
        report.figure(judge(case.title, goal, &samples));
    }
    Ok(())
}

/// Starts and fills the servers of a case, and runs each load once for the processes to reach their size.
fn start(lab: &Lab, case: &Case, options: &Options) -> Result<Vec<Stack>> {
    let mut stacks = Vec::new();
    for &kind in case.stacks {
        if lab.missing.contains(&kind) {
            continue;
        }
        let stack =
            Stack::start(lab, kind, case.home, case.settings).with_context(|| format!("start {kind}"))?;
        stack.load(case.keys)?;
        if case.warm {
            let missed = stack.warm(case.keys)?;
            if missed > 0.01 {
                eprintln!(
                    "{}: {kind} still sends {:.1} % of reads home after warming",
                    case.name,
                    missed * 100.0
                );
            }
        }
        for &depth in case.depths {
            let load = load_at(case, options, depth);
            load::run(lab, &stack, Load { requests: load.requests / 10, ..load })?;
        }
        stacks.push(stack);
    }
    Ok(stacks)
}

/// Deeper pipelines get through more requests in about the same time, and what takes several commands through fewer.
fn load_at(case: &Case, options: &Options, depth: u32) -> Load {
    let requests = options.requests();
    let requests = match (case.request, depth) {
        // In whole rounds, of 25 pairs or 50 transactions.
        (Request::Transaction, _) => (requests / 2).next_multiple_of(CLIENTS.into()),
        (Request::HandOver, _) => (requests / 5).next_multiple_of(CLIENTS.into()),
        (_, 1) => requests,
        (Request::Mget, _) => requests * 4,
        (_, 2..=16) => requests * 8,
        _ => requests * 16,
    };
    Load { request: case.request, keys: case.keys, depth, requests, threads: options.threads }
}

fn row(title: &'static str, depth: u32, kind: Kind, rounds: &[Sample], direct: Option<&[Sample]>) -> Row {
    let of = |value: fn(&Sample) -> f64| median(rounds.iter().map(value));
    let against = |value: fn(&Sample) -> f64| {
        let direct = direct.unwrap_or_default();
        median(rounds.iter().zip(direct).map(|(own, direct)| value(own) / value(direct)))
    };
    Row {
        load: title,
        depth,
        kind,
        cpu: of(|sample| sample.cpu),
        system: of(|sample| sample.system),
        cpu_against_redis: against(|sample| sample.cpu),
        home_cpu: of(|sample| sample.home_cpu),
        home_cpu_against_redis: against(|sample| sample.home_cpu),
        home_commands: of(|sample| sample.home_commands),
        rate: of(|sample| sample.rate),
        p50: of(|sample| sample.p50),
        p99: of(|sample| sample.p99),
    }
}

fn judge(title: &str, goal: &Goal, samples: &BTreeMap<(u32, Kind), Vec<Sample>>) -> Figure {
    let (what, value): (&str, fn(&Sample) -> f64) = match goal.measure {
        Measure::Cpu => ("CPU/op", |sample| sample.cpu),
        Measure::HomeCpu => ("home's CPU/op", |sample| sample.home_cpu),
        Measure::Rate => ("ops/s", |sample| sample.rate),
    };
    let rounds = |kind| samples.get(&(goal.depth, kind)).map_or(&[][..], Vec::as_slice);
    let ratios: Vec<f64> = (rounds(Kind::Strata).iter().zip(rounds(goal.against)))
        .map(|(strata, other)| value(strata) / value(other))
        .collect();
    let name = format!("{title}, depth {}: {what} against {}", goal.depth, goal.against);
    let at_least = goal.measure == Measure::Rate;
    Figure::ratio(name, goal.target, at_least, &ratios)
}
