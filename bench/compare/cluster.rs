//! A Redis Cluster of masters alone.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bb8_redis::redis;

use crate::process::{Server, free_port};
use crate::stack::{Lab, connect};

pub(crate) const MASTERS: u16 = 3;

const SLOTS: u16 = 16384;

/// How long the nodes may take to know each other. A master takes no writes in the first 2 s of its life.
const FORM_DEADLINE: Duration = Duration::from_secs(30);

/// Starts the nodes, shares the slots out and waits until every node says that the cluster is well.
///
/// # Errors
/// When a node does not start or refuses, or the cluster is not well within half a minute.
pub(crate) fn start(lab: &Lab) -> Result<Vec<Server>> {
    let nodes = (0..MASTERS).map(|_| node(lab)).collect::<Result<Vec<_>>>()?;
    let Some((first, first_bus)) = nodes.first().map(|(first, bus)| (first.port(), *bus)) else {
        return Ok(Vec::new());
    };
    for (number, (node, _)) in (0..).zip(&nodes) {
        let mut node = connect(node)?;
        let mut ask = |words: &[&str]| redis::cmd("CLUSTER").arg(words).exec(&mut node);
        // 16,384 is divided by three with one left over, which the last takes.
        let (from, to) = (SLOTS / MASTERS * number, SLOTS / MASTERS * (number + 1) - 1);
        let to = if number + 1 == MASTERS { SLOTS - 1 } else { to };
        ask(&["ADDSLOTSRANGE", &from.to_string(), &to.to_string()])?;
        ask(&["SET-CONFIG-EPOCH", &(number + 1).to_string()])?;
        if number > 0 {
            ask(&["MEET", "127.0.0.1", &first.to_string(), &first_bus.to_string()])?;
        }
    }
    let began = Instant::now();
    for (node, _) in &nodes {
        let mut node = connect(node)?;
        loop {
            let info: String = redis::cmd("CLUSTER").arg("INFO").query(&mut node)?;
            if info.contains("cluster_state:ok") && info.contains(&format!("cluster_size:{MASTERS}")) {
                break;
            }
            ensure!(began.elapsed() < FORM_DEADLINE, "the cluster does not form: {info}");
            sleep(Duration::from_millis(20));
        }
    }
    Ok(nodes.into_iter().map(|(node, _)| node).collect())
}

/// A node and the port of its bus.
fn node(lab: &Lab) -> Result<(Server, u16)> {
    let (port, bus) = (free_port()?, free_port()?);
    let mut server = lab.redis_command(port);
    server.args(["--cluster-enabled", "yes", "--cluster-port", &bus.to_string()]);
    server.args(["--cluster-config-file", &format!("nodes-{port}.conf")]);
    let node = Server::start(server, port, &lab.log("node")).context("start a node")?;
    Ok((node, bus))
}
