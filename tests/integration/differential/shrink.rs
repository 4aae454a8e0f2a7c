//! Finds few commands that still make the two servers differ.

use super::run::{Batch, Lockstep, Mismatch, empty};
use crate::support::Endpoint;

/// How often a smaller history is tried before the best so far is taken.
const MAX_RUNS: usize = 400;

/// The shrunk history and its mismatch, or `None` if the history passes when it is run anew from empty servers.
pub(super) fn shrink(
    target: &Endpoint,
    reference: &Endpoint,
    protocol: u8,
    history: &[Batch],
) -> Option<(Vec<Batch>, Mismatch)> {
    let run = |batches: &[Batch]| {
        empty(target).and_then(|()| empty(reference)).ok()?;
        let mut both = Lockstep::connect(target, reference, protocol).ok()?;
        batches.iter().find_map(|batch| both.run(batch).err())
    };
    // A single command a batch, so that commands can go one by one; where it takes the batches, they stay.
    let split: Vec<Batch> = history.iter().flat_map(one_by_one).collect();
    let (kept, mismatch) = fewest(split, run).or_else(|| fewest(history.to_vec(), run))?;
    Some((kept, *mismatch))
}

/// Few of these with which `run` still finds something, and what it finds; `None` if it does not find it with all.
pub(super) fn fewest<T: Clone, M>(all: Vec<T>, run: impl Fn(&[T]) -> Option<M>) -> Option<(Vec<T>, M)> {
    let (mut kept, mut mismatch) = run(&all).map(|found| (all, found))?;
    let mut runs = 0;
    let mut size = kept.len().div_ceil(2);
    while size > 0 && runs < MAX_RUNS {
        let mut start = 0;
        while start < kept.len() && runs < MAX_RUNS {
            let mut fewer = kept.clone();
            fewer.drain(start..(start + size).min(kept.len()));
            runs += 1;
            match run(&fewer) {
                Some(found) => (kept, mismatch) = (fewer, found),
                None => start += size,
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    Some((kept, mismatch))
}

fn one_by_one(batch: &Batch) -> impl Iterator<Item = Batch> {
    let last = batch.steps.len().saturating_sub(1);
    batch.steps.iter().enumerate().map(move |(index, step)| Batch {
        connection: batch.connection,
        steps: vec![step.clone()],
        pause: if index == last { batch.pause } else { std::time::Duration::ZERO },
    })
}
