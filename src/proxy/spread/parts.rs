//! A request whose keys are in several slots, as a request for each slot; and one reply of theirs.

use crate::command::Split;
use crate::resp::{Request, Span, encode, reply};

/// Bytes that a part adds to its arguments at most, by argument.
const LONGEST_HEADER: usize = 64;

/// The requests that one request becomes, in one buffer.
pub(super) struct Parts {
    buffer: Vec<u8>,
    spans: Vec<Span>,
    parts: Vec<Part>,
    /// For each key of the parts, in their order: its place among the keys of the whole.
    places: Vec<u32>,
}

struct Part {
    slot: u16,
    bytes: (usize, usize),
    spans: (usize, usize),
    places: (usize, usize),
}

impl Parts {
    /// Splits a request of `step` arguments a key, the first key being argument 1. None: all keys are in one slot, or
    /// the arguments are no whole number of keys, which home has the words for; or it is too large for spans.
    pub(super) fn of(request: &Request<'_>, step: usize, slot_of: impl Fn(&[u8]) -> u16) -> Option<Self> {
        let arguments = request.len() - 1;
        let most = request.raw().len() + arguments * LONGEST_HEADER;
        if !arguments.is_multiple_of(step) || u32::try_from(most).is_err() {
            return None;
        }
        let key = |place: usize| request.arg(1 + place * step).unwrap_or_default();
        let mut keys: Vec<(u16, u32)> =
            (0..arguments / step).map(|place| (slot_of(key(place)), place as u32)).collect();
        let first = keys.first()?.0;
        if keys.iter().all(|(slot, _)| *slot == first) {
            return None;
        }
        // In a slot the order stays: of a key that is set twice, the last value counts.
        keys.sort_unstable();
        let mut all = Parts {
            buffer: Vec::with_capacity(request.raw().len() + keys.len() * 16),
            spans: Vec::with_capacity(request.len() + keys.len()),
            parts: Vec::new(),
            places: keys.iter().map(|(_, place)| *place).collect(),
        };
        let mut begin = 0;
        for of_slot in keys.chunk_by(|a, b| a.0 == b.0) {
            let (bytes, spans) = (all.buffer.len(), all.spans.len());
            encode::array(&mut all.buffer, 1 + of_slot.len() * step);
            all.push(request.name());
            for (_, place) in of_slot {
                let index = 1 + *place as usize * step;
                (index..index + step).for_each(|i| all.push(request.arg(i).unwrap_or_default()));
            }
            all.parts.push(Part {
                slot: of_slot[0].0,
                bytes: (bytes, all.buffer.len()),
                spans: (spans, all.spans.len()),
                places: (begin, begin + of_slot.len()),
            });
            begin += of_slot.len();
        }
        Some(all)
    }

    fn push(&mut self, argument: &[u8]) {
        encode::bulk(&mut self.buffer, argument);
        let end = self.buffer.len() - 2;
        self.spans.push(Span { start: (end - argument.len()) as u32, end: end as u32 });
    }

    /// How many there are: two at least.
    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }

    /// The slot of a part's keys.
    pub(super) fn slot(&self, part: usize) -> u16 {
        self.parts[part].slot
    }

    /// The first of a part's keys, and how many it has.
    pub(super) fn keys(&self, part: usize) -> (&[u8], usize) {
        let (first, end) = self.parts[part].places;
        (self.request(part).arg(1).unwrap_or_default(), end - first)
    }

    /// A part as a request.
    pub(super) fn request(&self, part: usize) -> Request<'_> {
        let Part { bytes, spans, .. } = &self.parts[part];
        Request::new(&self.buffer, bytes.0, bytes.1, &self.spans[spans.0..spans.1])
    }

    /// The reply to the whole, of the parts' replies; `Err` is the part whose reply is not what it should be.
    pub(super) fn merge<R: AsRef<[u8]>>(&self, split: Split, replies: &[R]) -> Result<Vec<u8>, usize> {
        let all = || replies.iter().map(AsRef::as_ref).enumerate();
        let mut out = Vec::new();
        match split {
            Split::Values => return self.values(replies),
            Split::Count => {
                let mut sum = 0i64;
                for (part, reply) in all() {
                    sum = sum.saturating_add(reply::parse_integer(reply).ok_or(part)?);
                }
                encode::integer(&mut out, sum);
            }
            Split::Pairs => {
                if let Some((part, _)) = all().find(|(_, reply)| reply::is_error(reply)) {
                    return Err(part);
                }
                out.extend_from_slice(replies.first().map_or(b"+OK\r\n", AsRef::as_ref));
            }
        }
        Ok(out)
    }

    fn values<R: AsRef<[u8]>>(&self, replies: &[R]) -> Result<Vec<u8>, usize> {
        let mut values: Vec<&[u8]> = vec![b""; self.places.len()];
        let mut size = 16;
        for (part, (Part { places, .. }, reply)) in self.parts.iter().zip(replies).enumerate() {
            let mut elements = reply::elements(reply.as_ref());
            for place in &self.places[places.0..places.1] {
                let element = elements.next().ok_or(part)?;
                size += element.len();
                values[*place as usize] = element;
            }
            if elements.next().is_some() {
                return Err(part);
            }
        }
        let mut out = Vec::with_capacity(size);
        encode::array(&mut out, values.len());
        values.iter().for_each(|value| out.extend_from_slice(value));
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Limits, RequestParser, Step};

    fn split(words: &[&str], step: usize) -> Option<Parts> {
        let mut raw = Vec::new();
        encode::command(&mut raw, &words.iter().map(|w| w.as_bytes()).collect::<Vec<_>>());
        let mut spans = Vec::new();
        let Step::Command { end } = RequestParser::new().step(&raw, 0, &mut spans, &Limits::default()) else {
            panic!("a command");
        };
        // Slots by the first letter.
        Parts::of(&Request::new(&raw, 0, end, &spans), step, |key| {
            u16::from(key.first().copied().unwrap_or(0))
        })
    }

    fn words(parts: &Parts) -> Vec<String> {
        let word = |w: &[u8]| String::from_utf8_lossy(w).into_owned();
        (0..parts.len())
            .map(|part| parts.request(part).iter().map(word).collect::<Vec<_>>().join(" "))
            .collect()
    }

    #[test]
    fn keys_go_to_their_slots_and_values_come_back_to_their_places() {
        let parts = split(&["mGet", "b1", "a1", "b2", "a1", ""], 1).expect("several slots");
        assert_eq!(words(&parts), ["mGet ", "mGet a1 a1", "mGet b1 b2"]);
        assert_eq!([parts.slot(0), parts.slot(1), parts.slot(2)], [0, 97, 98]);
        assert_eq!(parts.request(2).raw(), b"*3\r\n$4\r\nmGet\r\n$2\r\nb1\r\n$2\r\nb2\r\n");
        let replies = ["*1\r\n$-1\r\n", "*2\r\n$1\r\nx\r\n$1\r\ny\r\n", "*2\r\n:1\r\n_\r\n"];
        let whole = parts.merge(Split::Values, &replies).expect("a reply");
        assert_eq!(String::from_utf8_lossy(&whole), "*5\r\n:1\r\n$1\r\nx\r\n_\r\n$1\r\ny\r\n$-1\r\n");
    }

    #[test]
    fn a_part_that_is_not_what_it_should_be_is_named() {
        let parts = split(&["mget", "b", "a"], 1).expect("several slots");
        for bad in ["*0\r\n", "*2\r\n:1\r\n:2\r\n", "-ERR no\r\n", "+OK\r\n", ""] {
            assert_eq!(parts.merge(Split::Values, &["*1\r\n:1\r\n", bad]), Err(1), "{bad}");
        }
        assert_eq!(parts.merge(Split::Count, &["-ERR no\r\n", ":1\r\n"]), Err(0));
        assert_eq!(parts.merge(Split::Count, &[":2\r\n", ":3\r\n"]).as_deref(), Ok(&b":5\r\n"[..]));
        assert_eq!(parts.merge(Split::Pairs, &["+OK\r\n", "-OOM\r\n"]), Err(1));
        assert_eq!(parts.merge(Split::Pairs, &["+OK\r\n", "+OK\r\n"]).as_deref(), Ok(&b"+OK\r\n"[..]));
    }

    #[test]
    fn pairs_stay_together_and_in_order() {
        let parts = split(&["MSET", "b", "1", "a", "2", "b", "3"], 2).expect("several slots");
        assert_eq!(words(&parts), ["MSET a 2", "MSET b 1 b 3"]);
    }

    #[test]
    fn what_needs_no_splitting_is_not_split() {
        assert!(split(&["MGET", "a1", "a2"], 1).is_none());
        assert!(split(&["MGET"], 1).is_none());
        assert!(split(&["MSET", "a", "1", "b"], 2).is_none());
    }
}
