//! What a key may hold, where it goes, and how it is shown.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::{Rules, Secret, mask_url};
use super::tiers::HostPort;
use super::value::{self, MAX_TEXT, Value};

/// What [`Slot::Places`] accepts.
pub(super) const A_LIST_OF_PLACES: &str =
    "a list of hosts with ports, such as [\"10.0.0.1:6379\", \"[::1]:6380\"]";

/// A field of `T` with what it may hold. Bounds are inclusive; sizes in bytes.
pub(super) enum Slot<T: 'static> {
    Flag(fn(&mut T) -> &mut bool),
    /// A flag that may be absent.
    MaybeFlag(fn(&mut T) -> &mut Option<bool>),
    Count(RangeInclusive<usize>, fn(&mut T) -> &mut usize),
    Size(RangeInclusive<usize>, fn(&mut T) -> &mut usize),
    Span(RangeInclusive<Duration>, fn(&mut T) -> &mut Duration),
    /// A span that may be absent.
    MaybeSpan(RangeInclusive<Duration>, fn(&mut T) -> &mut Option<Duration>),
    /// A number from 0 to 1.
    Share(fn(&mut T) -> &mut f64),
    Address(fn(&mut T) -> &mut SocketAddr),
    /// A text with what it is; empty: none.
    Text(&'static str, fn(&mut T) -> &mut String),
    /// A text of several lines, with what it is; empty: none.
    Statement(&'static str, fn(&mut T) -> &mut String),
    /// A text whose hidden parts are masked when it is shown.
    Url(&'static str, fn(&mut T) -> &mut String),
    /// Hosts with ports; a word has commas between them.
    Places(fn(&mut T) -> &mut Vec<HostPort>),
    /// Paths of files; none: an empty list.
    Files(fn(&mut T) -> &mut Vec<PathBuf>),
    /// Texts, with what they are; none: an empty list.
    Texts(&'static str, fn(&mut T) -> &mut Vec<String>),
    /// A filter of `tracing`.
    Filter(fn(&mut T) -> &mut String),
    /// Rules of a user, whose passwords are masked when they are shown.
    Rules(fn(&mut T) -> &mut Rules),
    /// Empty: none.
    Secret(fn(&mut T) -> &mut Option<Secret>),
    /// One of some names.
    Choice {
        names: &'static [&'static str],
        get: fn(&T) -> &'static str,
        set: fn(&mut T, &str),
    },
    /// A choice of which only the first name is available yet.
    Fixed(&'static [&'static str]),
}

impl<T> Slot<T> {
    /// Puts `given` in its field of `target`; the error says what is wrong with it.
    pub(super) fn set(&self, target: &mut T, given: &Value) -> Result<(), String> {
        match self {
            Self::Flag(at) => *at(target) = value::flag(given)?,
            Self::MaybeFlag(at) => *at(target) = Some(value::flag(given)?),
            Self::Count(range, at) => *at(target) = value::within(range, value::count(given)?, given)?,
            Self::Size(range, at) => *at(target) = value::within(range, value::size(given)?, given)?,
            Self::Span(range, at) => *at(target) = value::within(range, value::span(given)?, given)?,
            Self::MaybeSpan(range, at) => {
                *at(target) = Some(value::within(range, value::span(given)?, given)?)
            }
            Self::Share(at) => *at(target) = value::within(&(0.0..=1.0), value::number(given)?, given)?,
            Self::Address(at) => {
                let text = given.text().and_then(|text| text.parse().ok());
                *at(target) = text.ok_or_else(|| value::not(given, "an address with a port"))?;
            }
            Self::Text(_, at) => *at(target) = value::text(given)?,
            Self::Url(_, at) => *at(target) = value::text(given)?,
            Self::Statement(_, at) => *at(target) = value::statement(given)?,
            Self::Places(at) => *at(target) = value::places(given)?,
            Self::Files(at) => *at(target) = value::files(given)?,
            Self::Texts(what, at) => *at(target) = value::texts(given, what)?,
            Self::Filter(at) => *at(target) = value::filter(given)?,
            Self::Rules(at) => *at(target) = Rules(value::text(given)?),
            Self::Secret(at) => *at(target) = value::secret(given)?,
            Self::Choice { names, set, .. } => set(target, value::one_of(names, given)?),
            Self::Fixed(names) => value::available(names, given)?,
        }
        Ok(())
    }

    /// What is accepted, for error messages and help.
    pub(super) fn accepted(&self) -> String {
        match self {
            Self::Flag(_) | Self::MaybeFlag(_) => "true or false".to_owned(),
            Self::Count(range, _) => format!("a whole number from {} to {}", range.start(), range.end()),
            Self::Size(range, _) => format!(
                "a size from {} to {}, such as \"5MB\" (5,000,000 bytes) or \"5MiB\"",
                show_size(*range.start()),
                show_size(*range.end())
            ),
            Self::Span(range, _) | Self::MaybeSpan(range, _) => format!(
                "a duration from {} to {}, such as \"60s\" or \"500ms\"",
                show_span(*range.start()),
                show_span(*range.end())
            ),
            Self::Share(_) => "a number from 0 to 1, such as 0.85".to_owned(),
            Self::Address(_) => {
                "an address and a port, such as \"127.0.0.1:7379\" or \"[::1]:7379\"".to_owned()
            }
            Self::Text(what, _) | Self::Url(what, _) | Self::Statement(what, _) => (*what).to_owned(),
            Self::Places(_) => A_LIST_OF_PLACES.to_owned(),
            Self::Files(_) => "the path of a file, or a list of such paths".to_owned(),
            Self::Texts(what, _) => (*what).to_owned(),
            Self::Filter(_) => "a level (off, error, warn, info, debug, trace) or directives such as \
                \"info,strata=debug\""
                .to_owned(),
            Self::Rules(_) => "rules as in ACL SETUSER, such as \"on ~app:* +@read\"".to_owned(),
            Self::Secret(_) => format!("a string of at most {MAX_TEXT} bytes"),
            Self::Choice { names, .. } => alternatives(names),
            Self::Fixed(names) => alternatives(&names[..1]),
        }
    }

    /// The field as TOML, secrets masked; none if it is absent.
    pub(super) fn show(&self, source: &mut T) -> Option<String> {
        Some(match self {
            Self::Flag(at) => at(source).to_string(),
            Self::MaybeFlag(at) => (*at(source))?.to_string(),
            Self::Count(_, at) => at(source).to_string(),
            Self::Size(_, at) => quoted(show_size(*at(source))),
            Self::Span(_, at) => quoted(show_span(*at(source))),
            Self::MaybeSpan(_, at) => quoted(show_span((*at(source))?)),
            Self::Share(at) => format!("{:?}", at(source)),
            Self::Address(at) => quoted(at(source)),
            Self::Text(_, at) | Self::Filter(at) | Self::Statement(_, at) => quoted(at(source)),
            Self::Places(at) => format!("[{}]", at(source).iter().map(quoted).collect::<Vec<_>>().join(", ")),
            Self::Files(at) if at(source).is_empty() => return None,
            Self::Files(at) => {
                let files: Vec<_> = at(source).iter().map(|file| quoted(file.display())).collect();
                format!("[{}]", files.join(", "))
            }
            Self::Texts(_, at) => {
                format!("[{}]", at(source).iter().map(quoted).collect::<Vec<_>>().join(", "))
            }
            Self::Url(_, at) => quoted(mask_url(at(source))),
            Self::Rules(at) => quoted(at(source)),
            Self::Secret(at) => quoted(at(source).as_ref().map_or(String::new(), Secret::to_string)),
            Self::Choice { get, .. } => quoted(get(source)),
            Self::Fixed(names) => quoted(names[0]),
        })
    }

    /// Whether what is given is taken letter by letter, quotes included, and never shown.
    pub(super) fn is_secret(&self) -> bool {
        matches!(self, Self::Secret(_))
    }
}

/// Any of these names, in words.
fn alternatives(names: &[&str]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(" or ")
}

fn quoted(text: impl Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}

fn show_span(span: Duration) -> String {
    humantime::format_duration(span).to_string()
}

/// The largest unit that gives a whole number.
fn show_size(bytes: usize) -> String {
    const UNITS: [(&str, usize); 8] = [
        ("TB", 1_000_000_000_000),
        ("TiB", 1 << 40),
        ("GB", 1_000_000_000),
        ("GiB", 1 << 30),
        ("MB", 1_000_000),
        ("MiB", 1 << 20),
        ("KB", 1_000),
        ("KiB", 1 << 10),
    ];
    let whole = UNITS.iter().find(|(_, unit)| bytes != 0 && bytes.is_multiple_of(*unit));
    whole.map_or(format!("{bytes}B"), |(name, unit)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_as_they_are_read() {
        for (bytes, shown) in [
            (0, "0B"),
            (1, "1B"),
            (64_000, "64KB"),
            (5_000_000, "5MB"),
            (512 << 20, "512MiB"),
            (1 << 30, "1GiB"),
            (256_000_000, "256MB"),
            (1_048_577, "1048577B"),
            (1_024_000, "1024KB"),
        ] {
            assert_eq!(show_size(bytes), shown);
            assert_eq!(value::size(&Value::Text(shown.to_owned())), Ok(bytes));
        }
    }
}
