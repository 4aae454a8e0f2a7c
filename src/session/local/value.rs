//! Replies of strata's own commands, built first and written in the client's protocol then.

use crate::metrics::LatencySummary;
use crate::resp::{Proto, encode};

/// A reply, or a part of one. Nested a few levels deep at most.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Map(Vec<(String, Value)>),
    List(Vec<Value>),
    Text(Vec<u8>),
    Number(i64),
    /// There is no figure.
    Nothing,
}

impl Value {
    /// A map of names known at compile time.
    pub(super) fn map<const N: usize>(pairs: [(&str, Value); N]) -> Value {
        Value::Map(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// A share from 0 to 1, with four digits.
    pub(super) fn share(share: Option<f64>) -> Value {
        share.map_or(Value::Nothing, |share| text(format!("{share:.4}")))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, proto: Proto) {
        match self {
            Value::Map(pairs) => {
                encode::map(out, proto, pairs.len());
                for (name, value) in pairs {
                    encode::bulk(out, name.as_bytes());
                    value.write(out, proto);
                }
            }
            Value::List(items) => {
                encode::array(out, items.len());
                items.iter().for_each(|item| item.write(out, proto));
            }
            Value::Text(text) => encode::bulk(out, text),
            Value::Number(number) => encode::integer(out, *number),
            Value::Nothing => encode::null(out, proto),
        }
    }

    pub(super) fn encoded(&self, proto: Proto) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out, proto);
        out
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Value::from(number as u64)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Nothing, Into::into)
    }
}

pub(super) fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into().into_bytes())
}

/// Nanoseconds as microseconds with two decimals.
pub(super) fn micros(nanos: u64) -> String {
    format!("{}.{:02}", nanos / 1_000, nanos % 1_000 / 10)
}

/// Mean and quantiles of an operation, as `<name>_avg_usec` and so on.
pub(super) fn times(name: &str, summary: &LatencySummary) -> [(String, Value); 3] {
    let figure = |nanos: u64| {
        if summary.count == 0 { Value::Nothing } else { text(micros(nanos)) }
    };
    [
        (format!("{name}_avg_usec"), figure(summary.mean())),
        (format!("{name}_p50_usec"), figure(summary.quantile(0.5))),
        (format!("{name}_p99_usec"), figure(summary.quantile(0.99))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_take_the_form_of_the_protocol() {
        let value = Value::map([
            ("a", Value::from(7_u64)),
            ("b", Value::List(vec![text("x"), Value::Nothing])),
            ("c", Value::share(Some(0.5))),
        ]);
        let encoded = |proto| String::from_utf8(value.encoded(proto)).expect("text");
        assert_eq!(
            encoded(Proto::Resp2),
            "*6\r\n$1\r\na\r\n:7\r\n$1\r\nb\r\n*2\r\n$1\r\nx\r\n$-1\r\n$1\r\nc\r\n$6\r\n0.5000\r\n"
        );
        assert_eq!(
            encoded(Proto::Resp3),
            "%3\r\n$1\r\na\r\n:7\r\n$1\r\nb\r\n*2\r\n$1\r\nx\r\n_\r\n$1\r\nc\r\n$6\r\n0.5000\r\n"
        );
    }

    #[test]
    fn times_are_in_microseconds() {
        assert_eq!([0, 9, 213, 1_000, 1_234_567].map(micros), ["0.00", "0.00", "0.21", "1.00", "1234.56"]);
        assert!(times("get", &LatencySummary::default()).iter().all(|(_, v)| *v == Value::Nothing));
    }
}
