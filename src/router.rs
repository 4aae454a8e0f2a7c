//! What becomes of a command: pure data from the command table and the arguments, no I/O, no state.

use crate::command::{Access, Args, Command, Flags, KeyRef, Reach, SessionNeed, extract, id, session_need};

/// Where a command goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Strata answers it itself.
    Local,
    /// It begins, ends or guards a transaction.
    Transaction,
    /// It begins or ends a stream of what others publish.
    Stream,
    /// It waits, on a connection of its own.
    Wait(Effect),
    /// To home, by a connection of its own.
    Leased(Effect),
    /// It makes no sense through a proxy.
    Refused,
    /// A read whose reply may be a copy; its keys were put out, the first one names the copy.
    Cached,
    /// MGET: put together from the copies of its keys.
    MultiGet,
    /// To home, by the lane that is shared.
    Direct(Effect),
}

/// What a command that goes straight home means for copies. The keys were put out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Its reply tells of its keys.
    Reads,
    /// Its reply tells of keys that it does not name.
    ReadsUnnamed,
    /// It may change its keys.
    Writes,
    /// It may change keys that it does not name.
    WritesUnnamed,
    /// It may change everything.
    WritesAll,
}

/// Routes one command; `keys` receives its keys.
pub fn route<A: Args + ?Sized>(command: &Command, args: &A, keys: &mut Vec<KeyRef>) -> Route {
    keys.clear();
    match session_need(command, args) {
        SessionNeed::Local => return Route::Local,
        SessionNeed::Transaction => return Route::Transaction,
        SessionNeed::Stream => return Route::Stream,
        SessionNeed::Refused => return Route::Refused,
        SessionNeed::Wait => return Route::Wait(effect_of(command, args, keys)),
        SessionNeed::Lease => return Route::Leased(effect_of(command, args, keys)),
        SessionNeed::None => {}
    }
    if !command.arity_ok(args.len()) {
        // Home has the words for it, and does nothing else.
        return Route::Direct(Effect::None);
    }
    let known = extract(command, args, keys).is_ok();
    if command.cacheable() && known && !keys.is_empty() {
        return if command.id == id::MGET { Route::MultiGet } else { Route::Cached };
    }
    Route::Direct(effect(command, known, keys))
}

fn effect_of<A: Args + ?Sized>(command: &Command, args: &A, keys: &mut Vec<KeyRef>) -> Effect {
    let known = extract(command, args, keys).is_ok();
    effect(command, known, keys)
}

fn effect(command: &Command, known: bool, keys: &[KeyRef]) -> Effect {
    match command.reach {
        Reach::Keyspace => Effect::WritesAll,
        Reach::UndeclaredWrites => Effect::WritesUnnamed,
        Reach::UndeclaredReads if !command.flags.contains(Flags::WRITE) => Effect::ReadsUnnamed,
        _ if !known && command.may_write() => Effect::WritesUnnamed,
        _ if command.may_write() || keys.iter().any(|k| !k.access.contains(Access::RO)) => Effect::Writes,
        Reach::UndeclaredReads => Effect::ReadsUnnamed,
        _ if !keys.is_empty() => Effect::Reads,
        _ => Effect::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::resolve;

    fn routed(words: &str) -> (Route, Vec<u32>) {
        let args: Vec<&str> = words.split(' ').collect();
        let mut keys = Vec::new();
        let command = resolve(args.as_slice()).expect("a command");
        let route = route(command, args.as_slice(), &mut keys);
        (route, keys.iter().map(|k| k.index).collect())
    }

    #[test]
    fn commands_go_where_they_belong() {
        let cases: &[(&str, Route, &[u32])] = &[
            ("get k", Route::Cached, &[1]),
            ("GET", Route::Direct(Effect::None), &[]),
            ("mget a b", Route::MultiGet, &[1, 2]),
            ("sinter a b", Route::Cached, &[1, 2]),
            ("ttl k", Route::Direct(Effect::Reads), &[1]),
            ("set k v", Route::Direct(Effect::Writes), &[1]),
            ("mset a 1 b 2", Route::Direct(Effect::Writes), &[1, 3]),
            ("eval s 1 k", Route::Direct(Effect::WritesUnnamed), &[3]),
            ("keys *", Route::Direct(Effect::ReadsUnnamed), &[]),
            ("flushdb", Route::Direct(Effect::WritesAll), &[]),
            ("swapdb 0 1", Route::Direct(Effect::WritesAll), &[]),
            ("publish c m", Route::Direct(Effect::None), &[]),
            ("ping", Route::Local, &[]),
            ("client id", Route::Local, &[]),
            ("multi", Route::Transaction, &[]),
            ("subscribe c", Route::Stream, &[]),
            ("blpop k 0", Route::Wait(Effect::Writes), &[1]),
            ("blmove a b left left 0", Route::Wait(Effect::Writes), &[1, 2]),
            ("xread block 0 streams s $", Route::Wait(Effect::Reads), &[4]),
            ("wait 1 0", Route::Wait(Effect::None), &[]),
            ("script kill", Route::Leased(Effect::None), &[]),
            ("debug sleep 0", Route::Leased(Effect::WritesAll), &[]),
            ("xread streams s 0", Route::Direct(Effect::Reads), &[2]),
            ("psync a b", Route::Refused, &[]),
        ];
        for (words, route, keys) in cases {
            assert_eq!(routed(words), (*route, keys.to_vec()), "{words}");
        }
    }
}
