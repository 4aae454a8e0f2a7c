//! Following the sentinels, and the master with them.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::ask;
use super::master::Master;
use super::views::{Report, Verdict, View, decide};
use crate::backend::connection::{Address, Control, Credentials, Dial, DialError, Tls};
use crate::backend::node::Node;
use crate::breaker::Breaker;
use crate::config::{HostPort, Tls as TlsSettings, Topology, Upstream};
use crate::resp::Proto;
use crate::resp::reply::is_error;

/// A sentinel that announces nothing is asked this often, and one that does not let strata subscribe that often.
const POLL: [Duration; 2] = [Duration::from_secs(1), Duration::from_millis(100)];
/// A failover has promoted a replica; it has ended. The former is heard from the sentinel that leads it.
const EVENTS: [&[u8]; 3] = [b"SUBSCRIBE", b"+promoted-slave", b"+switch-master"];
/// After the first answer the others have so long to tell of a later failover.
const OTHERS: Duration = Duration::from_millis(100);
/// What contradicts a later epoch has to be said for so long: sentinels that heard of that failover tell each other
/// every 2 s.
const LASTING: Duration = Duration::from_secs(5);
/// Sentinels followed at once.
const MOST: usize = 200;

/// Who the sentinels of a tier are, and how they are reached.
#[derive(Debug)]
pub struct Sentinels {
    configured: Vec<HostPort>,
    section: &'static str,
    tls: Option<TlsSettings>,
    credentials: Credentials,
    timeout: Duration,
    backoff: (Duration, Duration),
}

impl Sentinels {
    /// Those that the configuration names, where it does.
    pub fn of(upstream: &Upstream) -> Option<Self> {
        let Topology::Sentinel { sentinels, tls, username, password, .. } = &upstream.topology else {
            return None;
        };
        Some(Sentinels {
            configured: sentinels.clone(),
            section: upstream.section,
            tls: tls.clone(),
            credentials: Credentials { username: username.clone(), password: password.clone().into() },
            timeout: upstream.connect_timeout,
            backoff: (upstream.backoff_min, upstream.backoff_max),
        })
    }

    fn address(&self, at: &HostPort) -> anyhow::Result<Address> {
        let tls = self.tls.as_ref().map(|tls| Tls::new(self.section, tls, &at.host)).transpose()?;
        Ok(Address::Tcp { host: at.host.clone(), port: at.port, tls })
    }

    fn dial(&self, at: &HostPort) -> Result<Dial, DialError> {
        let address = self.address(at).map_err(|e| DialError::Sentinel(format!("{e:#}")))?;
        Ok(Dial {
            address,
            credentials: self.credentials.clone(),
            timeout: self.timeout,
            run: None,
            readonly: false,
        })
    }
}

struct News {
    who: HostPort,
    said: Result<Report, String>,
}

/// Keeps a [`Master`] where the sentinels see it.
pub struct Watch {
    sentinels: Arc<Sentinels>,
    master: Arc<Master>,
    node: Arc<Node>,
    followers: JoinSet<()>,
    followed: BTreeMap<HostPort, AbortHandle>,
    sender: UnboundedSender<News>,
    news: UnboundedReceiver<News>,
    /// What was said last, or why nothing was.
    said: BTreeMap<HostPort, Result<Report, String>>,
    current: Option<View>,
    /// What contradicts the epochs, and since when.
    contrary: Option<(View, Instant)>,
}

impl Watch {
    /// Begins to follow, on the current runtime. `node` is the one whose address `master` is.
    pub fn new(sentinels: Sentinels, master: Arc<Master>, node: Arc<Node>) -> Self {
        let (sender, news) = unbounded_channel();
        let mut watch = Watch {
            sentinels: Arc::new(sentinels),
            master,
            node,
            followers: JoinSet::new(),
            followed: BTreeMap::new(),
            sender,
            news,
            said: BTreeMap::new(),
            current: None,
            contrary: None,
        };
        watch.follow_known();
        watch
    }

    /// Waits until the master is known, within the time that connecting may take. Who answers first may be one who was
    /// away, so the others are waited for a little.
    pub async fn first(&mut self) {
        let began = Instant::now();
        let mut until = began + self.sentinels.timeout;
        while self.sentinels.configured.iter().any(|at| !self.said.contains_key(at)) {
            tokio::select! {
                () = sleep_until(until) => return,
                Some(news) = self.news.recv() => self.hear(news),
            }
            if self.master.is_known() {
                until = until.min(Instant::now() + OTHERS);
            }
        }
    }

    /// See the type's text.
    pub async fn run(mut self) {
        while let Some(news) = self.news.recv().await {
            self.hear(news);
        }
    }

    fn hear(&mut self, News { who, said }: News) {
        match (self.said.get(&who), &said) {
            (Some(Err(_)) | None, Ok(_)) => tracing::debug!(sentinel = %who, "a sentinel answers"),
            (Some(Ok(_)) | None, Err(reason)) => {
                tracing::warn!(sentinel = %who, reason, "a sentinel is away")
            }
            _ => {}
        }
        self.said.insert(who, said);
        self.follow_known();
        let reports = self.said.values().flatten();
        match decide(self.current.as_ref(), reports) {
            Verdict::Stay => self.contrary = None,
            Verdict::Go(view) => {
                let view = view.clone();
                self.go(view);
            }
            Verdict::GoIfLasting(view) => {
                let since = self.contrary.take().filter(|(before, _)| before == view).map(|(_, since)| since);
                let (view, since) = (view.clone(), since.unwrap_or_else(Instant::now));
                match since.elapsed() > LASTING {
                    true => self.go(view),
                    false => self.contrary = Some((view, since)),
                }
            }
        }
        if !self.master.is_known() {
            self.explain();
        }
    }

    /// Follows who is configured and who is named by those, and nobody else. While nobody answers, nobody is let go:
    /// who was named, and has not been heard yet, may be the one who knows the next master.
    fn follow_known(&mut self) {
        let reports = self.said.iter().filter_map(|(who, said)| Some((who, said.as_ref().ok()?)));
        let named = reports.flat_map(|(who, report)| std::iter::once(who).chain(&report.others));
        let known: BTreeSet<HostPort> =
            self.sentinels.configured.iter().chain(named).take(MOST).cloned().collect();
        if self.said.values().any(Result::is_ok) {
            self.followed.retain(|who, follower| known.contains(who) || (follower.abort(), false).1);
            self.said.retain(|who, _| known.contains(who));
        }
        for who in known {
            if !self.followed.contains_key(&who) {
                let follower = Follower {
                    sentinels: self.sentinels.clone(),
                    master: self.master.clone(),
                    who: who.clone(),
                    news: self.sender.clone(),
                };
                self.followed.insert(who, self.followers.spawn(follower.run()));
            }
        }
        // Those that were ended.
        while self.followers.try_join_next().is_some() {}
    }

    fn go(&mut self, view: View) {
        self.contrary = None;
        let (epoch, master) = (view.epoch, view.address.to_string());
        let before = self.current.as_ref().map(|view| view.address.clone());
        if before.as_ref() != Some(&view.address) {
            match self.sentinels.address(&view.address) {
                Ok(address) => self.master.move_to(address),
                Err(error) => {
                    return tracing::error!(master, "what sentinels name cannot be reached: {error:#}");
                }
            }
            // What was met at another server says nothing of this one.
            self.node.breaker.reset();
            match before {
                None => tracing::info!(master, epoch, "sentinels name the master"),
                Some(before) => {
                    tracing::warn!(master, epoch, %before, "sentinels name another master");
                }
            }
        }
        self.current = Some(view);
    }

    fn explain(&self) {
        let reasons = self.said.iter().filter_map(|(who, said)| Some((who, said.as_ref().err()?)));
        let reasons: Vec<String> = reasons.map(|(who, why)| format!("sentinel {who}: {why}")).collect();
        if !reasons.is_empty() {
            self.master.explain(&reasons.join("; "));
        }
    }
}

/// Follows one sentinel for as long as it is known.
struct Follower {
    sentinels: Arc<Sentinels>,
    master: Arc<Master>,
    who: HostPort,
    news: UnboundedSender<News>,
}

impl Follower {
    async fn run(self) {
        let (first, most) = self.sentinels.backoff;
        let breaker = Breaker::new(first, most);
        loop {
            let Err(error) = self.talk(&breaker).await;
            let pause = breaker.failed(&error.to_string());
            if self.tell(Err(error.to_string())).is_err() {
                return;
            }
            sleep(pause).await;
        }
    }

    async fn talk(&self, breaker: &Breaker) -> Result<Infallible, DialError> {
        let dial = self.sentinels.dial(&self.who)?;
        let mut control = Control::new(dial.open(Proto::Resp3, 0, "strata-sentinel").await?);
        let late = |_| DialError::Timeout(dial.timeout);
        let subscribing = timeout(dial.timeout, control.ask_raw(&EVENTS)).await;
        let answer = subscribing.map_err(late)??;
        let poll = POLL[usize::from(is_error(&answer))];
        loop {
            let asking = timeout(dial.timeout, ask::report(&mut control, self.master.name())).await;
            let report = asking.map_err(late)??;
            breaker.succeeded();
            self.tell(Ok(report)).map_err(|()| DialError::Sentinel("nobody listens".to_owned()))?;
            tokio::select! {
                event = control.read_raw() => drop(event?),
                () = sleep(poll) => {}
                () = self.master.doubted() => {}
            }
        }
    }

    fn tell(&self, said: Result<Report, String>) -> Result<(), ()> {
        self.news.send(News { who: self.who.clone(), said }).map_err(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> HostPort {
        HostPort { host: "127.0.0.1".to_owned(), port }
    }

    fn watch(configured: u16) -> Watch {
        let mut upstream = crate::config::L3::default().upstream;
        upstream.topology = Topology::Sentinel {
            master: "main".to_owned(),
            sentinels: vec![at(configured)],
            tls: None,
            username: None,
            password: None,
        };
        let sentinels = Sentinels::of(&upstream).expect("there are sentinels");
        let master = Arc::new(Master::new("main"));
        let node = Arc::new(Node::new(&upstream, Address::Master(master.clone())));
        Watch::new(sentinels, master, node)
    }

    fn names(who: u16, others: &[u16]) -> News {
        let view = View { epoch: 1, address: at(9) };
        let others = others.iter().map(|port| at(*port)).collect();
        News { who: at(who), said: Ok(Report { id: who.to_string(), view, others }) }
    }

    fn away(who: u16) -> News {
        News { who: at(who), said: Err("away".to_owned()) }
    }

    fn followed(watch: &Watch) -> Vec<u16> {
        watch.followed.keys().map(|at| at.port).collect()
    }

    #[tokio::test]
    async fn who_was_named_is_followed_until_somebody_who_answers_names_him_no_longer() {
        let mut watch = watch(1);
        watch.hear(names(1, &[2, 3]));
        assert_eq!(followed(&watch), [1, 2, 3]);
        // The only one that was heard so far ends before the others answer.
        watch.hear(away(1));
        watch.hear(away(2));
        assert_eq!(followed(&watch), [1, 2, 3]);
        watch.hear(names(2, &[3]));
        assert_eq!(followed(&watch), [1, 2, 3]);
        watch.hear(names(2, &[1]));
        assert_eq!(followed(&watch), [1, 2]);
    }
}
