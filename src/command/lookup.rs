//! From the words of a request to a row, in any case, without allocation.

use super::table::{COUNT, TABLE};
use super::{Args, Command, CommandId, Unknown, is_subcommand};

/// Places of the name index: a power of two, filled to a quarter, so that a probe seldom meets another name.
const PLACES: usize = 1024;
const EMPTY: u16 = u16::MAX;

static INDEX: [u16; PLACES] = index();
const LONGEST: usize = longest();

/// The row of a command (not of a subcommand) by its name in any case.
pub fn lookup(name: &[u8]) -> Option<&'static Command> {
    if name.len() > LONGEST {
        return None;
    }
    let mut place = hash(name);
    loop {
        let row = TABLE.get(INDEX[place] as usize)?;
        if row.name.as_bytes().eq_ignore_ascii_case(name) {
            return Some(row);
        }
        place = (place + 1) % PLACES;
    }
}

/// The row a request is about, down to the subcommand. A container alone is itself, as in Redis: its arity then
/// says that something is missing.
///
/// # Errors
/// [`Unknown`] tells which of the two words is none.
pub fn resolve<A: Args + ?Sized>(args: &A) -> Result<&'static Command, Unknown> {
    let command = args.arg(0).and_then(lookup).ok_or(Unknown::Command)?;
    match args.arg(1) {
        Some(word) if command.is_container() => subcommand(command, word).ok_or(Unknown::Subcommand),
        _ => Ok(command),
    }
}

/// Every row, in the order of ids: containers, each followed by its subcommands.
pub fn all() -> &'static [Command; COUNT] {
    &TABLE
}

/// The row an id stands for.
pub fn by_id(id: CommandId) -> &'static Command {
    &TABLE[id.index()]
}

/// Containers are small (27 at most) and mostly told apart by length: a scan will do.
fn subcommand(container: &Command, word: &[u8]) -> Option<&'static Command> {
    let prefix = container.name.len() + 1;
    container
        .subcommands()
        .iter()
        .find(|row| row.name.as_bytes()[prefix..].eq_ignore_ascii_case(word))
}

/// FNV-1a over the name in lower case; also maps some other bytes, which costs at most a probe.
const fn hash(name: &[u8]) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    let mut i = 0;
    while i < name.len() {
        hash = (hash ^ (name[i] | 0x20) as u32).wrapping_mul(0x0100_0193);
        i += 1;
    }
    (hash ^ (hash >> 16)) as usize % PLACES
}

const fn index() -> [u16; PLACES] {
    let mut index = [EMPTY; PLACES];
    let mut row = 0;
    while row < COUNT {
        if !is_subcommand(TABLE[row].name) {
            let mut place = hash(TABLE[row].name.as_bytes());
            while index[place] != EMPTY {
                place = (place + 1) % PLACES;
            }
            index[place] = row as u16;
        }
        row += 1;
    }
    index
}

const fn longest() -> usize {
    let mut longest = 0;
    let mut row = 0;
    while row < COUNT {
        if TABLE[row].name.len() > longest {
            longest = TABLE[row].name.len();
        }
        row += 1;
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::super::id;
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for row in &TABLE {
            let words: Vec<&str> = row.name.split('|').collect();
            assert_eq!(resolve(words.as_slice()).map(|found| found.id), Ok(row.id));
            let loud = row.name.to_ascii_uppercase();
            let words: Vec<&str> = loud.split('|').collect();
            assert_eq!(resolve(words.as_slice()).map(|found| found.id), Ok(row.id));
        }
    }

    #[test]
    fn what_is_no_command_is_not_found() {
        for name in [
            &b""[..],
            b"ge",
            b"gett",
            b"get\0",
            b"client|id",
            b"CACHE",
            b"\xff\xfe",
            &[b'a'; 4096],
        ] {
            assert!(lookup(name).is_none(), "{name:?}");
        }
        assert_eq!(resolve::<[&[u8]]>(&[]).map(|row| row.id), Err(Unknown::Command));
        assert_eq!(
            resolve(&["nothing", "x"][..]).map(|row| row.id),
            Err(Unknown::Command)
        );
        assert_eq!(
            resolve(&["client", "nothing"][..]).map(|row| row.id),
            Err(Unknown::Subcommand)
        );
        assert_eq!(
            resolve(&["client", ""][..]).map(|row| row.id),
            Err(Unknown::Subcommand)
        );
        assert_eq!(resolve(&["get", "client"][..]).map(|row| row.id), Ok(id::GET));
        assert_eq!(resolve(&["CONFIG"][..]).map(|row| row.id), Ok(id::CONFIG));
    }

    #[test]
    fn probes_are_short() {
        for row in TABLE.iter().filter(|row| !is_subcommand(row.name)) {
            let home = hash(row.name.as_bytes());
            let probes = (0..PLACES).find(|step| INDEX[(home + step) % PLACES] == row.id.index() as u16);
            assert!(probes.is_some_and(|steps| steps < 5), "{} {probes:?}", row.name);
        }
    }
}
