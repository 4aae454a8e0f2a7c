//! Commands that the table lacks and home has: a newer version's, or a module's. What home says of them is all that
//! is known, so they are never cached, and what home does not say is taken for the worst.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::own::Finder;
use super::table::COUNT;
use super::{
    Access, Acl, Admin, Args, Begin, Cache, Command, CommandId, Find, Flags, KeySpec, Reach, SessionNeed,
    Spread, Unknown, Values, Why, lookup, only_key,
};

/// Rows that one process may learn in its life; a home that has more commands keeps the rest for itself.
const MAX_LEARNED: usize = 4096;
/// Longer names are no commands.
const MAX_NAME: usize = 128;
/// More key specifications than this are not believed.
const MAX_SPECS: usize = 32;

/// What home says of one command, in the vocabulary of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// In lower case; of a subcommand `container|subcommand`.
    pub name: String,
    /// As [`Command::arity`].
    pub arity: i16,
    /// The flags that are known here.
    pub flags: Flags,
    /// The categories that are known here.
    pub acl: Acl,
    /// First key, last key, step.
    pub legacy: (i16, i16, i16),
    /// Where its keys are.
    pub key_specs: Vec<KeySpec>,
    /// It is a module's, which may touch keys that it does not declare.
    pub module: bool,
    /// It has subcommands.
    pub container: bool,
}

/// Rows by their names in lower case.
type Names = HashMap<Box<[u8]>, &'static Command>;

/// The commands learned from home. Rows are never taken back, as everything refers to them for life; what a home of
/// another version says anew replaces them by name.
#[derive(Debug, Default)]
pub struct Learned {
    names: RwLock<Arc<Names>>,
    made: RwLock<Vec<(Description, &'static Command)>>,
}

impl Learned {
    /// Replaces what is known by what home says now.
    pub fn replace(&self, descriptions: Vec<Description>) {
        let rows = descriptions.into_iter().filter_map(|description| self.row(description));
        let names = rows.map(|row| (row.name.as_bytes().into(), row)).collect();
        *self.names.write() = Arc::new(names);
    }

    /// The row of a request that the table knows nothing of; `unknown` is what the table said.
    ///
    /// # Errors
    /// [`Unknown`], if home said nothing of it either.
    #[cold]
    pub fn resolve<A: Args + ?Sized>(&self, args: &A, unknown: Unknown) -> Result<&'static Command, Unknown> {
        let names = self.names.read().clone();
        let Some(name) = args.arg(0).filter(|name| !names.is_empty() && name.len() <= MAX_NAME) else {
            return Err(unknown);
        };
        let mut full = name.to_ascii_lowercase();
        // A subcommand's row is not found without its container.
        let container = match unknown {
            Unknown::Subcommand => None,
            Unknown::Command if full.contains(&b'|') => return Err(unknown),
            Unknown::Command => Some(*names.get(full.as_slice()).ok_or(unknown)?),
        };
        let word = match (container, args.arg(1)) {
            (Some(command), Some(word)) if command.is_container() => word,
            (None, Some(word)) => word,
            (Some(command), _) => return Ok(command),
            (None, None) => return Err(unknown),
        };
        full.push(b'|');
        full.extend(word.iter().take(MAX_NAME).map(u8::to_ascii_lowercase));
        names.get(full.as_slice()).copied().ok_or(Unknown::Subcommand)
    }

    /// The row of a description: one for all times it is given.
    fn row(&self, description: Description) -> Option<&'static Command> {
        let mut made = self.made.write();
        if let Some((_, row)) = made.iter().find(|(known, _)| *known == description) {
            return Some(row);
        }
        let own = description.name.split('|').next().and_then(|name| lookup(name.as_bytes()));
        // Of the connection strata knows everything itself.
        let local = own.is_some_and(|c| c.session == SessionNeed::Local);
        if local || made.len() >= MAX_LEARNED || !is_sane(&description) {
            return None;
        }
        let id = CommandId(u16::try_from(COUNT + made.len()).ok()?);
        let row = Box::leak(Box::new(Command {
            id,
            name: Box::leak(description.name.clone().into_boxed_str()),
            arity: description.arity,
            // Who may come without a password is not for home to say.
            flags: description.flags.difference(Flags::NO_AUTH),
            acl: description.acl,
            first_key: description.legacy.0,
            last_key: description.legacy.1,
            step: description.legacy.2,
            key_specs: Box::leak(description.key_specs.clone().into_boxed_slice()),
            tips: &[],
            cache: Cache::No(if description.flags.contains(Flags::WRITE) {
                Why::Write
            } else {
                Why::Learned
            }),
            session: session(&description),
            reach: reach(&description),
            values: Values::Unseen,
            admin: if description.flags.contains(Flags::ADMIN) { Admin::Changes } else { Admin::No },
            spread: Spread::One,
            turns: session(&description) == SessionNeed::Wait,
            hash_fields: false,
            replicates: description.flags.contains(Flags::WRITE),
            finder: Finder::Specs,
            only_key: only_key(&description.key_specs),
            subcommands: u8::from(description.container),
        }));
        made.push((description, row));
        Some(row)
    }
}

fn is_sane(description: &Description) -> bool {
    let name = &description.name;
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase())
        && description.arity != 0
        && description.key_specs.len() <= MAX_SPECS
}

/// What may wait needs a connection of its own; what is about the connection it comes by must not come by one that
/// others share.
fn session(description: &Description) -> SessionNeed {
    if description.flags.contains(Flags::BLOCKING) {
        SessionNeed::Wait
    } else if description.acl.intersects(Acl::CONNECTION | Acl::TRANSACTION)
        || description.flags.contains(Flags::PUBSUB)
    {
        SessionNeed::Refused
    } else {
        SessionNeed::None
    }
}

fn reach(description: &Description) -> Reach {
    let exact = |spec: &KeySpec| {
        matches!(spec.begin, Begin::Index(_))
            && !matches!(spec.find, Find::Unknown)
            && !spec.access.contains(Access::INCOMPLETE)
    };
    let specs = &description.key_specs;
    let declared = !description.module && !specs.is_empty() && specs.iter().all(exact);
    let reads = description.flags.contains(Flags::READONLY);
    match (declared, reads) {
        (true, _) if reads || description.flags.contains(Flags::WRITE) => Reach::Declared,
        (_, true) => Reach::UndeclaredReads,
        _ => Reach::UndeclaredWrites,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{KeyRef, extract, resolve};

    fn key_at(index: i16, access: Access) -> KeySpec {
        KeySpec { access, begin: Begin::Index(index), find: Find::Range(0, 1, 0) }
    }

    fn describe(name: &str, flags: Flags, key_specs: Vec<KeySpec>) -> Description {
        Description {
            name: name.to_owned(),
            arity: -2,
            flags,
            acl: Acl::SLOW,
            legacy: (0, 0, 0),
            key_specs,
            module: false,
            container: false,
        }
    }

    fn found(learned: &Learned, words: &str) -> Result<&'static Command, Unknown> {
        let args: Vec<&str> = words.split(' ').collect();
        resolve(args.as_slice()).or_else(|unknown| learned.resolve(args.as_slice(), unknown))
    }

    #[test]
    fn what_home_has_is_found_in_any_case_and_only_by_its_words() {
        let learned = Learned::default();
        let container = Description { container: true, ..describe("commandlog", Flags::empty(), vec![]) };
        learned.replace(vec![
            describe("hexpire", Flags::WRITE, vec![key_at(1, Access::RW)]),
            container,
            describe("commandlog|get", Flags::ADMIN, vec![]),
            describe("memory|more", Flags::READONLY, vec![]),
            describe("cluster|slot-stats", Flags::READONLY, vec![]),
            describe("client|capa", Flags::empty(), vec![]),
        ]);
        assert_eq!(found(&learned, "HExpire k 1").map(|c| c.name), Ok("hexpire"));
        assert_eq!(found(&learned, "commandlog").map(|c| c.name), Ok("commandlog"));
        assert_eq!(found(&learned, "commandlog GET 1").map(|c| c.name), Ok("commandlog|get"));
        assert_eq!(found(&learned, "commandlog nothing").map(|c| c.name), Err(Unknown::Subcommand));
        assert_eq!(found(&learned, "commandlog|get 1").map(|c| c.name), Err(Unknown::Command));
        assert_eq!(found(&learned, "MEMORY more").map(|c| c.name), Ok("memory|more"));
        assert_eq!(found(&learned, "CLUSTER slot-stats").map(|c| c.name), Err(Unknown::Subcommand));
        assert_eq!(found(&learned, "client capa redirect").map(|c| c.name), Err(Unknown::Subcommand));
        assert_eq!(found(&learned, "nothing").map(|c| c.name), Err(Unknown::Command));
        assert_eq!(found(&learned, "get k").map(|c| c.name), Ok("get"));
        assert!(found(&learned, "commandlog").is_ok_and(|c| c.is_container() && c.subcommands().is_empty()));
    }

    #[test]
    fn what_home_says_twice_is_one_row_and_what_it_says_no_more_is_none() {
        let learned = Learned::default();
        let hexpire = describe("hexpire", Flags::WRITE, vec![key_at(1, Access::RW)]);
        learned.replace(vec![hexpire.clone()]);
        let first = found(&learned, "hexpire k").expect("learned");
        learned.replace(vec![hexpire.clone()]);
        assert!(std::ptr::eq(first, found(&learned, "hexpire k").expect("learned")));
        learned.replace(vec![Description { arity: 7, ..hexpire }]);
        let other = found(&learned, "hexpire k").expect("learned");
        assert_eq!((other.arity, other.id == first.id), (7, false));
        learned.replace(Vec::new());
        assert_eq!(found(&learned, "hexpire k").map(|c| c.name), Err(Unknown::Command));
    }

    #[test]
    fn a_home_that_tells_without_end_is_not_listened_to() {
        let learned = Learned::default();
        let many = (0..MAX_LEARNED + 10).map(|n| describe(&format!("c{n}"), Flags::empty(), vec![]));
        learned.replace(many.collect());
        assert!(found(&learned, "c0").is_ok() && found(&learned, "c4095").is_ok());
        assert_eq!(found(&learned, "c4096").map(|c| c.name), Err(Unknown::Command));
        let odd = ["", "UPPER", "a b", "\u{e9}", &"x".repeat(MAX_NAME + 1)];
        let learned = Learned::default();
        learned.replace(odd.iter().map(|name| describe(name, Flags::empty(), vec![])).collect());
        assert_eq!(learned.names.read().len(), 0);
    }

    #[test]
    fn what_home_does_not_say_is_taken_for_the_worst() {
        let key = || vec![key_at(1, Access::RO)];
        let keyword =
            KeySpec { access: Access::RW, begin: Begin::Keyword("keys", 1), find: Find::Range(-1, 1, 0) };
        let cases = [
            (describe("r", Flags::READONLY, key()), Reach::Declared, SessionNeed::None),
            (describe("w", Flags::WRITE, key()), Reach::Declared, SessionNeed::None),
            (describe("n", Flags::FAST, key()), Reach::UndeclaredWrites, SessionNeed::None),
            (describe("r0", Flags::READONLY, vec![]), Reach::UndeclaredReads, SessionNeed::None),
            (describe("w0", Flags::WRITE, vec![]), Reach::UndeclaredWrites, SessionNeed::None),
            (describe("wk", Flags::WRITE, vec![keyword]), Reach::UndeclaredWrites, SessionNeed::None),
            (
                Description { module: true, ..describe("m", Flags::READONLY, key()) },
                Reach::UndeclaredReads,
                SessionNeed::None,
            ),
            (describe("a", Flags::WRITE | Flags::NO_AUTH, key()), Reach::Declared, SessionNeed::None),
            (describe("b", Flags::WRITE | Flags::BLOCKING, key()), Reach::Declared, SessionNeed::Wait),
            (
                Description { acl: Acl::CONNECTION, ..describe("c", Flags::FAST, vec![]) },
                Reach::UndeclaredWrites,
                SessionNeed::Refused,
            ),
        ];
        let learned = Learned::default();
        for (description, reach, session) in cases {
            let row = learned.row(description).expect("a row");
            assert_eq!((row.reach, row.session, row.cacheable()), (reach, session, false), "{}", row.name);
            assert!(!row.flags.contains(Flags::NO_AUTH), "{}", row.name);
        }
    }

    #[test]
    fn keys_are_found_as_home_says() {
        let learned = Learned::default();
        let numbered = KeySpec { access: Access::RW, begin: Begin::Index(1), find: Find::KeyNum(0, 1, 2) };
        let row = learned.row(describe("msetex", Flags::WRITE, vec![numbered])).expect("a row");
        let mut keys = Vec::new();
        let args = ["msetex", "2", "a", "1", "b", "2", "ex", "10"];
        assert_eq!(extract(row, &args[..], &mut keys), Ok(()));
        let expected = [3, 5].map(|index| KeyRef { index: index - 1, access: Access::RW });
        assert_eq!(keys, expected);
        assert!(extract(row, &["msetex", "x"][..], &mut keys).is_err());
    }
}
