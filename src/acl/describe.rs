//! Users as rules: what ACL LIST and GETUSER show.
//!
//! The rules that were given are not kept. Commands are told by the categories that fit best, chosen as Redis 7.0
//! chooses them, and one by one for the rest.

use super::selector::{Permission, Selector, category_of};
use super::user::{Payload, User};
use crate::command::{Acl, Command, all};

/// The names of all categories, in Redis' order.
pub fn categories() -> impl Iterator<Item = String> {
    Acl::all().iter_names().map(|(name, _)| name.to_ascii_lowercase())
}

/// The commands and subcommands of a category, named in any case; None: there is no such category.
pub fn commands_in(category: &[u8]) -> Option<impl Iterator<Item = &'static Command>> {
    let category = category_of(category)?;
    Some(all().iter().filter(move |command| command.acl.intersects(category)))
}

impl User {
    /// The words for what it is besides its selectors.
    pub fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.enabled { "on" } else { "off" }];
        if self.no_password {
            flags.push("nopass");
        }
        match self.payload {
            Payload::Unsaid => {}
            Payload::Sanitized => flags.push("sanitize-payload"),
            Payload::Trusted => flags.push("skip-sanitize-payload"),
        }
        flags
    }

    /// The digests of its passwords, in hexadecimal digits.
    pub fn passwords(&self) -> impl Iterator<Item = &str> {
        self.digests.iter().map(|digest| &**digest)
    }

    /// Commands, keys and channels of each of its selectors as GETUSER shows them; the first is its own.
    pub fn selectors(&self) -> impl Iterator<Item = [Vec<u8>; 3]> {
        let shown = |s: &Selector| [s.command_rules(), s.key_rules(), s.channel_rules()];
        self.selectors.iter().map(shown)
    }

    /// The line of ACL LIST.
    pub fn line(&self) -> Vec<u8> {
        let mut line = b"user ".to_vec();
        line.extend_from_slice(self.name());
        let words = self.flags().into_iter().map(str::to_owned);
        for word in words.chain(self.passwords().map(|digest| format!("#{digest}"))) {
            line.push(b' ');
            line.extend_from_slice(word.as_bytes());
        }
        for (index, selector) in self.selectors.iter().enumerate() {
            let (open, close) = if index == 0 { ("", "") } else { ("(", ")") };
            line.push(b' ');
            line.extend_from_slice(open.as_bytes());
            line.extend_from_slice(&selector.rules());
            line.extend_from_slice(close.as_bytes());
        }
        line
    }
}

impl Selector {
    /// Keys, channels and commands, as ACL LIST shows them.
    fn rules(&self) -> Vec<u8> {
        let mut rules = self.key_rules();
        if !rules.is_empty() {
            rules.push(b' ');
        }
        if !self.all_channels {
            rules.extend_from_slice(b"resetchannels ");
        }
        let channels = self.channel_rules();
        rules.extend_from_slice(&channels);
        if !channels.is_empty() {
            rules.push(b' ');
        }
        rules.extend_from_slice(&self.command_rules());
        rules
    }

    fn key_rules(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let rule = |(pattern, may): &(Box<[u8]>, Permission)| {
            let before: &[u8] = match (may.read, may.write) {
                (true, false) => b"%R~",
                (false, true) => b"%W~",
                _ => b"~",
            };
            [before, pattern].concat()
        };
        self.keys.iter().map(rule).collect::<Vec<_>>().join(&b' ')
    }

    fn channel_rules(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        self.channels.iter().map(|pattern| [b"&", &**pattern].concat()).collect::<Vec<_>>().join(&b' ')
    }

    /// The rules are followed as they are made, so that it is known what is still to be said.
    fn command_rules(&self) -> Vec<u8> {
        let all_but = self.future_commands;
        let mut said = Selector::default();
        if all_but {
            all().iter().for_each(|command| said.put(command, true));
        }
        let (start, sign) = if all_but { ("+@all", '-') } else { ("-@all", '+') };
        let mut words = vec![start.as_bytes().to_vec()];
        let mut left = self.clone();
        let mut open: Vec<(&str, Acl)> = Acl::all().iter_names().collect();
        while let Some(best) = left.best_category(&open, all_but) {
            let (name, category) = open.remove(best);
            words.push(format!("{sign}@{}", name.to_ascii_lowercase()).into_bytes());
            for command in all().iter().filter(|command| command.acl.intersects(category)) {
                said.put(command, !all_but);
                left.put(command, all_but);
            }
        }
        for command in all() {
            self.say_single(command, &mut said, &mut words);
        }
        words.join(&b' ')
    }

    /// Of the categories that are open the one with fewest commands of the other sort, and of those the one with
    /// most of the right sort, which must be more than the others.
    fn best_category(&self, open: &[(&str, Acl)], all_but: bool) -> Option<usize> {
        let mut best: Option<(usize, usize, usize)> = None;
        for (index, (_, category)) in open.iter().enumerate() {
            let inside = || all().iter().filter(|command| command.acl.intersects(*category));
            let on = inside().filter(|command| self.commands.has(command)).count();
            let off = inside().count() - on;
            let (same, other) = if all_but { (off, on) } else { (on, off) };
            let better = best.is_none_or(|(_, least, most)| other < least || other == least && same > most);
            if same > other && better {
                best = Some((index, other, same));
            }
        }
        best.map(|(index, ..)| index)
    }

    fn say_single(&self, command: &Command, said: &mut Selector, words: &mut Vec<Vec<u8>>) {
        let allowed = self.commands.has(command);
        let name = command.name.as_bytes();
        if allowed != said.commands.has(command) {
            words.push([if allowed { b"+" } else { b"-" }, name].concat());
            said.put(command, allowed);
        }
        let first = self.first_arguments.get(&command.id).filter(|_| !allowed);
        words.extend(first.into_iter().flatten().map(|argument| [b"+", name, b"|", argument].concat()));
    }
}
