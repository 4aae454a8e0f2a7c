//! What scripts run at home, for those who monitor: nobody but home sees it.
//!
//! While somebody monitors, one connection of the process monitors home, and shows of that what scripts ran: those of
//! strata's clients, and of home's others. It costs home as much as any MONITOR.

use std::rc::Rc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::Proxy;
use crate::backend::connection::DialError;
use crate::resp::{Proto, ReplyScanner, Scan, encode};

/// How often it is looked whether anybody monitors still.
const LOOK: Duration = Duration::from_millis(100);
/// Whether home is monitored is asked so often.
const ASK: Duration = Duration::from_millis(1);
/// A lost connection is replaced after so long.
const PAUSE: Duration = Duration::from_millis(200);

/// Whether home is monitored, and for how many.
#[derive(Debug, Default)]
pub struct Overheard {
    /// One of the states below.
    state: AtomicU8,
    wanted: AtomicUsize,
}

const IDLE: u8 = 0;
const DIALING: u8 = 1;
const UP: u8 = 2;
/// It cannot be for now.
const FAILED: u8 = 3;

impl Overheard {
    /// Somebody wants to see it from now on.
    pub fn begin(&self) {
        self.wanted.fetch_add(1, SeqCst);
    }

    /// Somebody who did wants no more.
    pub fn end(&self) {
        self.wanted.fetch_sub(1, SeqCst);
    }

    fn is_wanted(&self) -> bool {
        self.wanted.load(SeqCst) > 0
    }
}

impl Proxy {
    /// Returns once home is monitored. Where it refuses, or cannot be reached in time, scripts are not shown.
    pub async fn overhear(self: &Rc<Self>) {
        // A cluster's scripts run at any of its nodes.
        if self.is_cluster() {
            return;
        }
        let state = &self.shared.overheard.state;
        if state.compare_exchange(IDLE, DIALING, SeqCst, SeqCst).is_ok() {
            tokio::task::spawn_local(follow(self.clone()));
        }
        let dialed = async {
            while state.load(SeqCst) == DIALING {
                tokio::time::sleep(ASK).await;
            }
        };
        let _ = timeout(self.shared.node.dial.timeout, dialed).await;
    }
}

/// Monitors home for as long as somebody wants to see it.
async fn follow(proxy: Rc<Proxy>) {
    let overheard = &proxy.shared.overheard;
    loop {
        if let Err(error) = listen(&proxy).await {
            tracing::debug!(%error, "home is not monitored: what scripts run is not shown");
            overheard.state.store(FAILED, SeqCst);
            tokio::time::sleep(PAUSE).await;
        }
        overheard.state.store(IDLE, SeqCst);
        // Asked after that: who wants it from now on either finds it idle, or is found here.
        let mine = || overheard.state.compare_exchange(IDLE, DIALING, SeqCst, SeqCst).is_ok();
        if !overheard.is_wanted() || !mine() {
            return;
        }
    }
}

/// Until the connection ends, or nobody monitors any more.
async fn listen(proxy: &Proxy) -> Result<(), DialError> {
    let mut stream = proxy.shared.node.dial.open(Proto::Resp2, 0, "strata-monitor").await?;
    let mut command = Vec::new();
    encode::command(&mut command, &[b"MONITOR"]);
    stream.write_all(&command).await?;
    let (mut buffer, mut scanner) = (BytesMut::new(), ReplyScanner::new());
    let mut answered = false;
    loop {
        match timeout(LOOK, stream.read_buf(&mut buffer)).await {
            Ok(read) => {
                if read? == 0 {
                    return Err(DialError::Io("it closed the connection".to_owned()));
                }
            }
            Err(_) if !proxy.shared.overheard.is_wanted() => return Ok(()),
            Err(_) => continue,
        }
        loop {
            match scanner.step(&buffer, 0) {
                Scan::Incomplete { need } => {
                    buffer.reserve(need.clamp(1024, 1 << 30));
                    break;
                }
                Scan::Error(e) => return Err(DialError::Protocol(e.to_string())),
                Scan::Complete { end } => {
                    let line = buffer.split_to(end).freeze();
                    if answered {
                        if is_of_script(&line) {
                            proxy.show(&line);
                        }
                    } else if line.starts_with(b"-") {
                        let reply = String::from_utf8_lossy(&line).trim().to_owned();
                        return Err(DialError::Refused { command: "MONITOR".to_owned(), reply });
                    } else {
                        answered = true;
                        proxy.shared.overheard.state.store(UP, SeqCst);
                    }
                }
            }
        }
    }
}

/// Whether a line of MONITOR (`+TIME [DB ADDRESS] ...`) has a script in the place of an address.
fn is_of_script(line: &[u8]) -> bool {
    let place = line.splitn(3, |byte| *byte == b' ').nth(2);
    place.is_some_and(|place| place.starts_with(b"lua] "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_scripts_are_told_by_their_address() {
        assert!(is_of_script(b"+1339518083.107412 [0 lua] \"set\" \"x\" \"1\"\r\n"));
        for line in [
            &b"+1339518083.107412 [0 127.0.0.1:5] \"set\" \"lua] \"\r\n"[..],
            b"+1339518083.107412 [0 unix:lua] x] \"get\"\r\n",
            b"+1339518083.107412 [0 lua]",
            b"+OK\r\n",
        ] {
            assert!(!is_of_script(line), "{line:?}");
        }
    }
}
