//! Filling L2: the claim that was taken there before home is asked, and what it is turned into.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::L2;
use super::ticket::Ticket;
use crate::backend::cluster::NodeId;
use crate::clock;
use crate::proxy::Proxy;
use crate::resp::encode;
use crate::tier::l2::ledger::Pass;
use crate::tier::l2::record::Epoch;

/// The permission to fill a copy, given by L2 for as long as nobody deletes the key's copies.
pub(in crate::proxy) struct Claim {
    pub(super) l2: Arc<L2>,
    pub(super) pass: Pass,
    /// Whose keys the copy is of, and who is to be asked.
    pub(in crate::proxy) node: NodeId,
    /// The hash and the field.
    pub(super) name: Vec<u8>,
    pub(super) field: Vec<u8>,
    pub(super) nonce: Vec<u8>,
    pub(super) epoch: Epoch,
    /// L2's clock when it was given, in milliseconds: lifetimes count from then.
    pub(super) given: u64,
}

impl Proxy {
    /// Offers L2 a reply of home to a read that was sent after the claim was given.
    pub(in crate::proxy) fn fill_l2(self: &Rc<Self>, claim: Claim, reply: &[u8], life: Duration) {
        let ends_at = claim.given.saturating_add(u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
        let filled_at = clock::unix_seconds();
        let record = self.l2.codec.borrow_mut().pack(reply, filled_at, ends_at);
        let Some(record) = record.filter(|_| claim.l2.ledger.holds(claim.pass)) else {
            return self.abandon_l2(&claim);
        };
        let Some((door, lane)) = self.l2_lane(&claim.l2) else { return };
        let mut request = Vec::with_capacity(record.len() + claim.name.len() + 256);
        let ends_at = ends_at.to_string();
        encode::command(
            &mut request,
            &[
                b"EVALSHA",
                &door.fill,
                b"2",
                &claim.name,
                claim.l2.names.epoch(),
                &claim.field,
                &claim.nonce,
                &claim.epoch,
                ends_at.as_bytes(),
                &record,
            ],
        );
        self.counters.l2_bytes_filled.add(record.len() as u64);
        lane.send(&request, Ticket::Fill(self.clone()), clock::now());
    }

    /// There will be no fill: others need not wait for it.
    pub(in crate::proxy) fn abandon_l2(&self, claim: &Claim) {
        self.counters.l2_abandoned.add(1);
        let mut request = Vec::new();
        encode::command(&mut request, &[b"HDEL", &claim.name, &[b"l", &claim.field[..]].concat()]);
        self.send_l2(&claim.l2, &request, Ticket::Nobody);
    }
}
