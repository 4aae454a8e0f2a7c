//! Child processes that are ended by their id and never outlive the tests.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};

/// A running child. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(crate) fn spawn(command: Command) -> io::Result<Process> {
        spawn_tied_to_this_process(command).map(|child| Process { child })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, or `None` while it runs.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Fails with `NotFound` once the process has ended: its id may belong to somebody else by then.
    pub(crate) fn signal(&mut self, signal: Signal) -> io::Result<()> {
        if self.ended()?.is_some() {
            return Err(io::ErrorKind::NotFound.into());
        }
        kill_process(Pid::from_child(&self.child), signal)?;
        // One of its threads has to run to stop the others.
        let deadline = Instant::now() + Duration::from_secs(20);
        while signal == Signal::STOP && !self.stands_still() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether all its threads are stopped.
    fn stands_still(&self) -> bool {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.id())) else { return true };
        tasks.flatten().all(|task| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // Its name, which may be anything, is in brackets.
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
        })
    }

    /// SIGTERM, and SIGKILL if it still runs after `limit`.
    pub(crate) fn terminate(&mut self, limit: Duration) -> io::Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        for signal in [Signal::CONT, Signal::TERM] {
            if let Err(error) = self.signal(signal)
                && self.ended()?.is_none()
            {
                return Err(error);
            }
        }
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(2));
        }
        self.kill()
    }

    /// SIGKILL, and wait.
    pub(crate) fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

type Request = (Command, SyncSender<io::Result<Child>>);

/// The kernel sends the death signal when the *thread* that forked ends, and threads of tests come and go. So one thread
/// that lives as long as the process forks for all.
fn spawn_tied_to_this_process(mut command: Command) -> io::Result<Child> {
    static REQUESTS: OnceLock<Sender<Request>> = OnceLock::new();
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec only async-signal-safe system calls are made, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        });
    }
    let requests = REQUESTS.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for (mut command, answer) in receiver {
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, child) = mpsc::sync_channel(1);
    requests.send((command, answer)).map_err(io::Error::other)?;
    child.recv().map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn sleeper() -> Process {
        let mut command = Command::new("sleep");
        command.arg("60");
        Process::spawn(command).unwrap()
    }

    #[test]
    fn a_child_survives_the_thread_that_asked_for_it() {
        let mut process = thread::spawn(sleeper).join().unwrap();
        thread::sleep(Duration::from_millis(20));
        assert!(process.ended().unwrap().is_none());
        assert_eq!(process.kill().unwrap().signal(), Some(9));
    }

    #[test]
    fn terminate_ends_a_child_that_is_paused() {
        let mut process = sleeper();
        process.signal(Signal::STOP).unwrap();
        assert_eq!(process.terminate(Duration::from_secs(5)).unwrap().signal(), Some(15));
        assert_eq!(process.signal(Signal::STOP).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
