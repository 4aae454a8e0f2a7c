//! Values as home keeps them where a policy compresses: they say themselves what was done to them.
//!
//! ```text
//! ff 's' 'z' 00 check value                    the value itself: it would be taken for one of these
//! ff 's' 'z' 01 check dictionary length frame  a zstd frame without its magic number; dictionary (its id, 0: none)
//!                                              and length (of the value) are LEB128 numbers
//! ```
//!
//! `check` is a sum, in four bytes, of the byte before it and of all that follows. Whatever does not begin like this, or has
//! another sum, is a plain value. So values that are set where nothing can be escaped (within a script, or at home by
//! others) are what they seem, unless they were copied from what home keeps. No text begins with `ff`.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, DParameter, FrameFormat, compress_bound, get_dict_id};

/// What values begin with that are not plain; others may, too.
pub const MARK: &[u8; 3] = b"\xffsz";
const ESCAPED: u8 = 0;
const PACKED: u8 = 1;

/// Bytes of a dictionary.
pub const MAX_DICTIONARY: usize = 4 << 20;
/// What a trained dictionary takes unless told otherwise; see `strata train-dictionary`.
pub const TRAINED_DICTIONARY: usize = 64 << 10;
/// A frame holds at most so many times its own bytes; what claims more is none of ours.
const MOST_RATIO: usize = 1 << 16;
/// A value is kept compressed if that takes off at least one byte of so many.
const WORTH: usize = 16;
/// Longest text that INCRBYFLOAT reads a number from.
const MAX_NUMBER: usize = 5 * 1024;

/// Samples that share much, and the number that values name them by.
#[derive(Clone, PartialEq, Eq)]
pub struct Dictionary {
    id: u32,
    bytes: Arc<[u8]>,
}

impl fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dictionary {{ id: {}, bytes: {} }}", self.id, self.bytes.len())
    }
}

impl Dictionary {
    /// A dictionary as zstd trains them.
    ///
    /// # Errors
    /// Why it is none, in words that go on from "it".
    pub fn new(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MAX_DICTIONARY {
            return Err(format!("is larger than {MAX_DICTIONARY} bytes"));
        }
        let id = get_dict_id(bytes).ok_or("is no zstd dictionary with an id")?.get();
        Compressor::with_dictionary(0, bytes).map_err(|e| format!("is no good zstd dictionary: {e}"))?;
        Ok(Dictionary { id, bytes: bytes.into() })
    }

    /// Trains one of at most `size` bytes. Its id is short, so that values which name it are, and made of its content,
    /// so that two are hardly named alike.
    ///
    /// # Errors
    /// Why zstd could not: mostly because there are too few samples.
    pub fn train(samples: &[impl AsRef<[u8]>], size: usize) -> Result<Vec<u8>, String> {
        let trained = zstd::dict::from_samples(samples, size);
        let mut bytes = trained.map_err(|e| format!("zstd cannot train a dictionary: {e}"))?;
        let sum = bytes
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
        let id = 128 + (sum >> 32) as u32 % (16_384 - 128);
        bytes
            .get_mut(4..8)
            .ok_or("zstd made a dictionary without a header")?
            .copy_from_slice(&id.to_le_bytes());
        Ok(bytes)
    }

    /// What values name it by.
    pub fn id(&self) -> u32 {
        self.id
    }
}

/// What is done to values on their way home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    /// false: compressed values are read, and no new ones made.
    pub compress: bool,
    /// The id of the dictionary that new ones need; 0: none.
    pub dictionary: u32,
}

/// Why a stored value cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// No policy names the dictionary with this id.
    Dictionary(u32),
    /// It is longer than this many bytes.
    TooLong(usize),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dictionary(id) => {
                write!(f, "the value is compressed with dictionary {id}, which no policy names")
            }
            Self::TooLong(most) => write!(f, "the compressed value is longer than {most} bytes"),
        }
    }
}

/// A stored value, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// It is kept as it is.
    Plain(&'a [u8]),
    /// It was escaped.
    Escaped(&'a [u8]),
    /// It was compressed.
    Unpacked(Vec<u8>),
}

impl Value<'_> {
    /// The bytes the client set.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Value::Plain(bytes) | Value::Escaped(bytes) => bytes,
            Value::Unpacked(bytes) => bytes,
        }
    }
}

/// Compresses and decompresses for one thread. What zstd needs is made at first use.
pub struct Codec {
    level: i32,
    min_size: usize,
    max_size: usize,
    dictionaries: Arc<[Dictionary]>,
    packers: RefCell<Vec<(u32, Compressor<'static>)>>,
    unpackers: RefCell<Vec<(u32, Decompressor<'static>)>>,
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec").field("level", &self.level).finish_non_exhaustive()
    }
}

impl Codec {
    /// Values of `min_size` to `max_size` bytes are compressed; none longer than `max_size` is read.
    pub fn new(level: i32, min_size: usize, max_size: usize, dictionaries: Arc<[Dictionary]>) -> Self {
        let (packers, unpackers) = Default::default();
        Codec { level, min_size, max_size, dictionaries, packers, unpackers }
    }

    /// What home is to keep for a value; None: the value itself.
    pub fn encode(&self, value: &[u8], packing: Packing) -> Option<Vec<u8>> {
        let size = self.min_size..=self.max_size;
        if packing.compress && size.contains(&value.len()) && !must_stay_readable(value) {
            let packed = self.pack(value, packing.dictionary);
            if packed.as_ref().is_some_and(|packed| packed.len() <= value.len() - value.len() / WORTH) {
                return packed;
            }
        }
        sealed(value).map(|_| seal(ESCAPED, value))
    }

    fn pack(&self, value: &[u8], dictionary: u32) -> Option<Vec<u8>> {
        let mut packers = self.packers.borrow_mut();
        let packer = match packers.iter().position(|(id, _)| *id == dictionary) {
            Some(at) => &mut packers[at].1,
            None => {
                let packer = packer(self.level, self.dictionary(dictionary)?).ok()?;
                packers.push((dictionary, packer));
                &mut packers.last_mut()?.1
            }
        };
        let mut frame = Vec::with_capacity(compress_bound(value.len()));
        packer.compress_to_buffer(value, &mut frame).ok()?;
        let mut rest = Vec::with_capacity(frame.len() + 10);
        append_number(&mut rest, u64::from(dictionary));
        append_number(&mut rest, value.len() as u64);
        rest.extend_from_slice(&frame);
        Some(seal(PACKED, &rest))
    }

    /// The bytes of a dictionary; none of the dictionary 0.
    fn dictionary(&self, id: u32) -> Option<&[u8]> {
        match id {
            0 => Some(&[]),
            id => self.dictionaries.iter().find(|d| d.id == id).map(|d| &*d.bytes),
        }
    }

    /// The value that home keeps as `stored`.
    ///
    /// # Errors
    /// Why it cannot be read. What merely looks compressed is a plain value: somebody set it at home.
    pub fn decode<'a>(&self, stored: &'a [u8]) -> Result<Value<'a>, Unreadable> {
        let plain = Ok(Value::Plain(stored));
        let (dictionary, length, frame) = match sealed(stored) {
            Some((ESCAPED, value)) => return Ok(Value::Escaped(value)),
            Some((_, rest)) => match header(rest) {
                Some(header) => header,
                None => return plain,
            },
            None => return plain,
        };
        if length > frame.len().saturating_mul(MOST_RATIO) {
            return plain;
        }
        if length > self.max_size {
            return Err(Unreadable::TooLong(self.max_size));
        }
        let bytes = self.dictionary(dictionary).ok_or(Unreadable::Dictionary(dictionary))?;
        Ok(self.unpack(dictionary, bytes, length, frame).map_or(Value::Plain(stored), Value::Unpacked))
    }

    fn unpack(&self, id: u32, dictionary: &[u8], length: usize, frame: &[u8]) -> Option<Vec<u8>> {
        let mut unpackers = self.unpackers.borrow_mut();
        let unpacker = match unpackers.iter().position(|(known, _)| *known == id) {
            Some(at) => &mut unpackers[at].1,
            None => {
                unpackers.push((id, unpacker(dictionary).ok()?));
                &mut unpackers.last_mut()?.1
            }
        };
        let mut value = Vec::with_capacity(length);
        unpacker.decompress_to_buffer(frame, &mut value).ok()?;
        (value.len() == length).then_some(value)
    }
}

fn packer(level: i32, dictionary: &[u8]) -> std::io::Result<Compressor<'static>> {
    let mut packer = Compressor::with_dictionary(level, dictionary)?;
    packer.set_parameter(CParameter::Format(FrameFormat::Magicless))?;
    // Both stand before the frame.
    packer.set_parameter(CParameter::ContentSizeFlag(false))?;
    packer.set_parameter(CParameter::DictIdFlag(false))?;
    Ok(packer)
}

fn unpacker(dictionary: &[u8]) -> std::io::Result<Decompressor<'static>> {
    let mut unpacker = Decompressor::with_dictionary(dictionary)?;
    unpacker.set_parameter(DParameter::Format(FrameFormat::Magicless))?;
    Ok(unpacker)
}

/// What commands read that change a value, and know by its first bytes whether they may: a number, and what PFADD
/// counts in. Of any other value they say the same whether it is compressed or not.
fn must_stay_readable(value: &[u8]) -> bool {
    const DECIMAL: &[u8] = b"+-.eE";
    const HEXADECIMAL: &[u8] = b"+-.pPxX";
    let unsigned = value.strip_prefix(b"-").or_else(|| value.strip_prefix(b"+")).unwrap_or(value);
    let hexadecimal = unsigned.starts_with(b"0x") || unsigned.starts_with(b"0X");
    let digit = |b: &u8| match hexadecimal {
        true => b.is_ascii_hexdigit() || HEXADECIMAL.contains(b),
        false => b.is_ascii_digit() || DECIMAL.contains(b),
    };
    value.starts_with(b"HYLL") || value.len() < MAX_NUMBER && value.iter().all(digit)
}

/// What home keeps of this kind, and what it is made of.
pub fn seal(kind: u8, rest: &[u8]) -> Vec<u8> {
    [&MARK[..], &[kind], &check(kind, rest).to_le_bytes(), rest].concat()
}

/// The kind of a stored value that is not plain, and what it is made of.
fn sealed(stored: &[u8]) -> Option<(u8, &[u8])> {
    let (&kind, rest) = stored.strip_prefix(MARK)?.split_first()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let right = matches!(kind, ESCAPED | PACKED) && u32::from_le_bytes(*sum) == check(kind, rest);
    right.then_some((kind, rest))
}

/// Tells by chance one value of four thousand million for another.
fn check(kind: u8, rest: &[u8]) -> u32 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |sum: u64, word: [u8; 8]| {
        let product = (sum ^ u64::from_le_bytes(word)).wrapping_mul(ODD);
        product ^ product >> 32
    };
    let (words, last) = rest.as_chunks();
    let mut padded = [0; 8];
    padded[..last.len()].copy_from_slice(last);
    let begin = mix(!(rest.len() as u64), [kind; 8]);
    mix(words.iter().fold(begin, |sum, word| mix(sum, *word)), padded) as u32
}

/// Dictionary, length and frame.
fn header(rest: &[u8]) -> Option<(u32, usize, &[u8])> {
    let (dictionary, rest) = number(rest)?;
    let (length, frame) = number(rest)?;
    Some((u32::try_from(dictionary).ok()?, usize::try_from(length).ok()?, frame))
}

fn append_number(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A number of at most nine bytes, and what follows it.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut n = 0;
    for (i, byte) in bytes.iter().take(9).enumerate() {
        n |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((n, &bytes[i + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests;
