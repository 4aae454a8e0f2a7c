//! The known name nearest to one that is unknown.

/// Names longer than this are compared by their beginning only, which bounds the work.
const MAX_COMPARED: usize = 64;

/// The candidate that was probably meant by `unknown`, or none if none is near: one whose last part,
/// after its last dot, is like that of `unknown`, best in the same section.
pub(super) fn nearest<'a>(unknown: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (section, name) = parts(unknown);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let (other_section, other_name) = parts(candidate);
            let score = within(distance(name, other_name), name)?;
            let elsewhere = match within(distance(section, other_section), section) {
                Some(distance) => distance.min(1),
                None => 2,
            };
            Some((score + elsewhere, candidate))
        })
        .min_by_key(|(score, _)| *score)
        .map(|(_, candidate)| candidate)
}

fn parts(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

/// A third of the letters that were compared may be wrong, one at least.
fn within(distance: usize, name: &str) -> Option<usize> {
    let compared = name.len().min(MAX_COMPARED);
    (distance <= (compared / 3).max(1)).then_some(distance)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(MAX_COMPARED).collect();
    let b: Vec<char> = b.chars().take(MAX_COMPARED).collect();
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if swapped {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 5] = ["server.listen", "server.max_clients", "l1.max_size", "l1.ttl", "l2.ttl"];

    #[test]
    fn finds_what_was_meant() {
        for (unknown, meant) in [
            ("l1.max_sise", "l1.max_size"),
            ("l1.maxsize", "l1.max_size"),
            ("l1.tlt", "l1.ttl"),
            ("l2.tl", "l2.ttl"),
            ("max_clients", "server.max_clients"),
            ("l2.max_size", "l1.max_size"),
            ("targets.hit_rate.ttl", "l1.ttl"),
            ("sever.listen", "server.listen"),
        ] {
            assert_eq!(nearest(unknown, KNOWN), Some(meant), "{unknown}");
        }
    }

    #[test]
    fn says_nothing_when_nothing_is_near() {
        for unknown in ["", "l1.colour", "l1.l9999", "x", "résumé", &"l".repeat(100_000)] {
            assert_eq!(nearest(unknown, KNOWN), None);
        }
    }

    #[test]
    fn measures_edits() {
        for (a, b, edits) in [("", "", 0), ("", "abc", 3), ("abc", "acb", 1), ("kitten", "sitting", 3)] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
            assert_eq!(distance(b, a), edits, "{b} {a}");
        }
    }
}
