//! What a run takes place on: home, the proxies in front of it, and the ways clients take.

use rand::rngs::StdRng;

use super::faults::Fault;
use super::field::Field;
use super::link::Link;
use super::model::{Clock, Terms};

/// The servers of a run, and what may happen to them.
pub(super) trait Stage {
    fn terms(&self) -> Terms;

    fn proxies(&self) -> usize;

    /// A client's way through this proxy.
    fn through(&self, proxy: usize, protocol: u8, clock: Clock) -> Box<dyn Link>;

    /// A client's way straight home.
    fn home(&self, clock: Clock) -> Box<dyn Link>;

    /// How many reads of the kinds clients make home has executed.
    fn home_reads(&self) -> u64;

    /// Every kind of fault once, in random order.
    fn shuffled(&self, random: &mut StdRng) -> Vec<Fault>;

    /// Inflicts the fault and takes it back.
    fn inflict(&mut self, fault: Fault, field: &Field, clock: Clock, random: &mut StdRng);
}
