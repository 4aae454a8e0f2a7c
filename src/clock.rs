//! Time as the whole program counts it.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_BOOTTIME`.
///
/// Not the monotonic clock: that one stands still while a virtual machine is suspended, and a copy's lease
/// must run out during such a sleep.
pub fn now() -> u64 {
    let t = clock_gettime(ClockId::Boottime);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Whole seconds of a time given by [`now`]; 136 years fit.
pub fn seconds(nanos: u64) -> u32 {
    (nanos / 1_000_000_000) as u32
}

/// A duration in the unit of [`now`], saturating.
pub fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Seconds since the Unix epoch, for what people read.
pub fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
