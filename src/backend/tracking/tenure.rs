//! In a cluster: what a node's answers to a probe say of its right to vouch.

use super::{Link, Sink};
use crate::backend::cluster::{SlotSet, from_slots};
use crate::clock;

/// Whether a reply to CLUSTER INFO says that the cluster is served.
pub(super) fn is_well(info: &[u8]) -> bool {
    info.split(|b| *b == b'\n').any(|line| line.trim_ascii_end().ends_with(b"cluster_state:ok"))
}

impl<S: Sink> Link<'_, S> {
    /// A node vouches for copies of the slots that it owns in its own eyes, while its cluster is well.
    pub(super) fn renew_tenure(&self, sent: u64, frame: &[u8]) {
        let Some((cluster, me)) = &self.guard.ward else { return };
        if !self.awake || !self.well {
            return;
        }
        let ranges = from_slots(frame, &cluster.place(*me)).unwrap_or_default();
        let own = ranges.iter().filter(|range| cluster.number(&range.master) == Some(*me));
        let slots: SlotSet = own.flat_map(|range| range.first..=range.last).collect();
        self.guard.sink.lease(sent + clock::nanos(self.guard.lease), Some(&slots));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_cluster_that_is_served_is_well() {
        assert!(is_well(b"=40\r\ntxt:cluster_state:ok\r\ncluster_size:3\r\n\r\n"));
        assert!(!is_well(b"$40\r\ncluster_state:fail\r\n") && !is_well(b"-ERR cluster_state:okay\r\n"));
    }
}
