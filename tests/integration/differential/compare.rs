//! When two replies are the same: byte for byte, but for what no two servers can agree on.

use crate::support::Value;

/// How the replies of one kind of command are compared. The letter is how `templates` spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// `=`: byte for byte.
    Exact,
    /// `u`: in any order at every level, as hash tables give them.
    Unordered,
    /// `h`: pairs in any order.
    UnorderedPairs,
    /// `c`: a cursor, then elements in any order.
    Cursor,
    /// `t`: a time in seconds that may have moved on by `DRIFT`.
    Seconds,
    /// `p`: the same in milliseconds.
    Milliseconds,
    /// `?`: the same type and, of aggregates, the same length: ids, random elements, memory sizes.
    Shape,
    /// `n`: replies that name something each, in any order; see `conversation`.
    Names,
    /// `i`: the reply of HELLO: all but the connection's id.
    Hello,
}

/// Seconds between the two executions of one command at most, on a busy machine.
const DRIFT: u64 = 5;

impl Rule {
    pub(super) fn of(letter: &str) -> Option<Rule> {
        Some(match letter {
            "=" => Rule::Exact,
            "u" => Rule::Unordered,
            "h" => Rule::UnorderedPairs,
            "c" => Rule::Cursor,
            "t" => Rule::Seconds,
            "p" => Rule::Milliseconds,
            "?" => Rule::Shape,
            "n" => Rule::Names,
            "i" => Rule::Hello,
            _ => return None,
        })
    }
}

/// Whether `got` is what `expected` allows.
pub(super) fn same(rule: Rule, expected: &[u8], got: &[u8]) -> bool {
    if expected == got {
        return true;
    }
    if rule == Rule::Exact || expected.first() != got.first() {
        return false;
    }
    let (Ok(expected), Ok(got)) = (Value::parse(expected), Value::parse(got)) else {
        return false;
    };
    if expected.is_error() {
        return false;
    }
    match rule {
        Rule::Exact | Rule::Names => false,
        Rule::Unordered => sorted(&expected) == sorted(&got),
        Rule::UnorderedPairs => sorted_pairs(&expected) == sorted_pairs(&got),
        Rule::Cursor => same_scan(&expected, &got),
        Rule::Seconds => same_time(&expected, &got, DRIFT),
        Rule::Milliseconds => same_time(&expected, &got, DRIFT * 1000),
        Rule::Shape => {
            expected.elements().map(|items| items.len()) == got.elements().map(|items| items.len())
        }
        Rule::Hello => without_id(&expected) == without_id(&got),
    }
}

fn sorted(value: &Value) -> Option<Vec<Value>> {
    let items = value.elements()?.into_iter();
    let mut items: Vec<Value> = items.map(|item| sorted(&item).map_or(item, Value::Array)).collect();
    items.sort();
    Some(items)
}

fn sorted_pairs(value: &Value) -> Option<Vec<Vec<Value>>> {
    let mut pairs: Vec<Vec<Value>> = value.elements()?.chunks(2).map(<[Value]>::to_vec).collect();
    pairs.sort();
    Some(pairs)
}

fn same_scan(expected: &Value, got: &Value) -> bool {
    match (expected.elements().as_deref(), got.elements().as_deref()) {
        (Some([cursor, items]), Some([other_cursor, others])) => {
            cursor == other_cursor && sorted(items).is_some() && sorted(items) == sorted(others)
        }
        _ => false,
    }
}

/// -1 and -2 have a meaning of their own and are exact.
fn same_time(expected: &Value, got: &Value, drift: u64) -> bool {
    match (expected.integer(), got.integer()) {
        (Some(expected), Some(got)) => expected >= 0 && got >= 0 && expected.abs_diff(got) <= drift,
        _ => false,
    }
}

fn without_id(value: &Value) -> Option<Vec<Vec<Value>>> {
    let mut pairs = sorted_pairs(value)?;
    pairs.retain(|pair| pair.first().and_then(Value::bytes) != Some(b"id"));
    Some(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_free_where_the_rule_says_so_and_only_there() {
        let (one, other) = (b"*2\r\n+a\r\n+b\r\n", b"*2\r\n+b\r\n+a\r\n");
        assert!(!same(Rule::Exact, one, other));
        assert!(same(Rule::Unordered, one, other));
        assert!(!same(Rule::UnorderedPairs, one, other));
        assert!(!same(Rule::Unordered, one, b"*2\r\n+a\r\n+a\r\n"));
        assert!(!same(Rule::Unordered, one, b"~2\r\n+b\r\n+a\r\n"));
        assert!(same(
            Rule::UnorderedPairs,
            b"%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n",
            b"%2\r\n+b\r\n:2\r\n+a\r\n:1\r\n"
        ));
        assert!(same(
            Rule::Cursor,
            b"*2\r\n$1\r\n0\r\n*2\r\n+a\r\n+b\r\n",
            b"*2\r\n$1\r\n0\r\n*2\r\n+b\r\n+a\r\n"
        ));
    }

    #[test]
    fn times_may_drift_but_absence_may_not() {
        assert!(same(Rule::Seconds, b":1000\r\n", b":999\r\n"));
        assert!(!same(Rule::Seconds, b":1000\r\n", b":990\r\n"));
        assert!(same(Rule::Milliseconds, b":1000\r\n", b":990\r\n"));
        assert!(!same(Rule::Seconds, b":-1\r\n", b":-2\r\n"));
        assert!(!same(Rule::Seconds, b":1\r\n", b":-2\r\n"));
    }

    #[test]
    fn errors_are_exact_under_every_rule() {
        for rule in ["=", "u", "h", "c", "t", "p", "?", "n", "i"].map(|letter| Rule::of(letter).unwrap()) {
            assert!(!same(rule, b"-ERR one\r\n", b"-ERR other\r\n"), "{rule:?}");
            assert!(!same(rule, b"$-1\r\n", b"*-1\r\n"), "{rule:?}");
        }
    }

    #[test]
    fn hello_may_differ_in_its_id_only() {
        let hello =
            |id: u8, role: &str| format!("%2\r\n$2\r\nid\r\n:{id}\r\n$4\r\nrole\r\n+{role}\r\n").into_bytes();
        assert!(same(Rule::Hello, &hello(1, "master"), &hello(2, "master")));
        assert!(!same(Rule::Hello, &hello(1, "master"), &hello(1, "slave")));
    }
}
