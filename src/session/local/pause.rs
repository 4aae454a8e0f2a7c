//! CLIENT PAUSE and UNPAUSE, of strata's own clients.

use super::about;
use crate::clock;
use crate::proxy::watch::Held;
use crate::resp::{Request, parse_i64};
use crate::session::Session;

const NANOS_A_MILLI: i64 = 1_000_000;

impl Session {
    pub(super) fn client_pause(&self, request: &Request<'_>) {
        if request.len() > 4 {
            let word = request.arg(1).unwrap_or_default();
            let before = "ERR unknown subcommand or wrong number of arguments for '";
            return self.reply_error(about(before, word, "'. Try CLIENT HELP."));
        }
        let held = match request.arg(3) {
            None => Held::All,
            Some(word) if word.eq_ignore_ascii_case(b"all") => Held::All,
            Some(word) if word.eq_ignore_ascii_case(b"write") => Held::Writes,
            Some(_) => return self.reply_error("ERR CLIENT PAUSE mode must be WRITE or ALL"),
        };
        let since_epoch = i64::try_from(clock::unix_seconds()).unwrap_or(i64::MAX).saturating_mul(1000);
        let millis = match request.arg(2).and_then(parse_i64) {
            None => return self.reply_error("ERR timeout is not an integer or out of range"),
            Some(millis) if millis < 0 => return self.reply_error("ERR timeout is negative"),
            // Redis adds the time since 1970, and what overflows is over at once.
            Some(millis) if millis > i64::MAX - since_epoch => 0,
            Some(millis) => millis.saturating_mul(NANOS_A_MILLI),
        };
        let until = clock::now().saturating_add(u64::try_from(millis).unwrap_or_default());
        self.context.proxy.shared.watch.pause(held, until);
        self.ok();
    }

    pub(super) fn client_unpause(&self) {
        if self.context.proxy.shared.watch.unpause() {
            self.context.proxy.shared.wake_all();
        }
        self.ok();
    }
}
