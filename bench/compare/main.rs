//! Compares strata with redis-server, twemproxy and predixy: the same loads against each in turn, on this machine, now.
//! `bench/README.md` says how to read what it prints and keeps the last result.

mod bare;
mod cluster;
mod latency;
mod load;
mod paced;
mod process;
mod raw;
mod report;
mod stack;
mod throughput;

use std::cell::Cell;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::report::Report;
use crate::stack::{Kind, Lab};

/// Cases besides those of `throughput::CASES`.
const OTHERS: [&str; 3] = ["fixed-rate", "idle", "hung"];

/// Compare strata with redis-server, twemproxy and predixy.
#[derive(Debug, Parser)]
#[command(name = "compare")]
struct Options {
    /// Only these cases, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// Fewer rounds and requests: a look, not a result
    #[arg(long)]
    quick: bool,
    /// Rounds; each measures every server once [default: 5, quick: 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Requests of a run at depth 1; deeper runs make up to 16 times as many [default: 200000, quick: 50000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1000..=100_000_000))]
    requests: Option<u64>,
    /// Threads of redis-benchmark
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// Workers of strata; the servers it is compared with have one, and the load needs a core too
    #[arg(long, default_value_t = 1)]
    workers: u32,
    /// Pin redis-benchmark to the last core and servers to the others
    #[arg(long)]
    pin: bool,
    /// The strata to measure
    #[arg(long, default_value = env!("CARGO_BIN_EXE_strata"), value_name = "FILE")]
    strata: PathBuf,
    /// A further setting of strata
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Be the bare loop that servers are compared with
    #[arg(long, hide = true, value_name = "PORT")]
    bare: Option<u16>,
    /// What cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 3 } else { 5 })
    }

    fn requests(&self) -> u64 {
        self.requests.unwrap_or(if self.quick { 50_000 } else { 200_000 })
    }

    fn wants(&self, case: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == case)
    }

    /// # Errors
    /// When `--only` names a case that does not exist.
    fn check(&self) -> Result<()> {
        let names: Vec<&str> = throughput::CASES.iter().map(|case| case.name).chain(OTHERS).collect();
        match self.only.iter().find(|name| !names.contains(&name.as_str())) {
            Some(unknown) => bail!("--only {unknown}: there is no such case; there are {}", names.join(", ")),
            None => Ok(()),
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let report = match options.bare {
        Some(port) => bare::serve(port).map(|()| Report::default()),
        None => compare(options),
    };
    match report {
        Ok(report) => {
            print!("{report}");
            if report.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("compare: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare(mut options: Options) -> Result<Report> {
    options.check()?;
    let redis = version("redis-server").context("redis-server is not installed")?;
    let others = [(Kind::Twemproxy, version("nutcracker")), (Kind::Predixy, version("predixy"))];
    raise_file_limit()?;
    let mut settings = vec![format!("server.workers={}", options.workers)];
    settings.append(&mut options.settings);
    let lab = Lab {
        strata: std::path::absolute(&options.strata)?,
        settings,
        pin: options.pin,
        missing: others.iter().filter(|(_, found)| found.is_none()).map(|(kind, _)| *kind).collect(),
        directory: tempfile::tempdir()?,
        started: Cell::new(0),
    };
    let cores = available_parallelism().map_or(1, |n| n.get());
    let others = others.map(|(kind, found)| found.unwrap_or_else(|| format!("{kind} is not installed")));
    let mut report = Report::new(format!(
        "{cores} cores, {} rounds, {} requests at depth 1, 50 clients, 100-byte values, `{}`, redis-benchmark \
         threads: {}, pinned: {}. {redis}; {}.",
        options.rounds(),
        options.requests(),
        lab.settings.join(" "),
        options.threads,
        options.pin,
        others.join("; "),
    ));
    run_all(&lab, &options, &mut report);
    Ok(report)
}

/// A case that fails is noted and the others go on.
fn run_all(lab: &Lab, options: &Options, report: &mut Report) {
    for case in throughput::CASES.iter().filter(|case| options.wants(case.name)) {
        let outcome = throughput::run(lab, case, options, report);
        note(report, case.name, outcome);
    }
    for name in OTHERS.into_iter().filter(|name| options.wants(name)) {
        let outcome = match name {
            "fixed-rate" => latency::fixed_rate(lab, options, report),
            "idle" => latency::idle(lab, report),
            _ => latency::hung(lab, options, report),
        };
        note(report, name, outcome);
    }
}

fn note(report: &mut Report, case: &str, outcome: Result<()>) {
    if let Err(error) = outcome {
        eprintln!("{case}: {error:#}");
        report.failure(format!("{case}: {error:#}"));
    }
}

/// The first line of `program --version`; None when it is not installed.
fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    // nutcracker tells its version on the standard error.
    let text = [output.stdout, output.stderr].concat();
    let line = String::from_utf8_lossy(&text).lines().next()?.trim().to_owned();
    Some(line.split(" sha=").next().unwrap_or(&line).replace("This is nutcracker-", "nutcracker v="))
}

/// 10,000 idle clients need as many file descriptors on both sides; servers inherit the limit.
fn raise_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}
