//! What operators ask of a key's source.

use std::rc::Rc;

use super::L4;
use super::scripts::mark_of;
use crate::clock;
use crate::proxy::{LaneKey, Proxy};
use crate::resp::reply;

/// Where a key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The name of its source.
    pub source: String,
    /// Whether what home has was loaded from there; None: home does not answer.
    pub loaded: Option<bool>,
    /// Whether it is remembered that there is no row.
    pub known_nothing: bool,
}

impl Proxy {
    /// Where a key of this database comes from. None: it has no source.
    pub async fn origin(self: &Rc<Self>, l4: &L4, lane: LaneKey, key: &[u8]) -> Option<Origin> {
        let wanted = l4.matching(key).filter(|_| lane.db == l4.database)?;
        let loaded = match mark_of(key, self.is_cluster()) {
            Some(mark) => self.marked(lane, key, &mark).await,
            None => Some(false),
        };
        Some(Origin {
            source: l4.sources.name(wanted.source).to_owned(),
            loaded,
            known_nothing: l4.nothing.knows(key, clock::now()),
        })
    }

    /// Whether the mark is the key's as it is now.
    async fn marked(self: &Rc<Self>, lane: LaneKey, key: &[u8], mark: &[u8]) -> Option<bool> {
        let way = self.way_of_slot(lane, Some(crate::backend::cluster::slot(key)));
        let (end, mark): ([&[u8]; 2], [&[u8]; 2]) = ([b"PEXPIRETIME", key], [b"GET", mark]);
        let (end, mark) = tokio::join!(self.ask_by(way, &end), self.ask_by(way, &mark));
        let (end, mark) = (reply::parse_integer(&end.ok()?)?.to_string(), mark.ok()?);
        let noted = reply::bulk(&mark).and_then(|mark| mark.split(|b| *b == b':').next());
        Some(noted == Some(end.as_bytes()))
    }
}

impl L4 {
    /// Loads under way.
    pub fn under_way(&self) -> usize {
        self.loads.under_way()
    }

    /// Keys that are known to have no row.
    pub fn known_nothing(&self) -> usize {
        self.nothing.len()
    }
}
