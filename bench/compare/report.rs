//! What came out, as Markdown.

use std::fmt;

use crate::stack::Kind;

/// A claim, what it asks for and what was measured.
#[derive(Debug)]
pub(crate) struct Figure {
    name: String,
    target: String,
    measured: String,
    met: Option<bool>,
    note: String,
}

impl Figure {
    /// The median of ratios, one a round; the note says how far they spread.
    pub(crate) fn ratio(name: String, target: Option<f64>, at_least: bool, ratios: &[f64]) -> Self {
        if ratios.is_empty() {
            return Self::told(name, "not measured".to_owned());
        }
        let measured = median(ratios.iter().copied());
        let met = target.map(|target| if at_least { measured >= target } else { measured <= target });
        let sign = if at_least { ">=" } else { "<=" };
        let (low, high) =
            ratios.iter().fold((f64::MAX, f64::MIN), |(low, high), &r| (low.min(r), high.max(r)));
        Self {
            name,
            target: target.map_or(String::new(), |target| format!("{sign} {target:.2}")),
            measured: format!("{measured:.2}"),
            met,
            note: format!("{low:.2} to {high:.2}"),
        }
    }

    /// A figure that is reported and not judged.
    pub(crate) fn told(name: String, measured: String) -> Self {
        Self { name, target: String::new(), measured, met: None, note: String::new() }
    }

    /// Adds the numbers behind the figure.
    pub(crate) fn note(mut self, note: String) -> Self {
        let separator = if self.note.is_empty() { "" } else { "; " };
        self.note = format!("{}{separator}{note}", self.note);
        self
    }

    /// Says what was asked for and whether it was reached; None when the conditions of the target were not given.
    pub(crate) fn target(mut self, target: String, met: Option<bool>) -> Self {
        self.target = target;
        self.met = met;
        self
    }
}

/// One load on one server: medians over the rounds.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) load: &'static str,
    pub(crate) depth: u32,
    pub(crate) kind: Kind,
    pub(crate) cpu: f64,
    pub(crate) system: f64,
    pub(crate) cpu_against_redis: f64,
    pub(crate) home_cpu: f64,
    pub(crate) home_cpu_against_redis: f64,
    pub(crate) home_commands: f64,
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// All figures and rows, in the order they were measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    conditions: String,
    figures: Vec<Figure>,
    rows: Vec<Row>,
    failures: Vec<String>,
}

impl Report {
    pub(crate) fn new(conditions: String) -> Self {
        Self { conditions, ..Self::default() }
    }

    pub(crate) fn figure(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    pub(crate) fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Notes a case that could not be measured.
    pub(crate) fn failure(&mut self, failure: String) {
        self.failures.push(failure);
    }

    pub(crate) fn failed(&self) -> bool {
        !self.failures.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.conditions)?;
        writeln!(f, "| figure | target | measured | met | rounds and values |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        for Figure { name, target, measured, met, note } in &self.figures {
            let met = met.map_or("", |met| if met { "yes" } else { "**no**" });
            writeln!(f, "| {name} | {target} | {measured} | {met} | {note} |")?;
        }
        if !self.rows.is_empty() {
            writeln!(
                f,
                "\n| load | depth | server | CPU µs/op | of it kernel | to redis-server | home CPU µs/op | to redis-server | home commands/op | ops/s | p50 ms | p99 ms |"
            )?;
            writeln!(f, "|---|---|---|---|---|---|---|---|---|---|---|---|")?;
        }
        for row in &self.rows {
            write!(f, "| {} | {} | {} | {:.2} | {:.2} ", row.load, row.depth, row.kind, row.cpu, row.system)?;
            write!(
                f,
                "| {:.2} | {:.2} | {:.2} ",
                row.cpu_against_redis, row.home_cpu, row.home_cpu_against_redis
            )?;
            writeln!(f, "| {:.2} | {:.0} | {:.3} | {:.3} |", row.home_commands, row.rate, row.p50, row.p99)?;
        }
        for failure in &self.failures {
            writeln!(f, "\nNot measured: {failure}")?;
        }
        Ok(())
    }
}

/// The middle value; NaN when there is none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let (Some(&low), Some(&high)) =
        (sorted.get(sorted.len().saturating_sub(1) / 2), sorted.get(sorted.len() / 2))
    else {
        return f64::NAN;
    };
    f64::midpoint(low, high)
}
