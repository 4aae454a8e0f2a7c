//! Long because: the layout of a record and all that is unsafe about it stand in one place.
//!
//! A record: one reply copy in one allocation.
//!
//! Layout: [`Header`], then the bytes of key, tail and reply, back to back, and of a number if the header says so. A published record never changes, but for the
//! atomics in its header. It is owned by a shard's slab ([`Record`]), reachable through the shard's table, and read
//! through a [`View`] by whoever is [`Pinned`] or holds the shard's lock.

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, Ordering::Relaxed};

use super::budget::Budget;
use super::memory::{allocate, record_footprint, release};
use super::reclaim::Pinned;

/// The first copy of a key: it sits at the key's own hash and leads to the others.
pub(super) const PRIMARY: u8 = 1;
/// A primary whose reply is gone while other copies of its key exist. It equals no request.
pub(super) const STUB: u8 = 2;
/// The reply says that the key does not exist.
pub(super) const ABSENT: u8 = 4;
/// The record has pages of its own.
const PAGED: u8 = 8;
/// The copy lives on for a while after it is no longer fresh: for how long stands behind the reply.
pub(super) const AHEAD: u8 = 16;

/// Hits beyond this many are not told apart.
pub(super) const MAX_FREQ: u8 = 3;

pub(super) const NS_PER_S: u64 = 1_000_000_000;
/// Bits of an address; the rest of a word is free for a tag.
pub(super) const ADDRESS_BITS: u32 = 48;
const _: () = assert!(usize::BITS == 64, "table words hold a 48-bit address and a 16-bit tag");

/// The fixed part of a record.
#[repr(C)]
pub(super) struct Header {
    /// Where the record sits in the table: the key's hash if primary, else the hash of its identity.
    hash: u64,
    fresh_until: u64,
    stale_until: u32,
    kind: u32,
    key_len: u32,
    tail_len: u32,
    reply_len: u32,
    filled_at: u32,
    slot: AtomicU32,
    touched: AtomicU16,
    freq: AtomicU8,
    flags: u8,
}

/// What a record says. `key`, `tail` and `reply` must each be shorter than 4 GB.
#[derive(Clone, Copy, Default)]
pub(super) struct Draft<'a> {
    pub(super) key: &'a [u8],
    pub(super) kind: u32,
    pub(super) tail: &'a [u8],
    pub(super) reply: &'a [u8],
    pub(super) fresh_until: u64,
    pub(super) stale_until: u32,
    pub(super) filled_at: u32,
    pub(super) absent: bool,
    pub(super) ahead: u64,
}

impl Draft<'_> {
    fn len(&self) -> usize {
        let after = if self.ahead > 0 { size_of::<u64>() } else { 0 };
        size_of::<Header>() + self.key.len() + self.tail.len() + self.reply.len() + after
    }

    /// Bytes the record will cost.
    pub(super) fn footprint(&self) -> usize {
        record_footprint(self.len())
    }

    fn header(&self, paged: bool) -> Header {
        Header {
            hash: 0,
            fresh_until: self.fresh_until,
            stale_until: self.stale_until,
            kind: self.kind,
            key_len: self.key.len() as u32,
            tail_len: self.tail.len() as u32,
            reply_len: self.reply.len() as u32,
            filled_at: self.filled_at,
            slot: AtomicU32::new(0),
            touched: AtomicU16::new(self.filled_at as u16),
            freq: AtomicU8::new(0),
            flags: [(self.absent, ABSENT), (paged, PAGED), (self.ahead > 0, AHEAD)]
                .iter()
                .fold(0, |flags, (is, flag)| if *is { flags | flag } else { flags }),
        }
    }
}

/// Where a record goes in its shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) hash: u64,
    pub(super) slot: u32,
    pub(super) freq: u8,
    /// [`PRIMARY`] or [`STUB`].
    pub(super) flags: u8,
}

/// A record that nobody knows of yet: made without its shard's lock, which is the slow part, and seated under it.
#[derive(Debug)]
#[must_use = "it would leak"]
pub(super) struct Unseated(NonNull<Header>);

impl Unseated {
    pub(super) fn new(draft: &Draft<'_>) -> Unseated {
        let (base, paged) = allocate(draft.len());
        assert!(base.addr().get() >> ADDRESS_BITS == 0, "an address of more than 48 bits");
        let record = base.cast::<Header>();
        // SAFETY: the allocation is aligned for and holds a header and the slices, and nobody else has it yet.
        unsafe {
            record.write(draft.header(paged));
            let mut at = base.add(size_of::<Header>());
            let ahead = draft.ahead.to_ne_bytes();
            let ahead: &[u8] = if draft.ahead > 0 { &ahead } else { &[] };
            for bytes in [draft.key, draft.tail, draft.reply, ahead] {
                at.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
                at = at.add(bytes.len());
            }
        }
        Unseated(record)
    }

    pub(super) fn seat(mut self, seat: Seat) -> Record {
        // SAFETY: nobody else has it yet.
        let header = unsafe { self.0.as_mut() };
        header.hash = seat.hash;
        header.slot = AtomicU32::new(seat.slot);
        header.freq = AtomicU8::new(seat.freq);
        header.flags |= seat.flags;
        Record(self.0)
    }
}

/// The owner's handle of a record. It has no `Drop`: a published record is freed by its table, after its readers.
#[derive(Debug)]
pub(super) struct Record(NonNull<Header>);

// SAFETY: the allocation is not tied to a thread, and what changes in it is atomic.
unsafe impl Send for Record {}

impl Record {
    pub(super) fn view(&self) -> View<'_> {
        // SAFETY: the owner's handle exists as long as the record does.
        unsafe { View::new(self.0) }
    }

    pub(super) fn as_ptr(&self) -> *mut Header {
        self.0.as_ptr()
    }

    /// Frees the record once nobody who is pinned now can look at it any more.
    ///
    /// # Safety
    /// It must not be reachable for anyone who pins from now on.
    pub(super) unsafe fn retire(self, pinned: &Pinned, budget: &Arc<Budget>) {
        let bytes = self.view().footprint();
        let record = SendPtr(self.0);
        // SAFETY: the caller has unlinked it, so after this epoch nobody holds it.
        unsafe { pinned.defer(budget, bytes, move || free(record.into_inner())) }
    }
}

/// A raw pointer on its way to a deferred free.
pub(super) struct SendPtr<T>(pub(super) NonNull<T>);

// SAFETY: used only to free what nobody else refers to any more.
unsafe impl<T> Send for SendPtr<T> {}

impl<T> SendPtr<T> {
    pub(super) fn into_inner(self) -> NonNull<T> {
        self.0
    }
}

/// Frees a record.
///
/// # Safety
/// It came from [`Unseated::new`], nobody looks at it, and it is freed once.
pub(super) unsafe fn free(record: NonNull<Header>) {
    // SAFETY: the caller's promise; the header says how it was allocated.
    unsafe {
        let view = View::new(record);
        let (len, paged) = (view.len(), view.is(PAGED));
        release(record.cast(), len, paged);
    }
}

/// A record as long as it is certain to exist.
#[derive(Clone, Copy)]
pub(super) struct View<'g> {
    record: NonNull<Header>,
    lives: PhantomData<&'g Header>,
}

impl<'g> View<'g> {
    /// # Safety
    /// The record must live for `'g`: its reader is pinned, or its shard locked.
    pub(super) unsafe fn new(record: NonNull<Header>) -> View<'g> {
        View { record, lives: PhantomData }
    }

    #[inline]
    fn header(self) -> &'g Header {
        // SAFETY: a view exists only while its record does.
        unsafe { self.record.as_ref() }
    }

    #[inline]
    fn bytes(self, from: usize, len: u32) -> &'g [u8] {
        // SAFETY: callers pass ranges that `Record::new` wrote; they never change while the record lives.
        unsafe {
            let base = self.record.cast::<u8>().add(size_of::<Header>() + from);
            std::slice::from_raw_parts(base.as_ptr(), len as usize)
        }
    }

    fn len(self) -> usize {
        let after = if self.is(AHEAD) { size_of::<u64>() } else { 0 };
        size_of::<Header>() + self.contents() + after
    }

    /// Bytes of key, tail and reply.
    fn contents(self) -> usize {
        let header = self.header();
        header.key_len as usize + header.tail_len as usize + header.reply_len as usize
    }

    pub(super) fn footprint(self) -> usize {
        record_footprint(self.len())
    }

    #[inline]
    pub(super) fn hash(self) -> u64 {
        self.header().hash
    }

    #[inline]
    pub(super) fn key(self) -> &'g [u8] {
        self.bytes(0, self.header().key_len)
    }

    #[inline]
    pub(super) fn tail(self) -> &'g [u8] {
        let header = self.header();
        self.bytes(header.key_len as usize, header.tail_len)
    }

    #[inline]
    pub(super) fn reply(self) -> &'g [u8] {
        let header = self.header();
        self.bytes(header.key_len as usize + header.tail_len as usize, header.reply_len)
    }

    /// Whether this is the copy of exactly this request.
    #[inline]
    pub(super) fn answers(self, key: &[u8], kind: u32, tail: &[u8]) -> bool {
        let header = self.header();
        header.kind == kind
            && header.key_len as usize == key.len()
            && header.tail_len as usize == tail.len()
            && header.flags & STUB == 0
            && self.key() == key
            && (tail.is_empty() || self.tail() == tail)
    }

    #[inline]
    pub(super) fn fresh_until(self) -> u64 {
        self.header().fresh_until
    }

    /// When it ends. Only copies that are to be renewed before live longer than they are fresh.
    pub(super) fn ends(self) -> u64 {
        let ahead = if self.is(AHEAD) { self.bytes(self.contents(), size_of::<u64>() as u32) } else { &[] };
        self.fresh_until().saturating_add(ahead.try_into().map_or(0, u64::from_ne_bytes))
    }

    #[inline]
    pub(super) fn stale_until(self) -> u32 {
        self.header().stale_until
    }

    /// Whether nobody may be served from it any more, at a time in seconds.
    pub(super) fn expired(self, now_s: u32) -> bool {
        self.stale_until() <= now_s && self.ends() <= u64::from(now_s) * NS_PER_S
    }

    pub(super) fn kind(self) -> u32 {
        self.header().kind
    }

    pub(super) fn filled_at(self) -> u32 {
        self.header().filled_at
    }

    #[inline]
    pub(super) fn is(self, flag: u8) -> bool {
        self.header().flags & flag != 0
    }

    pub(super) fn slot(self) -> u32 {
        self.header().slot.load(Relaxed)
    }

    pub(super) fn set_slot(self, slot: u32) {
        self.header().slot.store(slot, Relaxed);
    }

    pub(super) fn freq(self) -> u8 {
        self.header().freq.load(Relaxed)
    }

    pub(super) fn set_freq(self, freq: u8) {
        self.header().freq.store(freq, Relaxed);
    }

    /// Remembers a hit. Two at once may count as one; a hot record is only read here, so its line stays shared.
    #[inline]
    pub(super) fn mark(self) {
        let freq = self.freq();
        if freq < MAX_FREQ {
            self.set_freq(freq + 1);
        }
    }

    #[inline]
    pub(super) fn touched(self) -> &'g AtomicU16 {
        &self.header().touched
    }

    /// The record's name while it lives: no two live or pinned records share it.
    pub(super) fn address(self) -> usize {
        self.record.addr().get()
    }
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("key", &self.key().escape_ascii().to_string())
            .field("kind", &self.kind())
            .field("reply_len", &self.header().reply_len)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft<'static> {
        Draft {
            key: b"key",
            kind: 5,
            tail: b"tail",
            reply: b"$1\r\nx\r\n",
            fresh_until: 3 * NS_PER_S,
            stale_until: 4,
            filled_at: 70_000,
            absent: false,
            ahead: 0,
        }
    }

    fn with(draft: &Draft<'_>, check: impl FnOnce(View<'_>)) {
        seated(draft, 0, check);
    }

    fn seated(draft: &Draft<'_>, flags: u8, check: impl FnOnce(View<'_>)) {
        let record = Unseated::new(draft).seat(Seat { hash: 7, slot: 9, freq: 1, flags });
        check(record.view());
        // SAFETY: never published, freed once.
        unsafe { free(record.0) }
    }

    #[test]
    fn header_fits_its_budget() {
        assert_eq!(size_of::<Header>(), 48);
    }

    #[test]
    fn gives_back_what_it_was_made_from() {
        with(&draft(), |view| {
            assert_eq!(view.key(), b"key");
            assert_eq!(view.tail(), b"tail");
            assert_eq!(view.reply(), b"$1\r\nx\r\n");
            assert_eq!((view.hash(), view.kind(), view.slot(), view.filled_at()), (7, 5, 9, 70_000));
            assert_eq!(view.footprint(), 80);
        });
    }

    #[test]
    fn answers_only_its_own_request() {
        with(&draft(), |view| {
            assert!(view.answers(b"key", 5, b"tail"));
            assert!(!view.answers(b"key", 6, b"tail"));
            assert!(!view.answers(b"keytail", 5, b""));
            assert!(!view.answers(b"kez", 5, b"tail"));
            assert!(!view.answers(b"key", 5, b"tali"));
        });
        seated(&Draft::default(), 0, |view| assert!(view.answers(b"", 0, b"")));
        seated(&Draft::default(), PRIMARY | STUB, |view| assert!(!view.answers(b"", 0, b"")));
    }

    #[test]
    fn expires_when_neither_fresh_nor_stale() {
        with(&draft(), |view| {
            assert!(!view.expired(3));
            assert!(view.expired(4));
        });
        let fresher = Draft { stale_until: 1, ..draft() };
        with(&fresher, |view| assert!(!view.expired(2)));
    }

    #[test]
    fn lives_on_for_as_long_as_stands_behind_the_reply() {
        let ahead = Draft { stale_until: 0, ahead: 2 * NS_PER_S, ..draft() };
        with(&ahead, |view| {
            assert_eq!(
                (view.reply(), view.fresh_until(), view.ends()),
                (&b"$1\r\nx\r\n"[..], 3 * NS_PER_S, 5 * NS_PER_S)
            );
            assert!(!view.expired(4) && view.expired(5) && view.is(AHEAD));
            assert_eq!(view.footprint(), 80);
        });
        with(&draft(), |view| assert_eq!((view.ends(), view.is(AHEAD)), (3 * NS_PER_S, false)));
    }

    #[test]
    fn hits_saturate() {
        with(&draft(), |view| {
            (0..10).for_each(|_| view.mark());
            assert_eq!(view.freq(), MAX_FREQ);
        });
    }
}
