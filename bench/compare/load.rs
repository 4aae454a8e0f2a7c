//! Load by redis-benchmark, or by `raw` where it cannot, and what it cost each process.

use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::command;
use crate::raw;
use crate::stack::{Lab, Stack, VALUE_SIZE};

/// Connections of every load.
pub(crate) const CLIENTS: u32 = 50;
/// MGET of ten keys, as redis-benchmark takes it.
const MGET: [&str; 11] = {
    let mut words = ["key:__rand_int__"; 11];
    words[0] = "MGET";
    words
};
/// One run of redis-benchmark may take this long.
const RUN_DEADLINE: Duration = Duration::from_secs(120);

/// What each request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Get,
    Set,
    /// MGET of ten keys.
    Mget,
    /// MULTI, ten commands and EXEC in one write.
    Transaction,
    /// A BLPOP that waits and the RPUSH that answers it.
    HandOver,
}

/// One run: requests of one kind over random keys, `depth` of them outstanding on each connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) request: Request,
    pub(crate) keys: u32,
    pub(crate) depth: u32,
    pub(crate) requests: u64,
    /// Threads of redis-benchmark; 1 is its single-threaded mode.
    pub(crate) threads: u32,
}

/// What one run cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// CPU time of the server clients connect to, µs a request.
    pub(crate) cpu: f64,
    /// What of it the kernel used.
    pub(crate) system: f64,
    /// CPU time of the redis-servers that hold the keys, µs a request: of the same process as `cpu` when direct.
    pub(crate) home_cpu: f64,
    /// Commands home executed, per request.
    pub(crate) home_commands: f64,
    /// Requests a second.
    pub(crate) rate: f64,
    /// Latency, ms.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Runs `load` against `stack`.
///
/// # Errors
/// When redis-benchmark fails, takes over two minutes, or prints what cannot be read; or as `raw` fails.
pub(crate) fn run(lab: &Lab, stack: &Stack, load: Load) -> Result<Sample> {
    let commands = stack.home_commands()?;
    let (cpu, home_cpu) = (stack.front.cpu()?, stack.home_cpu()?);
    let [rate, p50, p99] = match load.request {
        Request::Get => redis_benchmark(lab, stack.front.port(), load, &["-t", "get"])?,
        Request::Set => redis_benchmark(lab, stack.front.port(), load, &["-t", "set"])?,
        Request::Mget => redis_benchmark(lab, stack.front.port(), load, &MGET)?,
        Request::Transaction => raw::transactions(stack, load.requests)?,
        Request::HandOver => raw::hand_overs(stack, load.requests)?,
    };
    let per_request = 1e6 / load.requests as f64;
    let after = stack.front.cpu()?;
    Ok(Sample {
        cpu: (after.total() - cpu.total()).as_secs_f64() * per_request,
        system: (after.system - cpu.system).as_secs_f64() * per_request,
        home_cpu: (stack.home_cpu()? - home_cpu).as_secs_f64() * per_request,
        home_commands: (stack.home_commands()? - commands) as f64 / load.requests as f64,
        rate,
        p50,
        p99,
    })
}

fn redis_benchmark(lab: &Lab, port: u16, load: Load, what: &[&str]) -> Result<[f64; 3]> {
    let mut benchmark = command(Path::new("redis-benchmark"), lab.load_cores());
    benchmark.args(["-h", "127.0.0.1", "--csv", "-p", &port.to_string()]);
    benchmark.args(["-c", &CLIENTS.to_string(), "-n", &load.requests.to_string()]);
    benchmark.args(["-P", &load.depth.to_string(), "-r", &load.keys.to_string()]);
    benchmark.args(["-d", &VALUE_SIZE.to_string()]);
    if load.threads > 1 {
        benchmark.args(["--threads", &load.threads.to_string()]);
    }
    benchmark.args(what);
    // Its whole output is a few hundred bytes: it fits the pipe and need not be read while it runs.
    benchmark.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = benchmark.spawn().context("start redis-benchmark (package redis-tools)")?;
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if began.elapsed() > RUN_DEADLINE {
            child.kill()?;
            child.wait()?;
            bail!("redis-benchmark did not end within {RUN_DEADLINE:?}: {load:?}");
        }
        sleep(Duration::from_millis(5));
    };
    let (mut text, mut complaint) = (String::new(), String::new());
    child.stdout.take().context("redis-benchmark: no output")?.read_to_string(&mut text)?;
    child.stderr.take().context("redis-benchmark: no output")?.read_to_string(&mut complaint)?;
    if !status.success() {
        bail!("redis-benchmark failed ({status}): {text}{complaint}");
    }
    parse(&text).with_context(|| format!("redis-benchmark printed: {text}{complaint}"))
}

/// Rate, p50 and p99 from the last line of `--csv`: test, rps, average, min, p50, p95, p99, max.
fn parse(text: &str) -> Option<[f64; 3]> {
    let line = text.lines().rfind(|line| line.starts_with('"') && !line.starts_with("\"test\""))?;
    let fields: Vec<&str> = line.trim_matches('"').split("\",\"").collect();
    let field = |at: usize| fields.get(at)?.parse().ok();
    Some([field(1)?, field(4)?, field(6)?])
}
