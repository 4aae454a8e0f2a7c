//! The embedded default: a private redis-server child.
//!
//! It listens on a unix socket in a private temporary directory, keeps nothing on disk, and dies with this
//! process, however this process ends: the kernel sends it SIGTERM when its parent thread is gone.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal, test_kill_process};
use tempfile::TempDir;
use tokio::process::Child;

/// Directories of the embedded server are named `strata-<pid>-...`, so that those of dead processes can be told.
const PREFIX: &str = "strata-";
/// A child that is asked to end gets this long.
const GRACE: Duration = Duration::from_secs(2);
/// First and longest pause before a child that died is started again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Why there is no embedded server.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The binary is not there.
    #[error(
        "the embedded Redis cannot start: `{0}` was not found. Install Debian's package redis-server, name another \
         binary with l2.binary, or set l2.url to a Redis that runs (redis://127.0.0.1:6379)"
    )]
    Missing(PathBuf),
    /// It could not be run.
    #[error("the embedded Redis cannot start: {binary}: {error}")]
    Start { binary: PathBuf, error: io::Error },
    /// It ended at once.
    #[error("the embedded Redis ended at once ({status}): {said}")]
    Ended { status: String, said: String },
    /// It never listened.
    #[error("the embedded Redis did not open its socket within {0:?}")]
    Silent(Duration),
}

/// A running child and its directory.
#[derive(Debug)]
pub struct Embedded {
    binary: PathBuf,
    max_memory: usize,
    directory: TempDir,
    child: Child,
}

impl Embedded {
    /// Starts the child and waits for its socket. Must be called on a thread that lives as long as the process.
    pub async fn start(binary: &Path, max_memory: usize) -> Result<Self, EmbeddedError> {
        remove_leftovers();
        let directory = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", std::process::id()))
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir()
            .map_err(|error| EmbeddedError::Start { binary: binary.to_owned(), error })?;
        let child = spawn(binary, directory.path(), max_memory)?;
        let mut embedded = Embedded { binary: binary.to_owned(), max_memory, directory, child };
        embedded.listening().await?;
        Ok(embedded)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    /// The child's process id.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    async fn listening(&mut self) -> Result<(), EmbeddedError> {
        let bound = Duration::from_secs(10);
        let deadline = tokio::time::Instant::now() + bound;
        while tokio::net::UnixStream::connect(self.socket()).await.is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                let log =
                    std::fs::read_to_string(self.directory.path().join("redis.log")).unwrap_or_default();
                let said = log.lines().rev().take(3).collect::<Vec<_>>().join(" | ");
                let status = status.signal().map_or_else(|| status.to_string(), |s| format!("signal {s}"));
                return Err(EmbeddedError::Ended { status, said });
            }
            if tokio::time::Instant::now() > deadline {
                return Err(EmbeddedError::Silent(bound));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Starts the child again whenever it ends, until this is dropped.
    pub async fn keep(&mut self) {
        let mut pause = PAUSES.0;
        loop {
            let started = tokio::time::Instant::now();
            let status = self.child.wait().await;
            tracing::error!(?status, "the embedded Redis ended; starting it again");
            loop {
                tokio::time::sleep(pause).await;
                let lived = started.elapsed() > Duration::from_secs(60);
                pause = if lived { PAUSES.0 } else { (pause * 2).min(PAUSES.1) };
                match spawn(&self.binary, self.directory.path(), self.max_memory) {
                    Ok(child) => {
                        self.child = child;
                        break;
                    }
                    Err(e) => tracing::error!("{e}"),
                }
            }
        }
    }

    /// Ends the child and removes its directory.
    pub async fn stop(mut self) {
        if let Some(pid) = self.child.id().and_then(|p| Pid::from_raw(p as i32)) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(GRACE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

fn spawn(binary: &Path, directory: &Path, max_memory: usize) -> Result<Child, EmbeddedError> {
    let parent = rustix::process::getpid();
    let mut command = Command::new(binary);
    command
        .args([
            "--port",
            "0",
            "--unixsocketperm",
            "700",
            "--save",
            "",
            "--appendonly",
            "no",
            "--daemonize",
            "no",
        ])
        .args(["--maxmemory", &max_memory.to_string(), "--maxmemory-policy", "allkeys-lru"])
        .arg("--unixsocket")
        .arg(directory.join("redis.sock"))
        .arg("--logfile")
        .arg(directory.join("redis.log"))
        .arg("--dir")
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // SAFETY: between fork and exec only async-signal-safe system calls are made (prctl, getppid); the closure
    // allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::TERM))?;
            // The parent may have died before the request was made.
            if rustix::process::getppid() != Some(parent) {
                return Err(io::Error::from_raw_os_error(3));
            }
            Ok(())
        });
    }
    tokio::process::Command::from(command).kill_on_drop(true).spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => EmbeddedError::Missing(binary.to_owned()),
        _ => EmbeddedError::Start { binary: binary.to_owned(), error },
    })
}

/// Removes the directories of processes that were killed before they could.
fn remove_leftovers() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|n| n.strip_prefix(PREFIX))
            .and_then(|n| n.split('-').next())
            .and_then(|n| n.parse().ok())
            .and_then(Pid::from_raw);
        let dead = owner.is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH));
        if dead && entry.path().join("redis.log").exists() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
