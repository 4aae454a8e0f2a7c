//! Connections by which clients have waited, with their lanes, for those who wait next: to build a lane anew for each
//! BLPOP, and to take it down again, cost more than all the rest of it.
//!
//! They take no place while they rest. Their lanes are at work all the time, so one that is lost knows it at once.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::{Own, Proxy, Purpose, Way};
use crate::clock;

/// One that nobody has wanted for so long is closed.
const IDLE: Duration = Duration::from_secs(60);

/// See the module's text.
#[derive(Default)]
pub(super) struct Ready(RefCell<Vec<(u64, Rc<Own>)>>);

impl Ready {
    fn put(&self, own: Rc<Own>, now: u64) {
        self.0.borrow_mut().push((now, own));
    }

    /// The one that was used last: the others may come to be closed.
    fn take(&self, way: Way) -> Option<Rc<Own>> {
        let mut all = self.0.borrow_mut();
        let place = all.iter().rposition(|(_, own)| own.way() == way)?;
        Some(all.remove(place).1)
    }

    pub(super) fn expire(&self, now: u64) {
        let late = |since: u64| since.saturating_add(clock::nanos(IDLE)) <= now;
        self.0.borrow_mut().retain(|(since, own)| own.is_fit() && !late(*since));
    }
}

impl Proxy {
    /// Leases a connection to wait by at once, if one is ready.
    pub fn lease_ready(&self, way: Way) -> Option<Rc<Own>> {
        // Lost, or named to home by CLIENT UNBLOCK.
        let own = std::iter::from_fn(|| self.leases.ready.take(way)).find(|own| own.is_fit())?;
        let place = match self.node(way.node).breaker.check() {
            Ok(()) => self.shared.places.at(way.node).at_once(Purpose::Wait),
            Err(_) => None,
        };
        match place {
            Some(place) => {
                own.lend(place);
                Some(own)
            }
            // Who waits for a place is first.
            None => {
                self.leases.ready.put(own, clock::now());
                None
            }
        }
    }

    /// Keeps a connection that was waited by, and was given back with nothing outstanding.
    pub(super) fn keep_ready(&self, own: Rc<Own>) {
        own.rest();
        self.leases.ready.put(own, clock::now());
    }
}
