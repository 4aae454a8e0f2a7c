//! Dialing the master that sentinels name.

use std::pin::pin;

use redis_protocol::resp3::types::{OwnedFrame, Resp3Frame};

use super::master::Master;
use crate::backend::connection::{Address, Control, Dial, DialError, Opening, Stream};
use crate::resp::reply::{bulk, elements};

impl Dial {
    /// Opens a connection that ends when another server is master. One that is dialed at that moment is not waited
    /// for.
    pub(in crate::backend) async fn open_master(
        &self,
        master: &Master,
        opening: Opening<'_>,
    ) -> Result<Box<dyn Stream>, DialError> {
        loop {
            let (address, mut tenure) = master.place()?;
            let dialing = async {
                let mut control = self.greeted(&address, opening).await?;
                if opening.confirmed {
                    self.confirm(&mut control).await?;
                }
                Ok::<_, DialError>(control.into_stream())
            };
            let dialing = pin!(dialing);
            tokio::select! {
                biased;
                () = tenure.ended() => {}
                opened = dialing => return Ok(Box::new(tenure.tie(opened?))),
            }
        }
    }

    /// Asks a server that sentinels name whether it is master; any other needs not be asked.
    pub(in crate::backend) async fn confirm(&self, control: &mut Control) -> Result<(), DialError> {
        if !matches!(self.address, Address::Master(_)) {
            return Ok(());
        }
        let role = match control.demand(&[b"ROLE"]).await? {
            OwnedFrame::Array { data, .. } => data.first().and_then(|role| role.as_str().map(str::to_owned)),
            _ => None,
        };
        match role {
            Some(role) if role == "master" => Ok(()),
            role => Err(DialError::Role(role.unwrap_or_else(|| "server without a role".to_owned()))),
        }
    }

    /// Whether the server may cease to be master while a connection to it lives.
    pub(in crate::backend) fn may_be_demoted(&self) -> bool {
        matches!(self.address, Address::Master(_))
    }

    /// What a server answers to ROLE, asked on a connection that it was dialed for as master.
    ///
    /// # Errors
    /// It is no master now: all connections to it end.
    pub(in crate::backend) fn check_role(&self, reply: &[u8]) -> Result<(), String> {
        let role = elements(reply).next().and_then(bulk).unwrap_or_default();
        if role == b"master" {
            return Ok(());
        }
        if let Address::Master(master) = &self.address {
            master.doubt();
        }
        Err(format!("it is master no longer but a {}", role.escape_ascii()))
    }
}
