//! What a client is told when home does not answer, or not as it should.

use std::time::Duration;

use bytes::Bytes;

use crate::backend::lane::Failure;
use crate::backend::node::Node;
use crate::resp::encode;

/// What the client is told when home did not answer.
pub(super) fn failure_text(node: &Node, failure: &Failure) -> String {
    let home = &node.dial.address;
    match failure {
        Failure::Unreachable(u) if u.retry_in > Duration::ZERO => {
            let next = u.retry_in.as_millis();
            format!("ERR strata: home {home} cannot be reached ({}); next attempt in {next} ms", u.reason)
        }
        Failure::Unreachable(u) => format!("ERR strata: home {home} cannot be reached ({})", u.reason),
        Failure::Busy(words) => words.clone(),
        Failure::Astray(words) => {
            format!(
                "ERR strata: the nodes of home send the request from one to another (the last says: {words})"
            )
        }
        Failure::Lost(reason) => {
            format!(
                "ERR strata: connection to home {home} lost ({reason}); the command may have been executed"
            )
        }
        Failure::Timeout(bound) => format!(
            "ERR strata: home {home} did not answer within {bound:?} ({}.request_timeout); the command may have been executed",
            node.section
        ),
    }
}

pub(super) fn error_reply(text: &str) -> Bytes {
    let mut out = Vec::new();
    encode::error(&mut out, text);
    out.into()
}

/// Errors by which home says that it does not serve now, rather than that the request is wrong.
pub(super) fn is_outage(reply: &[u8]) -> bool {
    const OUTAGES: [&[u8]; 5] = [b"-LOADING", b"-MASTERDOWN", b"-CLUSTERDOWN", b"-BUSY ", b"-TRYAGAIN"];
    OUTAGES.iter().any(|o| reply.starts_with(o))
}
