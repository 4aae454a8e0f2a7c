//! Tests against real servers. Every test starts its own, on ports the kernel gave, and ends them by process id.

mod blocking;
mod cluster_home;
mod differential;
mod endpoint;
mod l2;
mod lifecycle;
mod newer;
mod policies;
mod pubsub;
mod rules;
mod sentinel;
mod service;
mod several;
mod source;
mod support;
mod through;
mod tracking;
mod transactions;
mod users;
