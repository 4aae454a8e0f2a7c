//! What home says of itself once a connection: how many databases it has, how it evicts, which version it is, which
//! commands it has besides those of the table.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use parking_lot::Mutex;
use redis_protocol::resp3::types::{OwnedFrame, Resp3Frame};

use super::commands::{self, field, text};
use super::connection::{Control, DialError};
use crate::command::Learned;

/// Databases are counted up to here where CONFIG GET is forbidden.
const MAX_DATABASES: u32 = 1 << 16;
/// A longer name or version than this is none.
const MAX_VERSION: usize = 64;

/// A home that has this command has fields of hashes that expire.
const FIELDS_EXPIRE: &str = "hpexpire";

/// What is known of home from its own words.
#[derive(Debug, Default)]
pub struct Facts {
    /// Number of databases; 0: not known yet.
    pub databases: AtomicU32,
    /// Home evicts by LRU or LFU, so it wants to hear of hits.
    pub evicts_by_use: AtomicBool,
    no_transactions: Mutex<Option<String>>,
    /// Fields of hashes can expire one by one.
    pub hash_fields_expire: AtomicBool,
    /// What home can do that the table does not know.
    pub learned: Learned,
    server: Mutex<Option<(String, String)>>,
}

impl Facts {
    /// What HELLO says at home: which server it is, and of which version. None: not known yet.
    pub fn server(&self) -> Option<(String, String)> {
        self.server.lock().clone()
    }

    /// Whether home is no Redis of 7.0 or before, as far as is known.
    pub fn is_newer(&self) -> bool {
        let newer = |(name, version): &(String, String)| {
            name != "redis"
                || !(["1.", "2.", "3.", "4.", "5.", "6.", "7.0."].iter().any(|old| version.starts_with(old)))
        };
        self.server.lock().as_ref().is_some_and(newer)
    }

    /// Why home does not let strata run transactions, in its own words; None: it does.
    pub fn no_transactions(&self) -> Option<String> {
        self.no_transactions.lock().clone()
    }

    /// Home has refused MULTI, and said why.
    pub fn refuse_transactions(&self, refusal: &str) {
        tracing::error!(
            refusal,
            "home refuses transactions; the user of strata needs multi, exec, discard and watch"
        );
        *self.no_transactions.lock() = Some(refusal.to_owned());
    }

    /// Asks for everything; a user who may not ask leaves it unknown or tried out.
    pub(super) async fn learn(&self, control: &mut Control) -> Result<(), DialError> {
        // From within a script home answers nothing that could be learned.
        if let Err(e) = control.demand(&[b"PING"]).await
            && e.busy().is_some()
        {
            return Err(e);
        }
        // First of all: what is served at once, once the databases are known, may be a MULTI.
        match try_transaction(control).await? {
            None => *self.no_transactions.lock() = None,
            Some(refusal) => self.refuse_transactions(&refusal),
        }
        let mut databases = config_value(control, "databases").await?.and_then(|v| v.parse().ok());
        if databases.is_none() {
            databases = Some(count_databases(control).await?);
        }
        self.databases.store(databases.unwrap_or(1), Relaxed);
        let policy = config_value(control, "maxmemory-policy").await?.unwrap_or_default();
        let by_use = policy.ends_with("-lru") || policy.ends_with("-lfu");
        self.evicts_by_use.store(by_use, Relaxed);
        let hello = control.ask_raw(&[b"HELLO"]).await?;
        let said =
            |name| text(field(&hello, name)?).filter(|said| said.len() <= MAX_VERSION).map(str::to_owned);
        *self.server.lock() = said("server").zip(said("version"));
        self.learn_commands(control).await
    }

    async fn learn_commands(&self, control: &mut Control) -> Result<(), DialError> {
        let names = commands::names(control).await?;
        let expire = names.iter().any(|name| name == FIELDS_EXPIRE);
        self.hash_fields_expire.store(expire, Relaxed);
        self.learned.replace(commands::unknown(control, &names).await?);
        Ok(())
    }
}

impl Control {
    /// Sends one command that must be answered with a text.
    ///
    /// # Errors
    /// As [`Control::demand`].
    pub async fn demand_text(&mut self, command: &[&[u8]]) -> Result<String, DialError> {
        let frame = self.demand(command).await?;
        Ok(Resp3Frame::as_str(&frame).unwrap_or_default().to_owned())
    }

    /// Makes sure that this run of a server answers.
    pub(super) async fn demand_run(&mut self, run: &str) -> Result<(), DialError> {
        let info = self.demand_text(&[b"INFO", b"server"]).await?;
        if info_field(&info, "run_id") == Some(run) { Ok(()) } else { Err(DialError::OtherRun) }
    }
}

/// The value of a field of INFO.
pub fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

async fn config_value(control: &mut Control, name: &str) -> Result<Option<String>, DialError> {
    let frame = control.ask(&[b"CONFIG", b"GET", name.as_bytes()]).await?;
    let OwnedFrame::Map { data, .. } = frame else {
        return Ok(None);
    };
    Ok(data.into_values().find_map(|value| match value {
        OwnedFrame::BlobString { data, .. } => String::from_utf8(data).ok(),
        _ => None,
    }))
}

/// Tries a transaction without commands; what refuses it. On a connection that is shared, commands behind a MULTI that
/// is refused would be run one by one.
async fn try_transaction(control: &mut Control) -> Result<Option<String>, DialError> {
    for command in [&b"MULTI"[..], b"EXEC", b"MULTI", b"DISCARD"] {
        if let OwnedFrame::SimpleError { data, .. } = control.ask(&[command]).await? {
            // One that is still open does not end by what was refused.
            control.ask(&[b"EXEC"]).await?;
            let forbidden = data.contains("NOPERM") || data.contains("unknown command");
            return Ok(forbidden.then(|| data.to_string()));
        }
    }
    Ok(None)
}

/// Finds the number of databases by trying SELECT, for users that may not read the configuration.
async fn count_databases(control: &mut Control) -> Result<u32, DialError> {
    let (mut good, mut bad) = (1, MAX_DATABASES);
    while good + 1 < bad {
        let middle = if bad == MAX_DATABASES && good < 16 { 16 } else { good.midpoint(bad) };
        let answer = control.ask(&[b"SELECT", (middle - 1).to_string().as_bytes()]).await?;
        let selected = !matches!(answer, OwnedFrame::SimpleError { .. });
        if selected { good = middle } else { bad = middle }
    }
    control.demand(&[b"SELECT", b"0"]).await?;
    Ok(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_whole_words() {
        let info = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nempty:\r\n";
        assert_eq!(info_field(info, "redis_version"), Some("7.0.15"));
        assert_eq!(info_field(info, "redis_mode"), Some("standalone"));
        assert_eq!(info_field(info, "empty"), Some(""));
        assert_eq!(info_field(info, "redis"), None);
        assert_eq!(info_field(info, "version"), None);
    }
}
