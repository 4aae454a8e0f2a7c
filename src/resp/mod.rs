//! The Redis protocol: bytes in, ranges out, bytes out. Pure: no I/O, no clock, no recursion.
//!
//! - [`RequestParser`] finds the commands of a client in its read buffer, in place, and resumes where it stopped.
//! - [`Request`] is one such command: its arguments and the bytes to forward are slices of that buffer.
//! - [`ReplyScanner`] finds where a reply of a backend ends, without decoding it.
//! - [`reply`] answers questions about one complete reply; [`encode`] writes replies and commands.
//!
//! Everything forwarded to a backend shares a connection with other clients, so the parser accepts only what every
//! RESP server delimits alike: in that one respect it is stricter than Redis, see [`RequestParser`].

mod decode;
pub mod encode;
mod error;
mod frame;
mod inline;
mod number;
pub mod reply;
mod scan;

pub use decode::{Limits, RequestParser, Step, with_request};
pub use error::ProtocolError;
pub use frame::{Proto, Request, Span};
pub use inline::split_args;
pub use number::parse_i64;
pub use scan::{ReplyError, ReplyScanner, Scan};

/// Upper bound of a buffer handed to the parser, in bytes: a [`Span`] holds 32-bit offsets.
pub const MAX_BUFFER: usize = u32::MAX as usize;
