//! Moments of a PostgreSQL: which transactions are visible.

use std::fmt;
use std::str::FromStr;

/// What was committed at some moment, as `pg_current_snapshot()` says it, and of which server.
///
/// Snapshots of one server are in an order: of two, one sees all that the other sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The server and its timeline: numbers of transactions of others mean nothing here.
    server: u64,
    /// The first transaction that was still in progress; all before it are decided.
    xmin: u64,
    /// The first that had not begun.
    xmax: u64,
    /// Those between that were in progress, in rising order.
    running: Box<[u64]>,
}

impl Snapshot {
    /// Reads `xmin:xmax:xid,xid,...`, of this server.
    pub(super) fn parse(server: u64, text: &str) -> Option<Self> {
        let mut fields = text.splitn(3, ':');
        let mut number = || fields.next().and_then(|field| u64::from_str(field).ok());
        let (xmin, xmax) = (number()?, number()?);
        let list = fields.next()?;
        let running: Option<Box<[u64]>> = match list {
            "" => Some(Box::default()),
            list => list.split(',').map(|xid| xid.parse().ok()).collect(),
        };
        Some(Self { server, xmin, xmax, running: running? })
    }

    /// Whether what this transaction did is visible, if it was committed at all.
    pub(super) fn sees(&self, xid: u64) -> bool {
        xid < self.xmax && self.running.binary_search(&xid).is_err()
    }

    /// Whether everything is visible here that is visible in `other`, a snapshot of any server.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.server == other.server
            && self.xmax >= other.xmax
            && self.running.iter().all(|xid| !other.sees(*xid))
    }

    /// Whether transactions that were in progress at `earlier` still are.
    pub(super) fn waits_for_any_of(&self, earlier: &Self) -> bool {
        self.running.iter().any(|xid| *xid < earlier.xmax)
    }

    /// Of which server it is.
    pub(super) fn server(&self) -> u64 {
        self.server
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (at, xid) in self.running.iter().enumerate() {
            write!(f, "{}{xid}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(text: &str) -> Snapshot {
        Snapshot::parse(1, text).unwrap()
    }

    #[test]
    fn what_is_read_is_what_is_shown() {
        for text in ["10:20:10,14,15", "10:10:", "795:799:795,798"] {
            assert_eq!(snapshot(text).to_string(), text);
        }
        for text in ["", "10", "10:20", "10:20:x", "10:20:1,", "a:1:", "10:20:1:2"] {
            assert_eq!(Snapshot::parse(1, text), None, "{text:?}");
        }
    }

    #[test]
    fn running_and_later_transactions_are_not_seen() {
        let snapshot = snapshot("10:20:10,14");
        let seen: Vec<u64> = (8..22).filter(|xid| snapshot.sees(*xid)).collect();
        assert_eq!(seen, [8, 9, 11, 12, 13, 15, 16, 17, 18, 19]);
    }

    #[test]
    fn a_later_snapshot_covers_an_earlier_one() {
        let order = ["10:12:10,11", "10:14:10,12,13", "12:14:12,13", "14:14:", "14:15:14", "15:15:"];
        for (at, earlier) in order.iter().enumerate() {
            for (other, later) in order.iter().enumerate() {
                let covers = snapshot(later).covers(&snapshot(earlier));
                assert_eq!(covers, other >= at, "{later} covers {earlier}");
            }
        }
        // Of another server, or timeline, nothing can be said.
        assert!(!Snapshot::parse(2, "15:15:").unwrap().covers(&snapshot("10:10:")));
    }
}
