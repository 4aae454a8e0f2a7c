//! Replies: where one ends in a buffer, and what it says.
//!
//! Written without the proxy's own codec on purpose: what is tested must not be its own measure.

use std::io;

/// How deep a reply may nest. The deepest of Redis (`COMMAND DOCS`) has about ten levels.
const MAX_DEPTH: usize = 32;

/// One reply of RESP2 or RESP3.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Nil,
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    /// In the spelling of the server.
    Double(String),
    Boolean(bool),
    BigNumber(String),
    /// With its three letters of format.
    Verbatim(Vec<u8>),
}

impl Value {
    /// Reads the one reply that `bytes` holds.
    pub(crate) fn parse(bytes: &[u8]) -> io::Result<Value> {
        let mut rest = bytes;
        let value = parse_value(&mut rest, 0)?;
        if rest.is_empty() { Ok(value) } else { Err(malformed("bytes after the reply")) }
    }

    pub(crate) fn is_error(&self) -> bool {
        matches!(self, Value::Error(_))
    }

    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The bytes of a bulk, simple or verbatim string.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bulk(bytes) => Some(bytes),
            Value::Verbatim(bytes) => bytes.get(4..),
            Value::Simple(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// The elements of an array, set or push; of a map its keys and values in turn.
    pub(crate) fn elements(&self) -> Option<Vec<Value>> {
        match self {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => Some(items.clone()),
            Value::Map(pairs) => {
                Some(pairs.iter().flat_map(|(key, value)| [key.clone(), value.clone()]).collect())
            }
            _ => None,
        }
    }
}

/// The length of the first complete reply of `buffer`, `None` if it goes on past the end. Reads `buffer` once, whatever
/// its nesting.
pub(crate) fn reply_length(buffer: &[u8]) -> io::Result<Option<usize>> {
    let mut at = 0;
    let mut outstanding = 1_usize;
    while outstanding > 0 {
        let Some(line) = line_at(buffer, at) else {
            return Ok(None);
        };
        let Some((&kind, argument)) = line.split_first() else {
            return Err(malformed("empty line"));
        };
        at += line.len() + 2;
        outstanding -= 1;
        match kind {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => {}
            b'$' | b'=' | b'!' => {
                if let Some(length) = length_of(argument)? {
                    at += length + 2;
                }
            }
            b'*' | b'~' | b'>' => outstanding += length_of(argument)?.unwrap_or(0),
            b'%' => outstanding += 2 * length_of(argument)?.unwrap_or(0),
            // An attribute is followed by the reply it belongs to.
            b'|' => outstanding += 2 * length_of(argument)?.unwrap_or(0) + 1,
            _ => return Err(malformed("unknown type of reply")),
        }
        if at > buffer.len() {
            return Ok(None);
        }
    }
    Ok(Some(at))
}

fn line_at(buffer: &[u8], at: usize) -> Option<&[u8]> {
    let rest = buffer.get(at..)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    rest.get(..end)
}

/// The length a header announces, `None` for the -1 of a null.
fn length_of(argument: &[u8]) -> io::Result<Option<usize>> {
    match number(argument)? {
        -1 => Ok(None),
        length => usize::try_from(length).map(Some).map_err(|_| malformed("negative length")),
    }
}

fn number(text: &[u8]) -> io::Result<i64> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or_else(|| malformed("not a number"))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed reply: {what}"))
}

fn parse_value(rest: &mut &[u8], depth: usize) -> io::Result<Value> {
    if depth > MAX_DEPTH {
        return Err(malformed("nested too deeply"));
    }
    let line = line_at(rest, 0).ok_or_else(|| malformed("no line"))?;
    let (&kind, argument) = line.split_first().ok_or_else(|| malformed("empty line"))?;
    *rest = &rest[line.len() + 2..];
    let text = || String::from_utf8_lossy(argument).into_owned();
    Ok(match kind {
        b'+' => Value::Simple(text()),
        b'-' => Value::Error(text()),
        b':' => Value::Integer(number(argument)?),
        b',' => Value::Double(text()),
        b'(' => Value::BigNumber(text()),
        b'#' => Value::Boolean(argument == b"t"),
        b'_' => Value::Nil,
        b'$' => take(rest, argument)?.map_or(Value::Nil, Value::Bulk),
        b'=' => take(rest, argument)?.map_or(Value::Nil, Value::Verbatim),
        b'!' => take(rest, argument)?
            .map_or(Value::Nil, |bytes| Value::Error(String::from_utf8_lossy(&bytes).into_owned())),
        b'*' => parse_items(rest, argument, depth)?.map_or(Value::Nil, Value::Array),
        b'~' => parse_items(rest, argument, depth)?.map_or(Value::Nil, Value::Set),
        b'>' => parse_items(rest, argument, depth)?.map_or(Value::Nil, Value::Push),
        b'%' => Value::Map(parse_pairs(rest, argument, depth)?),
        b'|' => {
            parse_pairs(rest, argument, depth)?;
            parse_value(rest, depth + 1)?
        }
        _ => return Err(malformed("unknown type of reply")),
    })
}

fn take(rest: &mut &[u8], argument: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let Some(length) = length_of(argument)? else {
        return Ok(None);
    };
    let bytes = rest.get(..length).ok_or_else(|| malformed("cut short"))?.to_vec();
    *rest = rest.get(length + 2..).ok_or_else(|| malformed("cut short"))?;
    Ok(Some(bytes))
}

fn parse_items(rest: &mut &[u8], argument: &[u8], depth: usize) -> io::Result<Option<Vec<Value>>> {
    let Some(count) = length_of(argument)? else {
        return Ok(None);
    };
    (0..count).map(|_| parse_value(rest, depth + 1)).collect::<io::Result<_>>().map(Some)
}

fn parse_pairs(rest: &mut &[u8], argument: &[u8], depth: usize) -> io::Result<Vec<(Value, Value)>> {
    let count = length_of(argument)?.unwrap_or(0);
    (0..count).map(|_| Ok((parse_value(rest, depth + 1)?, parse_value(rest, depth + 1)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_complete_with_its_last_byte_and_not_before() {
        let replies: [&[u8]; 9] = [
            b"+OK\r\n",
            b"$5\r\nhe\r\no\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"*2\r\n*1\r\n:1\r\n$0\r\n\r\n",
            b"%1\r\n+a\r\n~2\r\n,1.5\r\n#t\r\n",
            b"|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n",
            b">2\r\n+invalidate\r\n_\r\n",
            b"=7\r\ntxt:abc\r\n",
        ];
        for reply in replies {
            for end in 0..reply.len() {
                assert_eq!(reply_length(&reply[..end]).unwrap(), None, "{:?}", &reply[..end]);
            }
            let followed = [reply, b"+next\r\n"].concat();
            assert_eq!(reply_length(&followed).unwrap(), Some(reply.len()));
            Value::parse(reply).unwrap();
        }
    }

    #[test]
    fn values_keep_their_types() {
        let map = Value::parse(b"%1\r\n+a\r\n~2\r\n,1.5\r\n#f\r\n").unwrap();
        let set = Value::Set(vec![Value::Double("1.5".into()), Value::Boolean(false)]);
        assert_eq!(map, Value::Map(vec![(Value::Simple("a".into()), set)]));
        assert_eq!(Value::parse(b"=7\r\ntxt:abc\r\n").unwrap().bytes(), Some(&b"abc"[..]));
        assert_eq!(Value::parse(b"|1\r\n+k\r\n:3\r\n:4\r\n").unwrap().integer(), Some(4));
        assert!(Value::parse(b"-ERR no\r\n").unwrap().is_error());
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        assert!(reply_length(b"?\r\n").is_err());
        assert!(reply_length(b"$-2\r\n").is_err());
        assert!(Value::parse(b":1\r\n:2\r\n").is_err());
        assert!(Value::parse(&b"*1\r\n".repeat(100)).is_err());
    }
}
