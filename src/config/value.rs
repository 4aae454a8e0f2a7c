//! A value as it was given, and how it is read as this or that. Errors say what is wrong with it.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use toml::de::DeValue;

use super::Secret;
use super::location::host_and_port;
use super::tiers::HostPort;

/// Bytes of a text; longer ones are refused.
pub(super) const MAX_TEXT: usize = 4096;

/// Bytes of a statement of SQL.
const MAX_STATEMENT: usize = 64 << 10;

/// Hosts with ports, or files, in one list.
const MAX_PLACES: usize = 1000;

/// Characters of a refused value that an error shows.
const MAX_SHOWN: usize = 64;

/// A value as it was given.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A string of TOML.
    Text(String),
    /// What stood in an environment variable or after `--set KEY=`: its meaning is the key's affair.
    Word(String),
    Integer(i64),
    Float(f64),
    Flag(bool),
    /// An array of strings.
    Texts(Vec<String>),
    /// What no key takes; the name of its type.
    Other(&'static str),
}

impl Value {
    pub(super) fn from_toml(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Self::Other("integer beyond 64 bits"), Self::Integer),
            DeValue::Float(number) => number.as_str().parse().map_or(Self::Other("float"), Self::Float),
            DeValue::Boolean(flag) => Self::Flag(*flag),
            DeValue::Array(list) => {
                let texts = list.iter().map(|value| value.get_ref().as_str().map(str::to_owned));
                texts.collect::<Option<_>>().map_or(Self::Other("array"), Self::Texts)
            }
            other => Self::Other(other.type_str()),
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Word(text) => Some(text),
            _ => None,
        }
    }

    /// For error messages.
    fn shown(&self) -> String {
        match self {
            Self::Text(text) | Self::Word(text) => match text.char_indices().nth(MAX_SHOWN) {
                Some((end, _)) => format!("{:?}...", &text[..end]),
                None => format!("{text:?}"),
            },
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Texts(_) => a_kind("array"),
            Self::Other(kind) => a_kind(kind),
        }
    }
}

/// The name of a type of TOML with its article.
pub(super) fn a_kind(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {kind}")
}

pub(super) fn not(value: &Value, what: &str) -> String {
    format!("{} is not {what}", value.shown())
}

pub(super) fn within<V: PartialOrd>(range: &RangeInclusive<V>, found: V, value: &Value) -> Result<V, String> {
    match range.contains(&found) {
        true => Ok(found),
        false => Err(format!("{} is out of range", value.shown())),
    }
}

pub(super) fn flag(value: &Value) -> Result<bool, String> {
    match value {
        Value::Flag(flag) => Ok(*flag),
        Value::Word(word) => word.trim().parse().map_err(|_| not(value, "true or false")),
        _ => Err(not(value, "true or false")),
    }
}

pub(super) fn count(value: &Value) -> Result<usize, String> {
    let found = match value {
        Value::Integer(number) => usize::try_from(*number).ok(),
        Value::Word(word) => word.trim().parse().ok(),
        _ => return Err(not(value, "a whole number")),
    };
    found.ok_or_else(|| not(value, "a whole number in range"))
}

pub(super) fn number(value: &Value) -> Result<f64, String> {
    match value {
        Value::Float(number) => Ok(*number),
        // The shares are 0 and 1 at most, which a float holds exactly.
        Value::Integer(number) => Ok(*number as f64),
        Value::Word(word) => word.trim().parse().map_err(|_| not(value, "a number")),
        _ => Err(not(value, "a number")),
    }
}

pub(super) fn size(value: &Value) -> Result<usize, String> {
    let found = match value {
        Value::Integer(number) => usize::try_from(*number).ok(),
        Value::Text(text) | Value::Word(text) => {
            text.trim().parse::<ByteSize>().ok().and_then(|size| usize::try_from(size.as_u64()).ok())
        }
        _ => None,
    };
    found.ok_or_else(|| not(value, "a size"))
}

pub(super) fn span(value: &Value) -> Result<Duration, String> {
    let found =
        value.text().filter(|text| is_bounded(text)).and_then(|text| humantime::parse_duration(text).ok());
    found.ok_or_else(|| match value {
        Value::Integer(_) => format!("{} has no unit", value.shown()),
        Value::Word(word) if word.trim().parse::<u64>().is_ok() => format!("{} has no unit", value.shown()),
        _ => not(value, "a duration"),
    })
}

/// `humantime` panics on sums beyond `Duration::MAX`: 32 numbers of nine digits cannot reach it,
/// in whatever unit.
fn is_bounded(text: &str) -> bool {
    let longest = text.split(|c: char| !c.is_ascii_digit() && !c.is_whitespace()).map(str::len).max();
    text.len() <= 64 && longest.unwrap_or(0) <= 9
}

pub(super) fn text(value: &Value) -> Result<String, String> {
    let text = value.text().ok_or_else(|| not(value, "a string"))?;
    if text.len() > MAX_TEXT {
        return Err(format!("is longer than {MAX_TEXT} bytes"));
    }
    match text.contains(char::is_control) {
        true => Err("holds control characters".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// A text that may have several lines.
pub(super) fn statement(value: &Value) -> Result<String, String> {
    let text = value.text().ok_or_else(|| not(value, "a string"))?;
    if text.len() > MAX_STATEMENT {
        return Err(format!("is longer than {MAX_STATEMENT} bytes"));
    }
    match text.contains(|char: char| char.is_control() && !"\t\r\n".contains(char)) {
        true => Err("holds control characters".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// A list of hosts with ports; as a word it is that list, or what stands in it with commas between.
pub(super) fn places(value: &Value) -> Result<Vec<HostPort>, String> {
    let texts = match value {
        Value::Texts(texts) => texts.clone(),
        Value::Word(word) => match DeValue::parse(word).ok().map(|list| Value::from_toml(list.get_ref())) {
            Some(Value::Texts(texts)) => texts,
            _ => word.split(',').map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect(),
        },
        _ => return Err(not(value, "a list of hosts with ports")),
    };
    if texts.len() > MAX_PLACES {
        return Err(format!("has more than {MAX_PLACES} entries"));
    }
    let shown = |text: &String| Value::Text(text.clone()).shown();
    let read = |text: &String| {
        host_and_port(text).ok_or_else(|| format!("{} is not a host with a port", shown(text)))
    };
    texts.iter().map(read).collect()
}

/// The path of a file, or a list of such; an empty one is none.
pub(super) fn files(value: &Value) -> Result<Vec<PathBuf>, String> {
    let texts = match value {
        Value::Texts(texts) => texts.clone(),
        value => vec![text(value).map_err(|_| not(value, "the path of a file or a list of such"))?],
    };
    if texts.len() > MAX_PLACES {
        return Err(format!("has more than {MAX_PLACES} entries"));
    }
    Ok(texts.into_iter().filter(|text| !text.is_empty()).map(PathBuf::from).collect())
}

/// A text, or a list of such; an empty one is none.
pub(super) fn texts(value: &Value, what: &str) -> Result<Vec<String>, String> {
    let texts = match value {
        Value::Texts(texts) => texts.clone(),
        value => vec![text(value).map_err(|_| not(value, what))?],
    };
    if texts.len() > MAX_PLACES || texts.iter().any(|text| text.len() > MAX_TEXT) {
        return Err(format!("has more than {MAX_PLACES} entries, or one of more than {MAX_TEXT} bytes"));
    }
    Ok(texts.into_iter().filter(|text| !text.is_empty()).collect())
}

pub(super) fn secret(value: &Value) -> Result<Option<Secret>, String> {
    match value {
        Value::Text(text) | Value::Word(text) if text.len() > MAX_TEXT => {
            Err(format!("is longer than {MAX_TEXT} bytes"))
        }
        Value::Text(text) | Value::Word(text) => Ok(Some(Secret::new(text)).filter(|_| !text.is_empty())),
        Value::Integer(_) => Err("an integer is not a string: write it in quotes".to_owned()),
        Value::Float(_) => Err("a float is not a string: write it in quotes".to_owned()),
        Value::Flag(_) => Err("a boolean is not a string: write it in quotes".to_owned()),
        Value::Texts(_) | Value::Other(_) => Err(not(value, "a string")),
    }
}

/// A bare word that is no level would be taken for the name of a module, and silence all else.
pub(super) fn filter(value: &Value) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let text = text(value)?;
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    for directive in text.split(',') {
        if !directive.contains(['=', '[', ']', '{', '}']) && !is_level(directive) {
            return Err(format!("{} is not a level", Value::Text(directive.to_owned()).shown()));
        }
    }
    match tracing_subscriber::EnvFilter::builder().parse(&text) {
        Ok(_) => Ok(text),
        Err(_) => Err(not(value, "a filter")),
    }
}

pub(super) fn one_of(names: &[&'static str], value: &Value) -> Result<&'static str, String> {
    let found = value.text().and_then(|text| names.iter().find(|name| **name == text.trim()));
    found.copied().ok_or_else(|| not(value, "one of the choices"))
}

pub(super) fn available(names: &[&'static str], value: &Value) -> Result<(), String> {
    match one_of(names, value)? {
        name if name == names[0] => Ok(()),
        name => Err(format!("{name:?} is not available in this version yet")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Value {
        Value::Word(text.to_owned())
    }

    #[test]
    fn reads_sizes() {
        for (text, bytes) in [
            ("5MB", 5_000_000),
            ("5 mb", 5_000_000),
            ("5MiB", 5 << 20),
            ("1.5GB", 1_500_000_000),
            ("64000", 64_000),
            ("0B", 0),
        ] {
            assert_eq!(size(&word(text)), Ok(bytes), "{text}");
        }
        assert_eq!(size(&Value::Integer(7)), Ok(7));
        for text in ["", "MB", "-5MB", "5XB", "5MB MB", "1.2.3MB", "five"] {
            assert_eq!(size(&word(text)), Err(format!("{text:?} is not a size")));
        }
        assert_eq!(size(&Value::Integer(-1)), Err("-1 is not a size".to_owned()));
    }

    #[test]
    fn reads_durations() {
        for (text, millis) in [
            ("60s", 60_000),
            ("500ms", 500),
            ("1h 30m", 5_400_000),
            ("0s", 0),
            ("2days", 172_800_000),
            ("1.5s", 1500),
        ] {
            assert_eq!(span(&word(text)), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(span(&Value::Integer(60)), Err("60 has no unit".to_owned()));
        assert_eq!(span(&word("60")), Err("\"60\" has no unit".to_owned()));
        for text in ["", "s", "-1s", "1parsec", "1000000000s"] {
            assert_eq!(span(&word(text)), Err(format!("{text:?} is not a duration")));
        }
    }

    /// `humantime` 2.4 panics on each of these.
    #[test]
    fn durations_beyond_their_type_are_refused() {
        for text in ["18446744073709551615s 1000000000ns", "18446744073709551615s 1 0 0 0ms"] {
            assert_eq!(span(&word(text)), Err(format!("{text:?} is not a duration")));
        }
        let most = "999999999y".repeat(6);
        assert!(span(&word(&most)).is_ok(), "the longest that is tried does not overflow");
    }

    #[test]
    fn filters_name_levels() {
        for text in
            ["info", "DEBUG", "off", "info,strata=debug", "strata::l1=trace", "warn,strata[lane]=trace"]
        {
            assert_eq!(filter(&word(text)), Ok(text.to_owned()));
        }
        assert_eq!(filter(&word("inof")), Err("\"inof\" is not a level".to_owned()));
        assert_eq!(filter(&word("info, warn")), Err("\" warn\" is not a level".to_owned()));
        assert_eq!(filter(&word("info,")), Err("\"\" is not a level".to_owned()));
        assert_eq!(filter(&word("")), Err("\"\" is not a level".to_owned()));
        assert_eq!(filter(&word("strata=loud")), Err("\"strata=loud\" is not a filter".to_owned()));
    }

    #[test]
    fn long_values_are_cut_where_shown() {
        let shown = Value::Text("é".repeat(1000)).shown();
        assert_eq!(shown, format!("\"{}\"...", "é".repeat(64)));
    }
}
