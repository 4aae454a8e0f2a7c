//! One reply of the masters' replies to the same request.

use std::collections::HashSet;

use crate::command::Merge;
use crate::resp::{encode, reply};

/// The reply to the whole, where it follows from the replies alone; `Err` is the node whose reply is not what it should
/// be. What INFO and walks come to is said elsewhere.
pub(super) fn merge<R: AsRef<[u8]>>(rule: Merge, replies: &[R]) -> Result<Vec<u8>, usize> {
    let mut out = Vec::new();
    match rule {
        Merge::Sum => {
            encode::integer(&mut out, numbers(replies)?.iter().fold(0, |a, b| a.saturating_add(*b)))
        }
        Merge::Both => both(replies, &[], &mut out)?,
        Merge::Names => names(replies, &mut out)?,
        Merge::Counts => counts(replies, &mut out)?,
        Merge::Anyone => out.extend_from_slice(anyone(replies)),
        Merge::Busy => out.extend_from_slice(busy(replies)?),
        Merge::Done | Merge::AnyKey | Merge::Step | Merge::Info => {
            no_errors(replies)?;
            out.extend_from_slice(replies.first().map_or(b"", AsRef::as_ref));
        }
    }
    Ok(out)
}

/// One of the keys that the masters have drawn, each standing for as many as it has. `draw` is any number, and decides.
/// Of a node that has lost its last key meanwhile the null counts only if there is no other.
pub(super) fn any_key<R: AsRef<[u8]>>(sizes: &[R], keys: &[R], draw: u64) -> Result<Vec<u8>, usize> {
    no_errors(keys)?;
    let sizes = numbers(sizes)?;
    let weigh =
        |(key, size): (&R, &i64)| if reply::is_absent(key.as_ref()) { 0 } else { (*size).max(1) as u64 };
    let weights: Vec<u64> = keys.iter().zip(&sizes).map(weigh).collect();
    let total: u64 = weights.iter().sum();
    let mut left = draw % total.max(1);
    let chosen = weights.iter().position(|weight| {
        let here = left < *weight;
        left = left.saturating_sub(*weight);
        here
    });
    Ok(keys.get(chosen.unwrap_or(0)).map_or(Vec::new(), |key| key.as_ref().to_vec()))
}

fn no_errors<R: AsRef<[u8]>>(replies: &[R]) -> Result<(), usize> {
    replies.iter().position(|reply| reply::is_error(reply.as_ref())).map_or(Ok(()), Err)
}

fn numbers<R: AsRef<[u8]>>(replies: &[R]) -> Result<Vec<i64>, usize> {
    let number = |(node, reply): (usize, &R)| reply::parse_integer(reply.as_ref()).ok_or(node);
    replies.iter().enumerate().map(number).collect()
}

/// The elements of all, which are as many with each.
fn tables<R: AsRef<[u8]>>(replies: &[R]) -> Result<Vec<Vec<&[u8]>>, usize> {
    no_errors(replies)?;
    let tables: Vec<Vec<&[u8]>> = replies.iter().map(|r| reply::elements(r.as_ref()).collect()).collect();
    let width = tables.first().map_or(0, Vec::len);
    tables.iter().position(|table| table.len() != width).map_or(Ok(tables), Err)
}

/// Which scripts there are: those that all masters have, and those that are `known` anyway.
pub(super) fn scripts<R: AsRef<[u8]>>(replies: &[R], known: &[bool]) -> Result<Vec<u8>, usize> {
    let mut out = Vec::new();
    both(replies, known, &mut out)?;
    Ok(out)
}

fn both<R: AsRef<[u8]>>(replies: &[R], known: &[bool], out: &mut Vec<u8>) -> Result<(), usize> {
    let tables = tables(replies)?;
    let width = tables.first().map_or(0, Vec::len);
    encode::array(out, width);
    for index in 0..width {
        let all = tables.iter().all(|table| reply::parse_integer(table[index]) == Some(1));
        encode::integer(out, i64::from(all || known.get(index) == Some(&true)));
    }
    Ok(())
}

fn names<R: AsRef<[u8]>>(replies: &[R], out: &mut Vec<u8>) -> Result<(), usize> {
    no_errors(replies)?;
    let mut seen = HashSet::new();
    let mut distinct = Vec::new();
    for name in replies.iter().flat_map(|reply| reply::elements(reply.as_ref())) {
        if seen.insert(name) {
            distinct.push(name);
        }
    }
    encode::array(out, distinct.len());
    distinct.iter().for_each(|name| out.extend_from_slice(name));
    Ok(())
}

fn counts<R: AsRef<[u8]>>(replies: &[R], out: &mut Vec<u8>) -> Result<(), usize> {
    let tables = tables(replies)?;
    let first = tables.first().map_or(&[][..], Vec::as_slice);
    encode::array(out, first.len());
    for (index, element) in first.iter().enumerate() {
        if index % 2 == 0 {
            out.extend_from_slice(element);
        } else {
            encode::integer(out, tables.iter().filter_map(|table| reply::parse_integer(table[index])).sum());
        }
    }
    Ok(())
}

fn anyone<R: AsRef<[u8]>>(replies: &[R]) -> &[u8] {
    let mut all = replies.iter().map(AsRef::as_ref);
    let did = all.clone().find(|reply| !reply::is_error(reply));
    // Who could not, though there was something to do, has more to say than who had nothing to do.
    let could_not = || all.clone().find(|reply| !reply.starts_with(b"-NOTBUSY"));
    did.or_else(could_not).or_else(|| all.next()).unwrap_or_default()
}

/// FUNCTION STATS: the first of its map's entries is what is being run.
fn busy<R: AsRef<[u8]>>(replies: &[R]) -> Result<&[u8], usize> {
    no_errors(replies)?;
    let runs =
        |reply: &&R| reply::elements(reply.as_ref()).nth(1).is_some_and(|script| !reply::is_absent(script));
    Ok(replies.iter().find(runs).or(replies.first()).map_or(b"", AsRef::as_ref))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(rule: Merge, replies: &[&str]) -> Result<String, usize> {
        merge(rule, replies).map(|reply| String::from_utf8_lossy(&reply).into_owned())
    }

    #[test]
    fn numbers_are_summed() {
        assert_eq!(merged(Merge::Sum, &[":2\r\n", ":0\r\n", ":5\r\n"]), Ok(":7\r\n".into()));
        assert_eq!(merged(Merge::Sum, &[":2\r\n", "-LOADING\r\n"]), Err(1));
    }

    #[test]
    fn one_that_does_not_do_it_is_named() {
        assert_eq!(merged(Merge::Done, &["+OK\r\n", "+OK\r\n"]), Ok("+OK\r\n".into()));
        assert_eq!(merged(Merge::Done, &["+OK\r\n", "-READONLY no\r\n"]), Err(1));
    }

    #[test]
    fn tables_are_merged_place_by_place() {
        let exists = ["*2\r\n:1\r\n:1\r\n", "*2\r\n:0\r\n:1\r\n"];
        assert_eq!(merged(Merge::Both, &exists), Ok("*2\r\n:0\r\n:1\r\n".into()));
        assert_eq!(scripts(&exists, &[true, false]).as_deref(), Ok(&b"*2\r\n:1\r\n:1\r\n"[..]));
        let numsub = ["*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n:0\r\n", "*4\r\n$1\r\na\r\n:2\r\n$1\r\nb\r\n:0\r\n"];
        let sums = "*4\r\n$1\r\na\r\n:3\r\n$1\r\nb\r\n:0\r\n";
        assert_eq!(merged(Merge::Counts, &numsub), Ok(sums.into()));
        assert_eq!(merged(Merge::Both, &["*1\r\n:1\r\n", "*0\r\n"]), Err(1));
    }

    #[test]
    fn a_name_is_told_once() {
        let names = ["*2\r\n$1\r\na\r\n$1\r\nb\r\n", "*0\r\n", "*2\r\n$1\r\nc\r\n$1\r\na\r\n"];
        let all = "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n";
        assert_eq!(merged(Merge::Names, &names), Ok(all.into()));
        assert_eq!(merged(Merge::Names, &["*0\r\n", "*0\r\n"]), Ok("*0\r\n".into()));
    }

    #[test]
    fn who_was_busy_has_the_word() {
        let idle = "-NOTBUSY No scripts in execution right now.\r\n";
        assert_eq!(merged(Merge::Anyone, &[idle, "+OK\r\n", idle]), Ok("+OK\r\n".into()));
        assert_eq!(merged(Merge::Anyone, &[idle, "-UNKILLABLE x\r\n"]), Ok("-UNKILLABLE x\r\n".into()));
        assert_eq!(merged(Merge::Anyone, &[idle, idle]), Ok(idle.into()));
        let resting = "%2\r\n$14\r\nrunning_script\r\n_\r\n$7\r\nengines\r\n%0\r\n";
        let running = "*4\r\n$14\r\nrunning_script\r\n*2\r\n$4\r\nname\r\n$1\r\nf\r\n$7\r\nengines\r\n*0\r\n";
        assert_eq!(merged(Merge::Busy, &[resting, running]), Ok(running.into()));
        assert_eq!(merged(Merge::Busy, &[resting, resting]), Ok(resting.into()));
    }

    #[test]
    fn a_key_is_drawn_by_its_nodes_share() {
        let (sizes, keys) = ([":1\r\n", ":0\r\n", ":3\r\n"], ["$1\r\na\r\n", "$-1\r\n", "$1\r\nc\r\n"]);
        let drawn = |draw| any_key(&sizes, &keys, draw).map(|key| String::from_utf8_lossy(&key).into_owned());
        let drawn: Vec<_> = (0..8).map(|draw| drawn(draw).expect("a key").as_bytes()[4]).collect();
        assert_eq!(drawn, b"acccaccc");
        assert_eq!(any_key(&[":0\r\n"; 2], &["_\r\n"; 2], 7).as_deref(), Ok(&b"_\r\n"[..]));
        assert_eq!(any_key(&[":0\r\n", "-NO\r\n"], &["_\r\n"; 2], 7), Err(1));
    }
}
