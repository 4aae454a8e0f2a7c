//! Many subscribers of one channel: what a message costs that reaches all of them, through strata and from a
//! redis-server alone. Every byte that every subscriber is sent is compared with what was published.

#[path = "compare/process.rs"]
#[allow(dead_code, reason = "shared with the benchmark beside it")]
mod process;

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::LocalSet;

use process::{Cores, Server, command, free_port};

/// For a server that falls behind: how long after the last message was due it may deliver.
const PATIENCE: Duration = Duration::from_secs(120);

/// Publish to many subscribers, through strata and at a redis-server alone.
#[derive(Debug, Parser)]
#[command(name = "pubsub")]
struct Options {
    /// Subscribers of the one channel
    #[arg(long, default_value_t = 10_000)]
    subscribers: usize,
    /// Messages a second
    #[arg(long, default_value_t = 1_000)]
    rate: u32,
    /// For how long
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Bytes of a message
    #[arg(long, default_value_t = 16)]
    size: usize,
    /// Workers of strata; 0: one a core
    #[arg(long, default_value_t = 0)]
    workers: u32,
    /// The strata to measure
    #[arg(long, default_value = env!("CARGO_BIN_EXE_strata"), value_name = "FILE")]
    strata: PathBuf,
    /// What cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one run came to.
struct Outcome {
    /// From the first message to the last byte at the last subscriber.
    took: Duration,
    complete: usize,
    /// Least number of messages that a subscriber has got.
    least: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let folder = tempfile::tempdir()?;
    println!(
        "{} subscribers, {} messages of {} bytes a second for {} s",
        options.subscribers, options.rate, options.size, options.seconds
    );
    let redis = start_redis(folder.path())?;
    report("redis-server", &options, redis.port(), &[&redis])?;
    let strata = start_strata(&options, folder.path(), redis.port())?;
    report("strata", &options, strata.port(), &[&strata, &redis])
}

fn start_redis(folder: &Path) -> Result<Server> {
    let port = free_port()?;
    let mut command = command(Path::new("redis-server"), Cores::Any);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--maxclients", "12000"]);
    command.arg("--dir").arg(folder);
    Server::start(command, port, &folder.join("redis.log"))
}

fn start_strata(options: &Options, folder: &Path, home: u16) -> Result<Server> {
    let port = free_port()?;
    let mut command = command(&options.strata, Cores::Any);
    command.arg("run");
    for setting in [
        format!("server.listen=127.0.0.1:{port}"),
        format!("server.workers={}", options.workers),
        "server.max_clients=12000".to_owned(),
        format!("l2.url=redis://127.0.0.1:{home}"),
    ] {
        command.args(["--set", &setting]);
    }
    Server::start(command, port, &folder.join("strata.log"))
}

fn report(name: &str, options: &Options, port: u16, servers: &[&Server]) -> Result<()> {
    let cpu = || servers.iter().map(|server| Ok(server.cpu()?.total())).collect::<Result<Vec<_>>>();
    let before = servers[0].resident()?;
    let (outcome, used, most) = run(options, port, servers[0], &cpu)?;
    let messages = options.rate as usize * options.seconds as usize;
    let deliveries = outcome.complete * messages;
    let used: Vec<String> = used.iter().map(|t| format!("{:.1}", t.as_secs_f64())).collect();
    let total: f64 = used.iter().filter_map(|t| t.parse::<f64>().ok()).sum();
    println!(
        "{name:>13}: {} of {} subscribers got all (least {} of {messages}), {:.1} s, {:.2} M deliveries/s, \
         CPU {} s, {:.0} ns a delivery, memory {} MB, at most {} MB",
        outcome.complete,
        options.subscribers,
        outcome.least,
        outcome.took.as_secs_f64(),
        deliveries as f64 / outcome.took.as_secs_f64() / 1e6,
        used.join(" + "),
        total * 1e9 / deliveries.max(1) as f64,
        before / 1_000_000,
        most / 1_000_000,
    );
    Ok(())
}

/// Subscribes, publishes, and waits until everybody has everything.
fn run(
    options: &Options,
    port: u16,
    server: &Server,
    cpu: &dyn Fn() -> Result<Vec<Duration>>,
) -> Result<(Outcome, Vec<Duration>, u64)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let streams = subscribe(options, address)?;
    let messages = options.rate as usize * options.seconds as usize;
    let texts: Vec<String> = (0..messages).map(|n| format!("{n:0size$}", size = options.size)).collect();
    let expected: Rc<[u8]> = texts
        .iter()
        .map(|text| format!("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n${}\r\n{text}\r\n", text.len()))
        .collect::<String>()
        .into_bytes()
        .into();
    let (before, began) = (cpu()?, Instant::now());
    let rate = options.rate;
    let publisher = thread::spawn(move || publish(address, rate, &texts));
    let deadline = began + Duration::from_secs(options.seconds.into()) + PATIENCE;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let most = Rc::new(Cell::new(0));
    let (outcome, watched) = (read_all(streams, &expected, messages, deadline), watch(server, most.clone()));
    let outcome = LocalSet::new().block_on(&runtime, async {
        tokio::select! { outcome = outcome => outcome, failed = watched => Err(failed) }
    })?;
    let after = cpu()?;
    publisher.join().map_err(|_| anyhow::anyhow!("the publisher panicked"))??;
    let used = after.iter().zip(&before).map(|(after, before)| *after - *before).collect();
    Ok((Outcome { took: began.elapsed(), ..outcome }, used, most.get()))
}

/// Notes the most memory the server uses; returns only with an error.
async fn watch(server: &Server, most: Rc<Cell<u64>>) -> anyhow::Error {
    loop {
        match server.resident() {
            Ok(now) => most.set(most.get().max(now)),
            Err(e) => return e,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn subscribe(options: &Options, address: SocketAddr) -> Result<Vec<TcpStream>> {
    let mut streams = Vec::with_capacity(options.subscribers);
    for _ in 0..options.subscribers {
        let mut stream = TcpStream::connect(address).context("too few descriptors or ports?")?;
        stream.write_all(b"SUBSCRIBE a\r\n")?;
        streams.push(stream);
    }
    for stream in &mut streams {
        let mut reply = [0; 30];
        stream.read_exact(&mut reply)?;
        ensure!(reply.ends_with(b"a\r\n:1\r\n"), "{}", reply.escape_ascii());
        stream.set_nonblocking(true)?;
    }
    Ok(streams)
}

/// Publishes at a steady rate, as far as the server takes it, and reads the replies.
fn publish(address: SocketAddr, rate: u32, texts: &[String]) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut replies = stream.try_clone()?;
    let reader = thread::spawn(move || -> Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        while replies.read(&mut buffer)? > 0 {}
        Ok(())
    });
    let began = Instant::now();
    for (n, text) in texts.iter().enumerate() {
        let due = Duration::from_secs_f64(n as f64 / f64::from(rate));
        if let Some(early) = due.checked_sub(began.elapsed()) {
            sleep(early);
        }
        let request = format!("*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n${}\r\n{text}\r\n", text.len());
        stream.write_all(request.as_bytes())?;
    }
    stream.write_all(b"QUIT\r\n")?;
    reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?
}

async fn read_all(
    streams: Vec<TcpStream>,
    expected: &Rc<[u8]>,
    messages: usize,
    deadline: Instant,
) -> Result<Outcome> {
    // One task runs at a time, and none waits while it uses the buffer.
    let buffer = Rc::new(RefCell::new(vec![0; 256 * 1024]));
    let (mut readers, mut progress) = (Vec::with_capacity(streams.len()), Vec::new());
    for stream in streams {
        let stream = tokio::net::TcpStream::from_std(stream)?;
        let at = Rc::new(Cell::new(0));
        progress.push(at.clone());
        readers.push(tokio::task::spawn_local(read(stream, expected.clone(), buffer.clone(), at)));
    }
    let all = async {
        for reader in readers {
            reader.await??;
        }
        anyhow::Ok(())
    };
    match tokio::time::timeout_at(deadline.into(), all).await {
        Ok(ended) => ended?,
        Err(_) => eprintln!("time is up"),
    }
    let complete = progress.iter().filter(|at| at.get() == expected.len()).count();
    let least = progress.iter().map(|at| at.get() * messages / expected.len()).min().unwrap_or(0);
    Ok(Outcome { took: Duration::ZERO, complete, least })
}

/// Reads until all has come, or the server ends the connection; `at` counts bytes.
async fn read(
    stream: tokio::net::TcpStream,
    expected: Rc<[u8]>,
    buffer: Rc<RefCell<Vec<u8>>>,
    at: Rc<Cell<usize>>,
) -> Result<()> {
    while at.get() < expected.len() {
        stream.readable().await?;
        let mut buffer = buffer.borrow_mut();
        let from = at.get();
        match stream.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(n) if expected.get(from..from + n) == Some(&buffer[..n]) => at.set(from + n),
            Ok(_) => bail!("what came is not what was published, after {from} bytes"),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) if e.kind() == ErrorKind::ConnectionReset => break,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
