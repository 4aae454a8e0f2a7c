//! What strata knows of the servers behind it: connections, lanes, the guard, the embedded child.

pub mod breaker;
pub mod connection;
pub mod embedded;
pub mod lane;
pub mod node;
pub mod tracking;
