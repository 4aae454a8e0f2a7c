//! Hash slots: which of a cluster's 16,384 parts a key belongs to.

/// Slots of a cluster.
pub const SLOTS: usize = 16_384;

/// CRC-16/XMODEM, a byte at a time.
const TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| crc << 8 ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

/// The slot of a key: of what stands between its first brace and the next that closes, if anything does.
pub fn slot(key: &[u8]) -> u16 {
    crc16(tag(key)) % SLOTS as u16
}

fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|b| *b == b'{') else { return key };
    let rest = &key[open + 1..];
    match rest.iter().position(|b| *b == b'}') {
        None | Some(0) => key,
        Some(close) => &rest[..close],
    }
}

/// Some of the slots.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotSet {
    bits: Box<[u64; SLOTS / 64]>,
    len: usize,
}

impl Default for SlotSet {
    fn default() -> Self {
        SlotSet { bits: Box::new([0; SLOTS / 64]), len: 0 }
    }
}

impl std::fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} slots", self.len)
    }
}

impl SlotSet {
    /// Adds a slot; one that is no slot is not added.
    pub fn insert(&mut self, slot: u16) {
        if let Some(word) = self.bits.get_mut(usize::from(slot) / 64) {
            self.len += usize::from(*word >> (slot % 64) & 1 == 0);
            *word |= 1 << (slot % 64);
        }
    }

    /// Takes these out.
    pub fn remove_all(&mut self, others: &SlotSet) {
        for (word, other) in self.bits.iter_mut().zip(others.bits.iter()) {
            *word &= !other;
        }
        self.len = self.bits.iter().map(|word| word.count_ones() as usize).sum();
    }

    /// Whether a slot is among them.
    pub fn contains(&self, slot: u16) -> bool {
        self.bits.get(usize::from(slot) / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of them, rising.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        (0..SLOTS as u16).filter(|slot| self.contains(*slot))
    }
}

impl FromIterator<u16> for SlotSet {
    fn from_iter<I: IntoIterator<Item = u16>>(slots: I) -> Self {
        let mut set = SlotSet::default();
        slots.into_iter().for_each(|slot| set.insert(slot));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As CLUSTER KEYSLOT of a Redis 7.0.15 says.
    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        let cases: [(&[u8], u16); 10] = [
            (b"", 0),
            (b"foo", 12182),
            (b"bar", 5061),
            (b"{user1000}.following", 3443),
            (b"user1000", 3443),
            (b"foo{}{bar}", 8363),
            (b"foo{{bar}}zap", 4015),
            (b"foo{bar}{zap}", 5061),
            (b"{foo", 13308),
            (b"\x00\xff", 7920),
        ];
        for (key, expected) in cases {
            assert_eq!(slot(key), expected, "{}", key.escape_ascii());
        }
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set: SlotSet = [0, 63, 64, 16_383, 64, 16_384].into_iter().collect();
        assert_eq!((set.len(), set.is_empty()), (4, false));
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 16_383]);
        assert!(!set.contains(1) && !set.contains(16_384));
    }
}
