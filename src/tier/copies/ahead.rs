//! Copies that are renewed before they end.

use std::sync::Arc;

use super::Copies;
use crate::backend::cluster::NodeId;
use crate::tier::fence::Token;
use crate::tier::flight::{Flight, Identity};

impl Copies {
    /// Begins to renew a copy, unless somebody does.
    pub fn begin_ahead(&self, id: &Identity<'_>, now: u64, from: (u16, NodeId)) -> Option<Arc<Flight>> {
        let flight = Arc::new(Flight::new(id, self.token(id.hash, &[]), now, from, true));
        let usable = |token: &Token| self.fences.current(token);
        self.flights.begin_alone(&flight, usable).then_some(flight)
    }
}
