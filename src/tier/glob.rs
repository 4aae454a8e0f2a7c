//! Glob patterns as Redis matches them (`stringmatchlen`): `*`, `?`, `[a-z]`, `[^x]`, `\` escapes, on bytes.

/// Whether `text` matches `pattern`. Runs in O(pattern x text) at worst, without recursion.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to resume after the last `*`: behind it in the pattern, one byte further in the text.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            p += 1;
            retry = Some((p, t));
            continue;
        }
        if t == text.len() {
            return p == pattern.len();
        }
        if p < pattern.len()
            && let Some(after) = one(pattern, p, text[t])
        {
            (p, t) = (after, t + 1);
            continue;
        }
        match retry {
            Some((star, from)) if from < text.len() => {
                retry = Some((star, from + 1));
                (p, t) = (star, from + 1);
            }
            _ => return false,
        }
    }
}

/// Matches the element at `p` (not a `*`) with one byte; the position behind it.
fn one(pattern: &[u8], p: usize, byte: u8) -> Option<usize> {
    match pattern[p] {
        b'?' => Some(p + 1),
        b'[' => class(pattern, p + 1, byte),
        b'\\' if p + 1 < pattern.len() => (pattern[p + 1] == byte).then_some(p + 2),
        c => (c == byte).then_some(p + 1),
    }
}

/// A class; one that is not closed ends with the pattern, as in Redis.
fn class(pattern: &[u8], mut p: usize, byte: u8) -> Option<usize> {
    let negated = pattern.get(p) == Some(&b'^');
    p += usize::from(negated);
    let mut found = false;
    loop {
        match pattern.get(p) {
            None => return (found != negated).then_some(p),
            Some(b']') => return (found != negated).then_some(p + 1),
            Some(b'\\') if p + 1 < pattern.len() => {
                found |= pattern[p + 1] == byte;
                p += 2;
            }
            Some(&low) => match (pattern.get(p + 1), pattern.get(p + 2)) {
                (Some(b'-'), Some(&high)) => {
                    found |= (low.min(high)..=low.max(high)).contains(&byte);
                    p += 3;
                }
                _ => {
                    found |= low == byte;
                    p += 1;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn matches_like_redis() {
        let yes: &[(&str, &str)] = &[
            ("*", ""),
            ("*", "abc"),
            ("a*c", "abbc"),
            ("a*c", "ac"),
            ("h?llo", "hello"),
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hallo"),
            ("h[a-c]llo", "hbllo"),
            ("h[c-a]llo", "hbllo"),
            ("\\*a", "*a"),
            ("a\\", "a\\"),
            ("[abc", "a"),
            ("**a**", "xay"),
            ("user:*:name", "user:1:2:name"),
            ("[\\]]", "]"),
            ("", ""),
        ];
        for (pattern, text) in yes {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} should match {text}");
        }
        let no: &[(&str, &str)] = &[
            ("", "a"),
            ("a", ""),
            ("?", ""),
            ("h[^e]llo", "hello"),
            ("a*c", "abd"),
            ("\\*a", "xa"),
            ("[a-c]", "d"),
            ("a", "ab"),
            ("*a", "b"),
        ];
        for (pattern, text) in no {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} should not match {text}");
        }
    }

    #[test]
    fn many_stars_stay_cheap() {
        let pattern = "a*".repeat(200) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(4000).as_bytes()));
    }
}
