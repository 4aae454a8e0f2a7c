//! Commands that concern several nodes of home.

mod info;
mod merge;
mod parts;
mod walk;
