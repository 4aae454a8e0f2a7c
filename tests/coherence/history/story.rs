//! A violation in words: the read, what it should have shown, and all that happened to the register around it.

use std::fmt::Write;

use super::checker::Wrong;
use super::model::{Actor, Cause, Content, History, MILLISECOND, Nanos, Read, Route, Seen, State};

/// How long before and after the read the story is told, in versions and in reads.
const VERSIONS: usize = 6;
const READS: usize = 12;

pub(super) fn tell(
    history: &History,
    read: &Read,
    wrong: Wrong,
    newest: Option<usize>,
    least: usize,
) -> String {
    let mut story = String::new();
    let shown =
        newest.map_or("no version there was".to_owned(), |version| format!("at most version {version}"));
    let _ = writeln!(story, "{wrong:?}: {} showed {shown}, version {least} was due:", history.name);
    for line in around(history, read, newest.unwrap_or(least).min(least), least) {
        let _ = writeln!(story, "  {line}");
    }
    story
}

/// States and reads near the offence, by the time they began.
fn around(history: &History, offence: &Read, oldest: usize, least: usize) -> Vec<String> {
    let first = oldest.saturating_sub(VERSIONS / 2);
    let last = (least + VERSIONS).min(history.states.len());
    let states = history.states[first..last].iter().enumerate();
    let mut lines: Vec<(Nanos, String)> =
        states.map(|(index, state)| (state.begin, state_line(first + index, state))).collect();

    let mut reads: Vec<&Read> = history.reads.iter().collect();
    reads.sort_by_key(|read| read.turn);
    let at = reads.iter().position(|read| std::ptr::eq(*read, offence)).unwrap_or(0);
    // Others in between may be many: those of the same client and proxy tell most.
    let related = |read: &&&Read| read.by.route == offence.by.route;
    let before = reads[..at].iter().rev().filter(related).take(READS);
    let after = reads[at..].iter().filter(related).take(READS / 2);
    lines.extend(before.chain(after).map(|read| {
        let mark = if std::ptr::eq(*read, offence) { "   <== here" } else { "" };
        (read.begin, format!("{}{mark}", read_line(read)))
    }));
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

fn state_line(version: usize, state: &State) -> String {
    let end = state.done.map_or("in doubt".to_owned(), milliseconds);
    let by = match state.cause {
        Cause::Write { by, .. } => actor(by),
        Cause::Initial | Cause::Expiry { .. } => "nobody".to_owned(),
    };
    let content = content(&state.content);
    format!("{} .. {end}: version {version} by {by}: {} -> {content}", milliseconds(state.begin), state.what)
}

fn read_line(read: &Read) -> String {
    let seen = match &read.seen {
        Seen::Content(seen) => content(seen),
        Seen::Length(length) => format!("length {length}"),
        Seen::Present(present) => if *present { "present" } else { "absent" }.to_owned(),
        Seen::Torn(parts) => format!("torn: {parts}"),
    };
    let (begin, end) = (milliseconds(read.begin), milliseconds(read.end));
    format!("{begin} .. {end}: {} reads {} of {:?}: {seen}", actor(read.by), read.what, read.part)
}

fn actor(actor: Actor) -> String {
    match actor.route {
        Route::Home => format!("client {} at home", actor.client),
        Route::Proxy(proxy) => format!("client {} through proxy {proxy}", actor.client),
    }
}

fn content(content: &Content) -> String {
    content.as_ref().map_or("absent".to_owned(), |bytes| bytes.escape_ascii().to_string())
}

fn milliseconds(at: Nanos) -> String {
    let micros = at / (MILLISECOND / 1000);
    format!("{}.{:03} ms", micros / 1000, micros % 1000)
}
