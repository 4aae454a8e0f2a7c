//! How a client hears of what others change, and not of what it changes itself, where home is a cluster.
//!
//! As with one home ([`super::ear`]), but at each master: the client has a lane to it for itself, and an ear. What it
//! asks goes the ways of all requests, by its lanes: so its requests stay in order while slots move.

use std::rc::Rc;

use super::ear::Ear;
use super::lease::Own;
use super::{Client, LaneKey, Proxy, Ticket, Way};
use crate::backend::cluster::NodeId;
use crate::clock;
use crate::resp::{encode, reply};

/// The connection by which a master says what others change.
pub struct Listening {
    own: Rc<Own>,
    node: NodeId,
}

impl Proxy {
    /// Opens one for `client`.
    ///
    /// # Errors
    /// As [`Proxy::lease`].
    pub async fn listen_to(
        self: &Rc<Self>,
        client: &Rc<dyn Client>,
        lane: LaneKey,
        node: NodeId,
    ) -> Result<Listening, String> {
        let own = self.lease_ear(client, self.way_to(lane, node)).await?;
        Ok(Listening { own, node })
    }

    /// Has the master track for a lane that one client has for itself. `options` are those of CLIENT TRACKING ON, but
    /// for REDIRECT. Returns the ear, and the number of the lane's connection.
    ///
    /// # Errors
    /// As [`Proxy::ask_home`].
    pub async fn track_lane(
        self: &Rc<Self>,
        listening: &Listening,
        lane: LaneKey,
        options: &[&[u8]],
    ) -> Result<(Ear, u64), String> {
        let way = self.way_to(lane, listening.node);
        let (proven, connection) = (clock::now(), self.connection_of(way));
        let hears = listening.own.tag().id.to_string();
        let mut on: Vec<&[u8]> = vec![b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", hears.as_bytes()];
        on.extend(options);
        // Other prefixes cannot be had while those of before are there.
        self.untrack_lane(way);
        let tracks = self.ask_by(way, &on);
        let number = self.ask_by(way, &[b"CLIENT", b"ID"]);
        let (tracks, number) = tokio::join!(tracks, number);
        tracks?;
        let number = reply::parse_integer(&number?);
        let number = number.ok_or_else(|| "ERR strata: home does not number its clients".to_owned())?;
        if self.connection_of(way) != connection {
            return Err("ERR strata: a connection was lost".to_owned());
        }
        let this = self.this.clone();
        let lives = move || this.upgrade().is_some_and(|proxy| proxy.is_same(way, connection));
        Ok((Ear::new(listening.own.clone(), number, Box::new(lives), proven), connection))
    }

    /// A lane is not to be tracked for any more.
    pub fn stop_tracking(&self, lane: LaneKey, node: NodeId) {
        self.untrack_lane(self.way_to(lane, node));
    }

    fn untrack_lane(&self, way: Way) {
        let mut off = Vec::new();
        encode::command(&mut off, &[b"CLIENT", b"TRACKING", b"OFF"]);
        self.send(way, &off, Ticket::Nobody, clock::now());
    }

    /// The number of the connection that a way goes by.
    pub fn connection_of(&self, way: Way) -> u64 {
        self.lane(way).connection()
    }

    /// Whether a lane still has this connection. One that nothing else goes by is kept in use: it would be closed.
    fn is_same(&self, way: Way, connection: u64) -> bool {
        let lane = self.lane(way);
        if lane.depth() == 0 {
            let mut ping = Vec::new();
            encode::command(&mut ping, &[b"PING"]);
            lane.send(&ping, Ticket::Nobody, clock::now());
        }
        lane.connection() == connection
    }
}
