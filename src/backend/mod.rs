//! What strata knows of the servers behind it: connections, lanes, the guard, the embedded child, and how they fare.

pub mod cluster;
mod commands;
pub mod confirmations;
pub mod connection;
pub mod demand;
pub mod embedded;
pub mod facts;
pub mod guards;
pub mod health;
pub mod lane;
pub mod load;
pub mod node;
pub mod password;
pub mod pool;
pub mod replicas;
pub mod sentinel;
pub mod steward;
pub mod subscriptions;
mod swaps;
pub mod tracking;
pub mod vitals;
