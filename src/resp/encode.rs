//! Writes replies and commands: each function appends one element to a buffer.
//!
//! Where the two protocols differ a [`Proto`] says which one the reader speaks; the RESP2 form is the one Redis falls
//! back to. Aggregates are headers: the caller appends as many elements as it announced.

use super::Proto;
use super::number::{append_i64, append_u64};

/// Header of an array of `n` elements.
pub fn array(out: &mut Vec<u8>, n: usize) {
    header(out, b'*', n);
}

/// Header of a map of `n` pairs: `n` keys, each followed by its value.
pub fn map(out: &mut Vec<u8>, proto: Proto, n: usize) {
    match proto {
        Proto::Resp2 => header(out, b'*', n.saturating_mul(2)),
        Proto::Resp3 => header(out, b'%', n),
    }
}

/// Header of a set of `n` elements.
pub fn set(out: &mut Vec<u8>, proto: Proto, n: usize) {
    aggregate(out, proto, b'~', n);
}

/// Header of an out-of-band push of `n` elements.
pub fn push(out: &mut Vec<u8>, proto: Proto, n: usize) {
    aggregate(out, proto, b'>', n);
}

/// A binary-safe string.
pub fn bulk(out: &mut Vec<u8>, data: &[u8]) {
    out.reserve(data.len() + 16);
    header(out, b'$', data.len());
    terminated(out, data);
}

/// A signed integer.
pub fn integer(out: &mut Vec<u8>, value: i64) {
    out.push(b':');
    append_i64(out, value);
    out.extend_from_slice(b"\r\n");
}

/// A status such as `OK`. `text` has no line breaks.
pub fn simple(out: &mut Vec<u8>, text: &str) {
    debug_assert!(!text.contains(['\r', '\n']), "a status is one line");
    out.push(b'+');
    terminated(out, text.as_bytes());
}

/// An error. `message` begins with its code (`ERR ...`). Line breaks around it are dropped, those within it become
/// spaces, as in Redis.
pub fn error(out: &mut Vec<u8>, message: impl AsRef<[u8]>) {
    let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let message = message.as_ref();
    let begin = message.iter().take_while(|byte| is_break(byte)).count();
    let end = message.len() - message[begin..].iter().rev().take_while(|byte| is_break(byte)).count();
    out.push(b'-');
    out.extend(message[begin..end].iter().map(|byte| if is_break(byte) { b' ' } else { *byte }));
    out.extend_from_slice(b"\r\n");
}

/// The absent value.
pub fn null(out: &mut Vec<u8>, proto: Proto) {
    out.extend_from_slice(match proto {
        Proto::Resp2 => b"$-1\r\n",
        Proto::Resp3 => b"_\r\n",
    });
}

/// The absent value where an array is expected.
pub fn null_array(out: &mut Vec<u8>, proto: Proto) {
    out.extend_from_slice(match proto {
        Proto::Resp2 => b"*-1\r\n",
        Proto::Resp3 => b"_\r\n",
    });
}

/// A truth value; an integer in RESP2.
pub fn boolean(out: &mut Vec<u8>, proto: Proto, value: bool) {
    out.extend_from_slice(match (proto, value) {
        (Proto::Resp2, true) => b":1\r\n",
        (Proto::Resp2, false) => b":0\r\n",
        (Proto::Resp3, true) => b"#t\r\n",
        (Proto::Resp3, false) => b"#f\r\n",
    });
}

/// A floating-point number with 17 significant digits; a string in RESP2.
pub fn double(out: &mut Vec<u8>, proto: Proto, value: f64) {
    let text = seventeen_digits(value);
    match proto {
        Proto::Resp2 => bulk(out, text.as_bytes()),
        Proto::Resp3 => {
            out.push(b',');
            terminated(out, text.as_bytes());
        }
    }
}

/// A text for people with its format (`txt` or `mkd`: always three bytes); a plain string in RESP2.
pub fn verbatim(out: &mut Vec<u8>, proto: Proto, format: &str, text: &[u8]) {
    debug_assert_eq!(format.len(), 3, "a format has three letters");
    match proto {
        Proto::Resp2 => bulk(out, text),
        Proto::Resp3 => {
            header(out, b'=', format.len() + 1 + text.len());
            out.extend_from_slice(format.as_bytes());
            out.push(b':');
            terminated(out, text);
        }
    }
}

/// A whole command: an array of strings.
pub fn command(out: &mut Vec<u8>, args: &[&[u8]]) {
    array(out, args.len());
    for arg in args {
        bulk(out, arg);
    }
}

fn aggregate(out: &mut Vec<u8>, proto: Proto, resp3: u8, n: usize) {
    header(out, if proto == Proto::Resp3 { resp3 } else { b'*' }, n);
}

fn header(out: &mut Vec<u8>, marker: u8, n: usize) {
    out.push(marker);
    append_u64(out, n as u64);
    out.extend_from_slice(b"\r\n");
}

fn terminated(out: &mut Vec<u8>, data: &[u8]) {
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// C's `%.17g`, which Redis writes doubles with.
fn seventeen_digits(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:.16e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..17).contains(&exponent) {
        let decimals = (16 - exponent) as usize;
        return trim_fraction(&format!("{value:.decimals$}")).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim_fraction(mantissa), exponent.unsigned_abs())
}

fn trim_fraction(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn elements_common_to_both_protocols() {
        assert_eq!(encoded(|out| array(out, 12)), "*12\r\n");
        assert_eq!(encoded(|out| bulk(out, b"")), "$0\r\n\r\n");
        assert_eq!(encoded(|out| bulk(out, b"a\r\nb")), "$4\r\na\r\nb\r\n");
        assert_eq!(encoded(|out| integer(out, -42)), ":-42\r\n");
        assert_eq!(encoded(|out| integer(out, i64::MIN)), ":-9223372036854775808\r\n");
        assert_eq!(encoded(|out| simple(out, "OK")), "+OK\r\n");
        assert_eq!(encoded(|out| command(out, &[b"GET", b"k"])), "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    }

    #[test]
    fn elements_that_differ_by_protocol() {
        use Proto::{Resp2, Resp3};
        assert_eq!(encoded(|out| map(out, Resp2, 3)), "*6\r\n");
        assert_eq!(encoded(|out| map(out, Resp3, 3)), "%3\r\n");
        assert_eq!(encoded(|out| set(out, Resp2, 3)), "*3\r\n");
        assert_eq!(encoded(|out| set(out, Resp3, 3)), "~3\r\n");
        assert_eq!(encoded(|out| push(out, Resp2, 3)), "*3\r\n");
        assert_eq!(encoded(|out| push(out, Resp3, 3)), ">3\r\n");
        assert_eq!(encoded(|out| null(out, Resp2)), "$-1\r\n");
        assert_eq!(encoded(|out| null(out, Resp3)), "_\r\n");
        assert_eq!(encoded(|out| null_array(out, Resp2)), "*-1\r\n");
        assert_eq!(encoded(|out| null_array(out, Resp3)), "_\r\n");
        assert_eq!(encoded(|out| boolean(out, Resp2, true)), ":1\r\n");
        assert_eq!(encoded(|out| boolean(out, Resp3, false)), "#f\r\n");
        assert_eq!(encoded(|out| verbatim(out, Resp2, "txt", b"a\n")), "$2\r\na\n\r\n");
        assert_eq!(encoded(|out| verbatim(out, Resp3, "txt", b"a\n")), "=6\r\ntxt:a\n\r\n");
        assert_eq!(encoded(|out| double(out, Resp2, 1.5)), "$3\r\n1.5\r\n");
        assert_eq!(encoded(|out| double(out, Resp3, 1.5)), ",1.5\r\n");
    }

    #[test]
    fn errors_are_one_line() {
        assert_eq!(encoded(|out| error(out, "ERR no")), "-ERR no\r\n");
        assert_eq!(encoded(|out| error(out, b"ERR a\r\nb\nc")), "-ERR a  b c\r\n");
        assert_eq!(encoded(|out| error(out, "\r\nERR a\r\n\n")), "-ERR a\r\n");
        assert_eq!(encoded(|out| error(out, "\r\n")), "-\r\n");
    }

    // The texts are those of C's printf("%.17g").
    #[test]
    fn doubles_have_seventeen_significant_digits() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (-10.5, "-10.5"),
            (0.1, "0.10000000000000001"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (1.25e100, "1.25e+100"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (123_456.789, "123456.789"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(seventeen_digits(value), text);
        }
    }
}
