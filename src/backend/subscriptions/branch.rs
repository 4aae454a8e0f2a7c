//! A connection to one node of a cluster, for what only that node tells.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::{Space, What};
use crate::backend::cluster::NodeId;
use crate::backend::connection::Stream;
use crate::backend::node::Node;
use crate::resp::{Proto, ReplyScanner, Scan};

/// Free space wanted before a read.
const READ_SPACE: usize = 16 * 1024;

/// What a branch brings: of which life, and frames, or why it ended.
pub(super) type Brought = (u64, Result<Vec<Bytes>, String>);

/// See the module's text. Dropped it is closed.
pub(super) struct Branch {
    pub(super) id: NodeId,
    pub(super) node: Arc<Node>,
    /// No other branch has the same.
    pub(super) life: u64,
    /// Topics that it was asked for.
    pub(super) on: HashSet<(Space, Bytes)>,
    /// Not answered yet: the place of the question, if somebody waits, and since when.
    pub(super) sent: VecDeque<(Option<u64>, What, Instant)>,
    pub(super) last_read: Instant,
    requests: mpsc::UnboundedSender<Vec<u8>>,
    task: AbortHandle,
}

impl Drop for Branch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Branch {
    pub(super) fn open(id: NodeId, node: Arc<Node>, life: u64, brings: mpsc::Sender<Brought>) -> Branch {
        let (requests, wanted) = mpsc::unbounded_channel();
        let dialed = node.clone();
        let task = tokio::task::spawn_local(async move {
            let end = carry(&dialed, life, wanted, &brings).await;
            // Who no longer listens has let go of it.
            let _ = brings.send((life, Err(end))).await;
        });
        let task = task.abort_handle();
        let (on, sent, last_read) = (HashSet::new(), VecDeque::new(), Instant::now());
        Branch { id, node, life, on, sent, last_read, requests, task }
    }

    /// Asks the node.
    pub(super) fn ask(&mut self, place: Option<u64>, what: What) {
        let mut request = Vec::new();
        what.encode(&mut request);
        self.sent.push_back((place, what, Instant::now()));
        // If it has ended, that is on its way.
        let _ = self.requests.send(request);
    }

    /// Whether the node has not answered, nor said anything else, for as long as it may take.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        let since = self.sent.front().map(|(_, _, at)| (*at).max(self.last_read));
        since.is_some_and(|since| since + self.node.request_timeout <= now)
    }
}

/// Carries requests and frames until the connection ends; returns why.
async fn carry(
    node: &Node,
    life: u64,
    mut requests: mpsc::UnboundedReceiver<Vec<u8>>,
    brings: &mpsc::Sender<Brought>,
) -> String {
    let mut stream = match node.dial.open(Proto::Resp3, 0, "strata-subscriptions").await {
        Ok(stream) => stream,
        Err(e) => {
            node.down(&e.to_string());
            return e.to_string();
        }
    };
    node.up();
    let (mut buffer, mut scanner) = (BytesMut::new(), ReplyScanner::new());
    loop {
        tokio::select! {
            request = requests.recv() => {
                let Some(request) = request else { return "nobody wants it".to_owned() };
                if let Err(reason) = write(&mut stream, &request, node).await {
                    return reason;
                }
            }
            read = stream.read_buf(&mut buffer) => {
                match read {
                    Ok(0) => return "home closed the connection".to_owned(),
                    Ok(_) => {}
                    Err(e) => return e.to_string(),
                }
                let frames = match frames(&mut buffer, &mut scanner) {
                    Ok(frames) => frames,
                    Err(reason) => return reason,
                };
                if brings.send((life, Ok(frames))).await.is_err() {
                    return "nobody listens".to_owned();
                }
            }
        }
    }
}

async fn write(stream: &mut Box<dyn Stream>, request: &[u8], node: &Node) -> Result<(), String> {
    match timeout(node.request_timeout, stream.write_all(request)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => Err(e.to_string()),
        Err(_) => Err("home does not read".to_owned()),
    }
}

/// Takes whole frames out of what was read.
fn frames(buffer: &mut BytesMut, scanner: &mut ReplyScanner) -> Result<Vec<Bytes>, String> {
    let mut frames = Vec::new();
    let mut wanted = READ_SPACE;
    while !buffer.is_empty() {
        match scanner.step(buffer, 0) {
            Scan::Incomplete { need } => {
                wanted = need.clamp(READ_SPACE, 1 << 30);
                break;
            }
            Scan::Error(e) => return Err(format!("home sent what is not RESP: {e}")),
            Scan::Complete { end } => frames.push(buffer.split_to(end).freeze()),
        }
    }
    buffer.reserve(wanted);
    Ok(frames)
}
