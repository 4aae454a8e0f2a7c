//! A PostgreSQL of one's own.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Signal, getuid};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use super::port::Port;
use super::process::Process;
use super::{setting, wait_until};

/// How long a server may take to answer.
const START: Duration = Duration::from_secs(60);

/// The superuser of every cluster that is made here, who needs no password.
pub(crate) const USER: &str = "strata";

/// Listens on a TCP port of 127.0.0.1 and a unix socket, both kept over restarts. Methods panic where the server does
/// not do as told.
pub(crate) struct Postgres {
    directory: TempDir,
    port: Port,
    options: Vec<String>,
    process: Option<Process>,
}

impl Postgres {
    /// Starts with `name=value` settings besides those of every test, and returns once a query is answered.
    pub(crate) fn start(options: &[&str]) -> Postgres {
        let mut server = Postgres::prepare(options);
        server.start_again();
        server
    }

    /// The same, not started yet.
    pub(crate) fn prepare(options: &[&str]) -> Postgres {
        let directory =
            tempfile::Builder::new().prefix("strata-postgres-").tempdir().expect("a temporary directory");
        if let Some((user, group)) = unprivileged() {
            chown(directory.path(), Some(user), Some(group)).expect("the directory is given away");
        }
        let port = Port::reserve().expect("a free port");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let server = Postgres { directory, port, options, process: None };
        let made = server
            .command("initdb")
            .args(["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--username", USER])
            .arg("--pgdata")
            .arg(server.data())
            .output()
            .expect("initdb can be run");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        server
    }

    /// Starts the server after `stop` or `kill`, on the same addresses and data.
    pub(crate) fn start_again(&mut self) {
        assert!(self.process.is_none(), "postgres runs already");
        // One that was killed leaves these behind, with an id that may be another's by now.
        for leftover in [self.data().join("postmaster.pid"), self.socket_lock()] {
            let _ = fs::remove_file(leftover);
        }
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &self.port.number().to_string()]);
        let ours = ["listen_addresses=127.0.0.1", "fsync=off", "max_connections=200", "shared_buffers=16MB"];
        let sockets = format!("unix_socket_directories={}", self.directory.path().display());
        for option in ours.into_iter().chain([&*sockets]).chain(self.options.iter().map(String::as_str)) {
            command.args(["-c", option]);
        }
        let log = fs::File::create(self.log_file()).expect("a log");
        command.stdout(Stdio::null()).stderr(log);
        self.process = Some(Process::spawn(command).expect("postgres is installed"));
        let ready = wait_until(START, || self.ended() || self.answers());
        assert!(ready && !self.ended(), "postgres does not start:\n{}", self.log());
    }

    /// A program of PostgreSQL, run by a user it accepts.
    pub(crate) fn command(&self, program: &str) -> Command {
        let program = installed(program);
        let mut command = match unprivileged() {
            None => Command::new(program),
            Some((user, group)) => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", &user.to_string(), "--regid", &group.to_string(), "--clear-groups"]);
                command.arg(program);
                command
            }
        };
        command.current_dir(self.directory.path()).stdin(Stdio::null()).env("LC_ALL", "C.UTF-8");
        command
    }

    fn ended(&mut self) -> bool {
        self.process.as_mut().is_none_or(|process| !matches!(process.ended(), Ok(None)))
    }

    fn answers(&self) -> bool {
        let runtime = runtime();
        runtime.block_on(async {
            match tokio_postgres::connect(&self.url(), NoTls).await {
                Ok((client, connection)) => {
                    let driver = tokio::spawn(connection);
                    let answered = client.simple_query("SELECT 1").await.is_ok();
                    driver.abort();
                    answered
                }
                Err(_) => false,
            }
        })
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("postgres.log")
    }

    fn socket_lock(&self) -> PathBuf {
        self.directory.path().join(format!(".s.PGSQL.{}.lock", self.port.number()))
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Holds the unix socket.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    /// As `l4.url`, by TCP.
    pub(crate) fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/postgres", self.port.number())
    }

    /// As `l4.url`, by the unix socket.
    pub(crate) fn socket_url(&self) -> String {
        let path = self.directory.path().display().to_string().replace('/', "%2F");
        format!("postgres://{USER}@{path}:{}/postgres", self.port.number())
    }

    /// Runs statements, none of which may fail.
    pub(crate) fn execute(&self, statements: &str) {
        let (runtime, client) = self.connect();
        let done = runtime.block_on(client.batch_execute(statements));
        done.unwrap_or_else(|error| panic!("{statements}: {error:?}"));
    }

    /// The first column of the first row as text; None: no row, or NULL.
    pub(crate) fn ask(&self, query: &str) -> Option<String> {
        use tokio_postgres::SimpleQueryMessage::Row;
        let (runtime, client) = self.connect();
        let rows = runtime.block_on(client.simple_query(query));
        let rows = rows.unwrap_or_else(|error| panic!("{query}: {error:?}"));
        rows.iter().find_map(|message| match message {
            Row(row) => Some(row.get(0).map(str::to_owned)),
            _ => None,
        })?
    }

    /// A connection with the runtime that drives it whenever it is asked something.
    pub(crate) fn connect(&self) -> (tokio::runtime::Runtime, Client) {
        let runtime = runtime();
        let client = runtime.block_on(async {
            let (client, connection) =
                tokio_postgres::connect(&self.url(), NoTls).await.expect("postgres answers");
            tokio::spawn(connection);
            client
        });
        (runtime, client)
    }

    /// SIGINT: connections are cut, what was committed is kept.
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().expect("postgres runs");
        process.signal(Signal::CONT).expect("postgres takes signals");
        process.signal(Signal::INT).expect("postgres takes signals");
        let ended = wait_until(START, || !matches!(process.ended(), Ok(None)));
        assert!(ended, "postgres does not end:\n{}", self.log());
    }

    /// SIGQUIT: as by a crash, but its children end, too.
    pub(crate) fn crash(&mut self) {
        let mut process = self.process.take().expect("postgres runs");
        process.signal(Signal::QUIT).expect("postgres takes signals");
        let ended = wait_until(START, || !matches!(process.ended(), Ok(None)));
        assert!(ended, "postgres does not end:\n{}", self.log());
    }

    /// SIGSTOP to the server and all its children, so that nobody is answered. Or SIGCONT.
    pub(crate) fn pause(&mut self, paused: bool) {
        let process = self.process.as_mut().expect("postgres runs");
        let parent = process.id();
        let signal = if paused { Signal::STOP } else { Signal::CONT };
        process.signal(signal).expect("postgres takes signals");
        for child in children(parent) {
            let _ = rustix::process::kill_process(child, signal);
        }
    }

    /// Cuts all connections whose `application_name` is like `pattern`. Returns how many they were.
    pub(crate) fn cut(&self, pattern: &str) -> u64 {
        let query = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE pid <> pg_backend_pid() AND application_name LIKE '{pattern}'"
        );
        self.ask(&query).and_then(|count| count.parse().ok()).expect("a number")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its children end with it only if it is told to end.
        if let Some(mut process) = self.process.take() {
            for child in children(process.id()) {
                let _ = rustix::process::kill_process(child, Signal::CONT);
            }
            let _ = process.signal(Signal::CONT);
            let _ = process.signal(Signal::QUIT);
            wait_until(Duration::from_secs(10), || !matches!(process.ended(), Ok(None)));
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn children(parent: u32) -> Vec<rustix::process::Pid> {
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    let ids = list.split_ascii_whitespace().filter_map(|id| id.parse().ok());
    ids.filter_map(rustix::process::Pid::from_raw).collect()
}

/// PostgreSQL refuses to be run by root: then by the user that Debian's package makes, or by nobody.
fn unprivileged() -> Option<(u32, u32)> {
    if !getuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2).map(|id| id.parse().ok());
        Some((ids.next()??, ids.next()??))
    };
    Some(find("postgres").or_else(|| find("nobody")).unwrap_or((65_534, 65_534)))
}

/// A program of the newest PostgreSQL of Debian's packages, or of the one in PATH.
fn installed(program: &str) -> PathBuf {
    let given: String = setting("STRATA_TEST_POSTGRES", String::new());
    if !given.is_empty() {
        return Path::new(&given).join(program);
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let versions = versions.map(|entry| entry.path()).filter(|path| path.join("bin/initdb").exists());
    versions.max_by_key(number).map_or(PathBuf::from(program), |path| path.join("bin").join(program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_committed_survives_a_stop_and_a_crash() {
        let mut postgres = Postgres::start(&[]);
        postgres.execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)");
        for round in 0..2 {
            if round == 0 {
                postgres.stop()
            } else {
                postgres.crash()
            }
            postgres.start_again();
            postgres.execute("UPDATE t SET n = n + 1");
        }
        assert_eq!(postgres.ask("SELECT n FROM t").as_deref(), Some("3"));
        assert_eq!(postgres.ask("SELECT n FROM t WHERE false"), None);
    }
}
