//! The circuit breaker of a node: after a failure nobody dials before the back-off has passed.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::clock;

/// Shared by everything that dials one node, so that a dead node is dialed once a pause and not by everybody.
#[derive(Debug)]
pub struct Breaker {
    builder: ExponentialBuilder,
    open_until: AtomicU64,
    trouble: Mutex<Option<Trouble>>,
    closed: Notify,
}

#[derive(Debug)]
struct Trouble {
    pauses: ExponentialBackoff,
    since: u64,
    reason: String,
}

/// Why a request cannot be sent, and when the next attempt is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    /// What the last attempt met.
    pub reason: String,
    /// Until the next attempt.
    pub retry_in: Duration,
}

impl Breaker {
    /// `first` is the first pause, doubled up to `most`, each with jitter.
    pub fn new(first: Duration, most: Duration) -> Self {
        let builder = ExponentialBuilder::default()
            .with_min_delay(first)
            .with_max_delay(most)
            .with_factor(2.0)
            .without_max_times()
            .with_jitter();
        Breaker { builder, open_until: AtomicU64::new(0), trouble: Mutex::new(None), closed: Notify::new() }
    }

    /// Whether an attempt may be made now.
    ///
    /// # Errors
    /// The breaker is open: the reason and the time until the next attempt.
    pub fn check(&self) -> Result<(), Unreachable> {
        let (until, now) = (self.open_until.load(Relaxed), clock::now());
        if now >= until {
            return Ok(());
        }
        let reason = self.trouble.lock().as_ref().map_or_else(String::new, |t| t.reason.clone());
        Err(Unreachable { reason, retry_in: Duration::from_nanos(until - now) })
    }

    /// Waits until an attempt may be made.
    pub async fn allowed(&self) {
        loop {
            let closed = self.closed.notified();
            match self.check() {
                Ok(()) => return,
                Err(open) => drop(timeout(open.retry_in, closed).await),
            }
        }
    }

    /// An attempt failed: opens the breaker for the next pause, which is returned.
    pub fn failed(&self, reason: &str) -> Duration {
        let mut trouble = self.trouble.lock();
        let now = clock::now();
        let t = trouble.get_or_insert_with(|| Trouble {
            pauses: self.builder.build(),
            since: now,
            reason: String::new(),
        });
        reason.clone_into(&mut t.reason);
        let until = self.open_until.load(Relaxed);
        if until > now {
            return Duration::from_nanos(until - now);
        }
        let pause = t.pauses.next().unwrap_or_default();
        self.open_until.store(now + clock::nanos(pause), Relaxed);
        pause
    }

    /// An attempt succeeded: closed again. Returns for how long it had been in trouble.
    pub fn succeeded(&self) -> Option<Duration> {
        let trouble = self.trouble.lock().take();
        self.open_until.store(0, Relaxed);
        if trouble.is_some() {
            self.closed.notify_waiters();
        }
        trouble.map(|t| Duration::from_nanos(clock::now().saturating_sub(t.since)))
    }

    /// What failed says nothing of further attempts: closed again.
    pub fn reset(&self) {
        self.succeeded();
    }

    /// Since when there has been trouble ([`clock::now`]).
    pub fn since(&self) -> Option<u64> {
        self.trouble.lock().as_ref().map(|t| t.since)
    }

    /// The reason of the present trouble.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().as_ref().map(|t| t.reason.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_success_closes() {
        let breaker = Breaker::new(Duration::from_millis(2), Duration::from_millis(8));
        assert_eq!(breaker.check(), Ok(()));
        let mut pauses = Vec::new();
        for _ in 0..4 {
            pauses.push(breaker.failed("refused"));
            let open = breaker.check().expect_err("open");
            assert_eq!(open.reason, "refused");
            std::thread::sleep(open.retry_in + Duration::from_millis(1));
            assert_eq!(breaker.check(), Ok(()));
        }
        assert!(pauses[0] >= Duration::from_millis(2) && pauses[1] >= Duration::from_millis(4));
        assert!(pauses.iter().all(|p| *p <= Duration::from_millis(16)));
        assert!(breaker.succeeded().is_some());
        assert_eq!((breaker.check(), breaker.trouble()), (Ok(()), None));
    }

    #[tokio::test]
    async fn who_waits_goes_on_when_it_closes() {
        let breaker = Breaker::new(Duration::from_secs(60), Duration::from_secs(60));
        breaker.allowed().await;
        breaker.failed("refused");
        let closing = async {
            tokio::task::yield_now().await;
            breaker.reset();
        };
        tokio::join!(breaker.allowed(), closing);
        assert_eq!((breaker.check(), breaker.trouble()), (Ok(()), None));
    }

    #[test]
    fn failures_within_one_pause_count_once() {
        let breaker = Breaker::new(Duration::from_secs(10), Duration::from_secs(60));
        let first = breaker.failed("a");
        let second = breaker.failed("b");
        assert!(second <= first);
        assert_eq!(breaker.trouble().as_deref(), Some("b"));
    }
}
