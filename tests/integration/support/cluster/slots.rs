//! Slots: whose they are, and how they move.

use std::ops::RangeInclusive;

use super::super::{Client, Value, wait_until};
use super::{AGREEMENT, Cluster};

/// How many keys one MIGRATE takes along.
const BATCH: usize = 100;

/// The slot of a key: CRC16 (XMODEM) of what stands between its first `{` and the next `}`, or of all of it.
pub(crate) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let length = rest.iter().position(|&byte| byte == b'}').filter(|&length| length > 0)?;
        Some(&rest[..length])
    });
    crc16(tag.unwrap_or(key)) % 16384
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

impl Cluster {
    /// The number of the node that has `slot`: a running master that says so of itself.
    pub(crate) fn owner(&self, slot: u16) -> usize {
        let mut found = None;
        let says = |number: usize| {
            let view = self.view(number)?;
            let own = view.is_master() && view.owner(slot) == Some(self.nodes[number].id());
            own.then_some(number)
        };
        wait_until(AGREEMENT, || {
            found = self.running().into_iter().find_map(says);
            found.is_some()
        });
        found.unwrap_or_else(|| panic!("nobody has slot {slot}"))
    }

    pub(crate) fn owner_of_key(&self, key: &str) -> usize {
        self.owner(slot_of(key.as_bytes()))
    }

    /// A connection to the node that has the key.
    pub(crate) fn connect_to(&self, key: &str) -> Client {
        self.nodes[self.owner_of_key(key)].connect()
    }

    /// A key that starts with `prefix` and whose slot node `number` has now.
    pub(crate) fn key_of_node(&self, number: usize, prefix: &str) -> String {
        let view = self.view(number).expect("the node answers");
        let own = Some(self.nodes[number].id());
        let mut names = (0..).map(|suffix: u32| format!("{prefix}{suffix}"));
        names.find(|name| view.owner(slot_of(name.as_bytes())) == own).expect("names do not end")
    }

    /// The slot begins to move: its node answers with ASK what it lacks, and node `to` takes ASKING.
    pub(crate) fn begin_move(&self, slot: u16, to: usize) {
        let from = self.owner(slot);
        let number = slot.to_string();
        self.nodes[to].order(&["CLUSTER", "SETSLOT", &number, "IMPORTING", self.nodes[from].id()]);
        self.nodes[from].order(&["CLUSTER", "SETSLOT", &number, "MIGRATING", self.nodes[to].id()]);
    }

    /// Moves at most `count` of the slot's keys, and says how many there were to move.
    pub(crate) fn move_keys(&self, slot: u16, to: usize, count: usize) -> usize {
        let from = &self.nodes[self.owner(slot)];
        let mut client = from.connect();
        let keys = client.call(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), &count.to_string()]);
        let keys = keys.expect("the node answers").elements().expect("keys are listed");
        if keys.is_empty() {
            return 0;
        }
        let port = self.nodes[to].server.port().to_string();
        let mut words: Vec<&[u8]> =
            ["MIGRATE", "127.0.0.1", &port, "", "0", "5000"].map(str::as_bytes).into();
        if let Some((name, password)) = &self.shape.login {
            words.extend(["AUTH2", name, password].map(str::as_bytes));
        }
        words.push(b"KEYS");
        words.extend(keys.iter().filter_map(Value::bytes));
        let reply = client.call(&words).expect("the node answers");
        // NOKEY: they ended meanwhile.
        assert!(!reply.is_error(), "{reply:?}");
        keys.len()
    }

    /// The slot is node `to`'s, and all masters hear it at once.
    pub(crate) fn end_move(&self, slot: u16, to: usize) {
        let id = self.nodes[to].id();
        self.wait_epoch(self.owner(slot), to);
        let others = self.masters().into_iter().filter(|&number| number != to);
        for number in std::iter::once(to).chain(others) {
            self.nodes[number].order(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", id]);
        }
    }

    /// Waits until node `to` knows the epoch of node `from`. It takes a later one with a slot; one that is earlier would
    /// have it believe that the slot is still where it was, from the next that `from` sent before, and for ever.
    fn wait_epoch(&self, from: usize, to: usize) {
        let epoch = |of: usize| self.view(of)?.epoch(self.nodes[from].id());
        let known = || epoch(from).is_some_and(|own| epoch(to).is_some_and(|known| known >= own));
        assert!(wait_until(AGREEMENT, known), "{} is not heard", self.nodes[from].address());
    }

    /// Moves a slot with all its keys.
    pub(crate) fn move_slot(&self, slot: u16, to: usize) {
        if self.owner(slot) == to {
            return;
        }
        self.begin_move(slot, to);
        while self.move_keys(slot, to, BATCH) > 0 {}
        self.end_move(slot, to);
    }

    pub(crate) fn move_slots(&self, slots: RangeInclusive<u16>, to: usize) {
        slots.for_each(|slot| self.move_slot(slot, to));
    }

    /// All slots of node `from` go to node `to`.
    pub(crate) fn move_all(&self, from: usize, to: usize) {
        let view = self.view(from).expect("the node answers");
        let ranges = view.owners().remove(self.nodes[from].id()).unwrap_or_default();
        ranges.into_iter().for_each(|(first, last)| self.move_slots(first..=last, to));
    }
}
