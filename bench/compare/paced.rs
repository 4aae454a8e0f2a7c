//! Load at a fixed rate: redis-benchmark can only go as fast as it can, which says little about latency.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::load::CLIENTS;
use crate::stack::{VALUE_SIZE, key_name};

/// A reply later than this ends the run with an error.
const REPLY_DEADLINE: Duration = Duration::from_secs(5);

/// One GET: when it was due, from the start of the run, and how long its reply took from then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timed {
    pub(crate) at: Duration,
    pub(crate) took: Duration,
}

/// GETs of `keys` random keys, `rate` a second over 50 connections for `length`, while `meanwhile` runs beside.
///
/// Each connection has its own thread, which sends its next request when that is due. A request that is due
/// while the one before it waits is timed from when it was due, so that a stall is not counted once but by all
/// who would have felt it.
///
/// # Errors
/// When a connection fails, a reply takes over five seconds or is not a value of the size that was loaded.
pub(crate) fn run(
    port: u16,
    keys: u32,
    rate: u32,
    length: Duration,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<Vec<Timed>> {
    let connections = (0..CLIENTS).map(|_| connect(port)).collect::<Result<Vec<_>>>()?;
    let interval = Duration::from_secs(1) * CLIENTS / rate;
    let start = Instant::now() + Duration::from_millis(20);
    thread::scope(|scope| {
        let clients: Vec<_> = (0u32..)
            .zip(connections)
            .map(|(number, connection)| {
                let first = start + interval * number / CLIENTS;
                let end = start + length;
                scope.spawn(move || client(connection, number, keys, [start, first, end], interval))
            })
            .collect();
        let beside = meanwhile();
        let mut all = Vec::new();
        for client in clients {
            match client.join() {
                Ok(timed) => all.extend(timed?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        beside.map(|()| all)
    })
}

fn client(
    mut connection: TcpStream,
    seed: u32,
    keys: u32,
    [start, first, end]: [Instant; 3],
    interval: Duration,
) -> Result<Vec<Timed>> {
    let mut random = SmallRng::seed_from_u64(u64::from(seed));
    let mut timed = Vec::new();
    let mut due = first;
    while due < end {
        let early = due.checked_duration_since(Instant::now());
        if let Some(pause) = early {
            thread::sleep(pause);
        }
        // The kernel wakes sleepers late by its own measure; only a stall of the server is charged to it.
        let from = if early.is_some() { Instant::now() } else { due };
        get(&mut connection, random.random_range(0..keys))?;
        timed.push(Timed { at: from - start, took: from.elapsed() });
        due += interval;
    }
    Ok(timed)
}

/// Opens a connection whose reads give up after five seconds.
pub(crate) fn connect(port: u16) -> Result<TcpStream> {
    let connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(REPLY_DEADLINE))?;
    connection.set_write_timeout(Some(REPLY_DEADLINE))?;
    Ok(connection)
}

/// Reads one key that was loaded; its reply has a known length.
pub(crate) fn get(connection: &mut TcpStream, key: u32) -> Result<()> {
    let name = key_name(key);
    // One write, one packet: write! alone would make a system call of every piece.
    connection.write_all(format!("*2\r\n$3\r\nGET\r\n${}\r\n{name}\r\n", name.len()).as_bytes())?;
    let header = format!("${VALUE_SIZE}\r\n");
    let mut reply = vec![0; header.len() + VALUE_SIZE + 2];
    let mut filled = 0;
    while filled < reply.len() {
        let count = connection.read(&mut reply[filled..]).context("no reply to a GET")?;
        filled += count;
        let got = &reply[..filled.min(header.len())];
        if count == 0 || got != &header.as_bytes()[..got.len()] {
            bail!("GET {name} answered {:?}", String::from_utf8_lossy(&reply[..filled]));
        }
    }
    Ok(())
}
