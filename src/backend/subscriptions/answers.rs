//! What home answered to a question about subscriptions.

use bytes::Bytes;

use super::link::Life;
use super::{Event, Post, Space, What};
use crate::resp::reply;

/// What an answer says.
pub(super) enum Answer {
    /// It is done.
    Done,
    /// The topic is refused, in these words, code first.
    Refused(Space, Bytes, String),
    /// It is no answer to this question.
    Odd,
}

impl Answer {
    pub(super) fn to(what: &What, frame: &[u8]) -> Answer {
        let word = reply::elements(frame).next().and_then(reply::bulk);
        match what {
            // An error (-BUSY) tells as well that all before it was sent.
            What::Ping | What::PingOf(_) if reply::is_error(frame) => Answer::Done,
            What::Ping | What::PingOf(_) if reply::bulk(frame) == Some(b"PONG") => Answer::Done,
            What::Subscribe(space, name) if reply::is_error(frame) => {
                Answer::Refused(*space, name.clone(), error_text(frame))
            }
            What::Subscribe(space, _) if word == Some(space.subscribe().as_bytes()) => Answer::Done,
            What::Unsubscribe(space, _) if word == Some(space.unsubscribe().as_bytes()) => Answer::Done,
            _ => Answer::Odd,
        }
    }
}

fn error_text(frame: &[u8]) -> String {
    String::from_utf8_lossy(frame.strip_prefix(b"-").unwrap_or(frame)).trim_end().to_owned()
}

impl<P: Post> Life<'_, P> {
    /// A frame that is no message: the answer to the oldest question.
    pub(super) fn answered(&mut self, frame: &[u8]) -> Result<(), String> {
        let shown = || String::from_utf8_lossy(&frame[..frame.len().min(120)]).trim_end().to_owned();
        let Some((place, _)) = self.sent.pop_front() else {
            return Err(format!("home sent an answer to nothing: {}", shown()));
        };
        let Some(what) = self.asked.what(place) else { return Ok(()) };
        match Answer::to(&what, frame) {
            Answer::Done => self.confirm(&what),
            Answer::Refused(space, name, error) => self.refuse(space, name, &error),
            Answer::Odd => return Err(format!("home answered something else than was asked: {}", shown())),
        }
        self.asked.answered(place);
        self.reach();
        Ok(())
    }

    /// Home has done it.
    pub(super) fn confirm(&self, what: &What) {
        let What::Subscribe(space, name) = what else { return };
        if let Some(entry) = self.link.register.register.lock().entry(*space, name) {
            entry.confirmed |= entry.asked;
            entry.asked = false;
        }
    }

    pub(super) fn refuse(&mut self, space: Space, name: Bytes, error: &str) {
        let (mut workers, mut members) = (Vec::new(), 0);
        if let Some(entry) = self.link.register.register.lock().entry(space, &name) {
            entry.asked = false;
            members = entry.members;
            workers.clone_from(&entry.routes);
        }
        if members > 0 {
            let topic = name.escape_ascii();
            tracing::warn!(%topic, error, "home refuses to renew a subscription; asking again");
        }
        for (worker, _) in workers {
            let event = Event::Refused { space, name: name.clone(), error: error.to_owned() };
            self.events_of(worker.into()).0.push(event);
        }
        self.refused.push((space, name));
    }

    /// Tells who waits for what has been answered now, or for something later.
    pub(super) fn reach(&mut self) {
        let Some(number) = self.asked.settle() else { return };
        let waiting = self.link.register.register.lock().waiting.clone();
        self.told.resize(waiting.len(), 0);
        for (worker, waits_for) in waiting.into_iter().enumerate() {
            if waits_for <= self.told[worker] {
                continue;
            }
            self.told[worker] = number;
            let events = &mut self.events_of(worker).0;
            match events.last_mut() {
                Some(Event::Reached(reached)) => *reached = number,
                _ => events.push(Event::Reached(number)),
            }
        }
    }
}
