//! Which arguments of a request are keys, and how they are used.
//!
//! Most commands say it by specification (`facts.rs`). A few are read option by option, as their own parsers at
//! home do it: specifications search for a keyword, and take a key or a consumer that is *called* `STREAMS` or
//! `STORE` for it. Where `COMMAND GETKEYS` and execution differ, execution decides, because it is execution that
//! changes values. All work is linear in the number of arguments.

use super::own::Finder;
use super::{Access, Args, Begin, Command, Find, Flags, KeySpec, SessionNeed};

/// An argument that is a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRef {
    /// Which argument, the command's name being 0.
    pub index: u32,
    /// How the request uses it.
    pub access: Access,
}

/// The keys cannot be told: home will answer with an error and touch nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the arguments do not say which of them are keys")]
pub struct InvalidKeys;

const READ: Access = Access::RO.union(Access::ACCESS);
const OVERWRITE: Access = Access::OW.union(Access::UPDATE);
const CHANGE: Access = Access::RW.union(Access::ACCESS).union(Access::UPDATE);
const TAKE: Access = Access::RW.union(Access::ACCESS).union(Access::DELETE);

/// Puts the keys of a request into `out`, which is cleared first, in the order of the specifications. A key may
/// appear more than once. What a command touches beyond that says [`Command::reach`].
///
/// # Errors
/// [`InvalidKeys`], with `out` empty, if the number of arguments is wrong or they contradict themselves.
pub fn extract<A: Args + ?Sized>(
    command: &Command,
    args: &A,
    out: &mut Vec<KeyRef>,
) -> Result<(), InvalidKeys> {
    out.clear();
    if !command.arity_ok(args.len()) {
        return Err(InvalidKeys);
    }
    let found = match command.finder {
        Finder::Specs => by_specs(command, args, out),
        Finder::Bitfield => push(out, 1, bitfield_access(args)),
        Finder::GeoRadius => geo_radius(command, args, out),
        Finder::Migrate => migrate(args, out),
        Finder::Set => push(out, 1, set_access(args)),
        Finder::Sort => sort(args, out),
        Finder::SortRo => push(out, 1, READ),
        Finder::XRead => xread(command, args, out),
    };
    if found.is_err() {
        out.clear();
    }
    found
}

/// Whether a request may wait for others to act. When in doubt it may.
pub fn blocks<A: Args + ?Sized>(command: &Command, args: &A) -> bool {
    match command.finder {
        Finder::XRead => StreamOptions::read(args).block,
        _ => command.flags.contains(Flags::BLOCKING) || command.id == super::id::WAIT,
    }
}

/// What a request needs of its connection: the command's own need, or what these arguments make of it.
pub fn session_need<A: Args + ?Sized>(command: &Command, args: &A) -> SessionNeed {
    match command.session {
        SessionNeed::None if blocks(command, args) => SessionNeed::Wait,
        need => need,
    }
}

fn push(out: &mut Vec<KeyRef>, index: usize, access: Access) -> Result<(), InvalidKeys> {
    let index = u32::try_from(index).map_err(|_| InvalidKeys)?;
    out.push(KeyRef { index, access });
    Ok(())
}

fn by_specs<A: Args + ?Sized>(command: &Command, args: &A, out: &mut Vec<KeyRef>) -> Result<(), InvalidKeys> {
    for spec in command.key_specs {
        if !spec.access.contains(Access::NOT_KEY) {
            let (first, end, step) = span(command, spec, args)?;
            for index in (first..end).step_by(step) {
                push(out, index, spec.access)?;
            }
        }
    }
    Ok(())
}

/// Where the keys of one specification are: first, end, step. Never beyond the arguments. Commands whose
/// specification searches for a keyword have a finder of their own.
fn span<A: Args + ?Sized>(
    command: &Command,
    spec: &KeySpec,
    args: &A,
) -> Result<(usize, usize, usize), InvalidKeys> {
    let Begin::Index(begin) = spec.begin else {
        return Err(InvalidKeys);
    };
    let begin = positive(begin)?;
    match spec.find {
        // PFMERGE with a destination alone: no source is no error.
        Find::Range(last, step, _) if last < 0 => {
            let end = args.len().saturating_sub(usize::from(last.unsigned_abs() - 1));
            Ok((begin, end, positive(step)?))
        }
        Find::Range(last, step, _) => {
            let end = begin + usize::from(last.unsigned_abs()) + 1;
            if end > args.len() { Err(InvalidKeys) } else { Ok((begin, end, positive(step)?)) }
        }
        Find::KeyNum(number, first, step) => {
            let first = begin + positive(first)?;
            let step = positive(step)?;
            let number = begin + usize::from(number.unsigned_abs());
            let count = args.arg(number).and_then(parse_count).ok_or(InvalidKeys)?;
            let none_is_fine = command.flags.contains(Flags::NO_MANDATORY_KEYS);
            if (count == 0 && !none_is_fine) || count > args.len().saturating_sub(first) / step {
                return Err(InvalidKeys);
            }
            Ok((first, first + count * step, step))
        }
        Find::Unknown => Err(InvalidKeys),
    }
}

fn positive(number: i16) -> Result<usize, InvalidKeys> {
    usize::try_from(number).ok().filter(|number| *number > 0).ok_or(InvalidKeys)
}

/// A number of keys as Redis reads it: decimal, without sign, space or leading zero.
fn parse_count(text: &[u8]) -> Option<usize> {
    match text {
        b"0" => Some(0),
        [b'1'..=b'9', ..] => std::str::from_utf8(text).ok()?.parse::<u32>().ok().map(|count| count as usize),
        _ => None,
    }
}

fn is<A: Args + ?Sized>(args: &A, index: usize, keyword: &str) -> bool {
    args.arg(index).is_some_and(|arg| arg.eq_ignore_ascii_case(keyword.as_bytes()))
}

/// `SET key value [GET] ...`: with `GET` the old value shows.
fn set_access<A: Args + ?Sized>(args: &A) -> Access {
    if (3..args.len()).any(|index| is(args, index, "get")) { CHANGE } else { OVERWRITE }
}

/// `BITFIELD key [GET t o | SET t o v | INCRBY t o n | OVERFLOW how]...` with `GET` alone only reads.
fn bitfield_access<A: Args + ?Sized>(args: &A) -> Access {
    let mut index = 2;
    while index < args.len() {
        let operands = args.len() - index - 1;
        index += 1;
        if is(args, index - 1, "get") && operands >= 2 {
            index += 2;
        } else if is(args, index - 1, "overflow") && operands >= 1 {
            index += 1;
        } else {
            return CHANGE;
        }
    }
    READ
}

/// `SORT key [BY p] [LIMIT o n] [GET p]... [ASC|DESC] [ALPHA] [STORE key]`: of several `STORE`, the last counts.
fn sort<A: Args + ?Sized>(args: &A, out: &mut Vec<KeyRef>) -> Result<(), InvalidKeys> {
    push(out, 1, READ)?;
    let mut store = None;
    let mut index = 2;
    while index < args.len() {
        if is(args, index, "store") && index + 1 < args.len() {
            store = Some(index + 1);
            index += 1;
        } else if is(args, index, "limit") {
            index += 2;
        } else if is(args, index, "by") || is(args, index, "get") {
            index += 1;
        }
        index += 1;
    }
    store.map_or(Ok(()), |index| push(out, index, OVERWRITE))
}

/// `GEORADIUS key lon lat radius unit [option]... [STORE key | STOREDIST key]`, and `GEORADIUSBYMEMBER` with one
/// argument less: the options begin where the arity ends. Of several destinations, the last counts.
fn geo_radius<A: Args + ?Sized>(
    command: &Command,
    args: &A,
    out: &mut Vec<KeyRef>,
) -> Result<(), InvalidKeys> {
    push(out, 1, READ)?;
    let mut store = None;
    let mut index = usize::from(command.arity.unsigned_abs());
    while index < args.len() {
        let stores = is(args, index, "store") || is(args, index, "storedist");
        if stores && index + 1 < args.len() {
            store = Some(index + 1);
            index += 1;
        } else if is(args, index, "count") {
            index += 1;
        }
        index += 1;
    }
    store.map_or(Ok(()), |index| push(out, index, OVERWRITE))
}

/// `MIGRATE host port key|"" db timeout [COPY] [REPLACE] [AUTH p] [AUTH2 u p] [KEYS key...]`
fn migrate<A: Args + ?Sized>(args: &A, out: &mut Vec<KeyRef>) -> Result<(), InvalidKeys> {
    let mut index = 6;
    while index < args.len() {
        if is(args, index, "keys") {
            if args.arg(3).is_some_and(|key| !key.is_empty()) {
                return Err(InvalidKeys);
            }
            return (index + 1..args.len()).try_for_each(|key| push(out, key, TAKE));
        }
        if is(args, index, "auth") {
            index += 1;
        } else if is(args, index, "auth2") {
            index += 2;
        }
        index += 1;
    }
    push(out, 3, TAKE)
}

/// What `XREAD [COUNT n] [BLOCK ms] STREAMS key... id...`, or `XREADGROUP GROUP group consumer [NOACK] ...`, says
/// before its keys.
pub(super) struct StreamOptions {
    block: bool,
    /// The argument after the last `BLOCK`.
    pub(super) wait: Option<usize>,
    /// The first argument after `STREAMS`.
    first: Option<usize>,
}

impl StreamOptions {
    /// Words that are no options are passed over: a wait overlooked would hold up a shared connection.
    pub(super) fn read<A: Args + ?Sized>(args: &A) -> Self {
        let (mut block, mut wait) = (false, None);
        let mut index = 1;
        while index < args.len() {
            if is(args, index, "streams") {
                return Self { block, wait, first: Some(index + 1) };
            }
            if is(args, index, "block") {
                (block, wait) = (true, Some(index + 1));
                index += 1;
            } else if is(args, index, "count") {
                index += 1;
            } else if is(args, index, "group") {
                index += 2;
            }
            index += 1;
        }
        Self { block, wait, first: None }
    }
}

fn xread<A: Args + ?Sized>(command: &Command, args: &A, out: &mut Vec<KeyRef>) -> Result<(), InvalidKeys> {
    let first = StreamOptions::read(args).first.ok_or(InvalidKeys)?;
    let rest = args.len().saturating_sub(first);
    if rest == 0 || !rest.is_multiple_of(2) {
        return Err(InvalidKeys);
    }
    let access = command.key_specs.first().map_or(READ, |spec| spec.access);
    (first..first + rest / 2).try_for_each(|index| push(out, index, access))
}
