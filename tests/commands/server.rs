//! A private redis-server on a unix socket, and a client that keeps replies as they came.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Lives as long as the value.
pub(crate) struct Server {
    child: Child,
    dir: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(dir.path().join("socket"))
            .arg("--dir")
            .arg(dir.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server 7.0 must be installed");
        Self { child, dir }
    }

    pub(crate) fn connect(&self) -> Client {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            match UnixStream::connect(self.dir.path().join("socket")) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
                    return Client { stream: BufReader::new(stream) };
                }
                Err(error) => assert!(Instant::now() < until, "redis-server did not start: {error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Nil,
    Integer(i64),
    Text(Vec<u8>),
    Error(Vec<u8>),
    List(Vec<Reply>),
    Push(Vec<Reply>),
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "\"{}\"", text.escape_ascii()),
            Self::Error(text) => write!(f, "-{}", text.escape_ascii()),
            Self::List(items) | Self::Push(items) => items.fmt(f),
        }
    }
}

impl Reply {
    pub(crate) fn items(&self) -> &[Reply] {
        match self {
            Self::List(items) | Self::Push(items) => items,
            other => panic!("no list: {other:?}"),
        }
    }

    pub(crate) fn integer(&self) -> i64 {
        match self {
            Self::Integer(number) => *number,
            other => panic!("no integer: {other:?}"),
        }
    }

    pub(crate) fn text(&self) -> String {
        match self {
            Self::Text(text) => String::from_utf8_lossy(text).into_owned(),
            other => panic!("no text: {other:?}"),
        }
    }

    /// The value of a field of a map that came as a flat list.
    pub(crate) fn field(&self, name: &str) -> &Reply {
        let mut pairs = self.items().chunks_exact(2);
        let pair = pairs.find(|pair| pair[0].text() == name);
        &pair.unwrap_or_else(|| panic!("no field {name}: {self:?}"))[1]
    }
}

pub(crate) struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    pub(crate) fn call<T: AsRef<[u8]>>(&mut self, words: &[T]) -> Reply {
        self.send(words);
        self.read()
    }

    /// Replies of many requests, in few round trips.
    pub(crate) fn call_all<T: AsRef<[u8]>>(&mut self, requests: &[Vec<T>]) -> Vec<Reply> {
        let mut replies = Vec::with_capacity(requests.len());
        for batch in requests.chunks(50) {
            for words in batch {
                self.send(words);
            }
            replies.extend(batch.iter().map(|_| self.read()));
        }
        replies
    }

    fn send<T: AsRef<[u8]>>(&mut self, words: &[T]) {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend(format!("${}\r\n", word.as_ref().len()).bytes());
            bytes.extend(word.as_ref());
            bytes.extend(b"\r\n");
        }
        self.stream.get_mut().write_all(&bytes).expect("redis-server takes requests");
    }

    pub(crate) fn read(&mut self) -> Reply {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).expect("redis-server answers");
        assert!(line.ends_with(b"\r\n"), "cut off: {}", line.escape_ascii());
        let body = &line[1..line.len() - 2];
        let number = || std::str::from_utf8(body).ok().and_then(|text| text.parse::<i64>().ok());
        let count = || usize::try_from(number().expect("a number"));
        match line[0] {
            b'+' => Reply::Text(body.to_vec()),
            b'-' => Reply::Error(body.to_vec()),
            b':' => Reply::Integer(number().expect("a number")),
            b'_' => Reply::Nil,
            b'$' => count().map_or(Reply::Nil, |length| {
                let mut text = vec![0; length + 2];
                self.stream.read_exact(&mut text).expect("a whole reply");
                text.truncate(length);
                Reply::Text(text)
            }),
            b'*' => count().map_or(Reply::Nil, |count| Reply::List(self.read_many(count))),
            b'>' => count().map_or(Reply::Nil, |count| Reply::Push(self.read_many(count))),
            b'%' => count().map_or(Reply::Nil, |count| Reply::List(self.read_many(2 * count))),
            other => panic!("a reply of a kind not expected: {}", other.escape_ascii()),
        }
    }

    fn read_many(&mut self, count: usize) -> Vec<Reply> {
        (0..count).map(|_| self.read()).collect()
    }
}
