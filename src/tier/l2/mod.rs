//! Copies in L2: what they are called and hold there ([`name`], [`record`]), the scripts by which they come to be
//! ([`scripts`]), and what makes one that was read believable ([`ledger`]). No I/O.

pub mod ledger;
pub mod name;
pub mod record;
pub mod scripts;
