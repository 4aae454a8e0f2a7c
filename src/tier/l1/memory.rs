//! Memory of records, and what it costs.
//!
//! Small ones come from malloc, big ones as pages of their own. Big ones from malloc would soon come from its heap (glibc
//! raises its threshold for pages whenever such a block is freed), and replaced by ones of other sizes they leave holes: an
//! L1 of 5 MB filled with values of 10 B to 500 KB took 8 MB so, and 40 MB from mimalloc.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// From this length on a record has pages of its own.
const PAGED: usize = 32 * 1024;
const PAGE: usize = 4096;
const ALIGN: usize = 8;

/// Bytes of memory that `len` bytes from malloc cost: its header and rounding included.
pub(super) const fn footprint(len: usize) -> usize {
    let chunk = (len + 8).next_multiple_of(16);
    if chunk < 32 { 32 } else { chunk }
}

/// Bytes of memory that a record of `len` bytes costs.
pub(super) const fn record_footprint(len: usize) -> usize {
    if len < PAGED { footprint(len) } else { len.next_multiple_of(PAGE) }
}

/// A block to hold a record, and where it is from: true if it has pages of its own.
pub(super) fn allocate(len: usize) -> (NonNull<u8>, bool) {
    if len >= PAGED
        && let Some(pages) = map(len)
    {
        return (pages, true);
    }
    let layout = layout(len);
    // SAFETY: records are never empty.
    match NonNull::new(unsafe { alloc(layout) }) {
        Some(block) => (block, false),
        None => handle_alloc_error(layout),
    }
}

/// Gives a block back.
///
/// # Safety
/// `len` and `paged` are those of its allocation, and nobody refers to it any more.
pub(super) unsafe fn release(block: NonNull<u8>, len: usize, paged: bool) {
    if !paged {
        // SAFETY: the caller's promise.
        return unsafe { dealloc(block.as_ptr(), layout(len)) };
    }
    let len = len.next_multiple_of(PAGE);
    // SAFETY: the caller's promise; nothing else is on these pages.
    unsafe {
        // A process may have so many mappings that a hole in the middle of one can't be made: then only the memory goes.
        if munmap(block.as_ptr().cast(), len).is_err() {
            let _ = madvise(block.as_ptr().cast(), len, Advice::LinuxDontNeed);
        }
    }
}

/// Fresh pages; None if the process may not have more mappings.
fn map(len: usize) -> Option<NonNull<u8>> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    let len = len.next_multiple_of(PAGE);
    // SAFETY: new pages, at an address that the kernel chooses.
    let pages = unsafe { mmap_anonymous(ptr::null_mut(), len, access, MapFlags::PRIVATE) };
    pages.ok().and_then(|pages| NonNull::new(pages.cast()))
}

fn layout(len: usize) -> Layout {
    match Layout::from_size_align(len, ALIGN) {
        Ok(layout) => layout,
        // Lengths are bounded by the budget, far below isize::MAX.
        Err(_) => unreachable!("a record of {len} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn footprints_follow_malloc_and_pages() {
        assert_eq!(footprint(0), 32);
        assert_eq!(footprint(24), 32);
        assert_eq!(footprint(25), 48);
        assert_eq!(record_footprint(172), 192);
        assert_eq!(record_footprint(32_767), 32_784);
        assert_eq!(record_footprint(40_961), 45_056);
    }

    #[test]
    fn blocks_of_both_kinds_hold_what_is_written() {
        for len in [1, 100, PAGED - 1, PAGED, PAGED + 1, 500_000] {
            let (block, paged) = allocate(len);
            assert_eq!(paged, len >= PAGED);
            assert_eq!(block.addr().get() % ALIGN, 0);
            // SAFETY: the block is len bytes long, ours, and released once.
            unsafe {
                block.write_bytes(0x5a, len);
                assert_eq!(block.add(len - 1).read(), 0x5a);
                release(block, len, paged);
            }
        }
    }
}
