//! A Redis Cluster of one's own.
//!
//! Every node is born with a nodes.conf that names all the others, their slots and replicas, so that a cluster is ready as
//! soon as a master may take writes at all: Redis lets 2 s pass after its start.

mod slots;
mod view;

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use super::port::Port;
use super::{Certificates, Client, Endpoint, RedisServer, Relay, Strata, Value, wait_until};

pub(crate) use slots::slot_of;
use view::View;

/// After how long without an answer a node takes another for dead, in ms: a loaded machine must not have masters replaced
/// that live, and nobody waits for it where there is nobody to replace them.
const NODE_TIMEOUT: [&str; 2] = ["10000", "3000"];

/// How long a manual failover may take before it is asked for again: Redis gives it up after 5 s.
const MANUAL: Duration = Duration::from_secs(10);

/// How long the cluster may take to agree after anything that was done to it.
const AGREEMENT: Duration = Duration::from_secs(120);

const SLOTS: u32 = 16384;

/// What a cluster is made of.
pub(crate) struct Shape {
    pub(crate) masters: usize,
    /// Of each master.
    pub(crate) replicas: usize,
    /// Options of redis.conf for every node.
    pub(crate) options: Vec<(String, String)>,
    /// Who the nodes themselves and the tests log in as; with a name that is not `default`, nobody else may.
    pub(crate) login: Option<(String, String)>,
    /// Everything by TLS: clients, replication and the bus.
    pub(crate) tls: bool,
    /// Every node announces a relay in front of it instead of itself.
    pub(crate) relays: bool,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape { masters: 3, replicas: 1, options: Vec::new(), login: None, tls: false, relays: false }
    }
}

/// One node. It listens on 127.0.0.1 for clients and for its fellows, and on a unix socket for the test.
pub(crate) struct Node {
    pub(crate) server: RedisServer,
    relay: Option<Relay>,
    bus: Port,
    id: String,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Running,
    Paused,
    Ended,
    /// Left the cluster for good.
    Removed,
}

impl Node {
    /// Its name in CLUSTER NODES.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What it announces to clients.
    pub(crate) fn port(&self) -> u16 {
        match self.relay.as_ref().map(Relay::endpoint) {
            Some(Endpoint::Tcp(address)) => address.port(),
            _ => self.server.port(),
        }
    }

    /// What stands between clients and the node, in a cluster that has relays.
    pub(crate) fn relay(&self) -> &Relay {
        self.relay.as_ref().expect("the cluster has relays")
    }

    /// `host:port`, as strata's `l3.nodes` takes it.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// A new connection by the unix socket.
    pub(crate) fn connect(&self) -> Client {
        self.server.connect()
    }

    fn command(&self, words: &[&str]) -> Value {
        self.connect().call(words).expect("the node answers")
    }

    /// The command has to be answered with OK.
    fn order(&self, words: &[&str]) {
        let reply = self.command(words);
        assert_eq!(reply, Value::Simple("OK".into()), "{words:?} to {}", self.address());
    }
}

/// Nodes keep their numbers for life, whatever becomes of their roles. At the start the masters come first, then the
/// replicas of the first, and so on. Methods panic where the cluster does not do as told.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    shape: Shape,
    certificates: Option<Certificates>,
}

impl Cluster {
    /// Three masters with a replica each, and `options` of redis.conf for every node. Returns when all is connected.
    pub(crate) fn start(options: &[(&str, &str)]) -> Cluster {
        let options = options.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Cluster::start_as(Shape { options, ..Shape::default() })
    }

    pub(crate) fn start_as(shape: Shape) -> Cluster {
        let certificates = shape.tls.then(|| Certificates::make().expect("openssl makes certificates"));
        let mut cluster = Cluster { nodes: Vec::new(), shape, certificates };
        let count = cluster.shape.masters * (1 + cluster.shape.replicas);
        for _ in 0..count {
            let node = cluster.prepare();
            cluster.nodes.push(node);
        }
        for number in 0..count {
            let file = cluster.nodes[number].server.directory().join("nodes.conf");
            fs::write(file, cluster.nodes_file(number)).expect("nodes.conf is written");
        }
        cluster.nodes.iter_mut().for_each(|node| node.server.spawn());
        for node in &mut cluster.nodes {
            node.server.wait_ready();
            node.state = State::Running;
        }
        cluster.wait_ok();
        cluster
    }

    fn prepare(&self) -> Node {
        let bus = Port::reserve().expect("a free port");
        let bus_number = bus.number().to_string();
        let mut options: Vec<(&str, &str)> = vec![
            ("cluster-enabled", "yes"),
            ("cluster-port", &bus_number),
            ("cluster-node-timeout", NODE_TIMEOUT[usize::from(self.shape.replicas > 0)]),
            ("cluster-replica-validity-factor", "0"),
            ("cluster-allow-replica-migration", "no"),
            ("repl-diskless-sync-delay", "0"),
        ];
        let user;
        if let Some((name, password)) = &self.shape.login {
            user = format!("{name} on >{password} ~* &* +@all");
            options.extend([("user", &*user), ("masteruser", name), ("masterauth", password)]);
            if name != "default" {
                options.push(("user", "default off"));
            }
        }
        let tls = self.certificates.as_ref().map(Certificates::server_options);
        if let Some(tls) = &tls {
            options.extend(tls.iter().map(|(name, value)| (*name, &**value)));
            options.extend([("tls-cluster", "yes"), ("tls-replication", "yes"), ("port", "0")]);
        }
        options.extend(self.shape.options.iter().map(|(name, value)| (&**name, &**value)));
        let mut server = RedisServer::prepare(&options);
        if tls.is_some() {
            server.add_option("tls-port", &server.port().to_string());
        }
        if let Some((name, password)) = &self.shape.login {
            server.log_in_as(name, password);
        }
        let relay = self.shape.relays.then(|| Relay::start(&server.tcp()));
        if let Some(Endpoint::Tcp(address)) = relay.as_ref().map(Relay::endpoint) {
            server.add_option("cluster-announce-port", &address.port().to_string());
        }
        let id = format!("{:040x}", (u128::from(server.port()) << 16) | u128::from(bus.number()));
        Node { server, relay, bus, id, state: State::Ended }
    }

    /// What node `of` knows at its birth.
    fn nodes_file(&self, of: usize) -> String {
        let masters = self.shape.masters;
        let mut text = String::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let myself = if number == of { "myself," } else { "" };
            let (ip, port, bus, id) = (self.announced(), node.port(), node.bus.number(), &node.id);
            text += &format!("{id} {ip}:{port}@{bus} {myself}");
            text += &match number.checked_sub(masters) {
                None => {
                    let (first, last) = share(number, masters);
                    format!("master - 0 0 {} connected {first}-{last}\n", number + 1)
                }
                Some(replica) => {
                    let master = replica / self.shape.replicas;
                    format!("slave {} 0 0 {} connected\n", self.nodes[master].id, master + 1)
                }
            };
        }
        text + &format!("vars currentEpoch {masters} lastVoteEpoch 0\n")
    }

    /// The address that all nodes give.
    fn announced(&self) -> &str {
        let told = self.shape.options.iter().find(|(name, _)| name == "cluster-announce-ip");
        told.map_or("127.0.0.1", |(_, address)| address)
    }

    pub(crate) fn node(&self, number: usize) -> &Node {
        &self.nodes[number]
    }

    /// Nodes that run, by number.
    pub(crate) fn running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&number| self.nodes[number].state == State::Running).collect()
    }

    /// Nodes that run and say of themselves that they are masters.
    pub(crate) fn masters(&self) -> Vec<usize> {
        self.running()
            .into_iter()
            .filter(|&number| self.view(number).is_some_and(|v| v.is_master()))
            .collect()
    }

    /// Running replicas of node `master`, by its own belief.
    pub(crate) fn replicas(&self, master: usize) -> Vec<usize> {
        let Some(view) = self.view(master) else {
            return Vec::new();
        };
        let of = |number: &usize| view.master_of(&self.nodes[*number].id) == Some(&*self.nodes[master].id);
        self.running().into_iter().filter(of).collect()
    }

    /// The number of the node that is named so.
    fn number(&self, id: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == id)
    }

    fn view(&self, number: usize) -> Option<View> {
        let mut client = self.nodes[number].server.try_connect().ok()?;
        let text = client.call(&["CLUSTER", "NODES"]).ok()?;
        Some(View::parse(&String::from_utf8_lossy(text.bytes()?)))
    }

    /// All nodes, as strata's `l3.nodes` takes them.
    pub(crate) fn seeds(&self) -> String {
        let known = self.nodes.iter().filter(|node| node.state != State::Removed);
        known.map(Node::address).collect::<Vec<_>>().join(",")
    }

    /// What strata needs to have this cluster for its home.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let mut all = vec![("l3.enabled", "true".to_owned()), ("l3.mode", "cluster".to_owned())];
        all.push(("l3.nodes", self.seeds()));
        if let Some((name, password)) = &self.shape.login {
            all.extend([("l3.username", name.clone()), ("l3.password", password.clone())]);
        }
        if let Some(made) = &self.certificates {
            all.extend([("l3.tls", "true".to_owned()), ("l3.ca_file", made.file("ca.crt"))]);
            all.extend([("l3.cert_file", made.file("home.crt")), ("l3.key_file", made.file("home.key"))]);
        }
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// A strata with this home and no L2.
    pub(crate) fn strata(&self, settings: &[(&str, &str)]) -> Strata {
        let own = self.settings();
        let mut all: Vec<(&str, &str)> = own.iter().map(|(name, value)| (&**name, &**value)).collect();
        all.push(("l2.enabled", "false"));
        all.extend(settings);
        Strata::start_bare(&all)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, number: usize) {
        self.nodes[number].server.kill();
        self.nodes[number].state = State::Ended;
    }

    /// SIGSTOP: connections stay open and nothing is answered.
    pub(crate) fn pause(&mut self, number: usize) {
        self.nodes[number].server.pause();
        self.nodes[number].state = State::Paused;
    }

    /// SIGCONT.
    pub(crate) fn resume(&mut self, number: usize) {
        self.nodes[number].server.resume();
        self.nodes[number].state = State::Running;
    }

    /// Starts a node that was killed, with what its nodes.conf says.
    pub(crate) fn start_again(&mut self, number: usize) {
        assert_eq!(self.nodes[number].state, State::Ended);
        self.nodes[number].server.start_again();
        self.nodes[number].state = State::Running;
    }

    /// CLUSTER FAILOVER: `replica` takes its master's place, and everybody knows.
    pub(crate) fn failover(&self, replica: usize) {
        let start = Instant::now();
        // Refused while a replica is not yet in step with its master, and given up by it where that takes long.
        while !self.is_promoted(replica) && start.elapsed() < AGREEMENT {
            let said = self.nodes[replica].command(&["CLUSTER", "FAILOVER"]);
            if said == Value::Simple("OK".into()) {
                wait_until(MANUAL, || self.is_promoted(replica));
            }
        }
        self.wait_promoted(replica);
        self.wait_ok();
    }

    fn is_promoted(&self, replica: usize) -> bool {
        self.view(replica).is_some_and(|view| view.is_master() && view.slots() > 0)
    }

    /// Waits until all that node `master` executed so far is known to its running replicas.
    pub(crate) fn wait_in_step(&self, master: usize) {
        let offset = |number: usize, name: &str| -> Option<u64> {
            self.nodes[number].server.info("replication").get(name)?.parse().ok()
        };
        let reached = offset(master, "master_repl_offset").expect("the master counts");
        let replicas = self.replicas(master);
        let follow = || replicas.iter().all(|&replica| offset(replica, "slave_repl_offset") >= Some(reached));
        assert!(wait_until(AGREEMENT, follow), "{replicas:?} do not come up to {reached}");
    }

    /// Waits until the replica is a master with slots, as it is some time after its master's end.
    pub(crate) fn wait_promoted(&self, replica: usize) {
        let promoted = wait_until(AGREEMENT, || self.is_promoted(replica));
        assert!(promoted, "{} is not promoted", self.nodes[replica].address());
    }

    /// Waits until one of the replicas is a master with slots.
    pub(crate) fn wait_any_promoted(&self, replicas: &[usize]) {
        let promoted = wait_until(AGREEMENT, || replicas.iter().any(|&replica| self.is_promoted(replica)));
        assert!(promoted, "none of {replicas:?} is promoted");
    }

    /// Waits until a master that was replaced knows it.
    pub(crate) fn wait_replica(&self, number: usize) {
        let known = || self.view(number).is_some_and(|view| !view.is_master());
        assert!(wait_until(AGREEMENT, known), "{} remains a master", self.nodes[number].address());
    }

    /// Starts a node that belongs to the cluster and has no slots.
    pub(crate) fn add_master(&mut self) -> usize {
        let (number, node) = (self.nodes.len(), self.prepare());
        self.nodes.push(node);
        let node = &mut self.nodes[number];
        let id = &node.id;
        let (port, bus) = (node.port(), node.bus.number());
        let myself = format!("{id} 127.0.0.1:{port}@{bus} myself,master - 0 0 0 connected\n");
        let file = myself + "vars currentEpoch 0 lastVoteEpoch 0\n";
        fs::write(node.server.directory().join("nodes.conf"), file).expect("nodes.conf is written");
        node.server.start_again();
        node.state = State::Running;
        let (port, bus) = (port.to_string(), bus.to_string());
        for &fellow in self.running().iter().filter(|&&fellow| fellow != number) {
            self.nodes[fellow].order(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        self.wait_ok();
        number
    }

    /// Starts a node that is a replica of node `master`, and waits until it is in step.
    pub(crate) fn add_replica(&mut self, master: usize) -> usize {
        let number = self.add_master();
        self.nodes[number].order(&["CLUSTER", "REPLICATE", &self.nodes[master].id]);
        self.wait_ok();
        number
    }

    /// Ends a node that has no slots and has all others forget it.
    pub(crate) fn remove(&mut self, number: usize) {
        let slots = self.view(number).map_or(0, |view| if view.is_master() { view.slots() } else { 0 });
        assert_eq!(slots, 0, "{} has slots", self.nodes[number].address());
        self.kill(number);
        self.nodes[number].state = State::Removed;
        for fellow in self.running() {
            self.nodes[fellow].order(&["CLUSTER", "FORGET", &self.nodes[number].id]);
        }
        self.wait_ok();
    }

    /// Waits until all nodes that run say that the cluster is well, agree on who has which slots, who of them follows whom
    /// and what their epochs are, and all replicas among them follow a running master. Nodes that are killed or paused may be missing.
    pub(crate) fn wait_ok(&self) {
        let start = Instant::now();
        let mut why = String::new();
        while start.elapsed() < AGREEMENT {
            match self.agreement() {
                Ok(()) => return,
                Err(reason) => why = reason,
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the cluster does not get well: {why}");
    }

    /// Why the cluster is not well.
    fn agreement(&self) -> Result<(), String> {
        let running = self.running();
        let mut common = None;
        for &number in &running {
            let node = &self.nodes[number];
            let well = self.well(number).map_err(|error| error.to_string())?;
            well.map_err(|reason| format!("{}: {reason}", node.address()))?;
            let view = self.view(number).ok_or("no CLUSTER NODES")?;
            let mut roles = view.roles();
            roles.retain(|id, _| running.iter().any(|&number| self.nodes[number].id == *id));
            let belief = (view.owners(), roles);
            if *common.get_or_insert_with(|| belief.clone()) != belief {
                return Err(format!("{} disagrees on slots, roles or epochs", node.address()));
            }
        }
        Ok(())
    }

    /// What node `number` itself says.
    fn well(&self, number: usize) -> io::Result<Result<(), String>> {
        let mut client = self.nodes[number].server.try_connect()?;
        let mut ask = |words: &[&str]| -> io::Result<String> {
            let reply = client.call(words)?;
            Ok(reply.bytes().map(String::from_utf8_lossy).unwrap_or_default().into_owned())
        };
        let info = ask(&["CLUSTER", "INFO"])?;
        if !info.contains("cluster_state:ok") || !info.contains(&format!("cluster_slots_ok:{SLOTS}\r")) {
            return Ok(Err(info.replace("\r\n", " ")));
        }
        let view = View::parse(&ask(&["CLUSTER", "NODES"])?);
        let others = self.running().into_iter().filter(|&other| other != number);
        if let Some(other) = others.clone().find(|&other| !view.is_linked(&self.nodes[other].id)) {
            return Ok(Err(format!("no link to {}", self.nodes[other].address())));
        }
        let replication = ask(&["INFO", "replication"])?;
        if replication.contains("role:slave") && !replication.contains("master_link_status:up") {
            return Ok(Err("not in step with its master".to_owned()));
        }
        Ok(Ok(()))
    }
}

/// The slots of master `number` of `masters`, first and last.
fn share(number: usize, masters: usize) -> (u32, u32) {
    let (number, masters) = (number as u32, masters as u32);
    (SLOTS * number / masters, SLOTS * (number + 1) / masters - 1)
}

#[cfg(test)]
mod tests;
