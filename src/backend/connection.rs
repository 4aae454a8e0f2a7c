//! One connection to a home node: dialing, TLS, and the conversation before it carries anything.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use redis_protocol::resp3::decode::complete::decode;
use redis_protocol::resp3::types::OwnedFrame;
use rustix::io::Errno;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::password::Password;
use super::sentinel::Master;
use crate::config::Tls as TlsSettings;
use crate::resp::{Proto, ReplyScanner, Scan, encode};
use crate::tls::client_config;

/// A reply of the opening conversation may be this long.
const MAX_GREETING: usize = 1 << 20;

/// Any byte stream to a node.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Where a node listens.
#[derive(Clone)]
pub enum Address {
    /// TCP, with TLS where a client configuration is given.
    Tcp { host: String, port: u16, tls: Option<Tls> },
    /// A unix socket.
    Unix(PathBuf),
    /// The master that sentinels name, wherever it is at the moment.
    Master(Arc<Master>),
}

/// What TLS needs to know of one node.
#[derive(Clone)]
pub struct Tls {
    /// Roots, client certificate, versions.
    pub config: Arc<rustls::ClientConfig>,
    /// The name that the node's certificate must carry.
    pub name: ServerName<'static>,
}

impl Tls {
    /// From the files that the configuration names in this section.
    ///
    /// # Errors
    /// A file that cannot be read or holds nothing of use, with its setting.
    pub fn new(section: &str, settings: &TlsSettings, host: &str) -> anyhow::Result<Self> {
        let config = client_config(section, settings)?;
        let name = settings.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name)
            .with_context(|| format!("{section}.server_name (or the host {host}) is no server name"))?;
        Ok(Tls { config: Arc::new(config), name })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port, tls: None } => write!(f, "{host}:{port}"),
            Address::Tcp { host, port, tls: Some(_) } => write!(f, "{host}:{port} (TLS)"),
            Address::Unix(path) => write!(f, "{}", path.display()),
            Address::Master(master) => master.fmt(f),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who strata is to a node.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// ACL user; None: the default user.
    pub username: Option<String>,
    /// Password; none: no AUTH is sent.
    pub password: Password,
}

/// Everything that a dial needs.
#[derive(Clone, Debug)]
pub struct Dial {
    /// Where.
    pub address: Address,
    /// As whom.
    pub credentials: Credentials,
    /// Bound on connecting and on the opening conversation together.
    pub timeout: Duration,
    /// The one run of a server (`run_id` of INFO) that is meant; None: whichever answers.
    pub run: Option<Arc<str>>,
    /// It is a replica in a cluster, and is to answer reads as what it is.
    pub readonly: bool,
}

/// What a connection is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening<'a> {
    pub(super) proto: Proto,
    pub(super) db: u16,
    /// For CLIENT LIST at home.
    pub(super) name: &'a str,
    /// Whether a master that sentinels name is asked for its role.
    pub(super) confirmed: bool,
}

/// Why a connection could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DialError {
    /// Nothing answered.
    #[error("{0}")]
    Io(String),
    /// Strata may not open another connection, whatever the node would say.
    #[error("strata has no file descriptor left for it (ulimit -n)")]
    Descriptors,
    /// No answer within the bound.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The node answered a command of the opening conversation with an error.
    #[error("it answers {command} with: {reply}")]
    Refused { command: String, reply: String },
    /// Where the master is cannot be learned, or what a sentinel says cannot be used.
    #[error("{0}")]
    Sentinel(String),
    /// The server that sentinels name says that it is something else.
    #[error("it is no master but a {0}")]
    Role(String),
    /// What came back is not RESP.
    #[error("it does not speak RESP: {0}")]
    Protocol(String),
    /// The server was started anew, or it is another.
    #[error("it is another run of the server")]
    OtherRun,
}

impl DialError {
    /// What the node says that runs a script, if that is why.
    pub fn busy(&self) -> Option<&str> {
        match self {
            DialError::Refused { reply, .. } => reply.starts_with("BUSY ").then_some(reply),
            _ => None,
        }
    }
}

impl From<io::Error> for DialError {
    fn from(e: io::Error) -> Self {
        match Errno::from_io_error(&e) {
            Some(Errno::MFILE | Errno::NFILE) => DialError::Descriptors,
            _ => DialError::Io(e.to_string()),
        }
    }
}

impl Dial {
    /// Opens a connection that speaks `proto` and is in database `db`; it carries nothing before its SELECT
    /// was answered OK (a SELECT answered -BUSY would let the next command land in database 0).
    pub async fn open(&self, proto: Proto, db: u16, name: &str) -> Result<Box<dyn Stream>, DialError> {
        self.open_as(Opening { proto, db, name, confirmed: true }).await
    }

    /// The same of a server that may run a script, from within which it tells nothing of itself: whether it is the
    /// master that sentinels take it for is still to be confirmed ([`Dial::confirm`]).
    pub(super) async fn open_unconfirmed(
        &self,
        proto: Proto,
        name: &str,
    ) -> Result<Box<dyn Stream>, DialError> {
        self.open_as(Opening { proto, db: 0, name, confirmed: false }).await
    }

    async fn open_as(&self, opening: Opening<'_>) -> Result<Box<dyn Stream>, DialError> {
        let opened = async {
            match &self.address {
                Address::Master(master) => self.open_master(master, opening).await,
                address => Ok(self.greeted(address, opening).await?.into_stream()),
            }
        };
        tokio::time::timeout(self.timeout, opened).await.unwrap_or(Err(DialError::Timeout(self.timeout)))
    }

    pub(super) async fn greeted(
        &self,
        address: &Address,
        opening: Opening<'_>,
    ) -> Result<Control, DialError> {
        let stream: Box<dyn Stream> = match address {
            Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Address::Tcp { host, port, tls } => {
                let tcp = TcpStream::connect((host.as_str(), *port)).await?;
                tune(&tcp)?;
                match tls {
                    None => Box::new(tcp),
                    Some(tls) => {
                        let connector = tokio_rustls::TlsConnector::from(tls.config.clone());
                        Box::new(connector.connect(tls.name.clone(), tcp).await?)
                    }
                }
            }
            Address::Master(master) => {
                return Err(DialError::Sentinel(format!("{master} has no place of its own")));
            }
        };
        let mut control = Control::new(stream);
        let greeted = control.greet(&self.credentials, opening).await;
        greeted.inspect_err(|error| self.credentials.password.review(error))?;
        if self.readonly {
            control.demand(&[b"READONLY"]).await?;
        }
        if let Some(run) = &self.run {
            control.demand_run(run).await?;
        }
        Ok(control)
    }
}

/// Small writes go out at once, and a peer that vanished is noticed without traffic.
fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(5))
        .with_interval(Duration::from_secs(2))
        .with_retries(3);
    SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}

/// A connection used for conversation: one request, one decoded reply.
///
/// `redis-protocol` decodes here: replies are few, and bounded before they are given to it.
pub struct Control {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("buffered", &self.buffer.len()).finish_non_exhaustive()
    }
}

impl Control {
    /// Wraps a fresh stream.
    pub fn new(stream: Box<dyn Stream>) -> Self {
        Control { stream, buffer: Vec::new() }
    }

    /// The stream, when the conversation is over.
    pub fn into_stream(self) -> Box<dyn Stream> {
        self.stream
    }

    /// The stream, between two questions.
    pub(super) fn stream(&mut self) -> &mut Box<dyn Stream> {
        &mut self.stream
    }

    /// Sends one command and waits for its reply.
    pub async fn ask(&mut self, command: &[&[u8]]) -> Result<OwnedFrame, DialError> {
        self.send(command).await?;
        self.read_reply().await
    }

    /// Sends one command and waits for its reply, an error too, as it comes.
    pub async fn ask_raw(&mut self, command: &[&[u8]]) -> Result<Vec<u8>, DialError> {
        self.send(command).await?;
        self.read_raw().await
    }

    /// Sends one command.
    pub(super) async fn send(&mut self, command: &[&[u8]]) -> Result<(), DialError> {
        let mut out = Vec::new();
        encode::command(&mut out, command);
        self.stream.write_all(&out).await?;
        Ok(())
    }

    /// Waits for what comes next, a reply or a push. Nothing is lost if it is not waited for to the end.
    pub(super) async fn read_raw(&mut self) -> Result<Vec<u8>, DialError> {
        let mut scanner = ReplyScanner::new();
        loop {
            match scanner.step(&self.buffer, 0) {
                Scan::Complete { end } => {
                    let rest = self.buffer.split_off(end);
                    return Ok(std::mem::replace(&mut self.buffer, rest));
                }
                Scan::Incomplete { .. } => self.read_more().await?,
                Scan::Error(e) => return Err(DialError::Protocol(e.to_string())),
            }
        }
    }

    /// Sends one command that must not be answered with an error.
    pub async fn demand(&mut self, command: &[&[u8]]) -> Result<OwnedFrame, DialError> {
        match self.ask(command).await? {
            OwnedFrame::SimpleError { data, .. } => {
                let shown: &[&[u8]] = if command[0] == b"AUTH" { &command[..1] } else { command };
                let words: Vec<_> = shown.iter().take(2).map(|w| String::from_utf8_lossy(w)).collect();
                Err(DialError::Refused { command: words.join(" "), reply: data.to_string() })
            }
            frame => Ok(frame),
        }
    }

    async fn read_reply(&mut self) -> Result<OwnedFrame, DialError> {
        loop {
            match decode(&self.buffer).map_err(|e| DialError::Protocol(e.to_string()))? {
                Some((frame, used)) => {
                    self.buffer.drain(..used);
                    return Ok(frame);
                }
                None => self.read_more().await?,
            }
        }
    }

    async fn read_more(&mut self) -> Result<(), DialError> {
        if self.buffer.len() > MAX_GREETING {
            return Err(DialError::Protocol("an endless reply".into()));
        }
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(DialError::Io("it closed the connection".into()));
        }
        Ok(())
    }

    /// Protocol, identity, name and database.
    fn greet<'a>(
        &'a mut self,
        credentials: &'a Credentials,
        Opening { proto, db, name, .. }: Opening<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<(), DialError>> + Send + 'a>> {
        Box::pin(async move {
            let user = credentials.username.as_deref().unwrap_or("default").as_bytes();
            match (proto, &credentials.password.get()) {
                (Proto::Resp3, Some(p)) => {
                    self.demand(&[b"HELLO", b"3", b"AUTH", user, p.expose().as_bytes()]).await?;
                }
                (Proto::Resp3, None) => {
                    self.demand(&[b"HELLO", b"3"]).await?;
                }
                (Proto::Resp2, Some(p)) if credentials.username.is_none() => {
                    self.demand(&[b"AUTH", p.expose().as_bytes()]).await?;
                }
                (Proto::Resp2, Some(p)) => {
                    self.demand(&[b"AUTH", user, p.expose().as_bytes()]).await?;
                }
                (Proto::Resp2, None) => {}
            }
            // A name helps whoever reads CLIENT LIST at home; a user that may not set one goes without.
            self.ask(&[b"CLIENT", b"SETNAME", name.as_bytes()]).await?;
            if db != 0 {
                self.demand(&[b"SELECT", db.to_string().as_bytes()]).await?;
            }
            Ok(())
        })
    }
}
