//! Several clients that act on each other, on the target and on a bare server: transactions, scripts, commands that wait and
//! subscriptions. One speaks at a time, and what everybody hears of it is compared byte for byte.
//!
//! The bare server says what is to be heard: when it has answered PING twice to somebody else, all that a line has led to is
//! in the sockets. As much is read from the target, and what comes too much is found with the next line. A client that waits
//! is silent until it is woken, and whoever speaks next does so when it waits at home, so that the order of those who wait is
//! the same.

use std::fmt;
use std::io;
use std::time::Duration;

use rand::rngs::StdRng;

use super::compare::{Rule, same};
use super::generate::{Generator, Template};
use super::phrases::{
    COUNTS, DATA, PUBLISHING, RESET, SCRIPTS, SPEAKERS, SUBSCRIPTIONS, TRANSACTIONS, UNBLOCKING, WAITS,
};
use super::run::{Step, excerpt, printable};
use crate::support::{Arguments, Client, Endpoint, arguments, wait_until};

/// For what has to happen, however loaded the machine is.
const LONG: Duration = Duration::from_secs(20);
/// Out of a thousand lines, so many are a client that goes and comes back, a command that may wait, a whole transaction
/// in one write, and some commands in one write.
const LEAVES: u32 = 30;
const WAITING: u32 = 150;
const WHOLE: u32 = 100;
const SEVERAL: u32 = 150;

/// What one client says in one write; nothing: it goes and comes back.
#[derive(Clone, Debug)]
pub(super) struct Line {
    speaker: usize,
    steps: Vec<Step>,
    /// It may wait.
    waits: bool,
}

impl Line {
    /// Whether it is PUBLISH or SPUBLISH, and nothing else.
    fn publishes(&self) -> bool {
        let is =
            |step: &Step, name: &[u8]| step.words.first().is_some_and(|word| word.eq_ignore_ascii_case(name));
        matches!(&self.steps[..], [step] if is(step, b"PUBLISH") || is(step, b"SPUBLISH"))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said: Vec<String> = self.steps.iter().map(|step| printable(&step.words)).collect();
        let said = if said.is_empty() { "(goes and comes back)".to_owned() } else { said.join(" | ") };
        write!(to, "client {} (RESP{}): {said}", self.speaker, SPEAKERS[self.speaker].0)
    }
}

/// An endless conversation, the same for the same seed.
pub(super) struct Script {
    generator: Generator,
    data: Vec<Template>,
    waits: Vec<Template>,
    /// All that each speaker says but for what waits.
    own: Vec<Vec<Template>>,
}

impl Script {
    pub(super) fn new(random: StdRng) -> Script {
        let parse = |groups: &[&'static str]| -> Vec<Template> {
            groups.iter().flat_map(|group| group.lines()).map(Template::parse).collect()
        };
        let own = SPEAKERS.iter().map(|(_, about)| {
            let mut groups = vec![DATA, SCRIPTS, RESET];
            // Strata subscribes when EXEC's reply is here, of which the same transaction knows nothing.
            if !(about.contains('t') && about.contains('s')) {
                groups.push(COUNTS);
            }
            if !about.contains('t') {
                groups.extend([UNBLOCKING; 2]);
            }
            for (letter, group) in [('t', TRANSACTIONS), ('s', SUBSCRIPTIONS), ('p', PUBLISHING)] {
                // As often as all data together.
                groups.extend(about.contains(letter).then_some([group; 2]).into_iter().flatten());
            }
            let mut own = parse(&groups);
            // In the midst of EXEC's reply there is no telling what comes in any order.
            own.retain(|template| !about.contains('t') || template.is(Rule::Exact));
            own
        });
        let own = own.collect();
        Script {
            generator: Generator::of(random, 2, Vec::new()),
            data: parse(&[DATA, SCRIPTS]),
            waits: parse(&[WAITS]),
            own,
        }
    }

    pub(super) fn line(&mut self) -> Line {
        let generator = &mut self.generator;
        let speaker = generator.below(SPEAKERS.len());
        let mut line = Line { speaker, steps: Vec::new(), waits: false };
        let own = &self.own[speaker];
        if generator.chance(LEAVES) {
        } else if generator.chance(WAITING) {
            line.steps.push(generator.step_among(&self.waits));
            line.waits = true;
        } else if SPEAKERS[speaker].1.contains('t') && generator.chance(WHOLE) {
            let word = |word: &str| Step { words: arguments(&[word]), rule: Rule::Exact, read: false };
            line.steps.push(word("MULTI"));
            for _ in 0..=generator.below(4) {
                let from = if generator.chance(150) { &self.waits } else { &self.data };
                line.steps.push(generator.step_among(from));
            }
            line.steps.push(word("EXEC"));
        } else {
            let count = if generator.chance(SEVERAL) { 2 + generator.below(4) } else { 1 };
            line.steps.extend((0..count).map(|_| generator.step_among(own)));
            // An order that is free is free in a line of its own.
            line.steps.retain(|step| count == 1 || step.rule == Rule::Exact);
        }
        line
    }
}

/// What somebody should have heard, and did not.
#[derive(Debug)]
pub(super) struct Misheard {
    line: Line,
    hearer: usize,
    expected: Vec<u8>,
    /// What was heard, or why nothing was.
    got: Result<Vec<u8>, String>,
}

impl fmt::Display for Misheard {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to, "{}: client {} hears", self.line, self.hearer)?;
        let got = self.got.as_deref().unwrap_or_default();
        let equal = self.expected.iter().zip(got).take_while(|(one, other)| one == other).count();
        writeln!(to, "  of redis:   {}", excerpt(&self.expected, equal))?;
        match &self.got {
            Ok(got) => write!(to, "  of the target: {}", excerpt(got, equal)),
            Err(error) => write!(to, "  of the target: nothing: {error}"),
        }
    }
}

/// One server with its speakers.
struct Side {
    endpoint: Endpoint,
    clients: Vec<Client>,
    numbers: Vec<i64>,
    /// Says nothing that others hear.
    aside: Client,
}

impl Side {
    fn connect(endpoint: &Endpoint, patience: Duration) -> io::Result<Side> {
        let mut aside = Client::connect(endpoint)?;
        aside.set_patience(LONG);
        let endpoint = endpoint.clone();
        let mut side = Side { endpoint, clients: Vec::new(), numbers: Vec::new(), aside };
        for speaker in 0..SPEAKERS.len() {
            let (client, number) = side.open(speaker, patience)?;
            side.clients.push(client);
            side.numbers.push(number);
        }
        Ok(side)
    }

    fn open(&self, speaker: usize, patience: Duration) -> io::Result<(Client, i64)> {
        let mut client = Client::connect(&self.endpoint)?;
        client.set_patience(patience);
        client.hello(SPEAKERS[speaker].0)?;
        let number = client.call(&["CLIENT", "ID"])?.integer();
        Ok((client, number.ok_or(io::ErrorKind::InvalidData)?))
    }

    fn say(&mut self, line: &Line) -> io::Result<()> {
        let numbered = |word: &Vec<u8>| match word.strip_prefix(b"\0id ") {
            Some([digit]) => self.numbers[usize::from(digit - b'0')].to_string().into_bytes(),
            _ => word.clone(),
        };
        let said = line.steps.iter().map(|step| step.words.iter().map(numbered).collect::<Arguments>());
        let said: Vec<Arguments> = said.collect();
        self.clients[line.speaker].send_all(&said)
    }

    /// What is subscribed to.
    fn subscribed(&mut self) -> io::Result<Vec<u8>> {
        let channels =
            ["NUMSUB", "SHARDNUMSUB"].map(|what| arguments(&["PUBSUB", what, "a1", "a2", "b1", "none"]));
        self.aside.send_all(&channels)?;
        self.aside.send_all(&[arguments(&["PUBSUB", "NUMPAT"])])?;
        (0..3).map(|_| self.aside.read_raw()).collect::<io::Result<Vec<_>>>().map(|read| read.concat())
    }
}

/// Clients that wait at a server.
fn waiting_at(server: &mut Client) -> io::Result<Vec<u8>> {
    let info = server.call(&["INFO", "clients"])?;
    let lines = info.bytes().unwrap_or_default().split(|b| *b == b'\n');
    Ok(lines.filter(|line| line.starts_with(b"blocked_clients:")).collect::<Vec<_>>().concat())
}

/// Both servers.
pub(super) struct Talk {
    target: Side,
    reference: Side,
    /// Where those who wait at the target do.
    home: Client,
    waiting: [bool; SPEAKERS.len()],
    patience: Duration,
}

impl Talk {
    pub(super) fn begin(
        target: &Endpoint,
        reference: &Endpoint,
        home: &Endpoint,
        patience: Duration,
    ) -> io::Result<Talk> {
        let mut talk = Talk {
            target: Side::connect(target, patience)?,
            reference: Side::connect(reference, patience)?,
            home: Client::connect(home)?,
            waiting: Default::default(),
            patience,
        };
        // Nothing is left of a talk before.
        talk.settle_waiting();
        let Talk { target, reference, .. } = &mut talk;
        let settled = wait_until(LONG, || target.subscribed().ok() == reference.subscribed().ok());
        if settled { Ok(talk) } else { Err(io::ErrorKind::TimedOut.into()) }
    }

    /// Has one line said to both. After a mismatch all this is of no more use.
    pub(super) fn run(&mut self, line: &Line) -> Result<(), Box<Misheard>> {
        if line.steps.is_empty() {
            return self.reconnect(line).expect("both servers take clients");
        }
        if self.waiting[line.speaker] {
            return Ok(());
        }
        self.reference.say(line).expect("redis takes requests");
        let said = self.target.say(line);
        let heard = self.heard().expect("redis answers");
        for (hearer, expected) in heard.iter().enumerate() {
            self.compare(line, hearer, expected, &said)?;
        }
        for (waits, frames) in self.waiting.iter_mut().zip(&heard) {
            *waits &= frames.iter().all(|frame| frame.starts_with(b">"));
        }
        if line.waits && heard[line.speaker].iter().all(|frame| frame.starts_with(b">")) {
            self.waiting[line.speaker] = true;
            self.settle_waiting();
        }
        Ok(())
    }

    /// All that the bare server has to say.
    fn heard(&mut self) -> io::Result<Vec<Vec<Vec<u8>>>> {
        for _ in 0..2 {
            self.reference.aside.call(&["PING"])?;
        }
        self.reference.clients.iter_mut().map(Client::arrived).collect()
    }

    fn compare(
        &mut self,
        line: &Line,
        hearer: usize,
        expected: &[Vec<u8>],
        said: &io::Result<()>,
    ) -> Result<(), Box<Misheard>> {
        let client = &mut self.target.clients[hearer];
        let mut got = Vec::new();
        for frame in expected {
            let read = match said {
                Ok(()) => client.read_raw().map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            let misheard = |got| Misheard { line: line.clone(), hearer, expected: frame.clone(), got };
            got.push(read.map_err(|error| Box::new(misheard(Err(error))))?);
        }
        let rule = match &line.steps[..] {
            [step] if hearer == line.speaker => step.rule,
            _ => Rule::Exact,
        };
        let one_by_one = |expected: &[Vec<u8>], got: &[Vec<u8>]| {
            expected.iter().zip(got).all(|(expected, got)| same(rule, expected, got))
        };
        let equal = match rule {
            Rule::Names => names(expected) == names(&got),
            rule if rule != Rule::Exact => one_by_one(expected, &got),
            // PUBLISH is answered behind its own message; else the place of messages among replies is free.
            _ if hearer != line.speaker || !line.publishes() => {
                let part = |frames: &[Vec<u8>], messages: bool| -> Vec<Vec<u8>> {
                    frames.iter().filter(|frame| is_message(frame) == messages).cloned().collect()
                };
                [true, false].iter().all(|messages| part(expected, *messages) == part(&got, *messages))
            }
            _ => one_by_one(expected, &got),
        };
        if equal {
            return Ok(());
        }
        let (expected, got) = (expected.concat(), Ok(got.concat()));
        Err(Box::new(Misheard { line: line.clone(), hearer, expected, got }))
    }

    fn reconnect(&mut self, line: &Line) -> io::Result<Result<(), Box<Misheard>>> {
        let speaker = line.speaker;
        for side in [&mut self.reference, &mut self.target] {
            // Without a client of this number nothing is subscribed to, and nobody waits.
            side.clients[speaker] = Client::connect(&side.endpoint)?;
        }
        self.heard()?;
        self.waiting[speaker] = false;
        self.settle_waiting();
        let (mut expected, mut got) = (Vec::new(), Vec::new());
        let gone = wait_until(self.patience, || {
            expected = self.reference.subscribed().unwrap_or_default();
            got = self.target.subscribed().unwrap_or_default();
            got == expected
        });
        if !gone {
            return Ok(Err(Box::new(Misheard {
                line: line.clone(),
                hearer: speaker,
                expected,
                got: Ok(got),
            })));
        }
        for side in [&mut self.reference, &mut self.target] {
            let (client, number) = side.open(speaker, self.patience)?;
            (side.clients[speaker], side.numbers[speaker]) = (client, number);
        }
        Ok(Ok(()))
    }

    /// Returns once as many wait at either server as should: neither sees at once that a client has gone.
    fn settle_waiting(&mut self) {
        let due = self.waiting.iter().filter(|waits| **waits).count();
        let mut servers = [&mut self.reference.aside, &mut self.home];
        let settled = wait_until(LONG, || {
            let seen = servers.each_mut().map(|server| waiting_at(server).unwrap_or_default());
            seen.iter().all(|seen| *seen == format!("blocked_clients:{due}\r").as_bytes())
        });
        if !settled {
            let list = |client: &mut Client| {
                let list = client.call(&["CLIENT", "LIST"]).expect("a server says who is there");
                String::from_utf8_lossy(list.bytes().unwrap_or_default()).into_owned()
            };
            panic!(
                "{due} should wait; at the bare server:\n{}at home:\n{}at strata:\n{}",
                list(&mut self.reference.aside),
                list(&mut self.home),
                list(&mut self.target.aside)
            );
        }
    }
}

fn is_message(frame: &[u8]) -> bool {
    [&b">3\r\n$7\r\nmessage\r\n"[..], b">4\r\n$8\r\npmessage\r\n", b">3\r\n$8\r\nsmessage\r\n"]
        .iter()
        .any(|begin| frame.starts_with(begin))
}

/// What ends came in any order, but how many are left did not.
fn names(frames: &[Vec<u8>]) -> (Vec<&[u8]>, Vec<&[u8]>) {
    let split = |frame: &'_ Vec<u8>| frame.iter().rposition(|b| *b == b':').unwrap_or_default();
    let mut names: Vec<&[u8]> = frames.iter().map(|frame| &frame[..split(frame)]).collect();
    names.sort_unstable();
    (names, frames.iter().map(|frame| &frame[split(frame)..]).collect())
}
