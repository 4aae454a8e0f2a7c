//! A redis-server of one's own.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::port::Port;
use super::process::Process;
use super::{Client, Endpoint, Value, setting, wait_until};

/// How long a server may take to answer PING, its loading included.
const START: Duration = Duration::from_secs(60);

/// `STRATA_TEST_REDIS_SERVER`: another home than the installed redis-server, such as a valkey-server.
pub(crate) fn program() -> String {
    setting("STRATA_TEST_REDIS_SERVER", "redis-server".to_owned())
}

/// Whether home is the Redis 7.0 whose words strata's own answers are.
pub(crate) fn is_redis_7_0() -> bool {
    let version = version();
    version.starts_with("Redis") && version.contains("v=7.0.")
}

fn version() -> String {
    let said = Command::new(program()).arg("--version").output().expect("redis-server is installed").stdout;
    String::from_utf8_lossy(&said).trim().to_owned()
}

/// Says that `what` is not tested, because of what home is.
pub(crate) fn skip(what: &str) {
    eprintln!("skipped: {what}: home is {}", version());
}

/// Listens on a TCP port and a unix socket, both kept over restarts, and has its data in a directory of its own.
/// Methods panic where the server does not do as told: without it the test says nothing.
pub(crate) struct RedisServer {
    directory: TempDir,
    port: Port,
    options: Vec<(String, String)>,
    login: Option<(String, String)>,
    process: Option<Process>,
}

impl RedisServer {
    /// Starts with `options` of redis.conf (without persistence unless they say so) and returns once PING is answered.
    pub(crate) fn start(options: &[(&str, &str)]) -> RedisServer {
        let mut server = RedisServer::prepare(options);
        server.start_again();
        server
    }

    /// The same, not started yet. An option's words are split at spaces.
    pub(crate) fn prepare(options: &[(&str, &str)]) -> RedisServer {
        let directory =
            tempfile::Builder::new().prefix("strata-redis-").tempdir().expect("a temporary directory");
        let options = options.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let port = Port::reserve().expect("a free port");
        RedisServer { directory, port, options, login: None, process: None }
    }

    /// For the next start.
    pub(crate) fn add_option(&mut self, name: &str, value: &str) {
        self.options.push((name.to_owned(), value.to_owned()));
    }

    /// Has its own connections log in.
    pub(crate) fn log_in_as(&mut self, user: &str, password: &str) {
        self.login = Some((user.to_owned(), password.to_owned()));
    }

    /// Starts the server after `stop` or `kill`, on the same addresses and data.
    pub(crate) fn start_again(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    /// Starts the process, and does not wait for it.
    pub(crate) fn spawn(&mut self) {
        assert!(self.process.is_none(), "redis-server runs already");
        self.process = Some(Process::spawn(self.command()).expect("redis-server is installed"));
    }

    pub(crate) fn wait_ready(&mut self) {
        let ready = wait_until(START, || self.ended() || self.answers_ping());
        assert!(ready && !self.ended(), "redis-server does not start:\n{}", self.log());
    }

    fn command(&self) -> Command {
        let mut command = Command::new(program());
        command.args(["--port", &self.port.number().to_string(), "--bind", "127.0.0.1"]);
        command.arg("--unixsocket").arg(self.socket());
        command.arg("--dir").arg(self.directory.path());
        command.arg("--logfile").arg(self.directory.path().join("redis.log"));
        command.args(["--save", "", "--appendonly", "no"]);
        for (name, value) in &self.options {
            command.arg(format!("--{name}")).args(value.split(' '));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn ended(&mut self) -> bool {
        self.process.as_mut().is_none_or(|process| !matches!(process.ended(), Ok(None)))
    }

    fn answers_ping(&self) -> bool {
        let pong = self.try_connect().and_then(|mut client| client.call(&["PING"]));
        matches!(pong, Ok(Value::Simple(_)))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("redis.log")).unwrap_or_default()
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    pub(crate) fn tcp(&self) -> Endpoint {
        Endpoint::Tcp(self.port.address())
    }

    pub(crate) fn unix(&self) -> Endpoint {
        Endpoint::Unix(self.socket())
    }

    /// A new connection by the unix socket.
    pub(crate) fn connect(&self) -> Client {
        self.try_connect().expect("redis-server accepts")
    }

    /// The same, of a server that may be gone.
    pub(crate) fn try_connect(&self) -> io::Result<Client> {
        let mut client = Client::connect(&self.unix())?;
        if let Some((user, password)) = &self.login {
            client.call(&["AUTH", user, password])?;
        }
        Ok(client)
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.as_ref().expect("redis-server runs").id()
    }

    /// SIGTERM: the server shuts down as an operator would have it.
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().expect("redis-server runs");
        process.terminate(START).expect("redis-server ends");
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("redis-server runs");
        process.kill().expect("redis-server ends");
    }

    /// SIGSTOP: connections stay open and nothing is answered.
    pub(crate) fn pause(&mut self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    fn signal(&mut self, signal: Signal) {
        self.process.as_mut().expect("redis-server runs").signal(signal).expect("redis-server takes signals");
    }

    /// The fields of an INFO section. Asked again where the connection is cut, as sentinels do to a server whose role
    /// they change.
    pub(crate) fn info(&self, section: &str) -> BTreeMap<String, String> {
        let ask = || self.try_connect().and_then(|mut client| client.call(&["INFO", section]));
        let reply = ask().or_else(|_| ask()).expect("INFO is answered");
        let text = String::from_utf8_lossy(reply.bytes().expect("INFO is text")).into_owned();
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// How often the server executed `command` (as INFO spells it: `get`, `config|get`) since its start.
    pub(crate) fn calls(&self, command: &str) -> u64 {
        let stats = self.info("commandstats");
        let row = stats.get(&format!("cmdstat_{command}"));
        let calls = row.and_then(|row| row.strip_prefix("calls=")).and_then(|row| row.split(',').next());
        calls.map_or(0, |calls| calls.parse().expect("calls are counted"))
    }

    /// Kills the server's TCP connections, and leaves those by the unix socket alone. Returns how many they were.
    pub(crate) fn kill_tcp_clients(&self) -> usize {
        let mut client = self.connect();
        let list = client.call(&["CLIENT", "LIST"]).expect("CLIENT LIST is answered");
        let list = String::from_utf8_lossy(list.bytes().expect("CLIENT LIST is text")).into_owned();
        let tcp = list.lines().filter(|line| line.contains(" addr=127.0.0.1:"));
        let ids = tcp.filter_map(|line| line.strip_prefix("id=")?.split(' ').next());
        let killed = ids.filter(|id| {
            client.call(&["CLIENT", "KILL", "ID", id]).expect("CLIENT KILL is answered") == Value::Integer(1)
        });
        killed.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledged_writes_survive_both_ways_to_end_a_server_that_appends() {
        let mut redis = RedisServer::start(&[("appendonly", "yes"), ("appendfsync", "always")]);
        for round in 0..2 {
            redis.connect().call(&["INCR", "rounds"]).unwrap();
            let before = redis.process_id();
            if round == 0 {
                redis.kill()
            } else {
                redis.stop()
            }
            redis.start_again();
            assert_ne!(redis.process_id(), before);
            assert_eq!(redis.connect().call(&["GET", "rounds"]).unwrap(), Value::Bulk(vec![b'1' + round]));
        }
    }

    #[test]
    fn a_server_tells_what_it_did_and_drops_only_its_tcp_clients() {
        let redis = RedisServer::start(&[]);
        let mut by_socket = redis.connect();
        let mut by_port = Client::connect(&redis.tcp()).unwrap();
        assert_eq!(redis.calls("get"), 0);
        by_port.call(&["GET", "k"]).unwrap();
        by_socket.call(&["GET", "k"]).unwrap();
        assert_eq!(redis.calls("get"), 2);
        assert_eq!(redis.info("stats")["keyspace_misses"], "2");
        assert_eq!(redis.kill_tcp_clients(), 1);
        assert!(by_port.call(&["PING"]).is_err());
        assert_eq!(by_socket.call(&["PING"]).unwrap(), Value::Simple("PONG".into()));
    }

    #[test]
    fn a_paused_server_answers_after_it_was_resumed() {
        let mut redis = RedisServer::start(&[]);
        let mut client = redis.connect();
        redis.pause();
        client.send_raw(b"PING\r\n").unwrap();
        redis.resume();
        assert_eq!(client.read().unwrap(), Value::Simple("PONG".into()));
    }
}
