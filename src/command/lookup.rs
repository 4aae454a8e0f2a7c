//! From the words of a request to a row, in any case, without allocation.

use super::table::{COUNT, TABLE};
use super::{Args, Command, CommandId, Unknown, is_subcommand};

/// Places of the name index: a power of two, filled to a quarter, so that a probe seldom meets another name.
const PLACES: usize = 1024;
const EMPTY: u16 = u16::MAX;

/// A name in lower case, eight bytes a word, padded with NUL. Only names without NUL are told apart by it alone.
type Packed = [u64; 3];
/// The longest name that can be packed; no command has a longer one.
const LONGEST: usize = size_of::<Packed>();

static NAMES: [Packed; COUNT] = names();
static INDEX: [u16; PLACES] = index();

/// The row of a command (not of a subcommand) by its name in any case.
pub fn lookup(name: &[u8]) -> Option<&'static Command> {
    if name.len() > LONGEST {
        return None;
    }
    let packed = pack(name);
    let mut place = hash(packed);
    loop {
        let row = INDEX[place] as usize;
        if *NAMES.get(row)? == packed {
            return Some(&TABLE[row]).filter(|row| row.name.len() == name.len());
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
    container.subcommands().iter().find(|row| row.name.as_bytes()[prefix..].eq_ignore_ascii_case(word))
}

/// Packs the first [`LONGEST`] bytes of a name.
const fn pack(name: &[u8]) -> Packed {
    let mut packed = [0; 3];
    let mut rest = name;
    let mut i = 0;
    while i < packed.len() {
        match rest.split_first_chunk::<8>() {
            Some((word, after)) => {
                packed[i] = lower(u64::from_le_bytes(*word));
                rest = after;
            }
            None => {
                packed[i] = lower(partial(rest));
                break;
            }
        }
        i += 1;
    }
    packed
}

/// A word of less than eight bytes, read in two or three overlapping parts instead of byte by byte.
const fn partial(bytes: &[u8]) -> u64 {
    let length = bytes.len();
    if let (Some(head), Some(tail)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let tail = u32::from_le_bytes(*tail) as u64;
        return u32::from_le_bytes(*head) as u64 | tail << (8 * (length - 4));
    }
    if length == 0 {
        return 0;
    }
    let middle = length / 2;
    let last = length - 1;
    bytes[0] as u64 | (bytes[middle] as u64) << (8 * middle) | (bytes[last] as u64) << (8 * last)
}

/// Eight bytes at once from `A`-`Z` to `a`-`z`: adding lifts bit 7 of those from `A` on, and of those beyond `Z`.
const fn lower(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let low = word & (EACH * 0x7f);
    let from_a = low + EACH * (0x80 - b'A' as u64);
    let beyond_z = low + EACH * (0x7f - b'Z' as u64);
    let upper = (from_a ^ beyond_z) & !word & (EACH * 0x80);
    word | upper >> 2
}

const fn hash(packed: Packed) -> usize {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let [a, b, c] = packed;
    let mixed = (a ^ b.rotate_left(23) ^ c.rotate_left(46)).wrapping_mul(MIX);
    (mixed >> (u64::BITS - PLACES.ilog2())) as usize
}

const fn names() -> [Packed; COUNT] {
    let mut names = [[0; 3]; COUNT];
    let mut row = 0;
    while row < COUNT {
        let name = TABLE[row].name;
        assert!(name.len() <= LONGEST || is_subcommand(name), "a name is longer than can be packed");
        names[row] = pack(name.as_bytes());
        row += 1;
    }
    names
}

const fn index() -> [u16; PLACES] {
    let mut index = [EMPTY; PLACES];
    let mut row = 0;
    while row < COUNT {
        if !is_subcommand(TABLE[row].name) {
            let mut place = hash(NAMES[row]);
            while index[place] != EMPTY {
                place = (place + 1) % PLACES;
            }
            index[place] = row as u16;
        }
        row += 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::id;

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
        for name in [&b""[..], b"ge", b"gett", b"get\0", b"client|id", b"CACHE", b"\xff\xfe", &[b'a'; 4096]] {
            assert!(lookup(name).is_none(), "{name:?}");
        }
        assert_eq!(resolve::<[&[u8]]>(&[]).map(|row| row.id), Err(Unknown::Command));
        assert_eq!(resolve(&["nothing", "x"][..]).map(|row| row.id), Err(Unknown::Command));
        assert_eq!(resolve(&["client", "nothing"][..]).map(|row| row.id), Err(Unknown::Subcommand));
        assert_eq!(resolve(&["client", ""][..]).map(|row| row.id), Err(Unknown::Subcommand));
        assert_eq!(resolve(&["get", "client"][..]).map(|row| row.id), Ok(id::GET));
        assert_eq!(resolve(&["CONFIG"][..]).map(|row| row.id), Ok(id::CONFIG));
    }

    #[test]
    fn probes_are_short() {
        for row in TABLE.iter().filter(|row| !is_subcommand(row.name)) {
            let home = hash(pack(row.name.as_bytes()));
            let probes = (0..PLACES).find(|step| INDEX[(home + step) % PLACES] == row.id.index() as u16);
            assert!(probes.is_some_and(|steps| steps < 5), "{} {probes:?}", row.name);
        }
    }

    #[test]
    fn packing_lowers_letters_and_nothing_else() {
        let all: Vec<u8> = (0..=255).collect();
        for length in 0..=LONGEST {
            for start in 0..=all.len() - length {
                let bytes = &all[start..start + length];
                let unpacked: Vec<u8> = pack(bytes).iter().flat_map(|word| word.to_le_bytes()).collect();
                assert_eq!(unpacked[..length], bytes.to_ascii_lowercase());
                assert_eq!(unpacked[length..], vec![0; LONGEST - length]);
            }
        }
    }
}
