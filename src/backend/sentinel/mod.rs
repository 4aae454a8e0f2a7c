//! A home that sentinels watch: a master with replicas, of which another is master after a failover.
//!
//! Every sentinel that is known, by the configuration or from another sentinel, is followed on a connection of its own
//! ([`follow`]): it is asked once a second, and whenever it announces a switch. [`views`] decides whom to believe:
//! the configuration epoch orders what sentinels say, so that one who was away cannot name an old master again.
//! [`master`] is where the rest of the program learns of it: whoever dials reaches the present master or nobody, and
//! connections to a former one end, whatever it still answers.

mod ask;
mod dial;
mod follow;
mod master;
mod views;

pub use follow::{Sentinels, Watch};
pub use master::Master;
