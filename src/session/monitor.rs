//! MONITOR: every command that is run is shown to those who asked, hits included.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Session;
use super::shown::{quote, shown};
use crate::command::{Command, Flags};
use crate::proxy::watch::Reason;
use crate::resp::Request;
use crate::session::clients::Mark;

impl Session {
    /// MONITOR. As in Redis a second one is not answered.
    pub(super) fn begin_monitoring(&mut self) {
        if !self.monitoring {
            self.monitoring = true;
            self.info.mark(Mark::Monitor, true);
            let (proxy, worker, id) = (self.context.proxy.clone(), self.info.worker, self.info.id);
            proxy.shared.overheard.begin();
            self.reply_later(async move {
                proxy.overhear().await;
                // It may be gone by now.
                if proxy.session(id).is_some() {
                    proxy.shared.watch.enter(worker, id);
                }
                b"+OK\r\n".to_vec()
            });
        }
    }

    /// Ends it; at the session's end, too.
    pub(super) fn end_monitoring(&mut self) {
        if std::mem::take(&mut self.monitoring) {
            self.info.mark(Mark::Monitor, false);
            self.context.proxy.shared.watch.leave(self.info.id);
            self.context.proxy.shared.overheard.end();
        }
    }

    /// Whether Redis refuses the command to a client that monitors, which it takes for a replica.
    pub(super) fn refused_to_monitors(&self, command: &Command) -> bool {
        self.monitoring
            && (command.may_replicate() || command.flags.intersects(Flags::READONLY | Flags::WRITE))
    }

    /// Shows a command to those who monitor, once it was run or sent.
    pub(super) fn feed_monitors(&self, command: &Command, request: &Request<'_>) {
        let watch = &self.context.proxy.shared.watch;
        if !watch.has(Reason::Monitor) || command.flags.contains(Flags::ADMIN) {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, micros) = (now.as_secs(), now.subsec_micros());
        let (db, address) = (self.lane.db, self.info.address);
        let mut line = format!("+{seconds}.{micros:06} [{db} {address}]").into_bytes();
        for argument in shown(command, request) {
            line.push(b' ');
            quote(&mut line, argument);
        }
        line.extend_from_slice(b"\r\n");
        self.context.proxy.show(&line.into());
    }
}
