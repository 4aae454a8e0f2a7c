//! The commands home has beyond the table, asked for by COMMAND LIST and COMMAND INFO.

use super::connection::{Control, DialError};
use crate::command::{Access, Acl, Begin, Description, Find, Flags, KeySpec, resolve};
use crate::resp::reply::{bulk, elements, parse_integer};

/// Commands asked for at once: their descriptions stay far below the bound of a control connection's reply.
const ASKED_AT_ONCE: usize = 100;
/// Unknown commands beyond this are not asked for.
const MAX_ASKED: usize = 4096;

/// The names of all of home's commands. None at all: home does not tell, being older than 7.0 or asked by a user who
/// may not.
pub(super) async fn names(control: &mut Control) -> Result<Vec<String>, DialError> {
    let reply = control.ask_raw(&[b"COMMAND", b"LIST"]).await?;
    Ok(elements(&reply).filter_map(|name| Some(text(name)?.to_ascii_lowercase())).collect())
}

/// What home says of those of its commands that the table lacks.
pub(super) async fn unknown(control: &mut Control, names: &[String]) -> Result<Vec<Description>, DialError> {
    let strange = |name: &&String| resolve(name.split('|').collect::<Vec<_>>().as_slice()).is_err();
    let asked: Vec<&String> = names.iter().filter(strange).take(MAX_ASKED).collect();
    let mut found = Vec::new();
    for some in asked.chunks(ASKED_AT_ONCE) {
        let mut words: Vec<&[u8]> = vec![b"COMMAND", b"INFO"];
        words.extend(some.iter().map(|name| name.as_bytes()));
        let reply = control.ask_raw(&words).await?;
        let rows = elements(&reply).zip(some).filter_map(|(row, name)| description(row, name));
        found.extend(rows.map(|row| Description { container: has_subcommands(&row.name, names), ..row }));
    }
    Ok(found)
}

fn has_subcommands(name: &str, names: &[String]) -> bool {
    names.iter().any(|other| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('|')))
}

/// One row of COMMAND INFO, as Redis has it since 7.0: name, arity, flags, first, last, step, categories, tips,
/// key specifications, subcommands. Sets of maps are beyond what a decoder into values can hold.
fn description(row: &[u8], name: &str) -> Option<Description> {
    let row: Vec<&[u8]> = elements(row).collect();
    let flags = row.get(2)?;
    let known = elements(flags).filter_map(|flag| Flags::from_name(&text(flag)?.to_ascii_uppercase()));
    let category = |c| Acl::from_name(text(c)?.to_ascii_uppercase().strip_prefix('@')?);
    Some(Description {
        name: name.to_owned(),
        arity: small(row.get(1)?)?,
        flags: known.collect(),
        acl: elements(row.get(6)?).filter_map(category).collect(),
        legacy: (small(row.get(3)?)?, small(row.get(4)?)?, small(row.get(5)?)?),
        key_specs: elements(row.get(8)?).map(key_spec).collect(),
        module: elements(flags).any(|flag| text(flag) == Some("module")),
        container: false,
    })
}

/// A specification that is not understood is one of unknown keys.
fn key_spec(spec: &[u8]) -> KeySpec {
    let flags = field(spec, "flags").unwrap_or_default();
    let access = |flag| Access::from_name(&text(flag)?.to_ascii_uppercase());
    KeySpec {
        access: elements(flags).filter_map(access).collect(),
        begin: field(spec, "begin_search").and_then(begin).unwrap_or(Begin::Unknown),
        find: field(spec, "find_keys").and_then(find).unwrap_or(Find::Unknown),
    }
}

fn begin(search: &[u8]) -> Option<Begin> {
    match text(field(search, "type")?)? {
        "index" => Some(Begin::Index(small(field(field(search, "spec")?, "index")?)?)),
        // Options can have the names of keywords, so the first that is found may be none.
        _ => None,
    }
}

fn find(keys: &[u8]) -> Option<Find> {
    let spec = field(keys, "spec")?;
    let number = |name| small(field(spec, name)?);
    match text(field(keys, "type")?)? {
        "range" => Some(Find::Range(number("lastkey")?, number("keystep")?, number("limit")?)),
        "keynum" => Some(Find::KeyNum(number("keynumidx")?, number("firstkey")?, number("keystep")?)),
        _ => None,
    }
}

/// A string, if it is text.
pub(super) fn text(reply: &[u8]) -> Option<&str> {
    std::str::from_utf8(bulk(reply)?).ok()
}

fn small(reply: &[u8]) -> Option<i16> {
    i16::try_from(parse_integer(reply)?).ok()
}

/// The value of a map's field.
pub(super) fn field<'a>(map: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut entries = elements(map);
    while let (Some(key), Some(value)) = (entries.next(), entries.next()) {
        if text(key) == Some(name) {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Valkey 9 says of HEXPIRE, without its tips.
    const HEXPIRE: &str = "*10\r\n$7\r\nhexpire\r\n:-6\r\n~3\r\n+write\r\n+denyoom\r\n+fast\r\n:1\r\n:1\r\n:1\r\n\
        ~3\r\n+@write\r\n+@hash\r\n+@fast\r\n~0\r\n~1\r\n%3\r\n$5\r\nflags\r\n~2\r\n+RW\r\n+update\r\n\
        $12\r\nbegin_search\r\n%2\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n%1\r\n$5\r\nindex\r\n:1\r\n\
        $9\r\nfind_keys\r\n%2\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n%3\r\n$7\r\nlastkey\r\n:0\r\n\
        $7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n*0\r\n";

    #[test]
    fn a_row_says_what_a_row_of_the_table_says() {
        let row = description(HEXPIRE.as_bytes(), "hexpire").expect("a description");
        let specs = vec![KeySpec {
            access: Access::RW | Access::UPDATE,
            begin: Begin::Index(1),
            find: Find::Range(0, 1, 0),
        }];
        assert_eq!((row.name.as_str(), row.arity, row.legacy), ("hexpire", -6, (1, 1, 1)));
        assert_eq!(row.flags, Flags::WRITE | Flags::DENYOOM | Flags::FAST);
        assert_eq!(row.acl, Acl::WRITE | Acl::HASH | Acl::FAST);
        assert_eq!((row.key_specs, row.module, row.container), (specs, false, false));
    }

    #[test]
    fn what_is_not_understood_is_unknown_and_what_is_no_row_is_none() {
        let row = HEXPIRE.replace("$5\r\nindex\r\n$4\r\nspec", "$7\r\nkeyword\r\n$4\r\nspec");
        let row = row.replace("+fast\r\n:1", "+module\r\n:1").replace("$5\r\nrange", "$5\r\nwhole");
        let row = description(row.as_bytes(), "hexpire").expect("a description");
        assert_eq!((row.key_specs[0].begin, row.key_specs[0].find), (Begin::Unknown, Find::Unknown));
        assert!(row.module);
        for odd in ["_\r\n", "*0\r\n", "*2\r\n$1\r\nx\r\n:1\r\n", ":1\r\n"] {
            assert_eq!(description(odd.as_bytes(), "x"), None, "{odd:?}");
        }
        let distant = HEXPIRE.replace(":-6\r\n", ":-60000\r\n");
        assert_eq!(description(distant.as_bytes(), "hexpire"), None);
    }

    #[test]
    fn containers_are_known_by_what_they_hold() {
        let names = ["commandlog", "commandlog|get", "command"].map(str::to_owned);
        assert!(has_subcommands("commandlog", &names));
        assert!(!has_subcommands("command", &names) && !has_subcommands("commandlog|get", &names));
    }
}
