//! The conversation with one sentinel.

use super::views::{Report, View};
use crate::backend::commands::{field, text};
use crate::backend::connection::{Control, DialError};
use crate::config::HostPort;
use crate::resp::reply::{elements, is_error, is_push};

/// Other sentinels that one may name.
const MAX_OTHERS: usize = 100;
/// A name of a host that is longer is none.
const MAX_HOST: usize = 253;

/// What the sentinel says of this master.
pub(super) async fn report(control: &mut Control, master: &str) -> Result<Report, DialError> {
    let master = master.as_bytes();
    let view = view(control, master).await?;
    let others = answer(control, &[b"SENTINEL", b"SENTINELS", master]).await?;
    let others = elements(&others).filter_map(place).take(MAX_OTHERS).collect();
    let id = answer(control, &[b"SENTINEL", b"MYID"]).await?;
    let id = text(&id).ok_or_else(|| odd("MYID"))?.to_owned();
    Ok(Report { id, view, others })
}

/// The address is that of the promoted replica from the moment that it is promoted; SENTINEL MASTER names the old one
/// until the failover has ended, but alone tells the epoch. So the epoch is that of an address which was the same before
/// and after.
async fn view(control: &mut Control, master: &[u8]) -> Result<View, DialError> {
    let mut address = address(control, master).await?;
    loop {
        let fields = answer(control, &[b"SENTINEL", b"MASTER", master]).await?;
        let epoch = field(&fields, "config-epoch").and_then(text).and_then(|epoch| epoch.parse().ok());
        let epoch = epoch.ok_or_else(|| odd("MASTER"))?;
        let after = self::address(control, master).await?;
        if after == address {
            return Ok(View { epoch, address });
        }
        address = after;
    }
}

async fn address(control: &mut Control, master: &[u8]) -> Result<HostPort, DialError> {
    let command: &[&[u8]] = &[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", master];
    let reply = answer(control, command).await?;
    let mut parts = elements(&reply).map(text);
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(host), Some(port)) => host_port(host, port).ok_or_else(|| odd("GET-MASTER-ADDR-BY-NAME")),
        _ => Err(DialError::Sentinel("it knows no master of that name".to_owned())),
    }
}

/// Where the sentinel is that these fields describe.
fn place(fields: &[u8]) -> Option<HostPort> {
    host_port(text(field(fields, "ip")?)?, text(field(fields, "port")?)?)
}

fn host_port(host: &str, port: &str) -> Option<HostPort> {
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let fits = (1..=MAX_HOST).contains(&host.len()) && host.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| HostPort { host: host.to_owned(), port })
}

/// The answer to a command, which must be no error. What is pushed meanwhile announces nothing that is not asked for
/// anyway.
async fn answer(control: &mut Control, command: &[&[u8]]) -> Result<Vec<u8>, DialError> {
    control.send(command).await?;
    loop {
        let reply = control.read_raw().await?;
        if is_error(&reply) {
            let words: Vec<_> = command.iter().take(2).map(|word| String::from_utf8_lossy(word)).collect();
            let reply = String::from_utf8_lossy(&reply).trim_start_matches('-').trim_end().to_owned();
            return Err(DialError::Refused { command: words.join(" "), reply });
        }
        if !is_push(&reply) {
            return Ok(reply);
        }
    }
}

fn odd(what: &str) -> DialError {
    DialError::Sentinel(format!("it answers SENTINEL {what} with what is not understood"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentinels_are_found_in_fields_of_either_protocol() {
        let fields = "$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$5\r\n26379\r\n";
        let found = Some(HostPort { host: "127.0.0.1".to_owned(), port: 26379 });
        assert_eq!(place(format!("*4\r\n{fields}").as_bytes()), found);
        assert_eq!(place(format!("%2\r\n{fields}").as_bytes()), found);
        assert_eq!(place(b"*0\r\n"), None);
        for (host, port) in [("", "1"), ("a b", "1"), ("a", "0"), ("a", "65536"), ("a", "x")] {
            assert_eq!(host_port(host, port), None, "{host} {port}");
        }
    }
}
