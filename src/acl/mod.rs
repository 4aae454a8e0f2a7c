//! Who may do what: users with the rules of Redis 7.0's ACL.
//!
//! `selector.rs` holds what one set of rules allows and asks it about a request; `user.rs` a user, made of rules;
//! `describe.rs` turns it back into rules. `users.rs` is the register that all sessions share, `log.rs` what was
//! denied lately. Nothing here does I/O.

mod channels;
mod describe;
mod log;
mod selector;
#[cfg(test)]
mod tests;
mod user;
mod users;

pub use channels::Channels;
pub use describe::{categories, commands_in};
pub use log::{Denial, Entry, Reason, Stage};
pub use selector::{Denied, RuleError, Verdict};
pub use user::{User, join_selectors};
pub use users::{SetError, Users};

/// What C takes for a string: the bytes before the first NUL.
fn c_string(word: &[u8]) -> &[u8] {
    word.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Whether a name or a pattern holds what Redis allows in neither: white space and NUL.
fn has_spaces(word: &[u8]) -> bool {
    word.iter().any(|byte| byte.is_ascii_whitespace() || matches!(byte, 0 | 0x0b))
}
