//! What a client hears before its connection is closed.

use std::fmt;

use super::encode;

/// Why a connection is closed; the texts are Redis'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    InvalidMultibulkLength,
    InvalidBulkLength,
    /// An argument begins with this byte instead of `$`.
    ExpectedBulk(u8),
    TooBigMultibulkCount,
    TooBigBulkCount,
    TooBigInline,
    UnbalancedQuotes,
    UnauthenticatedMultibulkLength,
    UnauthenticatedBulkLength,
}

impl ProtocolError {
    /// Appends the error reply, byte for byte Redis': the unexpected byte goes back as it came, which
    /// [`Display`](fmt::Display) cannot do.
    pub fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::ExpectedBulk(byte) => {
                encode::error(out, [b"ERR Protocol error: expected '$', got '", &[byte][..], b"'"].concat());
            }
            other => encode::error(out, format!("ERR {other}")),
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::InvalidMultibulkLength => "invalid multibulk length",
            Self::InvalidBulkLength => "invalid bulk length",
            Self::ExpectedBulk(byte) => {
                return write!(f, "Protocol error: expected '$', got '{}'", byte.escape_ascii());
            }
            Self::TooBigMultibulkCount => "too big mbulk count string",
            Self::TooBigBulkCount => "too big bulk count string",
            Self::TooBigInline => "too big inline request",
            Self::UnbalancedQuotes => "unbalanced quotes in request",
            Self::UnauthenticatedMultibulkLength => "unauthenticated multibulk length",
            Self::UnauthenticatedBulkLength => "unauthenticated bulk length",
        };
        write!(f, "Protocol error: {text}")
    }
}

impl std::error::Error for ProtocolError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_themselves() {
        assert_eq!(
            ProtocolError::UnbalancedQuotes.to_string(),
            "Protocol error: unbalanced quotes in request"
        );
        assert_eq!(ProtocolError::ExpectedBulk(b'x').to_string(), "Protocol error: expected '$', got 'x'");
        assert_eq!(
            ProtocolError::ExpectedBulk(0xff).to_string(),
            "Protocol error: expected '$', got '\\xff'"
        );
    }
}
