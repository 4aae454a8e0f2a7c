//! Patterns of keys with named parts, such as `user:{id}:profile`.

use std::fmt;

/// Bytes of a pattern.
pub(super) const MAX_PATTERN: usize = 1024;

/// Named parts of a pattern.
pub const MAX_PARTS: usize = 16;

/// What is accepted, for error messages.
pub(super) const ACCEPTED: &str =
    "a key with named parts, such as \"user:{id}:profile\"; {{ and }} stand for braces in the key";

/// A pattern of keys: texts with a named part between each two of them. The first and the last text may be empty,
/// no other is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern {
    /// As it was given.
    text: String,
    /// One more than there are names.
    literals: Vec<String>,
    names: Vec<String>,
}

impl Pattern {
    /// Reads a pattern; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_PATTERN {
            return Err(format!("is longer than {MAX_PATTERN} bytes"));
        }
        if text.contains('\0') {
            return Err("contains a NUL, which no text of PostgreSQL does".to_owned());
        }
        let (mut literals, mut names) = (Vec::new(), Vec::new());
        let (mut literal, mut rest) = (String::new(), text);
        while let Some(char) = rest.chars().next() {
            rest = &rest[char.len_utf8()..];
            match char {
                '{' | '}' if rest.starts_with(char) => {
                    literal.push(char);
                    rest = &rest[1..];
                }
                '{' => {
                    let (name, after) = rest.split_once('}').ok_or("has a { without its }")?;
                    if !names.is_empty() && literal.is_empty() {
                        return Err("has two parts with nothing between them".to_owned());
                    }
                    literals.push(std::mem::take(&mut literal));
                    names.push(part_name(name, &names)?);
                    rest = after;
                }
                '}' => return Err("has a } without its {".to_owned()),
                char => literal.push(char),
            }
        }
        literals.push(literal);
        match names.len() {
            0 => Err("has no named part".to_owned()),
            1..=MAX_PARTS => Ok(Self { text: text.to_owned(), literals, names }),
            _ => Err(format!("has more than {MAX_PARTS} parts")),
        }
    }

    /// The names of its parts, in their order; no two alike, at least one and at most [`MAX_PARTS`].
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The texts around its parts, one more than there are parts.
    pub fn literals(&self) -> &[String] {
        &self.literals
    }
}

fn part_name(name: &str, known: &[String]) -> Result<String, String> {
    let letter = |char: char| char.is_alphanumeric() || char == '_';
    if name.is_empty() || name.len() > 63 || !name.chars().all(letter) {
        return Err(format!("has a part {name:?}: a name has up to 63 letters, digits or _"));
    }
    if known.iter().any(|other| other == name) {
        return Err(format!("has two parts {name:?}"));
    }
    Ok(name.to_owned())
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_texts_and_parts() {
        for (text, literals, names) in [
            ("user:{id}:profile", vec!["user:", ":profile"], vec!["id"]),
            ("{a}:{b}", vec!["", ":", ""], vec!["a", "b"]),
            ("u:{{{id}}}", vec!["u:{", "}"], vec!["id"]),
            ("{größe}", vec!["", ""], vec!["größe"]),
        ] {
            let pattern = Pattern::parse(text).unwrap();
            assert_eq!((pattern.literals(), pattern.names()), (&*strings(&literals), &*strings(&names)));
            assert_eq!(pattern.to_string(), text);
        }
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (text, wrong) in [
            ("", "has no named part"),
            ("user:*", "has no named part"),
            ("user:{id", "has a { without its }"),
            ("user:}", "has a } without its {"),
            ("{a}{b}", "has two parts with nothing between them"),
            ("{a}:{a}", "has two parts \"a\""),
            ("{a b}", "has a part \"a b\": a name has up to 63 letters, digits or _"),
            ("{}", "has a part \"\": a name has up to 63 letters, digits or _"),
            ("a\0{b}", "contains a NUL, which no text of PostgreSQL does"),
        ] {
            assert_eq!(Pattern::parse(text), Err(wrong.to_owned()), "{text:?}");
        }
        let many: String = (0..=MAX_PARTS).map(|n| format!("{{p{n}}}:")).collect();
        assert_eq!(Pattern::parse(&many), Err("has more than 16 parts".to_owned()));
    }
}
