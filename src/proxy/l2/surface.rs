//! What operators ask of L2: which copies it has of a key, and that it drop them.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::L2;
use super::ticket::Ticket;
use crate::clock;
use crate::proxy::Proxy;
use crate::resp::{Proto, encode, reply};
use crate::tier::glob;
use crate::tier::l2::name::parse_field;
use crate::tier::l2::record::Record;

/// Keys that L2 is asked for at once (a hint).
const SCAN_COUNT: &[u8] = b"500";
/// Keys that are dropped at once.
const MOST: usize = 500;

/// A copy in L2, for those who want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyInfo {
    /// The command.
    pub command: String,
    /// Its protocol.
    pub proto: Proto,
    /// The database.
    pub db: u16,
    /// The arguments besides the key, as they were sent.
    pub tail: Vec<u8>,
    /// Bytes of the reply.
    pub len: usize,
    /// Seconds since it was filled.
    pub age: u64,
    /// Milliseconds until it ends.
    pub left: u64,
    /// Whether this process would use it.
    pub believed: bool,
}

impl Proxy {
    /// Asks L2 one command; it is sent at once. None: it does not answer.
    pub(super) fn tell_l2(&self, l2: &L2, command: &[&[u8]]) -> impl Future<Output = Option<Bytes>> + use<> {
        let mut request = Vec::new();
        encode::command(&mut request, command);
        let (sender, answer) = oneshot::channel();
        self.send_l2(l2, &request, Ticket::Errand(sender));
        async move { answer.await.ok().flatten().filter(|reply| !reply::is_error(reply)) }
    }

    /// The copies of a key in L2. None: it does not answer.
    pub async fn l2_copies(&self, l2: &L2, key: &[u8]) -> Option<Vec<CopyInfo>> {
        let all = self.tell_l2(l2, &[b"HGETALL", &l2.names.copies(key)]).await?;
        let words: Vec<&[u8]> = reply::elements(&all).filter_map(reply::bulk).collect();
        let now = l2.clock(clock::now());
        let describe = |pair: &[&[u8]]| {
            let (command, proto, db, tail) = parse_field(pair.first()?)?;
            let record = Record::parse(pair.get(1)?)?;
            Some(CopyInfo {
                command: command.to_owned(),
                proto,
                db,
                tail: tail.to_vec(),
                len: record.len,
                age: clock::unix_seconds().saturating_sub(record.filled_at),
                left: record.ends_at.saturating_sub(now),
                believed: l2.ledger.believes(&record.epoch),
            })
        };
        Some(words.chunks_exact(2).filter_map(describe).collect())
    }

    /// Drops the copies of keys in L2, and refuses fills of what was read before. Returns of which there were copies;
    /// None: L2 did not answer, and what it holds is not believed any more.
    pub async fn drop_l2_copies(&self, l2: &L2, keys: &[&[u8]]) -> Option<Vec<bool>> {
        let mut dropped = Vec::with_capacity(keys.len());
        for some in keys.chunks(MOST) {
            let names = some.iter().map(|key| l2.names.copies(key));
            let answers: Vec<_> = names.map(|name| self.tell_l2(l2, &[b"UNLINK", &name])).collect();
            for answer in answers {
                let answer = answer.await.and_then(|reply| reply::parse_integer(&reply));
                dropped.push(answer.map(|count| count > 0));
            }
        }
        let all: Option<Vec<bool>> = dropped.into_iter().collect();
        if all.is_none() {
            l2.ledger.renew();
        }
        all
    }

    /// The same for all keys that match, a few at a time.
    pub async fn drop_l2_matching(&self, l2: &L2, pattern: &[u8]) -> Option<i64> {
        let (mut dropped, mut cursor) = (0, b"0".to_vec());
        let all = l2.names.pattern();
        loop {
            let page = self.tell_l2(l2, &[b"SCAN", &cursor, b"MATCH", &all, b"COUNT", SCAN_COUNT]).await;
            let Some(page) = page else {
                l2.ledger.renew();
                return None;
            };
            let mut parts = reply::elements(&page);
            cursor = parts.next().and_then(reply::bulk).unwrap_or(b"0").to_vec();
            let names: Vec<&[u8]> =
                parts.next().into_iter().flat_map(reply::elements).filter_map(reply::bulk).collect();
            let keys: Vec<&[u8]> = names
                .iter()
                .filter_map(|name| l2.names.key(name))
                .filter(|key| glob::matches(pattern, key))
                .collect();
            if !keys.is_empty() {
                dropped += self.drop_l2_copies(l2, &keys).await?.len() as i64;
            }
            if cursor == b"0" {
                return Some(dropped);
            }
        }
    }
}
