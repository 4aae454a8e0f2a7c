//! What the configuration asks of a server besides its answers: how much memory it may use, what it evicts, what it
//! keeps on disk. Compared with its own settings, and set where strata is to manage them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use super::commands::{field, text};
use super::connection::{Control, DialError};
use super::facts::Facts;
use super::node::Node;
use crate::resp::Proto;
use crate::resp::reply::is_error;

/// What could not be looked at is looked at again so soon, if the interval is longer.
const SOON: Duration = Duration::from_secs(1);
/// Redis' own points of saving.
const SAVE: &str = "3600 1 300 100 60 10000";
const POLICY: &str = "allkeys-lru";

/// What is asked of the servers of a tier.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// The section of the configuration that says so.
    pub section: &'static str,
    /// Bytes that all of them together may hold.
    pub max_size: usize,
    /// Whether strata sets what differs.
    pub manage: bool,
    /// Whether they are to keep their data on disk; none: as they like. Asked only of servers that strata manages.
    pub durable: Option<bool>,
}

/// A setting that is not as it is to be.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    name: &'static str,
    is: String,
    wanted: String,
}

impl Wishes {
    /// What differs in an answer to CONFIG GET, of one of `servers`.
    fn compare(&self, settings: &[u8], servers: usize) -> Vec<Difference> {
        let is = |name| field(settings, name).and_then(text).map(str::to_owned);
        let mut differences = Vec::new();
        let mut want = |name, wanted: String, fits: &dyn Fn(&str) -> bool| {
            // What a server does not have, or this user may not see, cannot differ.
            if let Some(is) = is(name).filter(|is| !fits(is)) {
                differences.push(Difference { name, is, wanted });
            }
        };
        let share = self.max_size / servers.max(1);
        // Shares are rounded, by people too.
        let near = |is: &str| is.parse().is_ok_and(|is: usize| is.abs_diff(share) <= share / 100);
        want("maxmemory", share.to_string(), &near);
        want("maxmemory-policy", POLICY.to_owned(), &|is| is == POLICY);
        match self.durable.filter(|_| self.manage) {
            Some(true) => {
                want("save", SAVE.to_owned(), &|is| !is.is_empty());
                want("appendonly", "yes".to_owned(), &|is| is == "yes");
            }
            Some(false) => {
                want("save", String::new(), &str::is_empty);
                want("appendonly", "no".to_owned(), &|is| is == "no");
            }
            None => {}
        }
        differences
    }

    fn words(&self, Difference { name, is, wanted }: &Difference) -> String {
        let section = self.section;
        match *name {
            "maxmemory" => format!("maxmemory is {is}, not {wanted} ({section}.max_size)"),
            name => format!("{name} is {is:?}, not {wanted:?}"),
        }
    }
}

/// What differs, by server, as it was found last.
#[derive(Debug, Default)]
pub struct Findings(Mutex<BTreeMap<String, Vec<String>>>);

impl Findings {
    /// In words, each with its server.
    pub fn all(&self) -> Vec<String> {
        let of = |(server, found): (&String, &Vec<String>)| -> Vec<String> {
            found.iter().map(|words| format!("{server}: {words}")).collect()
        };
        self.0.lock().iter().flat_map(of).collect()
    }
}

/// Looks at the settings of the servers of a tier for as long as the process lives.
pub struct Steward<F: Fn() -> Vec<Arc<Node>>> {
    /// What is asked of them.
    pub wishes: Wishes,
    /// The servers of the moment. None: they are not known yet.
    pub servers: F,
    /// Between two looks.
    pub interval: Duration,
    /// Where to tell.
    pub findings: Arc<Findings>,
    /// What is known of them besides.
    pub facts: Arc<Facts>,
}

impl<F: Fn() -> Vec<Arc<Node>>> Steward<F> {
    /// See the type's text.
    pub async fn run(self) {
        loop {
            let servers = (self.servers)();
            let mut looked = !servers.is_empty();
            let mut found = BTreeMap::new();
            for server in &servers {
                let name = server.dial.address.to_string();
                let looking = self.look(server, servers.len());
                match timeout(server.dial.timeout, looking)
                    .await
                    .unwrap_or(Err(DialError::Timeout(server.dial.timeout)))
                {
                    Ok(words) => drop(found.insert(name, words)),
                    Err(_) => looked = false,
                }
            }
            self.tell(found);
            sleep(if looked { self.interval } else { SOON.min(self.interval) }).await;
        }
    }

    fn tell(&self, found: BTreeMap<String, Vec<String>>) {
        let mut before = self.findings.0.lock();
        for (server, words) in &found {
            if before.get(server).map_or(!words.is_empty(), |before| before != words) {
                let differs = words.join("; ");
                tracing::info!(%server, differs, "settings of a server beside the configuration");
            }
        }
        *before = found;
    }

    /// What differs, in words; what strata has set differs no longer.
    async fn look(&self, server: &Node, servers: usize) -> Result<Vec<String>, DialError> {
        if let Err(down) = server.breaker.check() {
            return Err(DialError::Io(down.reason));
        }
        let mut control = Control::new(server.dial.open(Proto::Resp3, 0, "strata-settings").await?);
        let question: &[&[u8]] =
            &[b"CONFIG", b"GET", b"maxmemory", b"maxmemory-policy", b"save", b"appendonly"];
        let settings = control.ask_raw(question).await?;
        if is_error(&settings) {
            return Ok(vec![format!("its settings cannot be read: {}", refusal(&settings))]);
        }
        let mut words = Vec::new();
        for difference in self.wishes.compare(&settings, servers) {
            let told = self.wishes.words(&difference);
            if !self.wishes.manage {
                words.push(told);
                continue;
            }
            let (name, wanted) = (difference.name, difference.wanted.as_bytes());
            let answer = control.ask_raw(&[b"CONFIG", b"SET", name.as_bytes(), wanted]).await?;
            match is_error(&answer) {
                true => words.push(format!("{told}, and cannot be set: {}", refusal(&answer))),
                false => {
                    if name == "maxmemory-policy" {
                        self.facts.evicts_by_use.store(true, Relaxed);
                    }
                    let (server, section) = (&server.dial.address, self.wishes.section);
                    tracing::info!(%server, "{told}: set ({section}.manage)");
                }
            }
        }
        Ok(words)
    }
}

fn refusal(reply: &[u8]) -> String {
    String::from_utf8_lossy(reply).trim_start_matches('-').trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::encode;

    fn settings(pairs: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        encode::command(&mut out, &pairs.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
        out
    }

    fn wishes(manage: bool, durable: Option<bool>) -> Wishes {
        Wishes { section: "l3", max_size: 3_000, manage, durable }
    }

    fn differing(wishes: &Wishes, pairs: &[&str], servers: usize) -> Vec<String> {
        wishes.compare(&settings(pairs), servers).iter().map(|found| wishes.words(found)).collect()
    }

    #[test]
    fn memory_is_shared_by_the_servers() {
        let wishes = wishes(false, Some(true));
        let is =
            |memory| ["maxmemory", memory, "maxmemory-policy", "allkeys-lru", "save", "", "appendonly", "no"];
        assert_eq!(differing(&wishes, &is("1000"), 3), [""; 0]);
        assert_eq!(differing(&wishes, &is("1010"), 3), [""; 0]);
        assert_eq!(differing(&wishes, &is("1011"), 3), ["maxmemory is 1011, not 1000 (l3.max_size)"]);
        assert_eq!(differing(&wishes, &is("0"), 1), ["maxmemory is 0, not 3000 (l3.max_size)"]);
        assert_eq!(differing(&wishes, &[], 1), [""; 0]);
    }

    #[test]
    fn what_is_on_disk_is_asked_of_managed_servers_alone() {
        let is = ["maxmemory", "3000", "maxmemory-policy", "noeviction", "save", "", "appendonly", "no"];
        let policy = "maxmemory-policy is \"noeviction\", not \"allkeys-lru\"";
        let kept = ["save is \"\", not \"3600 1 300 100 60 10000\"", "appendonly is \"no\", not \"yes\""];
        assert_eq!(differing(&wishes(false, Some(true)), &is, 1), [policy]);
        assert_eq!(differing(&wishes(true, Some(true)), &is, 1), [policy, kept[0], kept[1]]);
        assert_eq!(differing(&wishes(true, Some(false)), &is, 1), [policy]);
        assert_eq!(differing(&wishes(true, None), &is, 1), [policy]);
    }
}
