//! What L2 holds for a request: a header and the reply, as it is or compressed.

use bytes::Bytes;

use super::scripts::RANDOM;
use crate::resp::{ReplyScanner, Scan};

/// Replies larger than this are not kept in L2.
pub const MAX_REPLY: usize = 1 << 20;
/// Replies from this size on are compressed, if that makes them smaller.
const COMPRESSED_FROM: usize = 1024;
/// zstd's fastest level of use: a copy is read more often than written, but soon gone.
const LEVEL: i32 = 1;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
/// Kind, length of the reply, when it was filled (seconds since the epoch of Unix), when it ends.
const HEADER: usize = 1 + 4 + 8 + 8;

/// An epoch of the namespace: random, never used twice.
pub type Epoch = [u8; RANDOM];

/// A stored record, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The epoch that it was filled in.
    pub epoch: Epoch,
    /// Which fill of the epoch it was.
    pub number: u64,
    /// When it was filled, in seconds since the epoch of Unix.
    pub filled_at: u64,
    /// When it ends, in milliseconds of L2's clock.
    pub ends_at: u64,
    /// Bytes of the reply.
    pub len: usize,
    kind: u8,
    payload: &'a [u8],
}

/// Packs and unpacks replies. One a worker: it owns the memory that zstd needs.
pub struct Codec {
    compressor: Option<zstd::bulk::Compressor<'static>>,
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
}

impl Default for Codec {
    fn default() -> Self {
        let compressor = zstd::bulk::Compressor::new(LEVEL).ok();
        Codec { compressor, decompressor: zstd::bulk::Decompressor::new().ok() }
    }
}

impl Codec {
    /// What FILL is given: a record without what the script puts in front. None: it is too large.
    pub fn pack(&mut self, reply: &[u8], filled_at: u64, ends_at: u64) -> Option<Vec<u8>> {
        if reply.len() > MAX_REPLY {
            return None;
        }
        let compressor = self.compressor.as_mut().filter(|_| reply.len() >= COMPRESSED_FROM);
        let packed = compressor.and_then(|c| c.compress(reply).ok()).filter(|p| p.len() < reply.len());
        let (kind, payload) = packed.as_ref().map_or((PLAIN, reply), |packed| (ZSTD, packed));
        let mut out = Vec::with_capacity(HEADER + payload.len());
        out.push(kind);
        out.extend_from_slice(&(reply.len() as u32).to_le_bytes());
        out.extend_from_slice(&filled_at.to_le_bytes());
        out.extend_from_slice(&ends_at.to_le_bytes());
        out.extend_from_slice(payload);
        Some(out)
    }

    /// The reply of a record; None: it is none, whatever it is.
    pub fn unpack(&mut self, record: &Record<'_>) -> Option<Bytes> {
        let reply = match record.kind {
            PLAIN => Bytes::copy_from_slice(record.payload),
            _ => self.decompressor.as_mut()?.decompress(record.payload, record.len).ok()?.into(),
        };
        // It goes to clients as it is: it has to be one whole reply.
        let whole =
            matches!(ReplyScanner::new().step(&reply, 0), Scan::Complete { end } if end == reply.len());
        (whole && reply.len() == record.len).then_some(reply)
    }
}

impl<'a> Record<'a> {
    /// Takes a stored record apart; None: it is none.
    pub fn parse(stored: &'a [u8]) -> Option<Self> {
        let (epoch, rest) = stored.split_first_chunk::<RANDOM>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (kind, rest) = rest.split_first()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let (filled_at, rest) = rest.split_first_chunk::<8>()?;
        let (ends_at, payload) = rest.split_first_chunk::<8>()?;
        let len = u32::from_le_bytes(*len) as usize;
        (len <= MAX_REPLY && matches!(*kind, PLAIN | ZSTD)).then_some(Record {
            epoch: *epoch,
            number: u64::from_le_bytes(*number),
            filled_at: u64::from_le_bytes(*filled_at),
            ends_at: u64::from_le_bytes(*ends_at),
            len,
            kind: *kind,
            payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(codec: &mut Codec, reply: &[u8]) -> Vec<u8> {
        let mut stored = [7; RANDOM].to_vec();
        stored.extend_from_slice(&9_u64.to_le_bytes());
        stored.extend(codec.pack(reply, 1234, 99).expect("it fits"));
        stored
    }

    #[test]
    fn replies_come_back_as_they_were() {
        let mut codec = Codec::default();
        let text = format!("${}\r\n{}\r\n", 5000, "ab".repeat(2500));
        for reply in [&b"$-1\r\n"[..], b":12\r\n", text.as_bytes()] {
            let stored = stored(&mut codec, reply);
            let record = Record::parse(&stored).expect("a record");
            assert_eq!((record.epoch, record.number), ([7; RANDOM], 9));
            assert_eq!((record.filled_at, record.ends_at, record.len), (1234, 99, reply.len()));
            assert_eq!(codec.unpack(&record).as_deref(), Some(reply));
        }
        assert!(stored(&mut codec, text.as_bytes()).len() < 200);
        assert_eq!(codec.pack(&vec![0; MAX_REPLY + 1], 0, 0), None);
    }

    #[test]
    fn what_is_no_record_is_no_reply() {
        let mut codec = Codec::default();
        let good = stored(&mut codec, b"$3\r\nabc\r\n");
        assert_eq!(Record::parse(&good[..20]), None);
        let mut cut = good.clone();
        cut.pop();
        let mut two = good.clone();
        two.extend_from_slice(b":1\r\n");
        let mut zstd = good.clone();
        zstd[RANDOM + 8] = ZSTD;
        for bad in [cut, two, zstd] {
            assert_eq!(Record::parse(&bad).and_then(|record| codec.unpack(&record)), None);
        }
        let mut kind = good;
        kind[RANDOM + 8] = 9;
        assert_eq!(Record::parse(&kind), None);
    }
}
