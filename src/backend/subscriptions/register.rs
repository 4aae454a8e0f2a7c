//! The register: who wants which topic, what home has confirmed, and what is to be asked next.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use foldhash::quality::RandomState;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Question, Space, What};

/// One topic.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Clients that want it.
    pub(super) wanted: usize,
    /// Clients whose subscription has begun, and not ended.
    pub(super) members: usize,
    /// Clients to be told its messages, by worker.
    pub(super) routes: Vec<(u16, usize)>,
    /// Home has confirmed the subscription.
    pub(super) confirmed: bool,
    /// It was asked to, and has not answered.
    pub(super) asked: bool,
    /// Subscriptions of it by branches, besides.
    pub(super) branches: usize,
}

type Topics = HashMap<Bytes, Entry, RandomState>;

/// What the lock is about.
#[derive(Debug, Default)]
pub(super) struct Register {
    spaces: [Topics; 3],
    /// Not sent yet.
    pub(super) questions: VecDeque<Question>,
    /// The last number given.
    last: u64,
    pub(super) up: bool,
    /// A number was given that only the connection to come can reach.
    owes: bool,
    /// By worker: the last number it waits for.
    pub(super) waiting: Vec<u64>,
}

/// The register; see the module's text.
#[derive(Debug, Default)]
pub struct Subscriptions {
    pub(super) register: Mutex<Register>,
    topics: AtomicUsize,
    /// As in the register, to be read without the lock.
    pub(super) up: AtomicBool,
    /// There are questions, or something is wanted.
    pub(super) asked: Notify,
    /// Bytes on their way to the workers.
    pub(super) queued: AtomicUsize,
    /// They have become few enough.
    pub(super) relieved: Notify,
}

/// Who hears a message here, and of how many of them home knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// Subscriptions of clients.
    pub members: usize,
    /// Subscriptions of strata.
    pub shared: usize,
}

impl Subscriptions {
    /// Whether anything is subscribed to.
    pub fn any(&self) -> bool {
        self.topics.load(Relaxed) > 0
    }

    /// Whether there is a connection.
    pub fn up(&self) -> bool {
        self.up.load(Relaxed)
    }

    /// A client of `worker` wants a topic; its messages go there from now on. Returns the name, shared by all.
    pub fn want(&self, worker: u16, space: Space, name: &[u8]) -> Bytes {
        let mut register = self.register.lock();
        let register = &mut *register;
        let topics = &mut register.spaces[space as usize];
        let name = match topics.get_key_value(name) {
            Some((name, _)) => name.clone(),
            None => {
                self.topics.fetch_add(1, Relaxed);
                Bytes::copy_from_slice(name)
            }
        };
        let entry = topics.entry(name.clone()).or_default();
        entry.wanted += 1;
        match entry.routes.iter_mut().find(|(w, _)| *w == worker) {
            Some((_, clients)) => *clients += 1,
            None => entry.routes.push((worker, 1)),
        }
        if register.up && !entry.confirmed && !entry.asked {
            entry.asked = true;
            register.ask(What::Subscribe(space, name.clone()));
        }
        name
    }

    /// It wants the topic no more. Until [`Subscriptions::forget`] it is told its messages.
    pub fn give_up(&self, space: Space, name: &Bytes) {
        let mut register = self.register.lock();
        let register = &mut *register;
        let Some(entry) = register.spaces[space as usize].get_mut(name) else { return };
        entry.wanted = entry.wanted.saturating_sub(1);
        if entry.wanted == 0 && register.up && (entry.confirmed || entry.asked) {
            (entry.confirmed, entry.asked) = (false, false);
            register.ask(What::Unsubscribe(space, name.clone()));
            self.asked.notify_one();
        }
    }

    /// The subscription of a client that wants the topic has begun.
    pub fn begin(&self, space: Space, name: &Bytes) {
        if let Some(entry) = self.register.lock().spaces[space as usize].get_mut(name) {
            entry.members += 1;
        }
    }

    /// A client of `worker` is told no more of a topic; `member`: its subscription had begun.
    pub fn forget(&self, worker: u16, space: Space, name: &Bytes, member: bool) {
        let mut register = self.register.lock();
        let topics = &mut register.spaces[space as usize];
        let Some(entry) = topics.get_mut(name) else { return };
        entry.members = entry.members.saturating_sub(usize::from(member));
        if let Some(place) = entry.routes.iter().position(|(w, _)| *w == worker) {
            entry.routes[place].1 -= 1;
            if entry.routes[place].1 == 0 {
                entry.routes.swap_remove(place);
            }
        }
        if entry.routes.is_empty() && entry.wanted == 0 {
            topics.remove(name);
            self.topics.fetch_sub(1, Relaxed);
        }
    }

    /// A number that is reached once everything published before now has been heard, and everything asked for
    /// before now answered.
    ///
    /// `shard`: so it is with what was published to this shard channel.
    pub fn mark(&self, worker: u16, shard: Option<&[u8]>) -> u64 {
        let mut register = self.register.lock();
        let number = register.mark(shard);
        let worker = usize::from(worker);
        if register.waiting.len() <= worker {
            register.waiting.resize(worker + 1, 0);
        }
        register.waiting[worker] = number;
        drop(register);
        self.asked.notify_one();
        number
    }

    /// Who hears what is published to a channel of `space` (channels or shards).
    pub fn audience(&self, space: Space, channel: &[u8], matches: impl Fn(&[u8], &[u8]) -> bool) -> Audience {
        let register = self.register.lock();
        let mut audience = Audience::default();
        let mut add = |entry: &Entry| {
            if entry.confirmed {
                audience.members += entry.members;
                // The node that counts is the one that is heard anyway, and may have a branch.
                audience.shared += 1 + entry.branches.min(1);
            }
        };
        register.spaces[space as usize].get(channel).into_iter().for_each(&mut add);
        if space == Space::Channels {
            let patterns = register.spaces[Space::Patterns as usize].iter();
            patterns.filter(|(pattern, _)| matches(pattern, channel)).for_each(|(_, entry)| add(entry));
        }
        audience
    }

    /// Subscribers of one topic, whoever else matches it. Where home did not confirm it yet it counts nothing for
    /// strata.
    pub fn subscribers(&self, space: Space, name: &[u8]) -> Audience {
        let register = self.register.lock();
        let entry = register.spaces[space as usize].get(name);
        entry.map_or(Audience::default(), |e| Audience {
            members: e.members,
            shared: usize::from(e.confirmed) + e.branches,
        })
    }

    /// By how many the patterns that all nodes of home count exceed those that there are.
    pub fn patterns_again(&self) -> usize {
        let register = self.register.lock();
        let patterns = register.spaces[Space::Patterns as usize].values();
        // The node that is heard anyway has the pattern of its branch already.
        patterns.filter(|entry| entry.confirmed).map(|entry| entry.branches.saturating_sub(1)).sum()
    }

    /// Topics with subscribers here that home does not know of at present.
    pub fn unknown_at_home(&self, space: Space) -> Vec<Bytes> {
        let register = self.register.lock();
        let unknown = register.spaces[space as usize].iter().filter(|(_, e)| e.members > 0 && !e.confirmed);
        unknown.map(|(name, _)| name.clone()).collect()
    }
}

impl Register {
    fn ask(&mut self, what: What) {
        self.last += 1;
        self.questions.push_back(Question { number: self.last, what });
    }

    fn mark(&mut self, shard: Option<&[u8]>) -> u64 {
        if let (Some(shard), true) = (shard, self.up) {
            self.ask(What::PingOf(Bytes::copy_from_slice(shard)));
            return self.last;
        }
        match self.questions.back() {
            // It has not been sent yet.
            Some(question) if question.number > 0 => question.number,
            _ if self.up => {
                self.ask(What::Ping);
                self.last
            }
            // The connection to come begins with what is wanted and ends that with a PING.
            _ => {
                self.owes = true;
                self.last += 1;
                self.last
            }
        }
    }

    /// A connection is there: asks anew for everything that is wanted.
    pub(super) fn renew(&mut self) {
        self.owes = false;
        self.questions.clear();
        for (space, topics) in Space::ALL.into_iter().zip(&mut self.spaces) {
            for (name, entry) in topics.iter_mut() {
                entry.confirmed = false;
                entry.asked = entry.wanted > 0;
                if entry.asked {
                    let what = What::Subscribe(space, name.clone());
                    self.questions.push_back(Question { number: 0, what });
                }
            }
        }
        self.ask(What::Ping);
    }

    /// There is none any more.
    pub(super) fn end(&mut self) {
        self.questions.clear();
        for entry in self.spaces.iter_mut().flat_map(HashMap::values_mut) {
            (entry.confirmed, entry.asked, entry.branches) = (false, false, 0);
        }
    }

    pub(super) fn entry(&mut self, space: Space, name: &[u8]) -> Option<&mut Entry> {
        self.spaces[space as usize].get_mut(name)
    }

    /// Topics that clients want, of those that pass.
    pub(super) fn wanted_of(&self, pass: impl Fn(Space, &[u8]) -> bool) -> Vec<(Space, Bytes)> {
        let of = |space: Space| self.spaces[space as usize].iter().map(move |topic| (space, topic));
        let all = Space::ALL.into_iter().flat_map(of);
        let wanted = all.filter(|(space, (name, entry))| entry.wanted > 0 && pass(*space, name));
        wanted.map(|(space, (name, _))| (space, name.clone())).collect()
    }

    pub(super) fn wanted(&self) -> bool {
        self.spaces.iter().flat_map(HashMap::values).any(|entry| entry.wanted > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn questions(s: &Subscriptions) -> Vec<(u64, String)> {
        let mut register = s.register.lock();
        let shown = |what: What| match what {
            What::Subscribe(space, name) => format!("{} {}", space.subscribe(), name.escape_ascii()),
            What::Unsubscribe(space, name) => format!("{} {}", space.unsubscribe(), name.escape_ascii()),
            What::Ping | What::PingOf(_) => "ping".to_owned(),
        };
        register.questions.drain(..).map(|q| (q.number, shown(q.what))).collect()
    }

    fn up() -> Subscriptions {
        let s = Subscriptions::default();
        s.register.lock().up = true;
        s
    }

    fn asked(number: u64, text: &str) -> (u64, String) {
        (number, text.to_owned())
    }

    #[test]
    fn many_clients_of_a_topic_ask_home_once() {
        let s = up();
        let a = s.want(0, Space::Channels, b"a");
        assert_eq!(s.mark(0, None), 1);
        s.want(1, Space::Channels, b"a");
        assert_eq!((s.mark(1, None), questions(&s)), (1, vec![asked(1, "subscribe a")]));
        s.want(0, Space::Channels, b"a");
        assert_eq!((s.mark(0, None), questions(&s)), (2, vec![asked(2, "ping")]));
        s.give_up(Space::Channels, &a);
        s.give_up(Space::Channels, &a);
        assert_eq!(questions(&s), []);
        s.give_up(Space::Channels, &a);
        assert_eq!(questions(&s), [asked(3, "unsubscribe a")]);
        assert!(s.any());
        s.forget(0, Space::Channels, &a, false);
        s.forget(0, Space::Channels, &a, false);
        s.forget(1, Space::Channels, &a, false);
        assert!(!s.any());
    }

    #[test]
    fn a_topic_wanted_again_before_home_has_let_it_go_is_asked_for_again() {
        let s = up();
        let a = s.want(0, Space::Patterns, b"a*");
        s.give_up(Space::Patterns, &a);
        s.want(0, Space::Patterns, b"a*");
        let expected = [asked(1, "psubscribe a*"), asked(2, "punsubscribe a*"), asked(3, "psubscribe a*")];
        assert_eq!(questions(&s), expected);
    }

    #[test]
    fn a_new_connection_asks_for_all_that_is_wanted_and_reaches_what_was_asked_before() {
        let s = Subscriptions::default();
        s.want(0, Space::Shards, b"s");
        let number = s.mark(0, None);
        assert_eq!((number, questions(&s)), (1, vec![]));
        s.register.lock().renew();
        assert_eq!(questions(&s), [asked(0, "ssubscribe s"), asked(2, "ping")]);
    }

    #[test]
    fn an_audience_counts_what_home_has_confirmed() {
        let s = up();
        let names =
            [(Space::Channels, "a"), (Space::Channels, "a"), (Space::Patterns, "a*"), (Space::Shards, "a")];
        for (space, name) in names {
            let name = s.want(0, space, name.as_bytes());
            s.begin(space, &name);
        }
        let count = |space, name: &[u8]| s.audience(space, name, |p, c| p[0] == c[0]);
        assert_eq!(count(Space::Channels, b"a"), Audience::default());
        assert_eq!(s.unknown_at_home(Space::Channels), ["a"]);
        for entry in s.register.lock().spaces.iter_mut().flat_map(HashMap::values_mut) {
            entry.confirmed = true;
        }
        assert_eq!(count(Space::Channels, b"a"), Audience { members: 3, shared: 2 });
        assert_eq!(count(Space::Channels, b"ab"), Audience { members: 1, shared: 1 });
        assert_eq!(count(Space::Shards, b"a"), Audience { members: 1, shared: 1 });
        assert_eq!(s.subscribers(Space::Channels, b"a"), Audience { members: 2, shared: 1 });
        assert_eq!(s.unknown_at_home(Space::Channels), Vec::<Bytes>::new());
    }
}
