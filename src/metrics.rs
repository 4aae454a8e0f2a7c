//! Counters of the program, kept per worker and summed when somebody looks.
//!
//! A worker owns a [`Counters`] block: it alone writes it (a plain load and store, no locked instruction, no
//! cache line shared with another writer). [`Metrics`] sums the blocks and is a `prometheus` collector, so the
//! registry, STATS and INFO read the same numbers.

mod latency;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts};

pub use latency::{Latency, LatencySummary};

/// A number with one writing thread and any number of readers.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    const fn zero() -> Self {
        Count(AtomicU64::new(0))
    }

    /// Adds `n`; only the owning thread may call this.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Adds one from any thread: for blocks that several threads share, off the hot path.
    pub fn bump(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident => $tier:literal, $event:literal;)*) => {
        /// The counters of one thread.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Count,)*
            /// Time to answer a hit of L1.
            pub l1_get: Latency,
            /// Time to store a copy.
            pub l1_set: Latency,
            /// Time of a hit of L2, from sending to reply.
            pub l2_get: Latency,
            /// Time of a read at home, from sending to reply.
            pub home_get: Latency,
            /// Time of a write at home, from sending to reply.
            pub home_set: Latency,
        }

        /// The sums over all threads.
        #[derive(Debug, Default, Clone)]
        pub struct Totals {
            $($(#[$doc])* pub $name: u64,)*
            /// Time to answer a hit of L1.
            pub l1_get: LatencySummary,
            /// Time to store a copy.
            pub l1_set: LatencySummary,
            /// Time of a hit of L2, from sending to reply.
            pub l2_get: LatencySummary,
            /// Time of a read at home, from sending to reply.
            pub home_get: LatencySummary,
            /// Time of a write at home, from sending to reply.
            pub home_set: LatencySummary,
        }

        impl Totals {
            fn absorb(&mut self, block: &Counters) {
                $(self.$name += block.$name.get();)*
                self.l1_get.absorb(&block.l1_get);
                self.l1_set.absorb(&block.l1_set);
                self.l2_get.absorb(&block.l2_get);
                self.home_get.absorb(&block.home_get);
                self.home_set.absorb(&block.home_set);
            }

            /// Every counter as (tier, event, value).
            pub fn events(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$(($tier, $event, self.$name)),*]
            }
        }
    };
}

counters! {
    /// Commands received from clients.
    commands => "proxy", "commands";
    /// Error replies made by strata itself.
    errors => "proxy", "errors";
    /// Clients accepted.
    connections => "proxy", "connections";
    /// Clients refused because of `server.max_clients`.
    rejected => "proxy", "rejected";
    /// Bytes read from clients.
    bytes_in => "proxy", "bytes_in";
    /// Bytes written to clients.
    bytes_out => "proxy", "bytes_out";
    /// Reads answered from copies.
    l1_hits => "l1", "hits";
    /// Cacheable reads that no copy answered.
    l1_misses => "l1", "misses";
    /// Copies stored.
    l1_fills => "l1", "fills";
    /// Replies that a fence kept out.
    l1_fenced => "l1", "fenced";
    /// Replies not stored: uncacheable reply, no lifetime left, or not admitted.
    l1_refused => "l1", "refused";
    /// Copies dropped because of a write through this process, or by CACHE INVALIDATE.
    l1_deletes => "l1", "deletes";
    /// Invalidations from home that named a key.
    l1_invalidations => "l1", "invalidations";
    /// Times all copies were dropped at once.
    l1_flushes => "l1", "flushes";
    /// Unvouched copies served under `stale_if_error`.
    l1_stale => "l1", "stale_served";
    /// Copies renewed before they ended.
    l1_renewed => "l1", "renewed";
    /// Reads that waited for another client's flight.
    flight_joins => "l1", "joined";
    /// Reads answered from copies in L2.
    l2_hits => "l2", "hits";
    /// Reads that L2 was asked for and that went home.
    l2_misses => "l2", "misses";
    /// Reads that L2 was not asked for: something about the key was outstanding, or asking was not worth it.
    l2_passed_by => "l2", "passed_by";
    /// Reads that waited for another process to fill a copy.
    l2_waits => "l2", "waited";
    /// Copies stored in L2.
    l2_fills => "l2", "fills";
    /// Copies that L2 refused: their nonce or epoch was gone, or another was faster.
    l2_refused => "l2", "refused";
    /// Claims to fill a copy that were given up.
    l2_abandoned => "l2", "abandoned";
    /// Keys deleted in L2 because they changed.
    l2_deletes => "l2", "deletes";
    /// Requests that L2 did not answer.
    l2_failures => "l2", "failures";
    /// Bytes of replies answered from L2.
    l2_bytes_read => "l2", "bytes_read";
    /// Bytes of records offered to L2.
    l2_bytes_filled => "l2", "bytes_filled";
    /// Reads sent home.
    home_reads => "home", "reads";
    /// Reads that home answered with a value.
    home_hits => "home", "hits";
    /// Reads that home answered with "absent".
    home_misses => "home", "misses";
    /// Reads that a replica answered.
    replica_reads => "home", "replica_reads";
    /// Reads that policies leave to replicas, and that the master had to answer.
    replica_misses => "home", "replica_misses";
    /// Commands that write, sent home.
    home_sets => "home", "sets";
    /// Of these, commands that delete.
    home_deletes => "home", "deletes";
    /// Requests that home did not answer: lost connection, time-out, unreachable.
    home_failures => "home", "failures";
    /// Requests sent home again after a lost connection.
    home_retries => "home", "retries";
    /// Requests sent on to another node of a cluster.
    home_redirects => "home", "redirects";
    /// Keys looked up in the database below home.
    l4_loads => "l4", "loads";
    /// Of these, found.
    l4_hits => "l4", "hits";
    /// Of these, not there.
    l4_misses => "l4", "misses";
    /// Of these, not answered.
    l4_failures => "l4", "failures";
    /// Confirmations asked of the guard connection.
    guard_fences => "home", "fences";
    /// Connections made to home.
    home_connects => "home", "connects";
    /// Values compressed on their way home.
    packed => "home", "compressed";
    /// Their bytes.
    packed_from => "home", "compressed_from_bytes";
    /// What was left of them.
    packed_to => "home", "compressed_to_bytes";
    /// Nanoseconds spent on it, and on trying.
    packing_nanos => "home", "compressing_nanoseconds";
    /// Values of home that were decompressed.
    unpacked => "home", "decompressed";
    /// Nanoseconds spent on it.
    unpacking_nanos => "home", "decompressing_nanoseconds";
}

/// All counter blocks of the process.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    blocks: Arc<Mutex<Vec<Arc<Counters>>>>,
}

impl Metrics {
    /// A new block for a thread.
    pub fn block(&self) -> Arc<Counters> {
        let block = Arc::new(Counters::default());
        self.blocks.lock().push(block.clone());
        block
    }

    /// The sums now.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for block in self.blocks.lock().iter() {
            totals.absorb(block);
        }
        totals
    }

    /// Cacheable reads so far: those that copies answered, and the others.
    pub fn reads(&self) -> (u64, u64) {
        let blocks = self.blocks.lock();
        let (l1, missed, l2) = blocks.iter().fold((0, 0, 0), |(hits, misses, l2), b| {
            (hits + b.l1_hits.get(), misses + b.l1_misses.get(), l2 + b.l2_hits.get())
        });
        // Of what L1 missed L2 may have answered some, and the two are not read at one moment.
        (l1 + l2, missed.saturating_sub(l2))
    }

    /// A registry with everything that is counted.
    ///
    /// # Errors
    /// When a metric is registered twice.
    pub fn registry(&self) -> prometheus::Result<prometheus::Registry> {
        let registry = prometheus::Registry::new();
        registry.register(Box::new(Exporter::new(self.clone())?))?;
        Ok(registry)
    }
}

/// Hands the sums to `prometheus`.
struct Exporter {
    metrics: Metrics,
    events: IntCounterVec,
    latency: IntGaugeVec,
}

impl Exporter {
    fn new(metrics: Metrics) -> prometheus::Result<Self> {
        let events = Opts::new("strata_events_total", "Events by tier and kind.");
        let latency = Opts::new("strata_latency_nanoseconds", "Latency quantiles by operation.");
        Ok(Exporter {
            metrics,
            events: IntCounterVec::new(events, &["tier", "event"])?,
            latency: IntGaugeVec::new(latency, &["operation", "quantile"])?,
        })
    }
}

impl Collector for Exporter {
    fn desc(&self) -> Vec<&Desc> {
        let mut all = self.events.desc();
        all.extend(self.latency.desc());
        all
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let totals = self.metrics.totals();
        self.events.reset();
        for (tier, event, value) in totals.events() {
            self.events.with_label_values(&[tier, event]).inc_by(value);
        }
        let operations = [
            ("l1_get", &totals.l1_get),
            ("l1_set", &totals.l1_set),
            ("l2_get", &totals.l2_get),
            ("home_get", &totals.home_get),
            ("home_set", &totals.home_set),
        ];
        for (operation, summary) in operations {
            for (name, q) in [("0.5", 0.5), ("0.99", 0.99)] {
                let value = i64::try_from(summary.quantile(q)).unwrap_or(i64::MAX);
                self.latency.with_label_values(&[operation, name]).set(value);
            }
        }
        let mut families = self.events.collect();
        families.extend(self.latency.collect());
        families
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_over_all_blocks() {
        let metrics = Metrics::default();
        let (a, b) = (metrics.block(), metrics.block());
        a.l1_hits.add(3);
        b.l1_hits.add(4);
        a.home_get.record(1_000, 9);
        b.home_get.record(1_000_000, 1);
        let totals = metrics.totals();
        assert_eq!(totals.l1_hits, 7);
        assert_eq!((totals.home_get.count, totals.home_get.sum), (10, 1_009_000));
        assert!((1_000..1_300).contains(&totals.home_get.quantile(0.5)));
        assert!((1_000_000..1_300_000).contains(&totals.home_get.quantile(0.99)));
        let families = metrics.registry().expect("registry").gather();
        assert_eq!(
            families.iter().map(|f| f.name()).collect::<Vec<_>>(),
            ["strata_events_total", "strata_latency_nanoseconds"]
        );
    }
}
