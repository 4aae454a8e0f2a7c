//! Server processes: started on free ports, measured through `/proc`, ended by their own process id.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

/// How long a server may take until it accepts connections, and until it ends after SIGTERM.
const START_DEADLINE: Duration = Duration::from_secs(10);
const STOP_DEADLINE: Duration = Duration::from_secs(3);
/// The unit of CPU times in `/proc`: USER_HZ is 100 on every architecture but Alpha.
const TICK: Duration = Duration::from_millis(10);

/// Which processors servers and load generators may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cores {
    /// Wherever the kernel puts them.
    Any,
    /// All but the last one: servers under `--pin`.
    Servers,
    /// The last one: the load generator under `--pin`.
    Load,
}

/// A command that keeps to its processors and dies with this program, whatever ends it.
pub(crate) fn command(program: &Path, cores: Cores) -> Command {
    let last = std::thread::available_parallelism().map_or(1, |n| n.get()).saturating_sub(1);
    let range = match cores {
        Cores::Any => None,
        Cores::Servers => Some(format!("0-{}", last.saturating_sub(1))),
        Cores::Load => Some(last.to_string()),
    };
    let mut command = match range {
        None => Command::new(program),
        Some(range) => {
            let mut taskset = Command::new("taskset");
            taskset.arg("-c").arg(range).arg(program);
            taskset
        }
    };
    // SAFETY: between fork and exec only one prctl is made; it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    command
}

/// A port of 127.0.0.1 that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// CPU time of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuTime {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl CpuTime {
    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }
}

/// A running server. Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts `command`, its output in `log`, and waits until it accepts connections on `port`.
    ///
    /// # Errors
    /// When it cannot be started, or ends or stays silent for ten seconds; the end of its log is in the message.
    pub(crate) fn start(mut command: Command, port: u16, log: &Path) -> Result<Self> {
        let output = File::create(log).with_context(|| format!("create {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        let mut server = Self { child, port };
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = server.child.try_wait()?;
            if ended.is_some() || began.elapsed() > START_DEADLINE {
                let log = fs::read_to_string(log).unwrap_or_default();
                let tail = log.lines().rev().take(10).collect::<Vec<_>>();
                let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
                bail!("{command:?} does not answer on port {port} ({ended:?}):\n{tail}");
            }
            sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// The TCP port on 127.0.0.1 it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// CPU time this process has used so far, in all its threads, children not included.
    pub(crate) fn cpu(&self) -> Result<CpuTime> {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
        // The name, field 2, may hold blanks: count fields from its closing parenthesis.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = |field: usize| -> Option<u64> { after_name.split_whitespace().nth(field)?.parse().ok() };
        let (Some(user), Some(system)) = (ticks(11), ticks(12)) else { bail!("{path}: unexpected format") };
        Ok(CpuTime { user: TICK * u32::try_from(user)?, system: TICK * u32::try_from(system)? })
    }

    /// Resident memory of the process in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| path.clone())?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kib.with_context(|| format!("{path}: no VmRSS"))? * 1024)
    }

    /// Stops the process as a hung one would be: its sockets stay open, nothing is answered.
    pub(crate) fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a paused process go on.
    pub(crate) fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A process that ended already is reaped by try_wait; its id is not reused before that.
        if matches!(self.child.try_wait(), Ok(None)) {
            let asked = self.resume().and_then(|()| self.signal(Signal::TERM));
            let began = Instant::now();
            while asked.is_ok() && began.elapsed() < STOP_DEADLINE {
                if matches!(self.child.try_wait(), Ok(Some(_))) {
                    return;
                }
                sleep(Duration::from_millis(10));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
