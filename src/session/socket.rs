//! The socket of a session: one read into the worker's buffer, one write of all that is ready.

use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context as Cx, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::{Scratch, Session};

/// Bytes that a read asks for beyond what is buffered.
const READ_STEP: usize = 64 * 1024;

impl Session {
    pub(super) fn write(&mut self, cx: &mut Cx<'_>) -> io::Result<()> {
        let mut replies = self.core.replies.borrow_mut();
        let mut sent = 0;
        while !replies.writable().is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, replies.writable()) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => {
                    replies.wrote(n);
                    sent += n as u64;
                }
                Poll::Ready(Err(e)) => return Err(e),
            }
        }
        self.context.proxy.counters.bytes_out.add(sent);
        let backlog = replies.backlog();
        drop(replies);
        self.info.output.store(backlog as u64, Relaxed);
        self.check_backlog(cx, backlog, sent > 0)
    }

    /// Reads once and runs what is complete; ready with the number of bytes read.
    pub(super) fn read(&mut self, cx: &mut Cx<'_>) -> Poll<io::Result<usize>> {
        let context = self.context.clone();
        let mut scratch = context.scratch.borrow_mut();
        let scratch = &mut *scratch;
        let n = if self.input.is_empty() {
            let mut buffer = std::mem::take(&mut scratch.buffer);
            let polled = poll_into(&mut self.stream, cx, &mut buffer);
            if let Poll::Ready(Ok(n)) = polled {
                self.core.replies.borrow_mut().borrow(&mut scratch.spare);
                let used = self.run(&buffer[..n], scratch);
                self.input.extend_from_slice(&buffer[used..n]);
            }
            scratch.buffer = buffer;
            std::task::ready!(polled)?
        } else {
            let old = self.input.len();
            // What is announced is not believed: the buffer at most doubles.
            self.input.resize(old + self.need.clamp(READ_STEP, old.max(READ_STEP)), 0);
            let polled = poll_into(&mut self.stream, cx, &mut self.input[old..]);
            self.input.truncate(old + if let Poll::Ready(Ok(n)) = polled { n } else { 0 });
            let n = std::task::ready!(polled)?;
            self.run_from(scratch);
            n
        };
        self.check_input(n)?;
        Poll::Ready(Ok(n))
    }

    /// Accounts for `n` bytes that were read.
    ///
    /// # Errors
    /// The client has sent too much that is not executed.
    pub(super) fn check_input(&self, n: usize) -> io::Result<()> {
        self.context.proxy.counters.bytes_in.add(n as u64);
        self.info.input.store(self.input.len() as u64, Relaxed);
        if self.input.len() > self.context.config.server.max_query_buffer {
            let text = "the client's command exceeds server.max_query_buffer";
            tracing::warn!(client = self.info.id, bytes = self.input.len(), "{text}");
            return Err(io::Error::other(text));
        }
        Ok(())
    }

    pub(super) fn run_input(&mut self) {
        let context = self.context.clone();
        self.run_from(&mut context.scratch.borrow_mut());
    }

    fn run_from(&mut self, scratch: &mut Scratch) {
        let mut input = std::mem::take(&mut self.input);
        let used = self.run(&input, scratch);
        if used == input.len() {
            input = Vec::new();
        } else {
            input.drain(..used);
        }
        self.input = input;
    }
}

pub(super) fn poll_into(
    stream: &mut TcpStream,
    cx: &mut Cx<'_>,
    space: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(space);
    Pin::new(stream).poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len())
}
