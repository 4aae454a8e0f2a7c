//! Look-ups: lock-free, in place, and in stages that hide the latency of memory behind a batch of requests.

use std::sync::atomic::Ordering::Relaxed;

use super::L1;
use super::reclaim::Pinned;
use super::record::{ABSENT, AHEAD, View};

/// Looks copies up. It pins the epoch, so make one for each batch of requests and drop it after.
///
/// For a batch: [`prefetch_slot`](Reader::prefetch_slot) for all, [`prefetch_record`](Reader::prefetch_record) for all, then
/// [`get`](Reader::get) for all.
#[derive(Debug)]
pub struct Reader<'a> {
    l1: &'a L1,
    pinned: Pinned,
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn new(l1: &'a L1) -> Reader<'a> {
        Reader { l1, pinned: Pinned::new() }
    }

    /// First stage: asks for the table's line.
    #[inline]
    pub fn prefetch_slot(&self, hash: u64) {
        self.l1.tables[self.l1.shard(hash)].prefetch_slot(hash);
    }

    /// Second stage: asks for the record that the table's line leads to.
    #[inline]
    pub fn prefetch_record(&self, hash: u64) {
        self.l1.tables[self.l1.shard(hash)].prefetch_record(&self.pinned, hash);
    }

    /// The copy of this request if it is fresh at `now_ns` (it may say that the key is absent). Counts as a use.
    #[inline]
    pub fn get(&self, hash: u64, key: &[u8], kind: u32, tail: &[u8], now_ns: u64) -> Option<Hit<'_>> {
        let view = self.find(hash, key, kind, tail)?;
        (view.fresh_until() > now_ns).then(|| self.hit(view))
    }

    /// The copy of this request if it may be served in need at `now_s`; never one that says that the key is absent.
    pub fn get_stale(&self, hash: u64, key: &[u8], kind: u32, tail: &[u8], now_s: u32) -> Option<Hit<'_>> {
        let view = self.find(hash, key, kind, tail)?;
        (!view.is(ABSENT) && view.stale_until() > now_s).then(|| self.hit(view))
    }

    /// The copy of this request that is no longer fresh, but to be served at `now_ns` while it is renewed. Counts as a
    /// use.
    pub fn get_ahead(&self, hash: u64, key: &[u8], kind: u32, tail: &[u8], now_ns: u64) -> Option<Hit<'_>> {
        let view = self.find(hash, key, kind, tail)?;
        (view.is(AHEAD) && view.ends() > now_ns).then(|| self.hit(view))
    }

    #[inline]
    fn find(&self, hash: u64, key: &[u8], kind: u32, tail: &[u8]) -> Option<View<'_>> {
        let table = &self.l1.tables[self.l1.shard(hash)];
        let mut other_request = false;
        for view in table.candidates(&self.pinned, hash) {
            if view.hash() == hash {
                if view.answers(key, kind, tail) {
                    return Some(view);
                }
                other_request = true;
            }
        }
        if !other_request {
            return None;
        }
        let place = self.l1.place(hash, kind, tail);
        let mut candidates = table.candidates(&self.pinned, place);
        candidates.find(|view| view.hash() == place && view.answers(key, kind, tail))
    }

    #[inline]
    fn hit<'r>(&'r self, view: View<'r>) -> Hit<'r> {
        view.mark();
        if self.l1.policy.follows_hits() {
            let hash = view.hash();
            self.l1.writers[self.l1.shard(hash)].lock().promote(view.address());
        }
        Hit(view)
    }
}

/// A copy found, readable until its reader goes.
#[derive(Clone, Copy, Debug)]
pub struct Hit<'r>(View<'r>);

impl<'r> Hit<'r> {
    #[inline]
    pub fn reply(&self) -> &'r [u8] {
        self.0.reply()
    }

    /// Seconds.
    pub fn filled_at(&self) -> u32 {
        self.0.filled_at()
    }

    /// Nanoseconds.
    pub fn fresh_until(&self) -> u64 {
        self.0.fresh_until()
    }

    /// Recent hits, this one included, 3 at most.
    pub fn freq(&self) -> u8 {
        self.0.freq()
    }

    /// Whether the reply says that the key does not exist.
    pub fn absent(&self) -> bool {
        self.0.is(ABSENT)
    }

    /// Whether `every` seconds went by since this last said so, or since the fill: to one caller only. `now_s` and `every`
    /// count in the low 16 bits of the clock.
    #[inline]
    pub fn touch_due(&self, now_s: u16, every: u16) -> bool {
        let touched = self.0.touched();
        let last = touched.load(Relaxed);
        now_s.wrapping_sub(last) >= every && touched.compare_exchange(last, now_s, Relaxed, Relaxed).is_ok()
    }
}
