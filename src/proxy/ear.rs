//! How a client hears of what others change, and not of what it changes itself (CLIENT TRACKING NOLOOP).
//!
//! Only home knows whose change it was. So such a client has a connection of its own, by which all of it goes, and home
//! tracks for that as it would for the client. What home has to say comes by a second one, the *ear*: it is read
//! whatever the first is waiting for, and answers probes at any time. The loss of either is the loss of coverage.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::lease::Own;
use super::{Client, LaneKey, Proxy, Purpose, Way};
use crate::clock;
use crate::resp::{Proto, reply};
use crate::tier::listeners::Notice;

/// The connection of a client's own for which home tracks.
#[derive(Clone)]
pub struct Tracked {
    /// The connection.
    pub own: Rc<Own>,
    /// The protocol and database that it was leased in.
    pub lane: LaneKey,
    /// Home's number of the connection by which it is told.
    ear: i64,
}

/// The connection by which home says what others change.
pub struct Ear {
    own: Rc<Own>,
    /// Home's number of the connection that it tracks for.
    number: i64,
    /// Whether that one is not lost yet.
    lives: Box<dyn Fn() -> bool>,
    /// When the last answered probe was sent: what was acknowledged before has been heard.
    proven: u64,
}

impl Proxy {
    /// Has home track for `client` on a connection of the client's own. `options` are those of CLIENT TRACKING ON, but
    /// for REDIRECT.
    ///
    /// # Errors
    /// Home is away, refuses, or all places are taken; code first.
    pub async fn track_at_home(
        self: &Rc<Self>,
        client: &Rc<dyn Client>,
        lane: LaneKey,
        options: &[&[u8]],
    ) -> Result<(Tracked, Ear), String> {
        let ear = self.lease_ear(client, self.way_of_slot(lane, None)).await?;
        let own = self.lease(Purpose::Track, self.way_of_slot(lane, None), false).await?;
        own.spoil();
        // Its client knows nothing of the ear.
        own.lane().on_push(Rc::new(|push| {
            reply::elements(push).next().and_then(reply::bulk) == Some(b"tracking-redir-broken")
        }));
        let proven = clock::now();
        let tracked = Tracked { own, lane, ear: ear.tag().id };
        self.track(&tracked, options).await?;
        let by = tracked.own.clone();
        let number = by.tag().id;
        Ok((tracked, Ear::new(ear, number, Box::new(move || !by.is_gone()), proven)))
    }

    /// Leases a connection to the node of `way` on which home's pushes reach `client`.
    pub(super) async fn lease_ear(
        self: &Rc<Self>,
        client: &Rc<dyn Client>,
        way: Way,
    ) -> Result<Rc<Own>, String> {
        let lane = LaneKey { proto: Proto::Resp3, scripts: false, of: 0, ..way.lane };
        let ear = self.lease(Purpose::Track, Way { lane, ..way }, true).await?;
        ear.spoil();
        let told = Rc::downgrade(client);
        ear.lane().on_push(Rc::new(move |push| {
            if let (Some(client), Some(notice)) = (told.upgrade(), notice(push)) {
                client.notice(&notice);
            }
            true
        }));
        Ok(ear)
    }

    /// Begins to track on a client's own connection, or changes how.
    ///
    /// # Errors
    /// As [`Proxy::ask_home`].
    pub async fn track(&self, tracked: &Tracked, options: &[&[u8]]) -> Result<(), String> {
        let ear = tracked.ear.to_string();
        let mut command: Vec<&[u8]> = vec![b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", ear.as_bytes()];
        command.extend(options);
        tracked.own.ask(&self.shared.node, &command).await.map(drop)
    }
}

impl Ear {
    /// It hears since `proven`.
    pub(super) fn new(own: Rc<Own>, number: i64, lives: Box<dyn Fn() -> bool>, proven: u64) -> Self {
        Ear { own, number, lives, proven }
    }

    /// Hears until that can no longer be relied upon: until one of the connections is lost, or home has not said for as
    /// long as `lease` that both are there. A change that was acknowledged before then has been heard.
    pub async fn hear(&mut self, proxy: &Proxy, lease: Duration) {
        let (number, node) = (self.number.to_string(), proxy.node(self.own.node()));
        let probe: [&[u8]; 4] = [b"CLIENT", b"LIST", b"ID", number.as_bytes()];
        loop {
            tokio::time::sleep(self.left(lease).min(lease / 4)).await;
            let sent = clock::now();
            let answer = self.own.ask(&node, &probe);
            match timeout(self.left(lease), answer).await {
                // Home knows of the client's own connection, and the ear is open.
                Ok(Ok(line)) if reply::bulk(&line).is_some_and(|line| !line.is_empty()) => self.proven = sent,
                // Answered from within a script: nothing of what came before it needs to have been announced.
                Ok(Err(e)) if e.starts_with("BUSY") => {}
                // Who may not list clients may see that home answers.
                Ok(Err(e)) if e.starts_with("NOPERM") => self.proven = sent,
                Ok(_) | Err(_) => return,
            }
            if !(self.lives)() || self.own.is_gone() {
                return;
            }
        }
    }

    /// How much longer it can be relied upon.
    fn left(&self, lease: Duration) -> Duration {
        lease.saturating_sub(Duration::from_nanos(clock::now().saturating_sub(self.proven)))
    }
}

/// What a push of home's means for a cache.
fn notice(push: &[u8]) -> Option<Notice> {
    let mut parts = reply::elements(push);
    if parts.next().and_then(reply::bulk) != Some(b"invalidate") {
        return None;
    }
    match parts.next()? {
        keys if keys.first() == Some(&b'*') => Some(Notice::Keys(Bytes::copy_from_slice(keys))),
        _ => Some(Notice::All),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_home_pushes_is_passed_on_as_it_came() {
        let keys = b">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n";
        let array = Bytes::from_static(b"*2\r\n$1\r\na\r\n$1\r\nb\r\n");
        assert_eq!(notice(keys), Some(Notice::Keys(array)));
        assert_eq!(notice(b">2\r\n$10\r\ninvalidate\r\n_\r\n"), Some(Notice::All));
        assert_eq!(notice(b">2\r\n$7\r\nmessage\r\n*0\r\n"), None);
        assert_eq!(notice(b">1\r\n$10\r\ninvalidate\r\n"), None);
    }
}
