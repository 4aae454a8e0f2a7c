//! What goes wrong during a run.

use std::thread;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use crate::support::{Direction, Part, Relay, Strata};

/// Longer than the lease of 1 s.
const SILENCE_MILLIS: std::ops::Range<u64> = 1_300..2_100;

/// One kind of fault, and whom it hits: a way to home (a proxy's, or that to a node), a proxy, or a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connections on a way break, and for a moment new ones do too.
    Cut(usize),
    /// They stay open and carry nothing one way, or both ways.
    Silence(usize, Option<Direction>),
    /// Some of them stay open and never carry anything again.
    HalfOpen(usize),
    /// They are slow.
    Slow(usize),
    /// Home stops for longer than the lease.
    PauseHome,
    RestartHome,
    KillHome,
    /// Home closes the connections of all proxies.
    DropConnections,
    /// A proxy stops for longer than the lease.
    PauseProxy(usize),
    KillProxy(usize),
    /// The store that the proxies of a node share ends, and comes back empty.
    KillL2(usize),
    /// It stops for longer than the lease.
    PauseL2(usize),
    /// A master ends, and one of its replicas takes its place.
    KillMaster,
    /// A master stops for so long that one of its replicas takes its place.
    ReplaceMaster,
    /// A master stops for longer than the lease, and is still master when it goes on.
    PauseMaster,
    /// CLUSTER FAILOVER.
    Failover,
    /// Slots of registers go to other nodes, with the keys that are there.
    MoveSlots,
    FlushL2,
}

pub(super) fn silence(random: &mut StdRng) -> Duration {
    Duration::from_millis(random.random_range(SILENCE_MILLIS))
}

pub(super) fn moment(random: &mut StdRng) -> Duration {
    Duration::from_millis(random.random_range(20..400))
}

/// The connections of proxies; those of servers among themselves go on.
const PROXIES_OWN: [Part; 3] = [Part::Guard, Part::Lane2, Part::Lane3];

/// Inflicts a fault of a way. False if it is none.
pub(super) fn on_the_way(fault: Fault, relays: &[&Relay], random: &mut StdRng) -> bool {
    let (silence, moment) = (silence(random), moment(random));
    match fault {
        Fault::Cut(way) => {
            relays[way].refuse(true);
            PROXIES_OWN.iter().for_each(|&part| relays[way].cut_part(part));
            thread::sleep(moment);
            relays[way].refuse(false);
        }
        Fault::Silence(way, direction) => {
            let ways = direction.map_or(vec![Direction::Requests, Direction::Replies], |one| vec![one]);
            let stall = |stalled: bool| {
                for &direction in &ways {
                    PROXIES_OWN.iter().for_each(|&part| relays[way].stall_part(part, direction, stalled));
                }
            };
            stall(true);
            thread::sleep(silence);
            // What was held is lost, or comes late.
            if random.random() {
                PROXIES_OWN.iter().for_each(|&part| relays[way].cut_part(part));
            }
            stall(false);
        }
        Fault::HalfOpen(way) => {
            relays[way].abandon(|| random.random());
            thread::sleep(silence);
        }
        Fault::Slow(way) => {
            PROXIES_OWN.iter().for_each(|&part| relays[way].delay_part(part, moment / 8));
            thread::sleep(silence / 2);
            PROXIES_OWN.iter().for_each(|&part| relays[way].delay_part(part, Duration::ZERO));
        }
        _ => return false,
    }
    true
}

/// Inflicts a fault of a proxy. False if it is none.
pub(super) fn on_a_proxy(fault: Fault, proxies: &mut [Strata], random: &mut StdRng) -> bool {
    match fault {
        Fault::PauseProxy(proxy) => {
            proxies[proxy].pause();
            thread::sleep(silence(random));
            proxies[proxy].resume();
        }
        Fault::KillProxy(proxy) => {
            proxies[proxy].kill();
            thread::sleep(moment(random));
            proxies[proxy].start_again();
        }
        _ => return false,
    }
    true
}
