//! What answering costs on this machine before a server does anything: an epoll loop that reads, knows how many
//! requests of redis-benchmark it has read by their length, and writes as many replies.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use anyhow::Result;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::stack::VALUE_SIZE;

/// `GET key:000000000000`, as redis-benchmark sends it.
const REQUEST: usize = b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000000\r\n".len();
/// The listener among the events; connections are named by their descriptors.
const LISTENER: u64 = u64::MAX;

/// One client, and how many bytes of an unfinished request it has sent.
struct Client {
    stream: TcpStream,
    odd: usize,
}

/// Serves 127.0.0.1 until the process is ended.
///
/// # Errors
/// When the port cannot be listened on, or epoll fails.
pub(crate) fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let queue = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&queue, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut reply = format!("${VALUE_SIZE}\r\n").into_bytes();
    reply.extend([b'x'; VALUE_SIZE]);
    reply.extend(b"\r\n");
    let (mut clients, mut events) = (HashMap::new(), Vec::with_capacity(1024));
    let (mut buffer, mut out) = (vec![0; 64 * 1024], Vec::new());
    loop {
        events.clear();
        epoll::wait(&queue, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            if event.data.u64() == LISTENER {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                let number = u64::try_from(stream.as_raw_fd())?;
                epoll::add(&queue, &stream, EventData::new_u64(number), EventFlags::IN)?;
                clients.insert(number, Client { stream, odd: 0 });
            } else if let Some(client) = clients.get_mut(&event.data.u64())
                && !answer(client, &mut buffer, &mut out, &reply)
            {
                clients.remove(&event.data.u64());
            }
        }
    }
}

/// One read and one write; false at the client's end.
fn answer(client: &mut Client, buffer: &mut [u8], out: &mut Vec<u8>, reply: &[u8]) -> bool {
    let read = match client.stream.read(buffer) {
        Ok(0) => return false,
        Ok(n) => n,
        Err(e) => return e.kind() == ErrorKind::WouldBlock,
    };
    out.clear();
    if buffer[..read].starts_with(b"*3") {
        // Before it begins, redis-benchmark asks for two settings.
        out.extend_from_slice(b"-ERR no such command\r\n-ERR no such command\r\n");
    } else {
        let requests = (client.odd + read) / REQUEST;
        client.odd = (client.odd + read) % REQUEST;
        (0..requests).for_each(|_| out.extend_from_slice(reply));
    }
    client.stream.write_all(out).is_ok()
}
