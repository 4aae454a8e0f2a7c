//! What was asked and is not answered by all that were asked, in order.

use std::collections::VecDeque;

use super::{Question, What};

struct One {
    question: Question,
    /// Answers that are still to come.
    left: usize,
}

/// See the module's text. A question has a *place*, which no other ever gets.
#[derive(Default)]
pub(super) struct Asked {
    /// The place of the first in `list`.
    first: u64,
    list: VecDeque<One>,
}

impl Asked {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Asked of so many connections; returns its place.
    pub(super) fn put(&mut self, question: Question, left: usize) -> u64 {
        self.list.push_back(One { question, left });
        self.first + self.list.len() as u64 - 1
    }

    fn at(&mut self, place: u64) -> Option<&mut One> {
        self.list.get_mut(usize::try_from(place.checked_sub(self.first)?).ok()?)
    }

    pub(super) fn what(&mut self, place: u64) -> Option<What> {
        self.at(place).map(|one| one.question.what.clone())
    }

    /// One more connection was asked.
    pub(super) fn add(&mut self, place: u64) {
        if let Some(one) = self.at(place) {
            one.left += 1;
        }
    }

    /// One connection has answered, or never will.
    pub(super) fn answered(&mut self, place: u64) {
        if let Some(one) = self.at(place) {
            one.left = one.left.saturating_sub(1);
        }
    }

    /// Takes out what all have answered before anything that somebody has not; returns the last of its numbers, if any
    /// has one.
    pub(super) fn settle(&mut self) -> Option<u64> {
        let mut last = None;
        while self.list.front().is_some_and(|one| one.left == 0) {
            let done = self.list.pop_front();
            self.first += 1;
            last = done.map(|one| one.question.number).filter(|number| *number > 0).or(last);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_reached_in_order() {
        let mut asked = Asked::default();
        let ping = |number| Question { number, what: What::Ping };
        let places: Vec<u64> =
            [(1, 1), (2, 2), (0, 1), (3, 0)].map(|(n, left)| asked.put(ping(n), left)).into();
        assert_eq!(asked.settle(), None);
        asked.answered(places[1]);
        asked.answered(places[0]);
        assert_eq!(asked.settle(), Some(1));
        asked.add(places[2]);
        asked.answered(places[1]);
        assert_eq!((asked.settle(), asked.settle()), (Some(2), None));
        asked.answered(places[2]);
        asked.answered(places[2]);
        assert_eq!(asked.settle(), Some(3));
        assert!(asked.is_empty());
        asked.answered(places[0]);
        assert_eq!(asked.what(places[0]), None);
    }
}
