//! A master with replicas and the sentinels that watch them.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::port::Port;
use super::process::Process;
use super::{Client, Endpoint, RedisServer, Strata, Value, wait_until};

/// How long anything may take that was asked of them: a sentinel that could not run for 2 s does nothing for 30 s.
const PATIENCE: Duration = Duration::from_secs(180);

/// A failover that was asked for and has not happened by then was given up.
const GIVEN_UP: Duration = Duration::from_secs(20);

/// What the sentinels call the master.
pub(crate) const NAME: &str = "main";

/// After how long without an answer a sentinel takes a server for dead, in ms.
pub(crate) const DOWN_AFTER: u64 = 2000;

const COUNT: usize = 3;
const QUORUM: usize = 2;

/// One redis-sentinel. It writes its own file, which names all others from the start.
struct Sentinel {
    directory: TempDir,
    port: Port,
    process: Option<Process>,
}

impl Sentinel {
    fn prepare() -> Sentinel {
        let directory =
            tempfile::Builder::new().prefix("strata-sentinel-").tempdir().expect("a temporary directory");
        Sentinel { directory, port: Port::reserve().expect("a free port"), process: None }
    }

    fn id(&self) -> String {
        format!("{:040x}", u32::from(self.port.number()) | 0x5e00_0000)
    }

    fn file(&self) -> std::path::PathBuf {
        self.directory.path().join("sentinel.conf")
    }

    fn spawn(&mut self) {
        assert!(self.process.is_none(), "the sentinel runs already");
        let mut command = Command::new("redis-sentinel");
        command.arg(self.file());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(Process::spawn(command).expect("redis-sentinel is installed"));
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::Tcp(self.port.address())
    }

    fn signal(&mut self, signal: Signal) {
        let process = self.process.as_mut().expect("the sentinel runs");
        process.signal(signal).expect("sentinels take signals");
    }

    /// Fields of a reply about the master or itself; `None` while there is none.
    fn ask(&self, words: &[&str]) -> Option<Vec<String>> {
        let reply = Client::connect(&self.endpoint()).ok()?.call(words).ok()?;
        texts(&reply.elements()?)
    }

    /// A field of SENTINEL MASTER.
    fn master_field(&self, name: &str) -> Option<String> {
        field(&self.ask(&["SENTINEL", "MASTER", NAME])?, name)
    }

    /// How many replicas it sees that say so themselves. One that it takes for a master yet, it would turn into a replica
    /// again after somebody else has promoted it.
    fn replicas(&self) -> Option<usize> {
        let reply = Client::connect(&self.endpoint()).ok()?.call(&["SENTINEL", "REPLICAS", NAME]).ok()?;
        let own = |replica: &Value| -> Option<bool> {
            let fields = texts(&replica.elements()?)?;
            let role = field(&fields, "role-reported")?;
            Some(role == "slave" && field(&fields, "flags")? == "slave")
        };
        Some(reply.elements()?.iter().filter(|replica| own(replica) == Some(true)).count())
    }

    fn is_ready(&self, replicas: usize) -> bool {
        let says = |name, value: &str| self.master_field(name).as_deref() == Some(value);
        self.replicas().is_some_and(|count| count >= replicas)
            && says("num-other-sentinels", &(COUNT - 1).to_string())
            && says("flags", "master")
    }
}

fn texts(words: &[Value]) -> Option<Vec<String>> {
    let text = |word: &Value| word.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    words.iter().map(text).collect()
}

/// The value behind a name.
fn field(fields: &[String], name: &str) -> Option<String> {
    fields.chunks_exact(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone())
}

/// Servers keep their numbers for life, whatever becomes of their roles: 0 is the master at the start. Methods panic
/// where servers and sentinels do not do as told.
pub(crate) struct Sentinels {
    servers: Vec<RedisServer>,
    sentinels: Vec<Sentinel>,
    /// Servers that neither run nor answer.
    away: Vec<usize>,
}

impl Sentinels {
    /// Three sentinels, a master and one replica, with `options` of redis.conf for both. Returns when all know each
    /// other.
    pub(crate) fn start(options: &[(&str, &str)]) -> Sentinels {
        Sentinels::start_with(1, options, "")
    }

    /// The same with several replicas, and lines of sentinel.conf.
    pub(crate) fn start_with(replicas: usize, options: &[(&str, &str)], lines: &str) -> Sentinels {
        let mut all = vec![("repl-diskless-sync-delay", "0")];
        all.extend(options);
        let mut servers: Vec<RedisServer> = (0..=replicas).map(|_| RedisServer::prepare(&all)).collect();
        let master = format!("127.0.0.1 {}", servers[0].port());
        servers[1..].iter_mut().for_each(|server| server.add_option("replicaof", &master));
        servers.iter_mut().for_each(RedisServer::spawn);
        servers.iter_mut().for_each(RedisServer::wait_ready);
        let sentinels = (0..COUNT).map(|_| Sentinel::prepare()).collect();
        let mut group = Sentinels { servers, sentinels, away: Vec::new() };
        for number in 0..COUNT {
            let text = group.sentinel_file(number, lines);
            fs::write(group.sentinels[number].file(), text).expect("sentinel.conf is written");
            group.sentinels[number].spawn();
        }
        group.wait_ok();
        group
    }

    fn sentinel_file(&self, number: usize, lines: &str) -> String {
        let own = &self.sentinels[number];
        let (port, id, directory) = (own.port.number(), own.id(), own.directory.path());
        let mut text =
            format!("port {port}\nbind 127.0.0.1\ndir {}\nlogfile sentinel.log\n", show(directory));
        let master = self.servers[0].port();
        text += &format!("sentinel myid {id}\nsentinel monitor {NAME} 127.0.0.1 {master} {QUORUM}\n");
        text += &format!("sentinel down-after-milliseconds {NAME} {DOWN_AFTER}\n");
        text += &format!("sentinel failover-timeout {NAME} 3000\n{lines}\n");
        for replica in &self.servers[1..] {
            text += &format!("sentinel known-replica {NAME} 127.0.0.1 {}\n", replica.port());
        }
        for other in self.sentinels.iter().filter(|other| other.port.number() != port) {
            let (port, id) = (other.port.number(), other.id());
            text += &format!("sentinel known-sentinel {NAME} 127.0.0.1 {port} {id}\n");
        }
        text
    }

    /// All sentinels, as strata's `l3.nodes` takes them.
    pub(crate) fn nodes(&self) -> String {
        let addresses = self.sentinels.iter().map(|sentinel| sentinel.port.address().to_string());
        addresses.collect::<Vec<_>>().join(",")
    }

    /// A strata that has what these sentinels watch for its home, and no L2.
    pub(crate) fn strata(&self, settings: &[(&str, &str)]) -> Strata {
        let nodes = self.nodes();
        let mut all = vec![("l3.enabled", "true"), ("l3.mode", "sentinel"), ("l3.nodes", &nodes)];
        all.extend([("l3.master", NAME), ("l2.enabled", "false")]);
        all.extend(settings);
        Strata::start_bare(&all)
    }

    /// Where a sentinel listens.
    pub(crate) fn sentinel(&self, number: usize) -> SocketAddr {
        self.sentinels[number].port.address()
    }

    /// A connection to a sentinel.
    pub(crate) fn sentinel_client(&self, number: usize) -> Client {
        Client::connect(&self.sentinels[number].endpoint()).expect("the sentinel accepts")
    }

    pub(crate) fn server(&self, number: usize) -> &RedisServer {
        &self.servers[number]
    }

    /// The server whom most running sentinels take for the master now.
    pub(crate) fn master(&self) -> usize {
        let mut votes = vec![0; self.servers.len()];
        for sentinel in self.sentinels.iter().filter(|sentinel| sentinel.process.is_some()) {
            let said = sentinel.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
            let port = said.and_then(|said| said.get(1)?.parse().ok());
            if let Some(number) = self.servers.iter().position(|server| Some(server.port()) == port) {
                votes[number] += 1;
            }
        }
        (0..votes.len()).max_by_key(|&number| votes[number]).expect("there are servers")
    }

    /// Waits until the sentinels take another than `old` for the master and it says so itself; returns its number.
    pub(crate) fn wait_switched(&self, old: usize) -> usize {
        let new = self.switched(old, PATIENCE);
        new.unwrap_or_else(|| panic!("no other master within {PATIENCE:?}:\n{}", self.logs()))
    }

    fn switched(&self, old: usize, limit: Duration) -> Option<usize> {
        let mut new = None;
        wait_until(limit, || {
            let now = self.master();
            new = (now != old && self.role(now).as_deref() == Some("master")).then_some(now);
            new.is_some()
        });
        new
    }

    /// What the sentinels said so far.
    fn logs(&self) -> String {
        let log = |sentinel: &Sentinel| fs::read_to_string(sentinel.directory.path().join("sentinel.log"));
        self.sentinels.iter().filter_map(|sentinel| log(sentinel).ok()).collect()
    }

    fn role(&self, number: usize) -> Option<String> {
        let reply = self.servers[number].try_connect().ok()?.call(&["ROLE"]).ok()?;
        reply.elements()?.first()?.bytes().map(|role| String::from_utf8_lossy(role).into_owned())
    }

    /// SENTINEL FAILOVER: another server becomes master, and its number is returned.
    pub(crate) fn failover(&self) -> usize {
        let old = self.master();
        let mut new = None;
        let asked = wait_until(PATIENCE, || {
            let mut client = Client::connect(&self.sentinels[0].endpoint()).expect("the sentinel accepts");
            let reply = client.call(&["SENTINEL", "FAILOVER", NAME]).expect("the sentinel answers");
            new = self.switched(old, if reply.is_error() { Duration::ZERO } else { GIVEN_UP });
            new.is_some()
        });
        assert!(asked, "SENTINEL FAILOVER is refused, or given up:\n{}", self.logs());
        new.expect("a new master")
    }

    /// SIGKILL of a server.
    pub(crate) fn kill(&mut self, number: usize) {
        self.servers[number].kill();
        self.away.push(number);
    }

    /// SIGSTOP of a server.
    pub(crate) fn pause(&mut self, number: usize) {
        self.servers[number].pause();
        self.away.push(number);
    }

    /// SIGCONT of a server.
    pub(crate) fn resume(&mut self, number: usize) {
        self.servers[number].resume();
        self.away.retain(|&away| away != number);
    }

    /// Starts a server that was killed, as what it was at its first start.
    pub(crate) fn start_again(&mut self, number: usize) {
        self.servers[number].start_again();
        self.away.retain(|&away| away != number);
    }

    /// SIGKILL of a sentinel.
    pub(crate) fn kill_sentinel(&mut self, number: usize) {
        let mut process = self.sentinels[number].process.take().expect("the sentinel runs");
        process.kill().expect("sentinels end");
    }

    pub(crate) fn start_sentinel_again(&mut self, number: usize) {
        self.sentinels[number].spawn();
    }

    /// SIGSTOP of a sentinel.
    pub(crate) fn pause_sentinel(&mut self, number: usize) {
        self.sentinels[number].signal(Signal::STOP);
    }

    /// SIGCONT of a sentinel.
    pub(crate) fn resume_sentinel(&mut self, number: usize) {
        self.sentinels[number].signal(Signal::CONT);
    }

    /// Waits until all running sentinels see the same living master with its replicas and each other, and all running
    /// servers but it follow it. After a failover that is long: sentinels turn an old master that is back into a
    /// replica only after 8 s, and look for roles every 10 s.
    pub(crate) fn wait_ok(&self) {
        let replicas = self.servers.len() - 1 - self.away.len();
        let well = || {
            let master = self.master();
            let present = (0..self.servers.len()).filter(|number| !self.away.contains(number));
            self.sentinels.iter().filter(|s| s.process.is_some()).all(|s| s.is_ready(replicas))
                && present.into_iter().all(|number| {
                    let expected = if number == master { "role:master" } else { "master_link_status:up" };
                    self.replication(number).is_some_and(|text| text.contains(expected))
                })
        };
        assert!(wait_until(PATIENCE, well), "the sentinels do not get well");
    }

    fn replication(&self, number: usize) -> Option<String> {
        let reply = self.servers[number].try_connect().ok()?.call(&["INFO", "replication"]).ok()?;
        reply.bytes().map(|text| String::from_utf8_lossy(text).into_owned())
    }
}

fn show(path: &Path) -> std::path::Display<'_> {
    path.display()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn sentinels_find_each_other_at_once_and_replace_a_master() {
        let start = Instant::now();
        let mut group = Sentinels::start(&[]);
        println!("sentinels start within {:?}", start.elapsed());
        assert_eq!(group.master(), 0);
        group.kill(0);
        assert_eq!(group.wait_switched(0), 1);
        group.start_again(0);
        group.wait_ok();
        assert_eq!(group.failover(), 0);
    }
}
