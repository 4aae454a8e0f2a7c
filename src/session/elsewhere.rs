//! In a cluster: where a parked command goes, and where it goes next if that was the wrong node.

use std::rc::Rc;
use std::time::Duration;

use super::Session;
use super::parked::{Parked, Stage, Task, What};
use super::transaction::Watch;
use crate::backend::cluster::Redirect;
use crate::clock;
use crate::command::extract;
use crate::proxy::{Crossed, Own, Purpose};
use crate::resp::{Request, with_request};

/// So often a command is tried at other nodes, and after so long where it was refused for now.
const MOST_TRIES: u32 = 64;
const PAUSE: Duration = Duration::from_millis(20);

/// A command that its node does not answer, in a cluster: it is tried again at another, by another connection.
#[derive(Default)]
pub(super) struct Elsewhere {
    /// The slot of its reply.
    pub(super) slot: Option<u64>,
    pub(super) to: Option<Redirect>,
    tries: u32,
}

impl Elsewhere {
    /// Takes a redirection, if it is about the command.
    pub(super) fn take(&mut self, slot: u64, redirect: &Redirect) -> bool {
        let takes = self.slot == Some(slot) && self.tries < MOST_TRIES;
        if takes {
            self.to = Some(redirect.clone());
            self.tries += 1;
        }
        takes
    }
}

impl Session {
    /// The slot of a cluster that it is about.
    pub(super) fn slot_of(&self, parked: &Parked) -> Result<Option<u16>, Crossed> {
        if let What::Exec(queue) = &parked.what {
            return queue.effects.slot();
        }
        let of = |request: &Request<'_>| {
            let mut keys = Vec::new();
            let command = self.resolve(request).ok();
            if let Some(command) = command {
                // Refused keys are home's to refuse.
                let _ = extract(command, request, &mut keys);
            }
            self.context.proxy.slot_of(command, request, &keys)
        };
        with_request(&parked.raw, of).unwrap_or(Ok(None))
    }

    /// Leases a connection to the node that is to be asked instead.
    pub(super) fn go_elsewhere(&mut self, parked: Parked, own: Rc<Own>) {
        let to = self.core.elsewhere.borrow_mut().to.take();
        self.info.blocked.lock().take();
        self.watch = Watch::None;
        self.give_back(own, true);
        let (proxy, lane) = (self.context.proxy.clone(), self.lane);
        let purpose = if parked.waits() { Purpose::Wait } else { Purpose::State };
        let slot = self.slot_of(&parked).unwrap_or_default();
        let asks = matches!(to, Some(Redirect::Ask { .. }));
        let stage = Stage::Leasing(Task::start(async move {
            let way = match to {
                Some(redirect @ (Redirect::Moved { .. } | Redirect::Ask { .. })) => {
                    proxy.way_by(lane, &redirect).unwrap_or_else(|| proxy.way_of_slot(lane, slot))
                }
                _ => {
                    tokio::time::sleep(PAUSE).await;
                    proxy.way_of_slot(lane, slot)
                }
            };
            let own = proxy.lease(purpose, way, false).await?;
            if asks {
                own.send_aside(&[b"ASKING"], clock::now());
            }
            Ok(own)
        }));
        self.parked = Some(Parked { stage, ..parked });
    }
}
