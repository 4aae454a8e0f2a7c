//! A blocking RESP client that hides nothing: raw bytes in, raw replies out, pushes included.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Arguments;
use super::value::{Value, reply_length};

/// How long a reply may take unless the test says otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a server listens.
#[derive(Clone, Debug)]
pub(crate) enum Endpoint {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Endpoint {
    /// As strata's `l2.url` wants it.
    pub(crate) fn url(&self) -> String {
        match self {
            Endpoint::Tcp(address) => format!("redis://{address}"),
            Endpoint::Unix(path) => format!("unix://{}", path.display()),
        }
    }

    pub(crate) fn open(&self) -> io::Result<Stream> {
        match self {
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, PATIENCE)?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Endpoint::Unix(path) => UnixStream::connect(path).map(Stream::Unix),
        }
    }
}

/// A connected socket of either family.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(crate) fn try_clone(&self) -> io::Result<Stream> {
        match self {
            Stream::Tcp(stream) => stream.try_clone().map(Stream::Tcp),
            Stream::Unix(stream) => stream.try_clone().map(Stream::Unix),
        }
    }

    /// Ends both directions; whoever is blocked on the socket wakes up.
    pub(crate) fn shutdown(&self) {
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(std::net::Shutdown::Both),
            Stream::Unix(stream) => stream.shutdown(std::net::Shutdown::Both),
        };
    }

    fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_nonblocking(on),
            Stream::Unix(stream) => stream.set_nonblocking(on),
        }
    }

    fn set_read_timeout(&self, limit: Duration) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_read_timeout(Some(limit)),
            Stream::Unix(stream) => stream.set_read_timeout(Some(limit)),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One connection. After an error (a time-out too) it is of no more use.
pub(crate) struct Client {
    stream: Stream,
    unread: Vec<u8>,
    patience: Duration,
}

impl Client {
    pub(crate) fn connect(endpoint: &Endpoint) -> io::Result<Client> {
        Ok(Client { stream: endpoint.open()?, unread: Vec::new(), patience: PATIENCE })
    }

    /// How long each reply may take before it is a `TimedOut`.
    pub(crate) fn set_patience(&mut self, limit: Duration) {
        self.patience = limit;
    }

    /// Speaks `protocol` (2 or 3) from here on.
    pub(crate) fn hello(&mut self, protocol: u8) -> io::Result<()> {
        match self.call(&["HELLO", &protocol.to_string()])? {
            Value::Error(text) => Err(io::Error::other(text)),
            _ => Ok(()),
        }
    }

    /// One command, one reply. An error of the server is a `Value::Error`.
    pub(crate) fn call<A: AsRef<[u8]>>(&mut self, words: &[A]) -> io::Result<Value> {
        self.send_raw(&encode(words))?;
        self.read()
    }

    /// All commands in one write, then all replies. The requests have to fit the sockets' buffers.
    pub(crate) fn pipeline(&mut self, commands: &[Arguments]) -> io::Result<Vec<Value>> {
        self.send_all(commands)?;
        commands.iter().map(|_| self.read()).collect()
    }

    pub(crate) fn send_all(&mut self, commands: &[Arguments]) -> io::Result<()> {
        let bytes: Vec<u8> = commands.iter().flat_map(|words| encode(words)).collect();
        self.send_raw(&bytes)
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub(crate) fn read(&mut self) -> io::Result<Value> {
        Value::parse(&self.read_raw()?)
    }

    /// The bytes of all replies and pushes that have arrived.
    pub(crate) fn arrived(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut chunk = [0; 16 * 1024];
        self.stream.set_nonblocking(true)?;
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.unread.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.stream.set_nonblocking(false)?;
        let mut frames = Vec::new();
        while let Some(length) = reply_length(&self.unread)? {
            let rest = self.unread.split_off(length);
            frames.push(std::mem::replace(&mut self.unread, rest));
        }
        Ok(frames)
    }

    /// The bytes of the next reply or push. `TimedOut` when patience ends, `UnexpectedEof` when the server closes.
    pub(crate) fn read_raw(&mut self) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + self.patience;
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some(length) = reply_length(&self.unread)? {
                let rest = self.unread.split_off(length);
                return Ok(std::mem::replace(&mut self.unread, rest));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(left)?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.unread.extend_from_slice(&chunk[..count]),
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The request as an array of bulk strings.
pub(crate) fn encode<A: AsRef<[u8]>>(words: &[A]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", words.len()).into_bytes();
    for word in words.iter().map(AsRef::as_ref) {
        request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        request.extend_from_slice(word);
        request.extend_from_slice(b"\r\n");
    }
    request
}

#[cfg(test)]
mod tests {
    use super::super::{RedisServer, arguments};
    use super::*;

    #[test]
    fn commands_raw_bytes_and_pipelines_are_answered_in_order() {
        let redis = RedisServer::start(&[]);
        let mut client = redis.connect();
        assert_eq!(client.call(&["SET", "k", "a\r\nb"]).unwrap(), Value::Simple("OK".into()));
        client.send_raw(b"GET k\r\nGET none\r\n").unwrap();
        assert_eq!(client.read_raw().unwrap(), b"$4\r\na\r\nb\r\n");
        assert_eq!(client.read_raw().unwrap(), b"$-1\r\n");
        client.hello(3).unwrap();
        let commands = [arguments(&["GET", "none"]), arguments(&["STRLEN", "k"])];
        assert_eq!(client.pipeline(&commands).unwrap(), [Value::Nil, Value::Integer(4)]);
    }

    #[test]
    fn a_reply_that_does_not_come_times_out_and_a_closed_connection_is_an_end() {
        let mut redis = RedisServer::start(&[]);
        let mut client = redis.connect();
        client.set_patience(Duration::from_millis(30));
        redis.pause();
        assert_eq!(client.call(&["PING"]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        redis.resume();
        let mut client = redis.connect();
        assert_eq!(client.call(&["QUIT"]).unwrap(), Value::Simple("OK".into()));
        assert_eq!(client.read_raw().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
