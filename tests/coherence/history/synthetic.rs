//! The checker checked: histories made by hand, right ones and wrong ones.

#![cfg(test)]

use super::checker::{Limits, Verdict, Wrong, check};
use super::model::{
    Actor, Cause, Content, History, MILLISECOND, Nanos, Part, Read, Route, SECOND, Seen, State, Turn,
};

const LIMITS: Limits = Limits { lease: SECOND, slack: 200 * MILLISECOND, doubts_vanish: false };

const HOME: Actor = Actor { client: 9, route: Route::Home };
const ANNA: Actor = Actor { client: 1, route: Route::Proxy(0) };
const BERT: Actor = Actor { client: 2, route: Route::Proxy(0) };
const CARL: Actor = Actor { client: 3, route: Route::Proxy(1) };

/// A history in the making. Times are in milliseconds.
struct Tale(History);

fn value(version: usize) -> Content {
    Some(version.to_string().into_bytes().into())
}

impl Tale {
    fn new() -> Tale {
        Tale(History { name: "register".into(), states: vec![State::initial()], reads: Vec::new() })
    }

    fn turn(&self, sent: Nanos) -> Turn {
        (sent * MILLISECOND, (self.0.states.len() + self.0.reads.len()) as u64)
    }

    fn state(mut self, cause: Cause, content: Content, begin: Nanos, done: Option<Nanos>) -> Tale {
        let done = done.map(|done| done * MILLISECOND);
        self.0.states.push(State { content, cause, what: "SET", begin: begin * MILLISECOND, done });
        self
    }

    /// The next version, acknowledged after 2 ms.
    fn write(self, by: Actor, begin: Nanos) -> Tale {
        let content = value(self.0.states.len());
        let cause = Cause::Write { by, turn: self.turn(begin) };
        self.state(cause, content, begin, Some(begin + 2))
    }

    fn delete(self, by: Actor, begin: Nanos) -> Tale {
        let cause = Cause::Write { by, turn: self.turn(begin) };
        self.state(cause, None, begin, Some(begin + 2))
    }

    fn doubtful(self, by: Actor, begin: Nanos) -> Tale {
        let content = value(self.0.states.len());
        let cause = Cause::Write { by, turn: self.turn(begin) };
        self.state(cause, content, begin, None)
    }

    /// Answered after 2 ms.
    fn saw(mut self, by: Actor, part: Part, begin: Nanos, seen: Seen) -> Tale {
        let (turn, begin) = (self.turn(begin), begin * MILLISECOND);
        let end = begin + 2 * MILLISECOND;
        self.0.reads.push(Read { register: 0, part, by, turn, begin, end, what: "GET", seen });
        self
    }

    fn read(self, by: Actor, begin: Nanos, version: usize) -> Tale {
        self.saw(by, Part::All, begin, Seen::Content(value(version)))
    }

    fn absent(self, by: Actor, begin: Nanos) -> Tale {
        self.saw(by, Part::All, begin, Seen::Content(None))
    }

    fn verdict(&self) -> Verdict {
        check(&self.0, LIMITS)
    }

    fn wrongs(&self) -> Vec<Wrong> {
        self.verdict().violations.iter().map(|violation| violation.wrong).collect()
    }
}

#[test]
fn a_right_history_passes_and_its_staleness_is_measured() {
    let tale = Tale::new()
        .absent(CARL, 5)
        .write(ANNA, 10)
        .read(ANNA, 20, 1)
        .write(HOME, 30)
        .read(HOME, 40, 2)
        .read(CARL, 50, 1)
        .read(CARL, 60, 2)
        .read(ANNA, 70, 2);
    let verdict = tale.verdict();
    assert!(verdict.violations.is_empty(), "{:?}", verdict.violations);
    assert_eq!(verdict.late, 0);
    let by: Vec<Nanos> = verdict.stale.iter().map(|stale| stale.by).collect();
    assert_eq!(by, [18 * MILLISECOND]);
}

#[test]
fn a_read_beyond_the_lease_is_flagged_and_one_within_the_slack_is_counted() {
    let written = || Tale::new().write(HOME, 10).write(HOME, 100);
    assert_eq!(written().read(CARL, 1_303, 1).wrongs(), [Wrong::TooOld]);
    assert_eq!(written().read(CARL, 1_300, 1).verdict().late, 1);
    assert_eq!(written().read(CARL, 1_101, 1).verdict().late, 0);
    assert!(written().read(CARL, 1_300, 1).wrongs().is_empty());
}

#[test]
fn what_anybody_saw_was_at_home_and_bounds_everybody() {
    let tale = Tale::new().write(HOME, 10).doubtful(HOME, 20).read(CARL, 100, 2);
    assert_eq!(tale.read(ANNA, 1_400, 1).wrongs(), [Wrong::TooOld]);
}

#[test]
fn a_lost_own_write_is_flagged() {
    assert_eq!(Tale::new().write(ANNA, 10).write(ANNA, 20).read(ANNA, 23, 1).wrongs(), [Wrong::OwnWriteLost]);
    assert_eq!(
        Tale::new().write(ANNA, 10).delete(ANNA, 20).read(ANNA, 23, 1).wrongs(),
        [Wrong::OwnWriteLost]
    );
    assert_eq!(Tale::new().write(ANNA, 10).absent(ANNA, 23).wrongs(), [Wrong::OwnWriteLost]);
}

/// In one batch a read begins when the write before it does.
#[test]
fn an_own_write_in_the_same_batch_counts() {
    assert_eq!(Tale::new().write(ANNA, 10).absent(ANNA, 10).wrongs(), [Wrong::OwnWriteLost]);
    let mut before = Tale::new().absent(ANNA, 10).write(ANNA, 10);
    before.0.reads[0].turn.1 = 0;
    assert!(before.wrongs().is_empty());
}

#[test]
fn going_back_is_flagged_for_one_client_and_across_clients_of_a_proxy() {
    let seen = || Tale::new().write(HOME, 10).write(HOME, 20).read(ANNA, 30, 2);
    assert_eq!(seen().read(ANNA, 40, 1).wrongs(), [Wrong::WentBack]);
    assert_eq!(seen().read(BERT, 40, 1).wrongs(), [Wrong::WentBackAcrossClients]);
    assert!(seen().read(CARL, 40, 1).wrongs().is_empty());
    // Begun before the other ended: either order may be true.
    assert!(seen().read(BERT, 31, 1).wrongs().is_empty());
}

#[test]
fn going_back_is_judged_key_by_key() {
    let one = || Seen::Content(value(1));
    let two = || Seen::Content(value(2));
    let seen = || Tale::new().write(HOME, 10).write(HOME, 20).saw(ANNA, Part::First, 30, two());
    assert_eq!(seen().saw(ANNA, Part::First, 40, one()).wrongs(), [Wrong::WentBack]);
    assert!(seen().saw(ANNA, Part::Second, 40, one()).wrongs().is_empty());
    assert_eq!(seen().saw(ANNA, Part::All, 40, one()).wrongs(), [Wrong::WentBack]);
}

#[test]
fn a_torn_read_is_flagged() {
    let torn = Seen::Torn("1 and 2".into());
    assert_eq!(Tale::new().write(HOME, 10).saw(CARL, Part::All, 20, torn).wrongs(), [Wrong::Torn]);
}

#[test]
fn what_was_never_written_or_not_yet_is_flagged() {
    assert_eq!(Tale::new().write(HOME, 10).read(CARL, 20, 7).wrongs(), [Wrong::Impossible]);
    assert_eq!(Tale::new().write(HOME, 10).read(CARL, 5, 1).wrongs(), [Wrong::Impossible]);
    assert!(Tale::new().write(HOME, 10).read(CARL, 8, 1).wrongs().is_empty());
}

#[test]
fn home_has_no_lease() {
    assert_eq!(Tale::new().write(ANNA, 10).absent(HOME, 20).wrongs(), [Wrong::StaleAtHome]);
}

#[test]
fn an_absence_that_may_be_new_is_not_going_back() {
    let tale = Tale::new().write(HOME, 10).read(ANNA, 15, 1).delete(HOME, 20);
    assert!(tale.absent(ANNA, 21).wrongs().is_empty());
    let again = Tale::new().write(HOME, 10).delete(HOME, 20).absent(ANNA, 30).write(HOME, 40);
    assert!(again.read(ANNA, 50, 3).absent(BERT, 51).wrongs().is_empty());
}

#[test]
fn a_write_in_doubt_may_be_seen_or_not_but_not_unseen() {
    let doubt = || Tale::new().write(HOME, 10).doubtful(ANNA, 20);
    assert!(doubt().read(ANNA, 5_000, 1).read(ANNA, 6_000, 2).wrongs().is_empty());
    assert_eq!(doubt().read(ANNA, 30, 2).read(ANNA, 40, 1).wrongs(), [Wrong::WentBack]);
}

#[test]
fn an_expiry_has_no_lease_beyond_that_of_the_command_that_set_it() {
    let expiring = |told: Nanos, at: Nanos| {
        let cause = Cause::Expiry { told: told * MILLISECOND };
        Tale::new().write(HOME, 10).state(cause, None, at, Some(at + 7))
    };
    // Set long ago: the copy had to know.
    assert_eq!(expiring(12, 3_000).read(CARL, 3_300, 1).wrongs(), [Wrong::TooOld]);
    assert!(expiring(12, 3_000).read(CARL, 3_150, 1).wrongs().is_empty());
    // Set just before: the copy may be from before that.
    assert!(expiring(2_900, 3_000).read(CARL, 3_800, 1).wrongs().is_empty());
}

#[test]
fn a_story_names_the_read_and_what_was_due() {
    let verdict = Tale::new().write(ANNA, 10).write(ANNA, 20).read(ANNA, 23, 1).verdict();
    let story = &verdict.violations[0].story;
    assert!(story.contains("showed at most version 1, version 2 was due"), "{story}");
    assert!(story.contains("23.000 ms .. 25.000 ms: client 1 through proxy 0 reads GET"), "{story}");
    assert!(story.lines().any(|line| line.ends_with("<== here")), "{story}");
}
