//! A strata process of one's own.

use std::fs::{self, File};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::port::Port;
use super::process::Process;
use super::redis::program;
use super::{Client, Endpoint, Value, wait_until};

const START: Duration = Duration::from_secs(60);

/// How much of what the process said is shown when its test fails.
const SHOWN_LINES: usize = 60;

/// Runs in a directory of its own. What it says on stdout and stderr is kept, and shown if the test panics.
pub(crate) struct Strata {
    directory: TempDir,
    port: Port,
    settings: Vec<(String, String)>,
    process: Option<Process>,
}

impl Strata {
    /// Starts in front of `home` and returns once PING is answered. `settings` are as `--set` takes them.
    pub(crate) fn start(home: &Endpoint, settings: &[(&str, &str)]) -> Strata {
        Strata::start_with(&home.url(), "", settings)
    }

    /// The same with `l2.url` in words and a configuration file, which settings override.
    pub(crate) fn start_with(url: &str, file: &str, settings: &[(&str, &str)]) -> Strata {
        Strata::start_at(Port::reserve().expect("a free port"), url, file, settings)
    }

    fn start_at(port: Port, url: &str, file: &str, settings: &[(&str, &str)]) -> Strata {
        let binary = program();
        // A machine under load may take longer than the default to accept a connection.
        let mut all = vec![("l2.url", url), ("l2.binary", &*binary), ("l2.connect_timeout", "5s")];
        all.extend(settings);
        Strata::start_on(port, file, &all)
    }

    /// Starts with these settings alone, and returns once PING is answered in any way.
    #[allow(dead_code, reason = "for homes of several servers")]
    pub(crate) fn start_bare(settings: &[(&str, &str)]) -> Strata {
        Strata::start_on(Port::reserve().expect("a free port"), "", settings)
    }

    fn start_on(port: Port, file: &str, settings: &[(&str, &str)]) -> Strata {
        let directory =
            tempfile::Builder::new().prefix("strata-proxy-").tempdir().expect("a temporary directory");
        fs::write(directory.path().join("config.toml"), file).expect("the configuration is written");
        let settings = settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut strata = Strata { directory, port, settings, process: None };
        strata.start_again();
        strata
    }

    /// The same, listening on every address of the machine.
    pub(crate) fn start_everywhere(home: &Endpoint, settings: &[(&str, &str)]) -> Strata {
        let port = Port::reserve().expect("a free port");
        let listen = format!("0.0.0.0:{}", port.number());
        let mut all = vec![("server.listen", &*listen)];
        all.extend(settings);
        Strata::start_at(port, &home.url(), "", &all)
    }

    /// Starts the process after `stop` or `kill`, on the same address.
    pub(crate) fn start_again(&mut self) {
        assert!(self.process.is_none(), "strata runs already");
        self.process = Some(Process::spawn(self.command()).expect("strata is built"));
        let ready = wait_until(START, || self.ended() || self.answers_ping());
        assert!(ready && !self.ended(), "strata does not start");
    }

    fn command(&self) -> Command {
        let output = File::options().create(true).append(true).open(self.directory.path().join("output"));
        let output = output.expect("the output is kept");
        let mut command = Command::new(env!("CARGO_BIN_EXE_strata"));
        // Where the config.toml lies that was written for it.
        command.current_dir(self.directory.path());
        // The tests' own variables are none of strata's settings.
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("STRATA_")) {
            command.env_remove(name);
        }
        command.arg("run").args(["--set", &format!("server.listen={}", self.port.address())]);
        for (name, value) in &self.settings {
            command.args(["--set", &format!("{name}={value}")]);
        }
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("a second handle")).stderr(output);
        command
    }

    fn ended(&mut self) -> bool {
        self.process.as_mut().is_none_or(|process| !matches!(process.ended(), Ok(None)))
    }

    fn answers_ping(&self) -> bool {
        let pong = Client::connect(&self.endpoint()).and_then(|mut client| client.call(&["PING"]));
        // It may be that a password is asked for.
        pong.is_ok()
    }

    /// All that the process has said so far.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(self.directory.path().join("output")).unwrap_or_default()
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::Tcp(self.port.address())
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(&self.endpoint()).expect("strata accepts")
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.as_ref().expect("strata runs").id()
    }

    /// SIGTERM; SIGKILL if `limit` passes. How it ended says which it was.
    pub(crate) fn stop(&mut self, limit: Duration) -> ExitStatus {
        self.process.take().expect("strata runs").terminate(limit).expect("strata ends")
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.take().expect("strata runs").kill().expect("strata ends");
    }

    /// SIGSTOP.
    pub(crate) fn pause(&mut self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    fn signal(&mut self, signal: Signal) {
        self.process.as_mut().expect("strata runs").signal(signal).expect("strata takes signals");
    }
}

impl Drop for Strata {
    fn drop(&mut self) {
        if thread::panicking() {
            let output = self.output();
            let lines: Vec<&str> = output.lines().collect();
            let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
            eprintln!("strata at {} said at last:\n{}", self.port.address(), shown.join("\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::RedisServer;
    use super::*;

    #[test]
    fn strata_stands_in_front_of_a_redis_through_its_whole_life_cycle() {
        let redis = RedisServer::start(&[]);
        let mut strata = Strata::start(&redis.unix(), &[("l1.max_size", "1MB")]);
        strata.connect().call(&["SET", "k", "v"]).unwrap();
        assert_eq!(redis.connect().call(&["GET", "k"]).unwrap(), Value::Bulk(b"v".to_vec()));
        strata.pause();
        strata.resume();
        assert_eq!(strata.connect().call(&["GET", "k"]).unwrap(), Value::Bulk(b"v".to_vec()));
        let before = strata.process_id();
        strata.kill();
        strata.start_again();
        assert_ne!(strata.process_id(), before);
        assert_eq!(strata.connect().call(&["GET", "k"]).unwrap(), Value::Bulk(b"v".to_vec()));
        assert_eq!(strata.stop(Duration::from_secs(10)).code(), Some(0), "{}", strata.output());
    }
}
