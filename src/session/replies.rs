//! The replies of one client, in the order of its requests, whatever order they come in.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::backend::lane::Reply;

/// What is done to a reply on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// It goes out as it is.
    Plain,
    /// It is dropped (CLIENT REPLY OFF or SKIP).
    Silent,
    /// It is home's INFO, to be told of strata's clients, and perhaps completed with strata's own section.
    Info { with_strata: bool },
    /// It is home's reply to a transaction, of which the session makes EXEC's.
    Transaction,
}

#[derive(Debug)]
enum Slot {
    Waiting(Shape),
    Ready(Bytes),
    /// Replies made here while an earlier one was outstanding; more may be appended.
    Made(Vec<u8>),
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// What may be written, oldest first; `tail` comes after it.
    chunks: VecDeque<Bytes>,
    tail: Vec<u8>,
    /// Bytes of the first chunk (or of the tail, if there is none) that were written.
    written: usize,
    slots: VecDeque<Slot>,
    /// Number of the first slot.
    first: u64,
    waiting: usize,
    /// Bytes in all chunks, slots and the tail.
    held: usize,
    /// Replies from now on are dropped.
    silent: bool,
    sink: Vec<u8>,
}

/// From this size on a reply is queued as it is instead of being copied.
const SHARED: usize = 32 * 1024;
/// The same for what is pushed, which many clients share: 10,000 copies of 30 KB were most of the memory in use.
const SHARED_BY_MANY: usize = 4 * 1024;
/// A tail above this is given back once it was written.
const KEEP: usize = 64 * 1024;
/// What an idle client keeps: room for the replies of one batch, which would otherwise be allocated anew for each.
const IDLE_SLOTS: usize = 64;
const IDLE_TAIL: usize = 512;

impl Replies {
    /// Whether replies to requests from now on are dropped. Returns whether they were before.
    pub(super) fn set_silent(&mut self, silent: bool) -> bool {
        self.sink = Vec::new();
        std::mem::replace(&mut self.silent, silent)
    }

    /// Whether replies are dropped.
    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// Reserves a place for a reply that comes later.
    pub(super) fn open(&mut self, shape: Shape) -> u64 {
        self.open_always(if self.silent { Shape::Silent } else { shape })
    }

    /// The same, whether replies are dropped or not.
    pub(super) fn open_always(&mut self, shape: Shape) -> u64 {
        self.slots.push_back(Slot::Waiting(shape));
        self.waiting += 1;
        self.next_slot() - 1
    }

    /// The place for a reply that is made now: append it to the buffer.
    pub(super) fn now(&mut self) -> &mut Vec<u8> {
        if self.silent {
            self.sink.clear();
            return &mut self.sink;
        }
        if self.slots.is_empty() {
            return &mut self.tail;
        }
        if !matches!(self.slots.back(), Some(Slot::Made(_))) {
            self.slots.push_back(Slot::Made(Vec::new()));
        }
        match self.slots.back_mut() {
            Some(Slot::Made(buffer)) => buffer,
            _ => &mut self.tail,
        }
    }

    /// What a slot waits for; None if it does not.
    pub(super) fn shape(&self, slot: u64) -> Option<Shape> {
        match self.slots.get(usize::try_from(slot.checked_sub(self.first)?).ok()?)? {
            Slot::Waiting(shape) => Some(*shape),
            Slot::Ready(_) | Slot::Made(_) => None,
        }
    }

    /// Puts a reply into its place.
    pub(super) fn fill(&mut self, slot: u64, reply: Reply<'_>) {
        let Some(shape) = self.shape(slot) else { return };
        self.waiting -= 1;
        if slot == self.first {
            self.slots.pop_front();
            self.first += 1;
            if shape != Shape::Silent {
                self.emit(reply);
            }
            self.advance();
            return;
        }
        let ready = if shape == Shape::Silent { Bytes::new() } else { reply.into_bytes() };
        self.held += ready.len();
        self.slots[(slot - self.first) as usize] = Slot::Ready(ready);
    }

    /// Moves what is complete at the front of the order to the output.
    fn advance(&mut self) {
        while let Some(Slot::Ready(_) | Slot::Made(_)) = self.slots.front() {
            self.first += 1;
            match self.slots.pop_front() {
                Some(Slot::Ready(bytes)) => {
                    self.held -= bytes.len();
                    self.emit(Reply::Owned(bytes));
                }
                Some(Slot::Made(buffer)) => self.tail.extend_from_slice(&buffer),
                _ => {}
            }
        }
    }

    /// The same, behind the replies that are still to come.
    pub(super) fn follow(&mut self, bytes: &Bytes) {
        if self.slots.is_empty() {
            return self.push(bytes);
        }
        self.held += bytes.len();
        self.slots.push_back(Slot::Ready(bytes.clone()));
    }

    /// The slot that is opened next.
    pub(super) fn next_slot(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// What answers no request: goes out next, before the replies that are still to come, silence or not.
    pub(super) fn push(&mut self, bytes: &Bytes) {
        match bytes.len() {
            0..SHARED_BY_MANY => self.tail.extend_from_slice(bytes),
            _ => self.queue(bytes.clone()),
        }
    }

    fn emit(&mut self, reply: Reply<'_>) {
        match reply {
            Reply::Owned(bytes) if bytes.len() >= SHARED => self.queue(bytes),
            reply => self.tail.extend_from_slice(reply.bytes()),
        }
    }

    fn queue(&mut self, bytes: Bytes) {
        if !self.tail.is_empty() {
            let tail = std::mem::take(&mut self.tail);
            self.held += tail.len();
            self.chunks.push_back(tail.into());
        }
        self.held += bytes.len();
        self.chunks.push_back(bytes);
    }

    /// The next bytes to write; empty if there are none.
    pub(super) fn writable(&self) -> &[u8] {
        match self.chunks.front() {
            Some(chunk) => &chunk[self.written..],
            None => &self.tail[self.written..],
        }
    }

    /// `n` of them were written.
    pub(super) fn wrote(&mut self, n: usize) {
        self.written += n;
        match self.chunks.front() {
            Some(chunk) if self.written == chunk.len() => {
                self.held -= chunk.len();
                self.chunks.pop_front();
                self.written = 0;
            }
            None if self.written == self.tail.len() => {
                self.tail.clear();
                self.tail.shrink_to(KEEP);
                self.written = 0;
            }
            _ => {}
        }
    }

    /// Bytes that the client has not taken yet.
    pub(super) fn backlog(&self) -> usize {
        self.held + self.tail.len() - if self.chunks.is_empty() { self.written } else { 0 }
    }

    /// Replies that have not come yet.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Takes the worker's buffer to write into, if nothing is queued.
    pub(super) fn borrow(&mut self, spare: &mut Vec<u8>) {
        if self.tail.is_empty() && self.tail.capacity() < spare.capacity() {
            std::mem::swap(&mut self.tail, spare);
        }
    }

    /// Gives the worker's buffer back, and most memory of an idle client.
    pub(super) fn give_back(&mut self, spare: &mut Vec<u8>) {
        if self.tail.is_empty() {
            if self.tail.capacity() > spare.capacity() {
                std::mem::swap(&mut self.tail, spare);
            }
            if self.tail.capacity() > IDLE_TAIL {
                self.tail = Vec::new();
            }
        }
        if self.slots.is_empty() && self.slots.capacity() > IDLE_SLOTS {
            self.slots = VecDeque::new();
        }
        if self.chunks.is_empty() && self.chunks.capacity() > 0 {
            self.chunks = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(replies: &mut Replies) -> String {
        let mut all = Vec::new();
        while !replies.writable().is_empty() {
            let n = replies.writable().len().min(7);
            all.extend_from_slice(&replies.writable()[..n]);
            replies.wrote(n);
        }
        String::from_utf8(all).expect("text")
    }

    #[test]
    fn replies_leave_in_the_order_of_requests() {
        let mut r = Replies::default();
        r.now().extend_from_slice(b"a");
        let b = r.open(Shape::Plain);
        r.now().extend_from_slice(b"c");
        r.now().extend_from_slice(b"C");
        let d = r.open(Shape::Plain);
        let e = r.open(Shape::Silent);
        r.now().extend_from_slice(b"f");
        assert_eq!((drain(&mut r).as_str(), r.waiting()), ("a", 3));
        r.fill(d, Reply::Borrowed(b"d"));
        assert_eq!(drain(&mut r), "");
        r.fill(b, Reply::Borrowed(b"b"));
        assert_eq!(drain(&mut r), "bcCd");
        r.fill(e, Reply::Borrowed(b"never"));
        assert_eq!((drain(&mut r).as_str(), r.waiting(), r.backlog()), ("f", 0, 0));
        r.now().extend_from_slice(b"g");
        assert_eq!(drain(&mut r), "g");
    }

    #[test]
    fn large_replies_are_not_copied_and_counted_once() {
        let mut r = Replies::default();
        let big = Bytes::from(vec![b'x'; SHARED]);
        let (a, b) = (r.open(Shape::Plain), r.open(Shape::Plain));
        r.fill(b, Reply::Owned(big.clone()));
        assert_eq!(r.backlog(), SHARED);
        r.fill(a, Reply::Borrowed(b"a"));
        r.now().extend_from_slice(b"z");
        assert_eq!(r.backlog(), SHARED + 2);
        assert_eq!(drain(&mut r).len(), SHARED + 2);
        assert_eq!(r.backlog(), 0);
    }

    #[test]
    fn silence_drops_what_is_asked_meanwhile_only() {
        let mut r = Replies::default();
        let a = r.open(Shape::Plain);
        r.set_silent(true);
        let b = r.open(Shape::Plain);
        r.now().extend_from_slice(b"dropped");
        r.set_silent(false);
        r.now().extend_from_slice(b"c");
        r.fill(b, Reply::Borrowed(b"dropped"));
        r.fill(a, Reply::Borrowed(b"a"));
        assert_eq!(drain(&mut r), "ac");
    }

    #[test]
    fn what_is_pushed_goes_out_before_outstanding_replies_and_behind_those_that_are_here() {
        let mut r = Replies::default();
        r.now().extend_from_slice(b"a");
        let b = r.open(Shape::Plain);
        r.now().extend_from_slice(b"c");
        r.push(&Bytes::from_static(b">"));
        r.set_silent(true);
        r.push(&Bytes::from_static(b"|"));
        assert_eq!(drain(&mut r), "a>|");
        r.push(&Bytes::from(vec![b'x'; SHARED]));
        r.push(&Bytes::from_static(b">"));
        assert_eq!(r.backlog(), SHARED + 1);
        r.fill(b, Reply::Borrowed(b"b"));
        let all = drain(&mut r);
        assert_eq!((&all[SHARED - 1..], r.backlog()), ("x>bc", 0));
    }

    #[test]
    fn what_follows_goes_out_behind_outstanding_replies_silence_or_not() {
        let mut r = Replies::default();
        r.follow(&Bytes::from_static(b"1"));
        let a = r.open(Shape::Plain);
        r.set_silent(true);
        r.follow(&Bytes::from_static(b"2"));
        r.set_silent(false);
        let b = r.open(Shape::Plain);
        r.now().extend_from_slice(b"c");
        r.follow(&Bytes::from_static(b"3"));
        assert_eq!((drain(&mut r).as_str(), r.backlog()), ("1", 2));
        r.fill(b, Reply::Borrowed(b"b"));
        r.fill(a, Reply::Borrowed(b"a"));
        assert_eq!((drain(&mut r).as_str(), r.backlog(), r.waiting()), ("a2bc3", 0, 0));
    }

    #[test]
    fn a_reply_to_no_slot_is_dropped() {
        let mut r = Replies::default();
        let a = r.open(Shape::Plain);
        r.fill(a, Reply::Borrowed(b"a"));
        r.fill(a, Reply::Borrowed(b"again"));
        r.fill(99, Reply::Borrowed(b"x"));
        assert_eq!(drain(&mut r), "a");
    }
}
