//! Loads that redis-benchmark cannot send: requests of several commands, and clients that wait for one another.
//!
//! One thread writes a round of requests, one on each connection, and then reads all replies, whose bytes are known
//! beforehand: so all connections are busy at once, and the same bytes reach every server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::load::CLIENTS;
use crate::paced::connect;
use crate::stack::{Stack, VALUE_SIZE};

/// Clients that wait for data, and as many that bring it.
pub(crate) const PAIRS: u32 = CLIENTS / 2;
/// Keys that each transaction sets and then gets.
const TRANSACTION_KEYS: u32 = 5;
/// Between the requests to wait and what ends the waiting: long enough for all to wait by then.
const SETTLE: Duration = Duration::from_millis(1);
/// In the first round home itself is asked whether all of them wait, for so long.
const BLOCKED_DEADLINE: Duration = Duration::from_secs(5);

/// A connection, what is written to it in every round and what is to come back.
struct Peer {
    stream: TcpStream,
    request: Vec<u8>,
    reply: Vec<u8>,
    buffer: Vec<u8>,
}

impl Peer {
    fn new(port: u16, request: Vec<u8>, reply: Vec<u8>) -> Result<Self> {
        let buffer = vec![0; reply.len()];
        Ok(Self { stream: connect(port)?, request, reply, buffer })
    }

    fn ask(&mut self) -> Result<()> {
        Ok(self.stream.write_all(&self.request)?)
    }

    /// Reads a whole reply. Every one is compared: that costs the load's core less than reading it.
    fn hear(&mut self) -> Result<()> {
        let mut filled = 0;
        while filled < self.reply.len() {
            let count = self.stream.read(&mut self.buffer[filled..]).context("no reply")?;
            filled += count;
            if count == 0 || self.buffer[..filled] != self.reply[..filled] {
                bail!(
                    "{:?} was answered {:?}",
                    String::from_utf8_lossy(&self.request),
                    String::from_utf8_lossy(&self.buffer[..filled])
                );
            }
        }
        Ok(())
    }
}

/// Transactions of ten commands, each sent with one write. Returns transactions a second and p50 and p99 of their
/// latency in ms.
///
/// # Errors
/// When a connection fails, or a reply is late or not what it is to be.
pub(crate) fn transactions(stack: &Stack, count: u64) -> Result<[f64; 3]> {
    let peers = (0..CLIENTS).map(|client| {
        let (request, reply) = transaction(client);
        Peer::new(stack.front.port(), request, reply)
    });
    let mut peers = peers.collect::<Result<Vec<_>>>()?;
    let (mut took, began) = (Vec::new(), Instant::now());
    for _ in 0..count.div_ceil(u64::from(CLIENTS)) {
        let mut sent = Vec::with_capacity(peers.len());
        for peer in &mut peers {
            sent.push(Instant::now());
            peer.ask()?;
        }
        for (peer, sent) in peers.iter_mut().zip(sent) {
            peer.hear()?;
            took.push(sent.elapsed());
        }
    }
    Ok(summary(took, began.elapsed()))
}

/// Pairs of a BLPOP that waits and the RPUSH that ends its waiting. Returns pairs a second and p50 and p99 of the time
/// from RPUSH to both replies in ms.
///
/// # Errors
/// As `transactions`; also when home does not say that all of the first round wait.
pub(crate) fn hand_overs(stack: &Stack, count: u64) -> Result<[f64; 3]> {
    let port = stack.front.port();
    let (mut waiting, mut bringing) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        let (list, value) = (format!("list:{pair:012}"), value());
        let popped = [&b"*2\r\n"[..], &bulk(list.as_bytes()), &bulk(&value)].concat();
        waiting.push(Peer::new(port, command(&[b"BLPOP", list.as_bytes(), b"0"]), popped)?);
        let push = command(&[b"RPUSH", list.as_bytes(), &value]);
        bringing.push(Peer::new(port, push, b":1\r\n".to_vec())?);
    }
    let (mut took, began) = (Vec::new(), Instant::now());
    for round in 0..count.div_ceil(u64::from(PAIRS)) {
        waiting.iter_mut().try_for_each(Peer::ask)?;
        match round {
            0 => await_blocked(stack)?,
            _ => sleep(SETTLE),
        }
        let mut sent = Vec::with_capacity(bringing.len());
        for peer in &mut bringing {
            sent.push(Instant::now());
            peer.ask()?;
        }
        for ((waiter, bringer), sent) in waiting.iter_mut().zip(&mut bringing).zip(sent) {
            bringer.hear()?;
            waiter.hear()?;
            took.push(sent.elapsed());
        }
    }
    Ok(summary(took, began.elapsed()))
}

fn await_blocked(stack: &Stack) -> Result<()> {
    let began = Instant::now();
    loop {
        let blocked = stack.home_info("clients", "blocked_clients")?;
        if blocked == u64::from(PAIRS) {
            return Ok(());
        }
        ensure!(began.elapsed() < BLOCKED_DEADLINE, "{blocked} of {PAIRS} clients wait at home");
        sleep(SETTLE);
    }
}

/// MULTI, five times SET and five times GET of a client's own keys, EXEC; and the reply to all of it.
fn transaction(client: u32) -> (Vec<u8>, Vec<u8>) {
    let keys: Vec<String> = (0..TRANSACTION_KEYS).map(|key| format!("tx:{client:06}:{key:06}")).collect();
    let value = value();
    let (mut request, mut reply) = (command(&[b"MULTI"]), b"+OK\r\n".to_vec());
    keys.iter().for_each(|key| request.extend(command(&[b"SET", key.as_bytes(), &value])));
    keys.iter().for_each(|key| request.extend(command(&[b"GET", key.as_bytes()])));
    request.extend(command(&[b"EXEC"]));
    reply.extend(b"+QUEUED\r\n".repeat(keys.len() * 2));
    reply.extend(format!("*{}\r\n", keys.len() * 2).bytes());
    reply.extend(b"+OK\r\n".repeat(keys.len()));
    reply.extend(bulk(&value).repeat(keys.len()));
    (request, reply)
}

fn value() -> Vec<u8> {
    vec![b'x'; VALUE_SIZE]
}

fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    words.iter().for_each(|word| out.extend(bulk(word)));
    out
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Rate, p50 and p99.
fn summary(mut took: Vec<Duration>, length: Duration) -> [f64; 3] {
    took.sort_unstable();
    let ms = |share: f64| {
        let rank = (took.len() as f64 * share) as usize;
        took.get(rank).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    };
    [took.len() as f64 / length.as_secs_f64(), ms(0.50), ms(0.99)]
}
