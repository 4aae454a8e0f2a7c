//! Which keys are of which source, and back: the parts of a key.

use std::ops::Range;

use bytes::Bytes;

use crate::config::{Pattern, Source};

/// Bytes of a key that a source may match. Triggers leave out longer ones.
pub const MAX_KEY: usize = 64 << 10;

/// A source with what is made of its configuration once.
#[derive(Debug)]
pub(super) struct Mapping {
    pub(super) source: Source,
}

/// A key that matches a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The place of the source in `l4.source`.
    pub source: usize,
    /// The whole key.
    pub key: Bytes,
    /// Where its parts are in it; none is empty.
    parts: Vec<Range<usize>>,
}

impl Match {
    /// The texts of the parts, in the order of the pattern.
    pub(super) fn parts(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.parts.iter().map(|part| &self.key[part.clone()])
    }
}

impl Mapping {
    pub(super) fn new(source: &Source) -> Self {
        Self { source: source.clone() }
    }

    pub(super) fn matching(&self, source: usize, key: &[u8]) -> Option<Match> {
        let parts = split(&self.source.pattern, key)?;
        Some(Match { source, key: Bytes::copy_from_slice(key), parts })
    }
}

/// The parts of a key: each ends where the text behind it is found first, the last one before the last text. So a key is
/// its parts put into the pattern, and who puts the same parts there finds the same key.
fn split(pattern: &Pattern, key: &[u8]) -> Option<Vec<Range<usize>>> {
    let (first, rest) = pattern.literals().split_first()?;
    let (last, between) = rest.split_last()?;
    if key.len() > MAX_KEY || !key.starts_with(first.as_bytes()) {
        return None;
    }
    let end = key.len().checked_sub(last.len()).filter(|end| key[*end..] == *last.as_bytes())?;
    let mut parts = Vec::with_capacity(between.len() + 1);
    let mut start = first.len();
    for text in between {
        // A part has at least one byte.
        let found = find(key.get(start + 1..end)?, text.as_bytes())? + start + 1;
        parts.push(start..found);
        start = found + text.len();
    }
    (start < end).then(|| parts.push(start..end))?;
    Some(parts)
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::from_toml;

    fn parts(pattern: &str, key: &[u8]) -> Option<Vec<String>> {
        let text = format!("l4.source = [{{ match = '{pattern}', query = 'q' }}]");
        let config = from_toml("f", text.as_bytes()).unwrap();
        let found = Mapping::new(&config.l4.sources[0]).matching(0, key)?;
        assert_eq!((found.source, &*found.key), (0, key));
        Some(found.parts().map(|part| String::from_utf8_lossy(part).into_owned()).collect())
    }

    #[test]
    fn keys_are_taken_apart() {
        let table: &[(&str, &[u8], Option<&[&str]>)] = &[
            ("user:{id}", b"user:42", Some(&["42"])),
            ("user:{id}", b"user:a:b", Some(&["a:b"])),
            ("user:{id}", b"user:", None),
            ("user:{id}", b"users:1", None),
            ("user:{id}:profile", b"user:1:profile", Some(&["1"])),
            ("user:{id}:profile", b"user:1:profile:profile", Some(&["1:profile"])),
            ("user:{id}:profile", b"user::profile", None),
            ("user:{id}:profile", b"user:profile", None),
            ("{a}:{b}", b"1:2:3", Some(&["1", "2:3"])),
            ("{a}:{b}", b"::", None),
            ("{a}:{b}", b":::", Some(&[":", ":"])),
            ("{a}:{b}", b"", None),
            ("u:{{{id}}}", b"u:{7}", Some(&["7"])),
            ("{all}", b"\xff\0'", Some(&["\u{fffd}\0'"])),
        ];
        for (pattern, key, expected) in table {
            let expected = expected.map(|parts| parts.iter().map(|part| (*part).to_owned()).collect());
            assert_eq!(parts(pattern, key), expected, "{pattern} {key:?}");
        }
        assert_eq!(parts("{all}", &vec![b'x'; MAX_KEY]).map(|parts| parts[0].len()), Some(MAX_KEY));
        assert_eq!(parts("{all}", &vec![b'x'; MAX_KEY + 1]), None);
    }
}
