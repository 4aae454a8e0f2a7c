//! The slow log: requests that took long from their arrival to their reply, whoever answered.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::resp::{Request, encode};

/// Arguments of a request that are kept, as in Redis.
const MAX_ARGUMENTS: usize = 32;
/// Bytes of an argument that are kept, as in Redis.
const MAX_ARGUMENT: usize = 128;

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// Strata itself.
    Strata,
    /// A copy.
    L1,
    /// Home.
    Home,
}

impl Answered {
    /// Its name as CACHE SLOWLOG says it; `home` is that of the tier that is home.
    pub fn name(self, home: &'static str) -> &'static str {
        match self {
            Answered::Strata => "strata",
            Answered::L1 => "l1",
            Answered::Home => home,
        }
    }
}

/// One request.
#[derive(Debug, Clone)]
pub struct Slow {
    /// Never given twice.
    pub id: u64,
    /// When it was answered, in seconds since the Unix epoch.
    pub at: u64,
    /// How long it took, in microseconds.
    pub micros: u64,
    /// Its arguments as an encoded array, as [`keep`] made it.
    pub request: Vec<u8>,
    /// The client's address.
    pub address: String,
    /// The client's name.
    pub name: Vec<u8>,
    /// Who answered it.
    pub answered: Answered,
}

/// See the module's text.
#[derive(Debug)]
pub struct SlowLog {
    /// Microseconds; negative: nothing is kept.
    slower_than: AtomicI64,
    max_len: AtomicUsize,
    next: AtomicU64,
    entries: Mutex<VecDeque<Slow>>,
}

impl SlowLog {
    /// Keeps the last `max_len` requests that took so many microseconds or more; negative: none.
    pub fn new(slower_than: i64, max_len: usize) -> Self {
        SlowLog {
            slower_than: AtomicI64::new(slower_than),
            max_len: AtomicUsize::new(max_len),
            next: AtomicU64::new(0),
            entries: Mutex::default(),
        }
    }

    /// Whether anything is kept.
    pub fn on(&self) -> bool {
        self.slower_than.load(Relaxed) >= 0
    }

    /// Whether everything is kept, however fast.
    pub fn every(&self) -> bool {
        self.slower_than.load(Relaxed) == 0
    }

    /// Whether a request that took so many nanoseconds is kept.
    pub fn wants(&self, took: u64) -> bool {
        u64::try_from(self.slower_than.load(Relaxed)).is_ok_and(|bound| took / 1_000 >= bound)
    }

    /// Changes what is kept; none: as it is.
    pub fn configure(&self, slower_than: Option<i64>, max_len: Option<usize>) {
        if let Some(micros) = slower_than {
            self.slower_than.store(micros, Relaxed);
        }
        if let Some(len) = max_len {
            self.max_len.store(len, Relaxed);
        }
    }

    /// The microseconds from which on requests are kept (negative: none), and how many.
    pub fn configured(&self) -> (i64, usize) {
        (self.slower_than.load(Relaxed), self.max_len.load(Relaxed))
    }

    /// Keeps a request; its number is given here.
    pub fn add(&self, slow: Slow) {
        let mut entries = self.entries.lock();
        let id = self.next.fetch_add(1, Relaxed);
        entries.push_front(Slow { id, ..slow });
        entries.truncate(self.max_len.load(Relaxed));
    }

    /// Requests kept.
    pub fn len(&self) -> usize {
        self.entries.lock().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The last ones, newest first.
    pub fn latest(&self, count: usize) -> Vec<Slow> {
        self.entries.lock().iter().take(count).cloned().collect()
    }

    /// Forgets all.
    pub fn reset(&self) {
        self.entries.lock().clear();
    }
}

/// Puts behind `out` what is kept of a request: its own bytes, if nothing is to be left out.
pub fn keep_raw(out: &mut Vec<u8>, request: &Request<'_>) {
    if request.len() <= MAX_ARGUMENTS && request.iter().all(|argument| argument.len() <= MAX_ARGUMENT) {
        out.extend_from_slice(request.raw());
    } else {
        keep(out, request.iter());
    }
}

/// Puts behind `out` what is kept of a request: an encoded array of its arguments, the same as Redis keeps.
pub fn keep<'a>(out: &mut Vec<u8>, arguments: impl ExactSizeIterator<Item = &'a [u8]>) {
    let count = arguments.len();
    let shown = if count > MAX_ARGUMENTS { MAX_ARGUMENTS - 1 } else { count };
    encode::array(out, count.min(MAX_ARGUMENTS));
    for argument in arguments.take(shown) {
        match argument.len().checked_sub(MAX_ARGUMENT) {
            None | Some(0) => encode::bulk(out, argument),
            Some(more) => {
                let rest = format!("... ({more} more bytes)");
                encode::bulk(out, &[&argument[..MAX_ARGUMENT], rest.as_bytes()].concat());
            }
        }
    }
    if shown < count {
        encode::bulk(out, format!("... ({} more arguments)", count - shown).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(micros: u64) -> Slow {
        let request = b"*1\r\n$4\r\nPING\r\n".to_vec();
        let (address, name) = (String::new(), Vec::new());
        Slow { id: 0, at: 0, micros, request, address, name, answered: Answered::Home }
    }

    #[test]
    fn the_last_ones_are_kept() {
        let log = SlowLog::new(10, 3);
        assert_eq!([9_999, 10_000].map(|took| log.wants(took)), [false, true]);
        (0..5).for_each(|n| log.add(slow(n)));
        let kept: Vec<_> = log.latest(2).iter().map(|s| (s.id, s.micros)).collect();
        assert_eq!((kept, log.len()), (vec![(4, 4), (3, 3)], 3));
        log.configure(Some(-1), Some(1));
        log.add(slow(9));
        assert_eq!((log.len(), log.on(), log.wants(u64::MAX)), (1, false, false));
        log.reset();
        log.add(slow(1));
        assert_eq!(log.latest(9)[0].id, 6);
    }

    #[test]
    fn long_requests_are_cut_as_redis_cuts_them() {
        let text = |arguments: &[&[u8]]| {
            let mut out = Vec::new();
            keep(&mut out, arguments.iter().copied());
            String::from_utf8(out).expect("text")
        };
        assert_eq!(text(&[b"a", &[b'x'; 128]]), format!("*2\r\n$1\r\na\r\n$128\r\n{}\r\n", "x".repeat(128)));
        assert!(text(&[&[b'x'; 130]]).ends_with("x... (2 more bytes)\r\n"));
        let (all, more) = (text(&[b"a".as_slice(); 32]), text(&[b"a".as_slice(); 33]));
        assert!(all.starts_with("*32\r\n") && all.ends_with("$1\r\na\r\n"));
        assert!(more.starts_with("*32\r\n") && more.ends_with("\r\na\r\n$22\r\n... (2 more arguments)\r\n"));
    }
}
