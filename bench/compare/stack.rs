//! What is compared: redis-server alone, and strata, twemproxy and predixy over one redis-server or several.

use std::cell::Cell;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::slice;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bb8_redis::redis::{self, IntoConnectionInfo};

use crate::cluster::{self, MASTERS};
use crate::process::{Cores, Server, command, free_port};

/// Bytes of every value.
pub(crate) const VALUE_SIZE: usize = 100;
/// Commands sent in one write when keys are loaded or read to warm copies.
const BATCH: u32 = 1000;
/// Reading passes over the keys at most, and time at most, until copies are taken as warm.
const WARM_PASSES: u32 = 40;
const WARM_DEADLINE: Duration = Duration::from_secs(120);
/// How long a proxy may take to find the masters of its cluster.
const FIND_DEADLINE: Duration = Duration::from_secs(10);

/// What clients connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Redis,
    Bare,
    Strata,
    Twemproxy,
    Predixy,
}

/// What holds the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    /// One redis-server.
    One,
    /// A cluster of three masters. twemproxy, which knows no cluster, has three redis-servers, and redis-server itself is
    /// alone.
    Cluster,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Redis => "redis-server",
            Self::Bare => "bare loop",
            Self::Strata => "strata",
            Self::Twemproxy => "twemproxy",
            Self::Predixy => "predixy",
        })
    }
}

/// Where the programs are and where servers keep their files and logs.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) strata: PathBuf,
    /// Settings of every strata started, as for its `--set`.
    pub(crate) settings: Vec<String>,
    pub(crate) pin: bool,
    /// Servers that are not installed.
    pub(crate) missing: Vec<Kind>,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) started: Cell<u32>,
}

impl Lab {
    /// The processors servers may use.
    pub(crate) fn server_cores(&self) -> Cores {
        if self.pin { Cores::Servers } else { Cores::Any }
    }

    /// The processors load generators may use.
    pub(crate) fn load_cores(&self) -> Cores {
        if self.pin { Cores::Load } else { Cores::Any }
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.started.set(self.started.get() + 1);
        self.directory.path().join(format!("{name}-{}.log", self.started.get()))
    }

    fn redis(&self) -> Result<Server> {
        let port = free_port()?;
        Server::start(self.redis_command(port), port, &self.log("redis"))
    }

    /// A redis-server on `port`, without persistence.
    pub(crate) fn redis_command(&self, port: u16) -> Command {
        let mut server = command(Path::new("redis-server"), self.server_cores());
        server.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"]);
        server.args(["--port", &port.to_string(), "--maxclients", "15000"]);
        server.arg("--dir").arg(self.directory.path());
        server
    }

    fn strata(&self, homes: &[Server], home: Home, settings: &[&str]) -> Result<Server> {
        let port = free_port()?;
        let mut server = command(&self.strata, self.server_cores());
        server.arg("run");
        let mut own = vec![format!("server.listen=127.0.0.1:{port}")];
        match home {
            Home::One => own.extend(homes.iter().map(|home| format!("l2.url=redis://{}", address(home)))),
            Home::Cluster => {
                let nodes: Vec<String> = homes.iter().map(address).collect();
                own.extend(["l2.enabled=false", "l3.enabled=true", "l3.mode=cluster"].map(str::to_owned));
                own.push(format!("l3.nodes={}", nodes.join(",")));
            }
        }
        let all = own.iter().map(String::as_str).chain(settings.iter().copied());
        for setting in all.chain(self.settings.iter().map(String::as_str)) {
            server.args(["--set", setting]);
        }
        // A config.toml of the directory one happens to stand in must not change what is measured.
        server.current_dir(self.directory.path());
        Server::start(server, port, &self.log("strata"))
    }

    fn bare(&self) -> Result<Server> {
        let port = free_port()?;
        let mut server = command(&std::env::current_exe()?, self.server_cores());
        server.args(["--bare", &port.to_string()]);
        Server::start(server, port, &self.log("bare"))
    }

    fn twemproxy(&self, homes: &[Server]) -> Result<Server> {
        let (port, stats) = (free_port()?, free_port()?);
        let file = self.directory.path().join(format!("twemproxy-{port}.yml"));
        let config = format!(
            "bench:\n  listen: 127.0.0.1:{port}\n  hash: fnv1a_64\n  distribution: modula\n  redis: true\n  \
             servers:\n{}",
            homes.iter().map(|home| format!("   - {}:1\n", address(home))).collect::<String>()
        );
        fs::write(&file, config)?;
        let mut server = command(Path::new("nutcracker"), self.server_cores());
        server.args(["-v", "0", "-a", "127.0.0.1", "-s", &stats.to_string()]);
        server.arg("-c").arg(&file).arg("-p").arg(file.with_extension("pid"));
        server.arg("-o").arg(file.with_extension("log"));
        Server::start(server, port, &self.log("twemproxy"))
    }

    /// One worker over a cluster, or over one group of one server, without which it takes no transactions. It logs as
    /// its own example configuration has it.
    fn predixy(&self, homes: &[Server], home: Home) -> Result<Server> {
        let port = free_port()?;
        let file = self.directory.path().join(format!("predixy-{port}.conf"));
        let servers: String = homes.iter().map(|home| format!("  + {}\n", address(home))).collect();
        let pool = match home {
            Home::One => format!(
                "StandaloneServerPool {{\n Databases 16\n Hash crc16\n HashTag \"{{}}\"\n Distribution modula\n \
                 RefreshMethod fixed\n Group home {{\n{servers} }}\n}}\n"
            ),
            Home::Cluster => format!("ClusterServerPool {{\n Servers {{\n{servers} }}\n}}\n"),
        };
        let config = format!(
            "Name bench\nBind 127.0.0.1:{port}\nWorkerThreads 1\nLogVerbSample 0\nLogDebugSample 0\n\
             LogInfoSample 10000\nLogNoticeSample 1\nLogWarnSample 1\nLogErrorSample 1\n\
             Authority {{\n Auth {{\n  Mode write\n }}\n}}\n\
             {pool}"
        );
        fs::write(&file, config)?;
        let mut server = command(Path::new("predixy"), self.server_cores());
        server.arg(&file);
        Server::start(server, port, &self.log("predixy"))
    }
}

/// A server that clients connect to and the redis-servers behind it, if it is a proxy.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) kind: Kind,
    // Declared first, so that a proxy ends before its home does.
    pub(crate) front: Server,
    behind: Vec<Server>,
}

impl Stack {
    /// Starts the servers; `settings` are for strata alone.
    pub(crate) fn start(lab: &Lab, kind: Kind, home: Home, settings: &[&str]) -> Result<Self> {
        let behind = match (kind, home) {
            (Kind::Redis, _) => Vec::new(),
            (Kind::Twemproxy, Home::Cluster) => (0..MASTERS).map(|_| lab.redis()).collect::<Result<_>>()?,
            (_, Home::Cluster) => cluster::start(lab)?,
            (_, Home::One) => vec![lab.redis()?],
        };
        let front = match kind {
            Kind::Redis => lab.redis()?,
            Kind::Bare => lab.bare()?,
            Kind::Strata => lab.strata(&behind, home, settings)?,
            Kind::Twemproxy => lab.twemproxy(&behind)?,
            Kind::Predixy => lab.predixy(&behind, home)?,
        };
        Ok(Self { kind, front, behind })
    }

    /// The redis-servers that hold the keys.
    pub(crate) fn homes(&self) -> &[Server] {
        if self.behind.is_empty() { slice::from_ref(&self.front) } else { &self.behind }
    }

    /// The redis-server that holds the keys, or the first of several.
    pub(crate) fn home(&self) -> &Server {
        self.behind.first().unwrap_or(&self.front)
    }

    /// CPU time of all that hold the keys.
    pub(crate) fn home_cpu(&self) -> Result<Duration> {
        self.homes().iter().map(|home| Ok(home.cpu()?.total())).sum()
    }

    /// Writes `keys` keys of `VALUE_SIZE` bytes, named as redis-benchmark names them: directly to home where that is
    /// one server, and else through the front, which knows whose key is whose.
    pub(crate) fn load(&self, keys: u32) -> Result<()> {
        let value = [b'x'; VALUE_SIZE];
        let server = if self.behind.len() > 1 { &self.front } else { self.home() };
        let mut server = connect(server)?;
        await_writes(&mut server)?;
        for first in (0..keys).step_by(BATCH as usize) {
            let mut pipe = redis::pipe();
            for key in first..keys.min(first + BATCH) {
                pipe.set(key_name(key), &value[..]).ignore();
            }
            pipe.query::<()>(&mut server).context("load keys")?;
        }
        Ok(())
    }

    /// Reads every key through the front until reads no longer arrive at home: fewer than one in a thousand in
    /// a pass. Returns what share of the last pass did arrive there; 0 for a front that is home itself.
    pub(crate) fn warm(&self, keys: u32) -> Result<f64> {
        if self.kind != Kind::Strata {
            return Ok(0.0);
        }
        let mut front = connect(&self.front)?;
        let mut home = connect(self.home())?;
        let began = Instant::now();
        let mut missed = 1.0;
        for _ in 0..WARM_PASSES {
            let before = calls(&mut home, "get")?;
            read_all(&mut front, keys)?;
            missed = (calls(&mut home, "get")? - before) as f64 / f64::from(keys);
            if missed < 0.001 || began.elapsed() > WARM_DEADLINE {
                break;
            }
        }
        Ok(missed)
    }

    /// Commands home has executed since it was started.
    pub(crate) fn home_commands(&self) -> Result<u64> {
        self.home_info("stats", "total_commands_processed")
    }

    /// A number of a section of home's INFO, summed where home is several servers.
    pub(crate) fn home_info(&self, section: &str, field: &str) -> Result<u64> {
        self.homes().iter().map(|home| info(home, section, field)).sum()
    }
}

fn info(server: &Server, section: &str, field: &str) -> Result<u64> {
    let info: String = redis::cmd("INFO").arg(section).query(&mut connect(server)?)?;
    let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.and_then(|value| value.trim().parse().ok()).with_context(|| format!("INFO {section}: no {field}"))
}

/// Waits until a front has found the masters of its cluster.
fn await_writes(server: &mut redis::Connection) -> Result<()> {
    let began = Instant::now();
    loop {
        let mut pipe = redis::pipe();
        (0..BATCH).for_each(|key| {
            pipe.set(key_name(key), "x").ignore();
        });
        match pipe.query::<()>(server) {
            Ok(()) => return Ok(()),
            Err(error) if began.elapsed() > FIND_DEADLINE => return Err(error).context("no write is taken"),
            Err(_) => sleep(Duration::from_millis(50)),
        }
    }
}

fn address(server: &Server) -> String {
    format!("127.0.0.1:{}", server.port())
}

/// The name redis-benchmark gives to key number `key`.
pub(crate) fn key_name(key: u32) -> String {
    format!("key:{key:012}")
}

pub(crate) fn connect(server: &Server) -> Result<redis::Connection> {
    // twemproxy ends a connection that introduces itself.
    let quiet = redis::RedisConnectionInfo::default().set_skip_set_lib_name();
    let info = format!("redis://{}/", address(server)).into_connection_info()?.set_redis_settings(quiet);
    let client = redis::Client::open(info)?;
    let connection = client.get_connection_with_timeout(Duration::from_secs(5))?;
    connection.set_read_timeout(Some(Duration::from_secs(30)))?;
    connection.set_write_timeout(Some(Duration::from_secs(30)))?;
    Ok(connection)
}

fn read_all(front: &mut redis::Connection, keys: u32) -> Result<()> {
    for first in (0..keys).step_by(BATCH as usize) {
        let mut pipe = redis::pipe();
        for key in first..keys.min(first + BATCH) {
            pipe.get(key_name(key));
        }
        let values: Vec<Option<Vec<u8>>> = pipe.query(front).context("read keys")?;
        if values.iter().any(|value| value.as_ref().map(Vec::len) != Some(VALUE_SIZE)) {
            bail!("a key between {first} and {} does not hold what was written", first + BATCH);
        }
    }
    Ok(())
}

/// How often home has executed `name` (lower case).
fn calls(home: &mut redis::Connection, name: &str) -> Result<u64> {
    let info: String = redis::cmd("INFO").arg("commandstats").query(home)?;
    let prefix = format!("cmdstat_{name}:calls=");
    let line = info.lines().find_map(|line| line.strip_prefix(&prefix));
    let count = line.and_then(|rest| rest.split(',').next()?.parse().ok());
    Ok(count.unwrap_or(0))
}
