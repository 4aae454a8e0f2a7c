//! Copies of what home said: where they are kept (`l1`), how they come to be (`flight`), what keeps them true
//! (`fence`, `copies`), and the rules for keys (`policy`).

pub mod compress;
pub mod copies;
pub mod fence;
pub mod flight;
pub mod glob;
pub mod hotkeys;
pub mod l1;
pub mod listeners;
pub mod packing;
pub mod policy;
pub mod training;
mod wards;
