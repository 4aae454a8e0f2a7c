//! Placeholder.
pub mod l1;
