//! The cases that are not about speed: latency at a fixed rate, idle clients, a home that hangs.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::Options;
use crate::paced::{self, Timed};
use crate::report::{Figure, Report, median};
use crate::stack::{Home, Kind, Lab, Stack};

const KEYS: u32 = 1_000;
/// Requests a second: a fifth of what one redis-server takes at depth 1.
const RATE: u32 = 20_000;
/// How long hits are measured before home is stopped, and after: well inside a lease of one second.
const HUNG_HALF: Duration = Duration::from_millis(300);
/// What noise may add to the median of hits while home hangs.
const HUNG_TOLERANCE: f64 = 1.10;
const IDLE_CLIENTS: u64 = 10_000;
const IDLE_TARGET_MB: f64 = 100.0;
/// File descriptors this program and its servers need besides those of idle clients.
const SPARE_FILES: u64 = 200;

/// Latency of hits at a fixed moderate rate, strata and redis-server in turn.
pub(crate) fn fixed_rate(lab: &Lab, options: &Options, report: &mut Report) -> Result<()> {
    let stacks = [warm(lab, Kind::Redis)?, warm(lab, Kind::Strata)?];
    let length = Duration::from_secs(if options.quick { 1 } else { 4 });
    let (mut p50, mut p99) = ([vec![], vec![]], [vec![], vec![]]);
    for round in 1..=options.rounds() {
        for (at, stack) in stacks.iter().enumerate() {
            let took = took(paced::run(stack.front.port(), KEYS, RATE, length, || Ok(()))?);
            let (middle, tail) = (percentile(&took, 0.50), percentile(&took, 0.99));
            eprintln!(
                "fixed-rate {round}/{} {}: p50 {middle:.0} µs, p99 {tail:.0} µs",
                options.rounds(),
                stack.kind
            );
            p50[at].push(middle);
            p99[at].push(tail);
        }
    }
    let ratios = |[redis, strata]: &[Vec<f64>; 2]| -> Vec<f64> {
        strata.iter().zip(redis).map(|(strata, redis)| strata / redis).collect()
    };
    let note = |values: &[Vec<f64>; 2]| {
        let [redis, strata] = values.each_ref().map(|rounds| median(rounds.iter().copied()));
        format!("{strata:.0} µs, redis-server {redis:.0} µs")
    };
    let title = format!("GET hit at {RATE}/s");
    report.figure(
        Figure::ratio(format!("{title}: p50 against redis-server"), Some(1.0), false, &ratios(&p50))
            .note(note(&p50)),
    );
    report.figure(
        Figure::ratio(format!("{title}: p99 against redis-server"), None, false, &ratios(&p99))
            .note(note(&p99)),
    );
    Ok(())
}

/// Resident memory that 10,000 idle clients add, each having read one key.
pub(crate) fn idle(lab: &Lab, report: &mut Report) -> Result<()> {
    for kind in [Kind::Redis, Kind::Strata] {
        let stack = warm(lab, kind)?;
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        let clients = IDLE_CLIENTS.min(files.saturating_sub(SPARE_FILES));
        let before = stack.front.resident()?;
        let mut open = Vec::new();
        for client in 0..clients {
            let mut connection = paced::connect(stack.front.port())?;
            paced::get(&mut connection, (client % u64::from(KEYS)) as u32)
                .with_context(|| format!("client {client} of {clients}"))?;
            open.push(connection);
        }
        sleep(Duration::from_secs(1));
        let grown = stack.front.resident()?.saturating_sub(before) as f64;
        eprintln!("idle {kind}: {clients} clients, {:.1} MB", grown / 1e6);
        let measured = format!("{:.1} MB", grown / 1e6);
        let mut figure = Figure::told(format!("{clients} idle clients: memory of {kind}"), measured);
        figure = figure.note(format!("{:.1} KB each", grown / 1e3 / clients as f64));
        if kind == Kind::Strata {
            let met = (clients == IDLE_CLIENTS).then_some(grown / 1e6 <= IDLE_TARGET_MB);
            figure = figure.target(format!("<= {IDLE_TARGET_MB:.0} MB"), met);
        }
        report.figure(figure);
    }
    Ok(())
}

/// Latency of hits while home hangs, in the first part of the serving lease, against just before.
pub(crate) fn hung(lab: &Lab, options: &Options, report: &mut Report) -> Result<()> {
    let stack = warm(lab, Kind::Strata)?;
    let (mut p50, mut p99, mut notes) = (vec![], vec![], [vec![], vec![]]);
    for round in 1..=options.rounds() {
        let timed = paced::run(stack.front.port(), KEYS, RATE, HUNG_HALF * 2, || {
            sleep(Duration::from_millis(20) + HUNG_HALF);
            stack.home().pause()
        });
        stack.home().resume()?;
        let (before, after) = timed?.into_iter().partition::<Vec<Timed>, _>(|timed| timed.at < HUNG_HALF);
        let (before, after) = (took(before), took(after));
        p50.push(percentile(&after, 0.50) / percentile(&before, 0.50));
        p99.push(percentile(&after, 0.99) / percentile(&before, 0.99));
        for (note, times) in notes.iter_mut().zip([&before, &after]) {
            note.push(percentile(times, 0.99));
        }
        eprintln!("hung {round}/{}: p50 ratio {:.2}", options.rounds(), p50[p50.len() - 1]);
        // The next round starts with a home that has answered probes again and with copies that are warm.
        sleep(Duration::from_secs(2));
        stack.warm(KEYS)?;
    }
    let [before, after] = notes.map(|rounds| median(rounds.into_iter()));
    let title = "GET hit while home hangs, within the lease";
    report.figure(Figure::ratio(format!("{title}: p50 against before"), Some(HUNG_TOLERANCE), false, &p50));
    report.figure(
        Figure::ratio(format!("{title}: p99 against before"), None, false, &p99)
            .note(format!("{after:.0} µs, before {before:.0} µs")),
    );
    Ok(())
}

fn warm(lab: &Lab, kind: Kind) -> Result<Stack> {
    let stack = Stack::start(lab, kind, Home::One, &[])?;
    stack.load(KEYS)?;
    stack.warm(KEYS)?;
    Ok(stack)
}

/// Latencies in µs, sorted.
fn took(timed: Vec<Timed>) -> Vec<f64> {
    let mut took: Vec<f64> = timed.into_iter().map(|timed| timed.took.as_secs_f64() * 1e6).collect();
    took.sort_by(f64::total_cmp);
    took
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share) as usize;
    sorted.get(rank.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}
