//! What copies are called in L2.
//!
//! A key's copies are one hash, so that one delete drops all of them: `strata:l2:<space>:<key>`, a field for each
//! request. `strata:l2:<space>` is the epoch. The space tells apart what may not be mixed: other homes, other
//! versions of what is written here.

use ring::digest::SHA256;

use crate::resp::Proto;

/// Moved on whenever names, fields or records change their meaning.
const FORMAT: &str = "1";

/// The names of one home's copies.
#[derive(Debug, Clone)]
pub struct Names {
    prefix: Box<[u8]>,
}

impl Names {
    /// `home` is what all processes of this home call it.
    pub fn new(home: &str) -> Self {
        let prefix = format!("strata:l2:{:016x}:", digest(&format!("{FORMAT} {home}")));
        Names { prefix: prefix.into_bytes().into() }
    }

    /// The hash of a key's copies.
    pub fn copies(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix, key].concat()
    }

    /// The hash of the epoch.
    pub fn epoch(&self) -> &[u8] {
        &self.prefix[..self.prefix.len() - 1]
    }

    /// What copies are called, as a pattern of SCAN.
    pub fn pattern(&self) -> Vec<u8> {
        [&self.prefix[..], b"*"].concat()
    }

    /// The key whose copies are called so.
    pub fn key<'a>(&self, name: &'a [u8]) -> Option<&'a [u8]> {
        name.strip_prefix(&*self.prefix)
    }
}

/// A number for a text, the same in all processes.
pub fn digest(text: &str) -> u64 {
    let digest = ring::digest::digest(&SHA256, text.as_bytes());
    digest.as_ref().first_chunk().copied().map_or(0, u64::from_be_bytes)
}

/// The field of a request: protocol, database, where it was read, command and the arguments besides the key. Fields
/// that are not of requests begin with a letter.
pub fn field(command: &str, proto: Proto, db: u16, origin: u64, tail: &[u8]) -> Vec<u8> {
    let proto = if proto == Proto::Resp3 { b'3' } else { b'2' };
    let mut field = Vec::with_capacity(command.len() + tail.len() + 13);
    field.push(proto);
    field.extend_from_slice(&db.to_be_bytes());
    field.extend_from_slice(&origin.to_be_bytes());
    field.push(command.len() as u8);
    field.extend_from_slice(command.as_bytes());
    field.extend_from_slice(tail);
    field
}

/// What a field says: command, protocol, database and tail. None: it is not of a request.
pub fn parse_field(field: &[u8]) -> Option<(&str, Proto, u16, &[u8])> {
    let (proto, rest) = field.split_first()?;
    let proto = match proto {
        b'2' => Proto::Resp2,
        b'3' => Proto::Resp3,
        _ => return None,
    };
    let (db, rest) = rest.split_first_chunk::<2>()?;
    let (_, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first()?;
    let (command, tail) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(command).ok()?, proto, u16::from_be_bytes(*db), tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_different_homes_never_meet() {
        let (a, b) = (Names::new("redis://a:6379"), Names::new("redis://b:6379"));
        assert_ne!(a.copies(b"k"), b.copies(b"k"));
        assert_eq!(a.copies(b"k").len(), "strata:l2:".len() + 17 + 1);
        assert_eq!(a.key(&a.copies(b"k")), Some(&b"k"[..]));
        assert_eq!((a.key(&b.copies(b"k")), a.key(a.epoch())), (None, None));
    }

    #[test]
    fn a_field_says_what_was_asked() {
        let get = field("get", Proto::Resp2, 0, 7, b"");
        let range = field("getrange", Proto::Resp3, 9, 0, b"$1\r\n0\r\n$1\r\n1\r\n");
        assert_eq!(parse_field(&get), Some(("get", Proto::Resp2, 0, &b""[..])));
        assert_eq!(parse_field(&range), Some(("getrange", Proto::Resp3, 9, &b"$1\r\n0\r\n$1\r\n1\r\n"[..])));
        assert_eq!((parse_field(b"n"), parse_field(b"2\0\0\x09get")), (None, None));
        assert_ne!(get, field("get", Proto::Resp2, 0, 8, b""));
    }
}
