//! Which prefixes clients hear of.

use std::collections::BTreeMap;

/// Who hears of which prefix.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    sessions: BTreeMap<Box<[u8]>, Vec<u64>>,
    /// How many prefixes there are of each length: a key is looked up once for each.
    lengths: BTreeMap<usize, usize>,
}

impl Prefixes {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Calls with each prefix that begins some of these keys, with those keys and who hears of them. Prefixes are in
    /// order.
    pub(super) fn matches(&self, keys: &[&[u8]], mut each: impl FnMut(&[&[u8]], &[u64])) {
        if self.sessions.is_empty() {
            return;
        }
        let mut matches: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
        for key in keys {
            for length in self.lengths.range(..=key.len()).map(|(length, _)| *length) {
                if let Some((prefix, _)) = self.sessions.get_key_value(&key[..length]) {
                    matches.entry(prefix).or_default().push(key);
                }
            }
        }
        for (prefix, keys) in matches {
            each(&keys, self.sessions.get(prefix).map_or(&[], Vec::as_slice));
        }
    }

    pub(super) fn add(&mut self, prefix: &[u8], session: u64) {
        match self.sessions.get_mut(prefix) {
            Some(sessions) if sessions.contains(&session) => {}
            Some(sessions) => sessions.push(session),
            None => {
                self.sessions.insert(prefix.into(), vec![session]);
                *self.lengths.entry(prefix.len()).or_default() += 1;
            }
        }
    }

    pub(super) fn remove(&mut self, prefix: &[u8], session: u64) {
        let Some(sessions) = self.sessions.get_mut(prefix) else { return };
        sessions.retain(|s| *s != session);
        if !sessions.is_empty() {
            return;
        }
        self.sessions.remove(prefix);
        if let Some(count) = self.lengths.get_mut(&prefix.len()) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&prefix.len());
            }
        }
    }
}
