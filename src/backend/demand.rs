//! Whether announcements are worth what they cost.
//!
//! Home announces every write to the guard, read here or not. With 50 clients that write 100,000 random keys this
//! costs redis-server 7.0 a factor of 1.12 (depth 1) to 1.5 (depth 64) of its CPU time per SET, and strata about as
//! much again. A hit saves a whole read at home. So while writes far outnumber the reads that could be answered
//! here, the guard rests: nothing is announced, nothing copied, and every read goes home.

/// Announcements a look below which they cost next to nothing.
const FEW: u64 = 256;
/// What a hit saves, in announcements.
const HIT: u64 = 8;
/// Looks in a row that must find too little use before the guard rests.
const PATIENCE: u32 = 4;
/// Looks that it rests at least, after it has been awake in vain again and again: about a minute.
const LONGEST_REST: u32 = 256;

/// The judge; it looks at the counters at regular intervals, four times a second.
#[derive(Debug, Default)]
pub(super) struct Demand {
    seen: Reads,
    /// Looks in a row that found too little use.
    idle: u32,
    /// Looks that are still to be rested.
    rest: u32,
    /// The last rest; the next is longer, unless the guard was of use in between.
    last_rest: u32,
    /// Announcements a look when the guard went to rest. Fades, as nobody counts what is not announced.
    announced: u64,
}

/// Cacheable reads so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reads {
    /// Answered from copies.
    pub hits: u64,
    /// Not answered from copies.
    pub misses: u64,
}

impl Demand {
    /// One look while the guard is awake, with the keys announced since the last. False: it should rest.
    pub(super) fn stays_awake(&mut self, reads: Reads, announced: u64) -> bool {
        let (hits, misses) = self.since(reads);
        if announced < FEW || hits.saturating_mul(HIT).saturating_add(misses) >= announced {
            self.idle = 0;
            self.last_rest /= 2;
            return true;
        }
        self.idle += 1;
        if self.idle < PATIENCE {
            return true;
        }
        self.idle = 0;
        self.last_rest = (self.last_rest * 2).clamp(PATIENCE, LONGEST_REST);
        self.rest = self.last_rest;
        self.announced = announced;
        false
    }

    /// One look while it rests. True: it should wake, as the reads might be worth it if they were hits.
    pub(super) fn wakes(&mut self, reads: Reads) -> bool {
        let (_, misses) = self.since(reads);
        self.announced -= self.announced.div_ceil(8);
        self.rest = self.rest.saturating_sub(1);
        self.rest == 0 && misses > 0 && misses.saturating_mul(HIT) >= self.announced
    }

    fn since(&mut self, reads: Reads) -> (u64, u64) {
        let before = std::mem::replace(&mut self.seen, reads);
        (reads.hits.wrapping_sub(before.hits), reads.misses.wrapping_sub(before.misses))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks with `hits` and `misses` each until the guard rests.
    fn looks_until_rest(demand: &mut Demand, hits: u64, misses: u64, announced: u64) -> Option<u32> {
        (1..100).find(|_| {
            let reads = Reads { hits: demand.seen.hits + hits, misses: demand.seen.misses + misses };
            !demand.stays_awake(reads, announced)
        })
    }

    fn looks_until_awake(demand: &mut Demand, misses: u64) -> Option<u32> {
        (1..1000).find(|_| demand.wakes(Reads { misses: demand.seen.misses + misses, ..demand.seen }))
    }

    #[test]
    fn it_rests_while_writes_far_outnumber_hits() {
        let looks =
            |hits, misses, announced| looks_until_rest(&mut Demand::default(), hits, misses, announced);
        assert_eq!(looks(0, 0, 25_000), Some(PATIENCE));
        assert_eq!(looks(100, 100, 25_000), Some(PATIENCE));
        // Reads as many as writes, or hits for an eighth of them.
        assert_eq!(looks(0, 25_000, 25_000), None);
        assert_eq!(looks(3_200, 0, 25_000), None);
        // So few writes that they cost nothing.
        assert_eq!(looks(0, 0, FEW - 1), None);
    }

    #[test]
    fn reads_wake_it_once_they_could_be_worth_it() {
        let mut demand = Demand::default();
        looks_until_rest(&mut demand, 0, 0, 25_000).expect("rest");
        assert_eq!(looks_until_awake(&mut demand, 0), None);
        let mut demand = Demand::default();
        looks_until_rest(&mut demand, 0, 0, 25_000).expect("rest");
        assert_eq!(looks_until_awake(&mut demand, 3_200), Some(PATIENCE));
        let mut demand = Demand::default();
        looks_until_rest(&mut demand, 0, 0, 25_000).expect("rest");
        // A few reads do so when the writes are long past.
        let looks = looks_until_awake(&mut demand, 10).expect("awake");
        assert!((30..60).contains(&looks), "{looks}");
    }

    #[test]
    fn vain_wakings_grow_rare_and_use_forgives() {
        let mut demand = Demand::default();
        let mut rests = Vec::new();
        for _ in 0..9 {
            looks_until_rest(&mut demand, 0, 4_000, 25_000).expect("rest");
            rests.push(looks_until_awake(&mut demand, 4_000).expect("awake"));
        }
        assert_eq!(rests, [4, 8, 16, 32, 64, 128, 256, 256, 256]);
        assert_eq!(looks_until_rest(&mut demand, 25_000, 0, 25_000), None);
        looks_until_rest(&mut demand, 0, 0, 25_000).expect("rest");
        assert_eq!(looks_until_awake(&mut demand, 25_000), Some(PATIENCE));
    }
}
