//! Random commands from the templates.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::compare::Rule;
use super::phrases::{CLIENTS, PUBLISHING_SCRIPTS, PUSHING_SCRIPTS};
use super::run::{Batch, CONNECTIONS, Step};
use super::templates::{
    COPYING_SCRIPTS, DIGESTS, DUMPS, HIDDEN_KEY_SCRIPTS, KEYED_SCRIPTS, LIBRARY, OF_REDIS_7_0,
    RESULT_SCRIPTS, TEMPLATES,
};
use crate::support::{Arguments, arguments, is_redis_7_0};

/// Every type has keys of its own, few enough to stay hot.
const KINDS: &[&str] = &["str", "num", "bits", "hll", "hash", "list", "set", "zset", "stream", "geo"];
const KEYS_A_KIND: usize = 3;

/// Out of a thousand, how often a key of any type stands where one type is expected.
const WRONG_TYPE: u32 = 60;
/// Out of a thousand, how often a command is distorted.
const DISTORTED: u32 = 50;
/// Out of a thousand, how often a batch ends with a key that expires.
const EXPIRING: u32 = 30;

const MAX_BATCH: usize = 32;

/// What stands where a distorted command's argument was. No word here turns a harmless command into one whose effect is
/// random, that blocks, or that asks for a huge reply.
const JUNK: &[&[u8]] = &[
    b"",
    b"junk",
    b"0",
    b"-1",
    b"1.5",
    b" 1",
    b"+1",
    b"9223372036854775807",
    b"9223372036854775808",
    b"nan",
    b"\0\r\n",
];

const VALUES: &[&[u8]] = &[
    b"",
    b"a",
    b"hello world",
    b"42",
    b"-7",
    b"3.25",
    b"1e3",
    b"\0\xff\r\n$3\r\n",
    b"a value that is longer than the forty-four bytes of an embedded string",
    b"{\"name\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"tags\":[\"aaaaaaaa\",\"aaaaaaaa\",\"aaaaaaaa\"]}",
    b"\xffsz\0\xffsz\0",
];

pub(super) struct Template {
    words: Vec<&'static str>,
    rule: Rule,
    read: bool,
    fixed: bool,
}

impl Template {
    pub(super) fn parse(line: &'static str) -> Template {
        let mut words = line.split(' ');
        let head = words.next().expect("a template has a head");
        let rule = head.get(1..2).and_then(Rule::of).unwrap_or_else(|| panic!("no such rule: {line}"));
        Template { words: words.collect(), rule, read: head.starts_with('r'), fixed: head.ends_with('!') }
    }

    pub(super) fn is(&self, rule: Rule) -> bool {
        self.rule == rule
    }
}

/// An endless sequence of batches, the same for the same seed.
pub(super) struct Generator {
    random: StdRng,
    templates: Vec<Template>,
    protocol: u8,
    /// The next id of any stream: explicit, because two servers' clocks differ.
    stream_id: u64,
    /// A key that has expired by now and that the next batch begins with: a server that was not asked still counts it.
    expired: Option<Vec<u8>>,
}

impl Generator {
    /// `unlike` are parts of templates that are left out.
    pub(super) fn new(random: StdRng, protocol: u8, unlike: &[&str]) -> Generator {
        let of_7_0 = is_redis_7_0();
        let newer = |line: &&str| !OF_REDIS_7_0.iter().any(|words| line.contains(&format!(" {words}")));
        let lines = TEMPLATES.iter().flat_map(|group| group.lines()).filter(|line| of_7_0 || newer(line));
        let lines = lines.filter(|line| !unlike.iter().any(|part| line.contains(part)));
        Generator::of(random, protocol, lines.map(Template::parse).collect())
    }

    pub(super) fn of(random: StdRng, protocol: u8, templates: Vec<Template>) -> Generator {
        Generator { random, templates, protocol, stream_id: 10, expired: None }
    }

    pub(super) fn batch(&mut self) -> Batch {
        let connection = self.random.random_range(0..CONNECTIONS);
        let mut batch = Batch { connection, steps: Vec::new(), pause: Duration::ZERO };
        if let Some(key) = self.expired.take() {
            // In either database: a copy of it may have been made before it expired.
            for database in ["1", "0"] {
                batch.steps.push(exact(arguments(&["SELECT", database])));
                batch.steps.push(exact(vec![b"EXISTS".to_vec(), key.clone()]));
            }
        }
        for _ in 0..self.random.random_range(1..=MAX_BATCH) {
            let step = self.step();
            batch.steps.push(step);
        }
        let leaves_protocol = |step: &Step| {
            step.words.first().is_some_and(|name| {
                name.eq_ignore_ascii_case(b"HELLO") || name.eq_ignore_ascii_case(b"RESET")
            })
        };
        if batch.steps.iter().any(leaves_protocol) {
            let words = arguments(&["HELLO", &self.protocol.to_string()]);
            batch.steps.push(Step { words, rule: Rule::Hello, read: false });
        }
        if self.chance(EXPIRING) {
            let key = self.key(None);
            batch.steps.push(Step { read: true, ..exact(vec![b"TYPE".to_vec(), key.clone()]) });
            batch.steps.push(exact(vec![b"PEXPIRE".to_vec(), key.clone(), b"4".to_vec()]));
            batch.pause = Duration::from_millis(12);
            self.expired = Some(key);
        }
        batch
    }

    fn step(&mut self) -> Step {
        let index = self.below(self.templates.len());
        let Template { ref words, rule, read, fixed } = self.templates[index];
        self.made_of(words.clone(), rule, read, fixed)
    }

    /// A step of some template among these.
    pub(super) fn step_among(&mut self, templates: &[Template]) -> Step {
        let Template { ref words, rule, read, fixed } = templates[self.below(templates.len())];
        self.made_of(words.clone(), rule, read, fixed)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.random.random_range(0..bound)
    }

    fn made_of(&mut self, words: Vec<&'static str>, rule: Rule, read: bool, fixed: bool) -> Step {
        let mut words: Arguments = words.into_iter().flat_map(|word| self.expand(word)).collect();
        if !fixed && self.chance(DISTORTED) {
            self.distort(&mut words);
        }
        Step { words, rule, read }
    }

    pub(super) fn chance(&mut self, of_a_thousand: u32) -> bool {
        self.random.random_ratio(of_a_thousand, 1000)
    }

    fn one_of<'a, T: ?Sized>(&mut self, words: &[&'a T]) -> &'a T {
        words.choose(&mut self.random).expect("a list of words is not empty")
    }

    fn distort(&mut self, words: &mut Arguments) {
        let at = self.random.random_range(0..words.len());
        match self.random.random_range(0..5) {
            0 => drop(words.pop_if(|_| at > 0)),
            1 => words.push(self.one_of(JUNK).to_vec()),
            2 if at > 0 => words[at] = self.one_of(JUNK).to_vec(),
            3 => words.insert(at, words[at].clone()),
            _ => words[0] = words[0].to_ascii_lowercase(),
        }
    }

    /// The words a template's word stands for.
    fn expand(&mut self, word: &'static str) -> Vec<Vec<u8>> {
        let Some((before, name)) = word.split_once('$') else {
            return vec![word.into()];
        };
        let (name, count) = match name.strip_suffix('+') {
            Some(name) => (name, self.random.random_range(1..=3)),
            None => (name, 1),
        };
        (0..count).map(|_| [before.as_bytes(), &self.word(name)].concat()).collect()
    }

    fn word(&mut self, name: &str) -> Vec<u8> {
        if KINDS.contains(&name) {
            return self.key(Some(name));
        }
        match name {
            "" => "$".into(),
            "key" => self.key(None),
            "value" => self.one_of(VALUES).to_vec(),
            "dump" => self.one_of(DUMPS).to_vec(),
            "library" => LIBRARY.into(),
            "talking" => super::phrases::LIBRARY.into(),
            "script" => self.one_of(KEYED_SCRIPTS).into(),
            "hidden" => self.one_of(HIDDEN_KEY_SCRIPTS).into(),
            "copier" => self.one_of(COPYING_SCRIPTS).into(),
            "result" => self.one_of(RESULT_SCRIPTS).into(),
            "sha" => self.one_of(DIGESTS).into(),
            "pushing" => self.one_of(PUSHING_SCRIPTS).into(),
            "publishing" => self.one_of(PUBLISHING_SCRIPTS).into(),
            "channel" => self.one_of(&["a1", "a2", "b1", "none"]).into(),
            // No two of them match one channel: in which order a server goes through them is its own affair.
            "pattern" => self.one_of(&["a*", "b?", "x"]).into(),
            "client" => self.one_of(CLIENTS).into(),
            "glob" => self.one_of(&["*", "str*", "?et:[01]", "*:2", "none*", "h\\ash*"]).into(),
            "limit" => self.one_of(&["-inf", "+inf", "(2", "3", "(-1.5", "0", "7"]).into(),
            "lex" => self.one_of(&["-", "+", "[m3", "(m5", "[", "(m1"]).into(),
            "score" => self.one_of(&["0", "1", "-2", "3.5", "1e3", "inf", "-inf", "0.1", "17"]).into(),
            "float" => self.one_of(&["1.5", "-0.25", "3", "1e2", "0.1"]).into(),
            "next" => {
                self.stream_id += 1;
                format!("{}-1", self.stream_id).into()
            }
            _ => self.number(name).into(),
        }
    }

    fn number(&mut self, name: &str) -> String {
        let random = &mut self.random;
        match name {
            "field" => format!("f{}", random.random_range(0..6)),
            "member" => format!("m{}", random.random_range(0..8)),
            "group" => format!("g{}", random.random_range(0..2)),
            "consumer" => format!("c{}", random.random_range(0..2)),
            "id" => format!("{}-1", random.random_range(self.stream_id.saturating_sub(12)..=self.stream_id)),
            "int" => random.random_range(-5..15).to_string(),
            "count" => random.random_range(0..5).to_string(),
            "index" => random.random_range(-4..6).to_string(),
            "offset" => random.random_range(0..100).to_string(),
            "bit" => random.random_range(0..2).to_string(),
            "lon" => format!("{:.4}", random.random_range(-20.0..20.0)),
            "lat" => format!("{:.4}", random.random_range(-20.0..20.0)),
            // Long enough in milliseconds too that nothing expires during a run by itself.
            "ttl" => random.random_range(4_000_000..40_000_000).to_string(),
            "future" => random.random_range(4_000_000_000_u64..4_100_000_000).to_string(),
            _ => panic!("a template names ${name}, which stands for nothing"),
        }
    }

    /// A key of this kind, or of any.
    fn key(&mut self, kind: Option<&str>) -> Vec<u8> {
        let wrong = self.chance(WRONG_TYPE);
        let any = self.one_of(KINDS);
        let kind = kind.filter(|_| !wrong).unwrap_or(any);
        format!("{kind}:{}", self.random.random_range(0..KEYS_A_KIND)).into()
    }
}

fn exact(words: Arguments) -> Step {
    Step { words, rule: Rule::Exact, read: false }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;

    fn generator(seed: u64) -> Generator {
        Generator::new(StdRng::seed_from_u64(seed), 2, &[])
    }

    #[test]
    fn the_same_seed_gives_the_same_commands() {
        let commands = |seed| {
            let mut generator = generator(seed);
            (0..100).map(|_| generator.batch().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(commands(1), commands(1));
        assert_ne!(commands(1), commands(2));
    }

    #[test]
    fn every_template_can_be_expanded_and_is_sent() {
        let mut generator = generator(3);
        let templates = generator.templates.len();
        assert!(templates > 300, "{templates}");
        let mut names = BTreeSet::new();
        for index in 0..templates {
            let words = generator.templates[index].words.clone();
            names.insert(words[0]);
            assert!(words.into_iter().all(|word| !generator.expand(word).is_empty()));
        }
        assert!(names.len() > 190, "{}", names.len());
    }
}
