//! Values that must not be shown: they are masked wherever they are printed.

use std::fmt;

/// What is shown in place of a secret.
pub const MASK: &str = "***";

/// A password. `Debug` and `Display` print [`MASK`]; only [`Secret::expose`] gives the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`, which may be empty.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `given` is the secret, in a time that depends on the length of `given` alone.
    pub fn matches(&self, given: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let mut difference = u8::from(own.len() != given.len());
        for (at, byte) in given.iter().enumerate() {
            difference |= byte ^ own.get(at).copied().unwrap_or(0);
        }
        std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// Rules of a user. `Debug` and `Display` mask the passwords among them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Rules(pub(super) String);

impl Rules {
    /// The rules themselves.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, rule) in self.0.split_ascii_whitespace().enumerate() {
            let gap = if index == 0 { "" } else { " " };
            match rule.chars().next() {
                Some(kind @ ('>' | '<' | '#' | '!')) => write!(f, "{gap}{kind}{MASK}")?,
                _ => write!(f, "{gap}{rule}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A URL fit to be shown: what may be a user, a password or a parameter is masked. Works on text
/// that is no valid URL too, since that is what error messages show.
pub fn mask_url(text: &str) -> String {
    let (scheme, rest) = match text.find("://") {
        Some(at) => text.split_at(at + "://".len()),
        None => ("", text),
    };
    let (user, rest) = match rest.rfind('@') {
        Some(at) => (MASK, &rest[at..]),
        None => ("", rest),
    };
    match rest.find('?') {
        Some(at) => format!("{scheme}{user}{}?{MASK}", &rest[..at]),
        None => format!("{scheme}{user}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_masked_in_every_format() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn matches_only_itself() {
        let secret = Secret::new("hunter2");
        assert!(secret.matches(b"hunter2"));
        for other in [&b""[..], b"hunter", b"hunter22", b"hunter2\0", b"Hunter2"] {
            assert!(!secret.matches(other), "{other:?}");
        }
        assert!(Secret::new("").matches(b""));
        assert!(!Secret::new("").matches(b"\0"));
    }

    #[test]
    fn passwords_among_rules_are_masked() {
        let rules = Rules("on  >hunter2 #c0ffee ~a:* +get".to_owned());
        assert_eq!(format!("{rules}"), "on >*** #*** ~a:* +get");
        assert_eq!(format!("{rules:?}"), "\"on >*** #*** ~a:* +get\"");
        assert_eq!(rules.expose(), "on  >hunter2 #c0ffee ~a:* +get");
    }

    #[test]
    fn masks_what_a_url_hides() {
        for (url, shown) in [
            ("redis://cache:6379/1", "redis://cache:6379/1"),
            ("redis://:pw@cache", "redis://***@cache"),
            ("redis://user:p@ss/w@cache", "redis://***@cache"),
            ("user:pw@cache", "***@cache"),
            ("unix:///run/redis.sock?password=pw", "unix:///run/redis.sock?***"),
            ("redis://u:p?w@cache", "redis://***@cache"),
            ("", ""),
        ] {
            assert_eq!(mask_url(url), shown);
        }
    }
}
