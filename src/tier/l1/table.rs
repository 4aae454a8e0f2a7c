//! A shard's index: an open-addressing table that is read without a lock.
//!
//! A word is a record's address with 16 bits of its hash above, 0 if empty; probing is linear, eight words a cache line.
//! Only who has the shard's [`Occupancy`] changes words, one atomic store at a time. A reader that probes meanwhile may miss
//! a record that is being moved (a false miss is harmless); what it finds it compares, so a false hit is impossible.
//! The table is kept between a quarter and three quarters full: a larger one would only miss the CPU's caches.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicPtr,
    Ordering::{Acquire, Relaxed, Release},
};

use super::budget::Budget;
use super::memory::footprint;
use super::reclaim::Pinned;
use super::record::{ADDRESS_BITS, Header, Record, SendPtr, View, free};

/// Words in a cache line, and in the smallest table.
const LINE: usize = 8;
/// Lines of a record that a look-up asks for: header, key and a reply of 100 bytes. With two lines a hit among 1,000,000 takes
/// 75 ns, with three 60, with four 28.
const RECORD_LINES: usize = 4;
/// How far ahead of its use a record is asked for while a table is rebuilt.
const AHEAD: usize = 8;

type Word = AtomicPtr<Header>;

#[repr(C, align(64))]
struct Line([Word; LINE]);

/// The part of a shard that readers see: one pointer, whose low 6 bits say how large the table is (log2 of its words).
#[derive(Debug)]
pub(super) struct Table(AtomicPtr<Line>);

/// The right to change one table, and how many records it holds. Made with its table, kept under the shard's lock.
#[derive(Debug)]
pub(super) struct Occupancy {
    len: usize,
}

/// Where retired memory goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limbo<'a> {
    pub(super) pinned: &'a Pinned,
    pub(super) budget: &'a Arc<Budget>,
}

impl Table {
    pub(super) fn new() -> (Table, Occupancy) {
        let table = Table(AtomicPtr::new(Words::allocate(LINE.ilog2()).to_root()));
        (table, Occupancy { len: 0 })
    }

    /// Bytes of the table as it is now.
    pub(super) fn bytes(&self) -> usize {
        bytes_of((self.0.load(Relaxed).addr() & ROOT_LOG2) as u32)
    }

    #[inline]
    fn words<'g>(&self) -> Words<'g> {
        Words::from_root(self.0.load(Acquire))
    }

    /// The records whose word may be of this hash.
    #[inline]
    pub(super) fn candidates<'g>(&'g self, _pinned: &'g Pinned, hash: u64) -> Candidates<'g> {
        Candidates::new(self.words(), hash)
    }

    /// As [`Table::candidates`], for who holds the shard's lock.
    pub(super) fn locked<'a>(&'a self, _right: &'a Occupancy, hash: u64) -> Candidates<'a> {
        Candidates::new(self.words(), hash)
    }

    /// Asks for the line where a hash begins. Pinned or not: the address is only a hint.
    #[inline]
    pub(super) fn prefetch_slot(&self, hash: u64) {
        let words = self.words();
        prefetch(words.first.as_ptr().wrapping_add(hash as usize & words.mask));
    }

    /// Asks for the first lines of the record that probably is the one.
    #[inline]
    pub(super) fn prefetch_record(&self, pinned: &Pinned, hash: u64) {
        if let Some(view) = self.candidates(pinned, hash).next() {
            let record = ptr::without_provenance::<Line>(view.address());
            (0..RECORD_LINES).for_each(|line| prefetch(record.wrapping_add(line)));
        }
    }

    /// Makes a record visible. It must be published once, and go by [`Table::replace`] or [`Table::unlink`].
    pub(super) fn publish(&self, right: &mut Occupancy, record: &Record, limbo: Limbo<'_>) {
        let words = self.words();
        let capacity = words.mask + 1;
        if (right.len + 1) * 4 > capacity * 3 {
            self.rebuild(capacity.ilog2() + 1, limbo);
        }
        right.len += 1;
        self.words().put(word_of(record));
    }

    /// Puts `new` where `old` was and retires `old`. Both have the same hash.
    pub(super) fn replace(&self, _right: &mut Occupancy, old: Record, new: &Record, limbo: Limbo<'_>) {
        let words = self.words();
        let Some(at) = words.position(&old) else {
            debug_assert!(false, "replaced a record that was never published");
            return;
        };
        words.at(at).store(word_of(new), Release);
        // SAFETY: its only word is overwritten.
        unsafe { old.retire(limbo.pinned, limbo.budget) }
    }

    /// Takes a record out and retires it.
    pub(super) fn unlink(&self, right: &mut Occupancy, old: Record, limbo: Limbo<'_>) {
        let words = self.words();
        let Some(at) = words.position(&old) else {
            debug_assert!(false, "unlinked a record that was never published");
            return;
        };
        words.close_gap(at);
        right.len -= 1;
        // SAFETY: its only word is overwritten.
        unsafe { old.retire(limbo.pinned, limbo.budget) }
        let capacity = words.mask + 1;
        if capacity > LINE && right.len * 4 < capacity {
            self.rebuild(capacity.ilog2() - 1, limbo);
        }
    }

    /// Takes all records out and retires them, `bytes` in all, in one piece. The owner forgets its handles.
    pub(super) fn clear(&self, right: &mut Occupancy, bytes: usize, limbo: Limbo<'_>) {
        let old = self.words();
        let bytes = bytes + bytes_of(old.log2());
        self.0.store(Words::allocate(LINE.ilog2()).to_root(), Release);
        right.len = 0;
        let first = SendPtr(old.first);
        let log2 = old.log2();
        // SAFETY: the old table and with it every record in it is out of reach for new readers.
        unsafe {
            limbo.pinned.defer(limbo.budget, bytes, move || {
                Words::<'static>::new(first.into_inner(), log2).free_all();
            });
        }
    }

    fn rebuild(&self, log2: u32, limbo: Limbo<'_>) {
        let old = self.words();
        let new = Words::allocate(log2);
        for at in 0..=old.mask {
            let ahead = address(old.at(at + AHEAD).load(Relaxed));
            prefetch(ahead);
            let word = old.at(at).load(Relaxed);
            if !word.is_null() {
                new.put(word);
            }
        }
        self.0.store(new.to_root(), Release);
        let first = SendPtr(old.first);
        let log2 = old.log2();
        // SAFETY: the old table is out of reach for new readers; its records live on in the new one.
        unsafe {
            limbo.pinned.defer(limbo.budget, bytes_of(log2), move || {
                Words::<'static>::new(first.into_inner(), log2).free_table();
            });
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: nobody else has the table any more, and every record in it was published once.
        unsafe { self.words().free_all() }
    }
}

/// The bits of a root that hold the size; free because a table is aligned to a cache line.
const ROOT_LOG2: usize = align_of::<Line>() - 1;

fn bytes_of(log2: u32) -> usize {
    // malloc puts up to a line of padding before an aligned block.
    footprint((size_of::<Word>() << log2) + align_of::<Line>())
}

fn table_layout(log2: u32) -> Layout {
    match Layout::from_size_align(size_of::<Word>() << log2, align_of::<Line>()) {
        Ok(layout) => layout,
        Err(_) => unreachable!("a table of 2^{log2} words"),
    }
}

#[inline]
fn tag_of(hash: u64) -> usize {
    (hash >> 42) as usize & 0xffff
}

fn word_of(record: &Record) -> *mut Header {
    let tag = tag_of(record.view().hash());
    record.as_ptr().map_addr(|address| address | tag << ADDRESS_BITS)
}

#[inline]
fn address(word: *mut Header) -> *mut Header {
    word.map_addr(|word| word & ((1 << ADDRESS_BITS) - 1))
}

#[inline]
fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing and never faults.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// The words of one table, for as long as they are certain to exist: `'g` is a pin or the shard's lock.
#[derive(Clone, Copy)]
struct Words<'g> {
    first: NonNull<Word>,
    mask: usize,
    lives: PhantomData<&'g Word>,
}

impl<'g> Words<'g> {
    #[inline]
    fn new(first: NonNull<Word>, log2: u32) -> Words<'g> {
        Words { first, mask: (1 << log2) - 1, lives: PhantomData }
    }

    fn allocate(log2: u32) -> Words<'g> {
        let layout = table_layout(log2);
        // SAFETY: a table has at least one line. Zero is the null pointer, an empty word.
        let Some(first) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        Words::new(first.cast(), log2)
    }

    fn to_root(self) -> *mut Line {
        let log2 = self.log2() as usize;
        self.first.as_ptr().cast::<Line>().map_addr(|address| address | log2)
    }

    #[inline]
    fn from_root(root: *mut Line) -> Words<'g> {
        let log2 = (root.addr() & ROOT_LOG2) as u32;
        let first = root.map_addr(|root| root & !ROOT_LOG2).cast::<Word>();
        // SAFETY: a root is never null: it was made by `to_root`.
        Words::new(unsafe { NonNull::new_unchecked(first) }, log2)
    }

    fn log2(self) -> u32 {
        self.mask.count_ones()
    }

    /// The word at a position, which may run past the end.
    #[inline]
    fn at(self, position: usize) -> &'g Word {
        // SAFETY: the mask keeps it inside the table, which lives for 'g.
        unsafe { self.first.add(position & self.mask).as_ref() }
    }

    /// The record of a word that is not empty.
    #[inline]
    fn view(self, word: *mut Header) -> View<'g> {
        // SAFETY: a word leads to a record until it is overwritten, and the record is freed only after all who were
        // pinned then are done, which is not before 'g ends; under the shard's lock no word is overwritten but by us.
        unsafe { View::new(NonNull::new_unchecked(address(word))) }
    }

    fn put(self, word: *mut Header) {
        let mut at = self.view(word).hash() as usize;
        while !self.at(at).load(Relaxed).is_null() {
            at = at.wrapping_add(1);
        }
        self.at(at).store(word, Release);
    }

    fn position(self, record: &Record) -> Option<usize> {
        let word = word_of(record);
        let home = record.view().hash() as usize & self.mask;
        (home..=home + self.mask)
            .take_while(|&at| !self.at(at).load(Relaxed).is_null())
            .find(|&at| self.at(at).load(Relaxed) == word)
    }

    /// Empties the word at `gap` by moving those behind it that would no longer be found across an empty word.
    fn close_gap(self, mut gap: usize) {
        let mut next = gap + 1;
        loop {
            let word = self.at(next).load(Relaxed);
            if word.is_null() {
                break;
            }
            let home = self.view(word).hash() as usize;
            if next.wrapping_sub(home) & self.mask >= (next - gap) & self.mask {
                self.at(gap).store(word, Release);
                gap = next;
            }
            next += 1;
        }
        self.at(gap).store(ptr::null_mut(), Release);
    }

    /// # Safety
    /// Nobody refers to the table any more.
    unsafe fn free_table(self) {
        // SAFETY: allocated with this layout, and the caller's promise.
        unsafe { dealloc(self.first.as_ptr().cast(), table_layout(self.log2())) }
    }

    /// # Safety
    /// Nobody refers to the table or to any record in it any more.
    unsafe fn free_all(self) {
        for at in 0..=self.mask {
            prefetch(address(self.at(at + AHEAD).load(Relaxed)));
            if let Some(record) = NonNull::new(address(self.at(at).load(Relaxed))) {
                // SAFETY: the caller's promise; a record is in a table once.
                unsafe { free(record) }
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.free_table() }
    }
}

/// The records on a hash's probe path whose tag is that of the hash.
pub(super) struct Candidates<'g> {
    words: Words<'g>,
    at: usize,
    left: usize,
    tag: usize,
}

impl<'g> Candidates<'g> {
    #[inline]
    fn new(words: Words<'g>, hash: u64) -> Candidates<'g> {
        Candidates { words, at: hash as usize, left: words.mask + 1, tag: tag_of(hash) }
    }
}

impl<'g> Iterator for Candidates<'g> {
    type Item = View<'g>;

    #[inline]
    fn next(&mut self) -> Option<View<'g>> {
        // Bounded although some word is always empty: words move while a reader probes.
        while self.left > 0 {
            let word = self.words.at(self.at).load(Acquire);
            if word.is_null() {
                return None;
            }
            self.at = self.at.wrapping_add(1);
            self.left -= 1;
            if word.addr() >> ADDRESS_BITS == self.tag {
                return Some(self.words.view(word));
            }
        }
        None
    }
}
