//! What strata asks of home for itself, on the lane of the client that wants to know.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{LaneKey, Proxy, Ticket, Way, failure_text};
use crate::backend::cluster::slot;
use crate::backend::lane::{Failure, Outcome};
use crate::backend::node::Node;
use crate::clock;
use crate::resp::{encode, reply};

/// The claim to one answer.
pub struct Errand(oneshot::Sender<Result<Bytes, Failure>>);

/// Where it comes.
pub(super) struct Answer(oneshot::Receiver<Result<Bytes, Failure>>);

impl Answer {
    /// The reply of `node`, or why there is none; code first.
    pub(super) async fn of(self, node: &Node) -> Result<Bytes, String> {
        let lost = || Failure::Lost("the connection was given up".to_owned());
        match self.0.await.unwrap_or_else(|_| Err(lost())) {
            Ok(reply) if reply::is_error(&reply) => Err(error_text(&reply)),
            Ok(reply) => Ok(reply),
            Err(failure) => Err(failure_text(node, &failure)),
        }
    }
}

impl Errand {
    pub(super) fn new() -> (Errand, Answer) {
        let (sender, answer) = oneshot::channel();
        (Errand(sender), Answer(answer))
    }

    pub(super) fn complete(self, outcome: Outcome<'_>) {
        let answer = match outcome {
            Outcome::Reply(reply) => Ok(reply.into_bytes()),
            Outcome::Failed(failure) => Err(failure),
        };
        // Who no longer waits wants no answer.
        let _ = self.0.send(answer);
    }
}

impl Proxy {
    /// Asks home one command and waits for its reply, which may be any but an error.
    ///
    /// # Errors
    /// The error that home replied, or why it did not reply; code first.
    pub async fn ask_home(&self, lane: LaneKey, command: &[&[u8]]) -> Result<Bytes, String> {
        self.ask_by(self.way_of_slot(lane, None), command).await
    }

    /// The same of every master: what one of them says when all have done it.
    ///
    /// # Errors
    /// As [`Proxy::ask_home`]; others may have done it then.
    pub async fn ask_all(&self, lane: LaneKey, command: &[&[u8]]) -> Result<Bytes, String> {
        let mut reply = None;
        for master in self.masters() {
            reply = Some(self.ask_by(self.way_to(lane, master), command).await?);
        }
        match reply {
            Some(reply) => Ok(reply),
            None => self.ask_home(lane, command).await,
        }
    }

    /// The same of a node.
    ///
    /// # Errors
    /// As [`Proxy::ask_home`].
    pub async fn ask_by(&self, way: Way, command: &[&[u8]]) -> Result<Bytes, String> {
        let mut request = Vec::new();
        encode::command(&mut request, command);
        let (errand, answer) = Errand::new();
        self.send(way, &request, Ticket::Errand(errand), clock::now());
        answer.of(&self.node(way.node)).await
    }

    /// Deletes keys at home, as a client's UNLINK would; returns how many there were.
    ///
    /// # Errors
    /// As [`Proxy::ask_home`].
    pub async fn unlink(&self, lane: LaneKey, keys: &[&[u8]]) -> Result<i64, String> {
        let mut deleted = 0;
        // In a cluster keys of different slots cannot be named together.
        let together = if self.is_cluster() { 1 } else { keys.len().max(1) };
        for keys in keys.chunks(together) {
            let mut command: Vec<&[u8]> = vec![b"UNLINK"];
            command.extend(keys);
            self.drop_copies(keys);
            let way = self.way_of_slot(lane, keys.first().map(|key| slot(key)));
            let reply = self.ask_by(way, &command).await;
            // In between others may have read the old values.
            self.drop_copies(keys);
            deleted += reply::parse_integer(&reply?).unwrap_or(0);
            self.counters.home_sets.add(1);
            self.counters.home_deletes.add(1);
        }
        Ok(deleted)
    }

    /// Drops the copies of keys and refuses the flights over them; returns of how many keys there were copies.
    pub fn drop_copies(&self, keys: &[&[u8]]) -> usize {
        let Some(copies) = &self.shared.copies else {
            return 0;
        };
        let dropped = keys.iter().map(|key| copies.fence(copies.l1().hash(key)));
        let (mut of, mut all) = (0, 0);
        for count in dropped {
            of += usize::from(count > 0);
            all += count;
        }
        self.counters.l1_deletes.add(all as u64);
        of
    }
}

/// The words of an error reply.
pub(super) fn error_text(reply: &[u8]) -> String {
    let words = reply.strip_prefix(b"-").unwrap_or(reply);
    String::from_utf8_lossy(words.trim_ascii()).into_owned()
}
