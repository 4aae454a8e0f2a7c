//! L1: copies of replies in the memory of this process, shared by all its threads.
//!
//! A copy is known by its key, its kind (command, protocol and database, as one number) and its tail (the other arguments);
//! removing a key removes all its copies. A look-up takes no lock and allocates nothing: it probes a table whose words are
//! records ([`table`]), compares, and reads in place while the epoch is pinned. Changes are made under a shard's lock
//! ([`shard`]), within one byte budget for all shards ([`budget`]), in the order a policy chooses ([`eviction`]). What is
//! unlinked is freed when no reader can look at it any more ([`reclaim`]).

mod budget;
mod eviction;
mod ghost;
mod lru;
mod memory;
mod presence;
mod reader;
mod reclaim;
mod record;
mod s3fifo;
mod shard;
mod slab;
mod table;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crossbeam_utils::CachePadded;
use foldhash::quality::RandomState;
use parking_lot::Mutex;

use budget::Budget;
use presence::Presence;
use reclaim::{Pinned, collect};
use record::{ABSENT, Draft, Unseated, View};
use shard::{Edit, Writer};
use table::Table;

pub use eviction::Policy;
pub use reader::{Hit, Reader};

/// The top bits of a key's hash choose its shard, and are the same in the hashes of all its copies.
const SHARD_BITS: u32 = 6;
const MAX_SHARDS: usize = 1 << SHARD_BITS;
/// Bytes of budget that are worth a shard of their own.
const SHARD_BYTES: usize = 512 * 1024;
/// Records above this are freed as soon as they can be, not when there is enough garbage.
const BIG: usize = 8 * 1024;
/// Slots looked at before a background walk lets go of a shard's lock.
const SLICE: u32 = 64;

/// How an [`L1`] is made.
#[derive(Clone, Copy, Debug)]
pub struct L1Options {
    /// Bytes for records and all that leads to them, overhead included.
    pub max_bytes: usize,
    pub policy: Policy,
    /// Rounded up to a power of two, at most 64. None: one for each 512 KB.
    pub shards: Option<usize>,
}

/// A reply to keep. Times are of one monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Fill<'a> {
    /// [`L1::hash`] of `key`.
    pub hash: u64,
    pub key: &'a [u8],
    /// Command, protocol and database, as the caller encodes them.
    pub kind: u32,
    /// The arguments besides the key, as the caller encodes them.
    pub tail: &'a [u8],
    pub reply: &'a [u8],
    /// Nanoseconds; [`Reader::get`] serves the copy before that.
    pub fresh_until: u64,
    /// Seconds, rounded down; [`Reader::get_stale`] serves the copy before that.
    pub stale_until: u32,
    /// The reply says that the key does not exist.
    pub absent: bool,
    /// Seconds; the present time.
    pub filled_at: u32,
    /// Nanoseconds after `fresh_until` for which [`Reader::get_ahead`] serves the copy, while it is renewed.
    pub ahead: u64,
}

/// What an operator sees of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyInfo {
    pub kind: u32,
    pub tail: Vec<u8>,
    pub reply_len: usize,
    /// Seconds.
    pub filled_at: u32,
    /// Nanoseconds; the end of its life.
    pub ends: u64,
    /// Seconds.
    pub stale_until: u32,
    pub absent: bool,
    /// Recent hits, 3 at most.
    pub freq: u8,
}

impl CopyInfo {
    fn of(view: View<'_>) -> CopyInfo {
        CopyInfo {
            kind: view.kind(),
            tail: view.tail().to_vec(),
            reply_len: view.reply().len(),
            filled_at: view.filled_at(),
            ends: view.ends(),
            stale_until: view.stale_until(),
            absent: view.is(ABSENT),
            freq: view.freq(),
        }
    }
}

/// The state of an [`L1`]. Each number is exact at some recent moment, not all at the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct L1Stats {
    /// Bytes in use, overhead included.
    pub bytes: usize,
    pub max_bytes: usize,
    /// Bytes that are dropped but that a reader may still look at; not part of `bytes`.
    pub garbage_bytes: usize,
    /// Bytes of the look-up tables; part of `bytes`.
    pub table_bytes: usize,
    pub entries: usize,
    pub shards: usize,
    /// Copies that made room for others, since the start.
    pub evictions: u64,
    /// Copies that [`L1::sweep`] removed, since the start.
    pub expired: u64,
    /// Fills not kept, since the start: too big, or readers hold too much garbage.
    pub refused: u64,
}

/// How far an [`L1::visit`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    shard: u32,
    below: u32,
}

impl Cursor {
    pub const START: Cursor = Cursor { shard: 0, below: u32::MAX };
}

/// The store of reply copies. See the module.
#[derive(Debug)]
pub struct L1 {
    /// Apart from the writers, so that their locks don't disturb the readers' cache lines.
    tables: Box<[Table]>,
    presence: Box<[Presence]>,
    writers: Box<[CachePadded<Mutex<Writer>>]>,
    budget: Arc<Budget>,
    hasher: RandomState,
    policy: Policy,
    swept: Mutex<Cursor>,
}

impl L1 {
    pub fn new(options: L1Options) -> L1 {
        let shards = options.shards.unwrap_or(options.max_bytes / SHARD_BYTES);
        let shards = shards.clamp(1, MAX_SHARDS).next_power_of_two();
        let (tables, rights): (Vec<_>, Vec<_>) = (0..shards).map(|_| Table::new()).unzip();
        let writer = |right| CachePadded::new(Mutex::new(Writer::new(right, options.policy)));
        let l1 = L1 {
            tables: tables.into(),
            presence: (0..shards).map(|_| Presence::new()).collect(),
            writers: rights.into_iter().map(writer).collect(),
            budget: Arc::new(Budget::new(options.max_bytes)),
            hasher: RandomState::default(),
            policy: options.policy,
            swept: Mutex::new(Cursor::START),
        };
        // Each edit ends with the shard stating its bytes; an empty one has some, too.
        (0..shards).for_each(|shard| l1.edit(shard, |_| ()));
        l1
    }

    /// The hash of a key, keyed at random for each process.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        hasher.finish()
    }

    /// The hash of an identity: where a copy sits that is not its key's first.
    fn place(&self, hash: u64, kind: u32, tail: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(hash);
        hasher.write_u32(kind);
        hasher.write(tail);
        let shard = u64::MAX << (u64::BITS - SHARD_BITS);
        (hasher.finish() & !shard) | (hash & shard)
    }

    #[inline]
    fn shard(&self, hash: u64) -> usize {
        (hash >> (u64::BITS - SHARD_BITS)) as usize & (self.tables.len() - 1)
    }

    /// Looks copies up, for one batch of requests: what is removed meanwhile is not freed before the reader goes.
    #[inline]
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(self)
    }

    /// Keeps a reply, in place of an older one to the same request. False: refused, because it is larger than an eighth of
    /// the budget or because readers hold as much garbage. Don't hold a [`Reader`] meanwhile: nothing could be freed.
    pub fn insert(&self, fill: &Fill<'_>) -> bool {
        self.insert_if(fill, || true) == Some(true)
    }

    /// As [`L1::insert`], if `valid` says so under the shard's lock: whoever makes it say no and then removes the key
    /// leaves no copy behind. None: it said no.
    pub fn insert_if(&self, fill: &Fill<'_>, valid: impl FnOnce() -> bool) -> Option<bool> {
        let Fill { hash, key, kind, tail, reply, fresh_until, stale_until, absent, filled_at, ahead } = *fill;
        let draft = Draft { key, kind, tail, reply, fresh_until, stale_until, filled_at, absent, ahead };
        let Some(need) = self.admit(&draft) else {
            self.budget.refused.fetch_add(1, Relaxed);
            return Some(false);
        };
        let shard = self.shard(hash);
        let place = self.place(hash, kind, tail);
        if need > BIG {
            // First free, then allocate.
            self.edit(shard, |edit| self.make_room(edit, shard, need, filled_at));
            collect(&self.budget, 0, 2);
        }
        let copy = Unseated::new(&draft);
        let kept = self.edit(shard, |edit| {
            edit.presence.up(hash);
            if !valid() {
                edit.presence.down(hash);
                return false;
            }
            self.make_room(edit, shard, need, filled_at);
            if !edit.insert(fill, place, copy) {
                edit.presence.down(hash);
            }
            self.make_room(edit, shard, 0, filled_at);
            true
        });
        self.tidy();
        kept.then_some(true)
    }

    /// Whether there are copies of keys of this hash. Unlike a look-up it never misses one that is being moved.
    pub fn contains(&self, hash: u64) -> bool {
        let shard = self.shard(hash);
        self.presence[shard].possible(hash) && self.edit(shard, |edit| edit.contains(hash))
    }

    /// The bytes that a copy will take, if it may be kept.
    fn admit(&self, draft: &Draft<'_>) -> Option<usize> {
        let largest = self.budget.largest_entry().min(u32::MAX as usize);
        let need = draft.footprint();
        let bearable = self.budget.garbage_to_refuse();
        collect(&self.budget, bearable, 16);
        (need <= largest && self.budget.garbage() <= bearable).then_some(need)
    }

    /// Evicts until `need` more bytes fit: from the locked shard down to half of a fair share, then from the others that are
    /// not locked just now; if that is not enough, from whatever is left, in the same order.
    fn make_room(&self, own: &mut Edit<'_>, shard: usize, need: usize, now_s: u32) {
        let shards = self.writers.len();
        for floor in [self.budget.max() / shards / 2, 0] {
            own.evict(need, floor, now_s);
            for other in (1..shards).map(|step| (shard + step) % shards) {
                if self.budget.excess(need) == 0 {
                    return;
                }
                if let Some(mut writer) = self.writers[other].try_lock() {
                    let pinned = own.pinned;
                    let (table, presence) = (&self.tables[other], &self.presence[other]);
                    let mut edit = Edit::new(table, presence, &mut writer, pinned, &self.budget);
                    edit.evict(need, floor, now_s);
                }
            }
        }
    }

    /// Changes a shard, under its lock; pinned no longer than that, because nothing is freed meanwhile.
    fn edit<R>(&self, shard: usize, change: impl FnOnce(&mut Edit<'_>) -> R) -> R {
        let mut writer = self.writers[shard].lock();
        let pinned = Pinned::new();
        let (table, presence) = (&self.tables[shard], &self.presence[shard]);
        let mut edit = Edit::new(table, presence, &mut writer, &pinned, &self.budget);
        change(&mut edit)
    }

    /// Frees what can be freed, if it is worth it.
    fn tidy(&self) {
        collect(&self.budget, self.budget.garbage_to_collect(), 2);
    }

    /// Removes all copies of the keys of this hash, and returns how many there were. A [`Reader`] made when this has
    /// returned sees none of them.
    pub fn remove(&self, hash: u64) -> usize {
        let shard = self.shard(hash);
        if !self.presence[shard].possible(hash) {
            return 0;
        }
        let removed = self.edit(shard, |edit| edit.remove(hash));
        if removed > 0 {
            self.tidy();
        }
        removed
    }

    /// Removes all copies and returns how many there were. What is inserted meanwhile may stay.
    pub fn clear(&self) -> usize {
        let mut removed = 0;
        for shard in 0..self.writers.len() {
            removed += self.edit(shard, |edit| edit.clear());
            self.tidy();
        }
        removed
    }

    /// All copies of a key, fresh or not, the first one first.
    pub fn copies_of(&self, key: &[u8]) -> Vec<CopyInfo> {
        let hash = self.hash(key);
        self.edit(self.shard(hash), |edit| edit.copies(hash, key))
    }

    /// Shows the keys of about `budget` copies to `matches`, which says whether all copies of that key go. A key may be
    /// shown more than once; one that was there from start to end is shown. Returns where to go on, None at the end.
    ///
    /// A shard is locked for 64 copies at a time; `matches` runs under the lock and must not use this L1.
    pub fn visit(
        &self,
        from: Cursor,
        budget: usize,
        mut matches: impl FnMut(&[u8]) -> bool,
    ) -> Option<Cursor> {
        self.walk(from, budget, |edit, below| edit.visit(below, SLICE, |key| self.hash(key), &mut matches))
    }

    /// Removes expired copies among the next `budget` ones, from where the last call ended, and returns how many. To be
    /// called in the background, often enough to come round within the life of a copy.
    pub fn sweep(&self, now_ns: u64, budget: usize) -> usize {
        let Some(mut swept) = self.swept.try_lock() else {
            return 0;
        };
        let now_s = (now_ns / record::NS_PER_S) as u32;
        let mut removed = 0;
        let next = self.walk(*swept, budget, |edit, below| {
            let (next, expired) = edit.sweep(below, SLICE, now_s);
            removed += expired;
            next
        });
        *swept = next.unwrap_or(Cursor::START);
        removed
    }

    /// Walks over slots in slices, each with its shard locked anew.
    fn walk(
        &self,
        from: Cursor,
        budget: usize,
        mut slice: impl FnMut(&mut Edit<'_>, u32) -> u32,
    ) -> Option<Cursor> {
        let Cursor { mut shard, mut below } = from;
        for _ in 0..budget.div_ceil(SLICE as usize) {
            if shard as usize >= self.writers.len() {
                return None;
            }
            below = self.edit(shard as usize, |edit| slice(edit, below));
            self.tidy();
            if below == 0 {
                shard += 1;
                below = u32::MAX;
            }
        }
        ((shard as usize) < self.writers.len()).then_some(Cursor { shard, below })
    }

    /// Sizes and counters; takes no lock.
    pub fn stats(&self) -> L1Stats {
        let budget = &self.budget;
        L1Stats {
            bytes: budget.used(),
            max_bytes: budget.max(),
            garbage_bytes: budget.garbage(),
            table_bytes: self.tables.iter().map(Table::bytes).sum(),
            entries: budget.entries(),
            shards: self.tables.len(),
            evictions: budget.evictions.load(Relaxed),
            expired: budget.expired.load(Relaxed),
            refused: budget.refused.load(Relaxed),
        }
    }
}
