//! Which keys' values home keeps compressed, and with what: what `[l3]` and the first `[[policy]]` that matches say.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::compress::{Codec, Dictionary, MAX_DICTIONARY, Packing};
use super::glob;
use crate::config::{Compression, Config};

/// The rules in force.
#[derive(Debug)]
pub struct Packings {
    /// Globs of all policies, in order: the first that matches decides, even if it says nothing.
    rules: Vec<(String, Option<Packing>)>,
    otherwise: Option<Packing>,
    level: i32,
    min_size: usize,
    max_size: usize,
    dictionaries: Arc<[Dictionary]>,
}

impl Packings {
    /// The rules of a configuration; none: no key's values are touched.
    ///
    /// # Errors
    /// What is wrong with a dictionary, in words for the operator.
    pub fn new(config: &Config) -> Result<Option<Self>, String> {
        let otherwise = match config.l3.compression {
            Compression::Off => None,
            Compression::Zstd => Some(Packing { compress: true, dictionary: 0 }),
        };
        let mut dictionaries: Vec<Dictionary> = Vec::new();
        let mut rules = Vec::new();
        for policy in &config.policies {
            let mut first = 0;
            for file in &policy.dictionary {
                let dictionary = read(file).map_err(|wrong| {
                    format!("policy {:?}: dictionary {} {wrong}", policy.pattern, file.display())
                })?;
                first = if first == 0 { dictionary.id() } else { first };
                match dictionaries.iter().find(|known| known.id() == dictionary.id()) {
                    Some(known) if *known == dictionary => {}
                    Some(_) => {
                        return Err(format!(
                            "policy {:?}: dictionary {} has the id {} of another one",
                            policy.pattern,
                            file.display(),
                            dictionary.id()
                        ));
                    }
                    None => dictionaries.push(dictionary),
                }
            }
            let compress = policy.compress.or(otherwise.map(|o| o.compress));
            rules.push((
                policy.pattern.clone(),
                compress.map(|compress| Packing { compress, dictionary: first }),
            ));
        }
        if otherwise.is_none() && rules.iter().all(|(_, packing)| packing.is_none()) {
            return Ok(None);
        }
        Ok(Some(Packings {
            rules,
            otherwise,
            level: i32::try_from(config.l3.compression_level).unwrap_or(i32::MAX),
            min_size: config.l3.compression_min_size,
            max_size: config.server.max_bulk,
            dictionaries: dictionaries.into(),
        }))
    }

    /// What is done to the values of this key; none: nothing.
    pub fn of(&self, key: &[u8]) -> Option<Packing> {
        match self.rule(key) {
            Some((_, packing)) => *packing,
            None => self.otherwise,
        }
    }

    fn rule(&self, key: &[u8]) -> Option<&(String, Option<Packing>)> {
        self.rules.iter().find(|(pattern, _)| glob::matches(pattern.as_bytes(), key))
    }

    /// Who says what is done to the values of this key, for people.
    pub fn authority(&self, key: &[u8]) -> String {
        self.rule(key).map_or("l3.compression".to_owned(), |(pattern, _)| format!("policy {pattern:?}"))
    }

    /// Some rule by which values are compressed, for people.
    pub fn any(&self) -> String {
        let rule = self.rules.iter().find(|(_, packing)| packing.is_some());
        rule.map_or("l3.compression".to_owned(), |(pattern, _)| format!("policy {pattern:?}"))
    }

    /// What does it, for one thread.
    pub fn codec(&self) -> Codec {
        Codec::new(self.level, self.min_size, self.max_size, self.dictionaries.clone())
    }

    /// The longest value that is read.
    pub fn max_size(&self) -> usize {
        self.max_size
    }
}

fn read(file: &Path) -> Result<Dictionary, String> {
    let cannot = |e: std::io::Error| format!("cannot be read: {e}");
    let length = fs::metadata(file).map_err(cannot)?.len();
    if length > MAX_DICTIONARY as u64 {
        return Err(format!("is larger than {MAX_DICTIONARY} bytes"));
    }
    Dictionary::new(&fs::read(file).map_err(cannot)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Policy;

    fn policy(pattern: &str, compress: Option<bool>) -> Policy {
        Policy { pattern: pattern.into(), compress, ..Policy::default() }
    }

    fn packings(compression: Compression, policies: Vec<Policy>) -> Option<Packings> {
        let mut config = Config { policies, ..Config::default() };
        config.l3.compression = compression;
        Packings::new(&config).expect("rules")
    }

    #[test]
    fn nobody_pays_where_no_policy_compresses() {
        assert!(packings(Compression::Off, vec![policy("a*", None)]).is_none());
        assert!(packings(Compression::Zstd, Vec::new()).is_some());
    }

    #[test]
    fn the_first_policy_that_matches_decides() {
        let rules = vec![policy("a:x*", Some(false)), policy("a:*", Some(true)), policy("a*", None)];
        let packings = packings(Compression::Off, rules).expect("some");
        let compress = |key: &[u8]| packings.of(key).map(|p| p.compress);
        assert_eq!([&b"a:x1"[..], b"a:1", b"ab", b"b"].map(compress), [Some(false), Some(true), None, None]);
        assert_eq!(packings.authority(b"a:1"), "policy \"a:*\"");
    }

    #[test]
    fn what_a_policy_leaves_out_is_as_l3_says() {
        let packings =
            packings(Compression::Zstd, vec![policy("a*", None), policy("b*", Some(false))]).expect("some");
        let compress = |key: &[u8]| packings.of(key).map(|p| p.compress);
        assert_eq!([&b"a"[..], b"b", b"c"].map(compress), [Some(true), Some(false), Some(true)]);
        assert_eq!(packings.authority(b"c"), "l3.compression");
    }

    #[test]
    fn a_file_that_is_no_dictionary_is_named() {
        let mut bad = policy("a*", Some(true));
        bad.dictionary = vec!["Cargo.toml".into()];
        let config = Config { policies: vec![bad], ..Config::default() };
        let wrong = Packings::new(&config).expect_err("refused");
        assert_eq!(wrong, "policy \"a*\": dictionary Cargo.toml is no zstd dictionary with an id");
    }
}
