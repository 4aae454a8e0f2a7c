//! Commands that work inside the bytes of values that home keeps compressed: which they are, and on which keys.

use super::Proxy;
use super::compressed::Compressed;
use crate::command::{Access, Command, KeyRef, Values, extract};
use crate::resp::Request;

/// A command that cannot be run on compressed values.
#[derive(Debug, PartialEq, Eq)]
pub enum Inside {
    /// It can, once some keys' values are plain at home.
    Bytes(Touched),
    /// It cannot; the reply.
    Refused(String),
}

/// Keys of commands that work inside the bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Their values are to be plain before, and afterwards what they were,
    pub plain: Vec<Box<[u8]>>,
    /// but for these of them: they may be anything then, and are to be escaped if they would be taken for compressed. That
    /// they are plain before holds where the command fails, or does nothing to them.
    pub left: Vec<Box<[u8]>>,
}

impl Touched {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.left.is_empty()
    }

    /// Adds those of another command, which may do anything to the keys of this one.
    pub fn add(&mut self, others: Touched) {
        self.left.extend(others.plain.iter().cloned());
        self.plain.extend(others.plain);
        for keys in [&mut self.plain, &mut self.left] {
            keys.sort_unstable();
            keys.dedup();
        }
    }
}

impl Proxy {
    /// Whether a command works on the bytes that home has of keys whose values it may keep compressed.
    pub fn inside(&self, command: &Command, request: &Request<'_>, keys: &mut Vec<KeyRef>) -> Option<Inside> {
        let compressed = self.compressed.as_ref().filter(|_| command.works_inside())?;
        compressed.inside(command, request, keys)
    }
}

impl Compressed {
    fn inside(&self, command: &Command, request: &Request<'_>, keys: &mut Vec<KeyRef>) -> Option<Inside> {
        extract(command, request, keys).ok()?;
        let arg = |k: &KeyRef| request.arg(k.index as usize).unwrap_or_default();
        let kept = |key: &[u8]| self.packings.of(key).is_some();
        let touched = match (command.values, &keys[..]) {
            (Values::Looks, _) => {
                let looks = Looks::of(request);
                if !(looks.at_values() && looks.stores) {
                    return None;
                }
                return Some(Inside::Refused(format!(
                    "ERR strata: {} with GET and STORE cannot store values that {} keeps compressed",
                    command.name.to_uppercase(),
                    self.packings.any(),
                )));
            }
            (Values::Moves, [from, to, ..]) => match (kept(arg(from)), kept(arg(to))) {
                // A copy is made of what stays plain.
                (true, false) => Touched { plain: vec![arg(from).into()], left: vec![arg(from).into()] },
                (false, true) => Touched { plain: vec![arg(to).into()], left: vec![arg(to).into()] },
                _ => return None,
            },
            (_, keys) => {
                let keys = keys.iter().filter(|k| kept(arg(k)));
                let left = keys.clone().filter(|k| !k.access.contains(Access::RO));
                let names = |k: &KeyRef| arg(k).into();
                Touched { plain: keys.map(names).collect(), left: left.map(names).collect() }
            }
        };
        (!touched.is_empty()).then_some(Inside::Bytes(touched))
    }
}

/// What a SORT looks up in keys that it does not name, and whether it stores what it found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Looks {
    /// For each GET whether it is of string values; the elements of the reply are of each in turn.
    pub(super) gets: Vec<bool>,
    stores: bool,
}

impl Looks {
    pub(super) fn of(request: &Request<'_>) -> Self {
        let mut looks = Looks::default();
        let mut words = request.iter().skip(2);
        while let Some(word) = words.next() {
            if word.eq_ignore_ascii_case(b"get") {
                let pattern = words.next().unwrap_or_default();
                let of_a_hash = pattern.windows(2).any(|pair| pair == b"->");
                looks.gets.push(pattern != b"#" && !of_a_hash);
            } else if word.eq_ignore_ascii_case(b"store") {
                looks.stores |= words.next().is_some();
            } else if word.eq_ignore_ascii_case(b"by") {
                words.next();
            } else if word.eq_ignore_ascii_case(b"limit") {
                words.nth(1);
            }
        }
        looks
    }

    /// Whether it is of string values at all.
    pub(super) fn at_values(&self) -> bool {
        self.gets.contains(&true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Limits, RequestParser, Step, encode};

    #[test]
    fn a_sort_is_read_option_by_option() {
        let cases: [(&str, &[bool], bool); 7] = [
            ("SORT l", &[], false),
            ("SORT l GET # GET h_*->f", &[false, false], false),
            ("SORT l BY get LIMIT 0 get ALPHA", &[], false),
            ("SORT l GET v_* GET #", &[true, false], false),
            ("SORT l STORE get", &[], true),
            ("SORT l get v_* DESC store d", &[true], true),
            ("SORT l GET v_* STORE", &[true], false),
        ];
        for (words, gets, stores) in cases {
            let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
            let (mut raw, mut spans) = (Vec::new(), Vec::new());
            encode::command(&mut raw, &words);
            let step = RequestParser::new().step(&raw, 0, &mut spans, &Limits::default());
            let Step::Command { end } = step else { panic!("no command") };
            let expected = Looks { gets: gets.to_vec(), stores };
            assert_eq!(Looks::of(&Request::new(&raw, 0, end, &spans)), expected, "{words:?}");
        }
    }
}
