//! What goes by a connection of a client's own, and its node does not answer.
//!
//! A command that was parked is parked again, for a connection to the right node. What watches keys has lost them: they
//! went away, so EXEC does nothing, and everything else goes by the ways that all share.

use std::rc::{Rc, Weak};
use std::time::Duration;

use super::detour::finish;
use super::{Proxy, Ticket, Way};
use crate::backend::cluster::Redirect;
use crate::backend::lane::{Course, Onward, Outcome, Reply, Stray, Why};
use crate::proxy::lease::Own;

/// What takes the strays of a connection that is lent.
pub(in crate::proxy) struct OwnDetour {
    proxy: Weak<Proxy>,
    own: Weak<Own>,
    way: Way,
}

impl OwnDetour {
    pub(in crate::proxy) fn new(proxy: &Rc<Proxy>, own: Weak<Own>, way: Way) -> Self {
        OwnDetour { proxy: Rc::downgrade(proxy), own, way }
    }
}

impl Onward<Ticket> for OwnDetour {
    fn onward(&self, mut stray: Stray<Ticket>, now: u64) {
        let Why::Redirected(redirect, _) = &stray.why else { return finish(stray, now) };
        let Some(proxy) = self.proxy.upgrade() else { return finish(stray, now) };
        let Some(ways) = &proxy.ways else { return finish(stray, now) };
        proxy.counters.home_redirects.add(1);
        ways.cluster.ask_around();
        if let Redirect::Moved { slot, to } | Redirect::Ask { slot, to } = redirect {
            stray.course.slot = *slot;
            if let (Redirect::Moved { .. }, Ok(to)) = (redirect, ways.cluster.meet(to)) {
                proxy.learn(ways, *slot, self.way.node, to);
            }
        }
        if stray.ticket.goes_elsewhere(redirect) {
            return;
        }
        if let Some(own) = self.own.upgrade() {
            own.stray();
        }
        match stray.ticket {
            Ticket::Transaction(transaction) => transaction.lost_watch(now),
            // It can only lose: EXEC will do nothing.
            Ticket::Direct(direct) if watches(&stray.request) => {
                direct.complete(Outcome::Reply(Reply::Borrowed(b"+OK\r\n")), now);
            }
            Ticket::Direct(_) => {
                let number = ways.number.get() + 1;
                ways.number.set(number);
                stray.course = Course { number, slot: stray.course.slot, ..Course::default() };
                proxy.send_stray(ways, self.way.lane, None, stray, Duration::ZERO, now);
            }
            _ => finish(stray, now),
        }
    }

    fn passed(&self, _now: u64) {}
}

/// Whether a request is a WATCH, which must not be sent where others would share it.
fn watches(request: &[u8]) -> bool {
    let name = request.split(|b| *b == b'\n').nth(2).unwrap_or_default();
    name.trim_ascii_end().eq_ignore_ascii_case(b"watch")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_known_by_its_name() {
        assert!(watches(b"*2\r\n$5\r\nWatch\r\n$1\r\nk\r\n"));
        assert!(!watches(b"*2\r\n$3\r\nGET\r\n$5\r\nWATCH\r\n") && !watches(b"PING"));
    }
}
