//! What CACHE says of the sources below home.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Value, text};
use crate::proxy::source::L4;
use crate::proxy::{LaneKey, Proxy};
use crate::session::local::value::times;
use crate::source::{FollowerState, SourceState, State};

pub(super) fn stats(l4: &L4) -> Value {
    let state = l4.sources.state();
    let sum = |of: fn(&SourceState) -> u64| Value::from(state.sources.iter().map(of).sum::<u64>());
    let of = |figure: &AtomicU64| Value::from(figure.load(Relaxed));
    let (open, idle) = state.connections;
    let figures = &l4.figures;
    Value::map([
        ("state", text(if state.trouble.is_some() { "down" } else { "up" })),
        ("loads", sum(|source| source.loads)),
        ("rows", sum(|source| source.rows)),
        ("misses", sum(|source| source.misses)),
        ("errors", sum(|source| source.errors)),
        ("under_way", l4.under_way().into()),
        ("joined", of(&figures.joined)),
        ("failed_reads", of(&figures.failed)),
        ("put", of(&figures.rows)),
        ("put_late", of(&figures.late)),
        ("confirmed", of(&figures.confirmed)),
        ("overtaken", of(&figures.overtaken)),
        ("unconfirmed", of(&figures.unconfirmed)),
        ("known_nothing_hits", of(&figures.known_nothing)),
        ("known_nothing_keys", l4.known_nothing().into()),
        ("changed_keys", of(&figures.changes)),
        ("dropped_keys", of(&figures.dropped)),
        ("sweeps", of(&figures.sweeps)),
        ("changes_outstanding", of(&figures.outstanding)),
        ("connections", u64::from(open).into()),
        ("connections_idle", u64::from(idle).into()),
        ("max_connections", state.max_connections.into()),
        ("follower", follower(&state.follower)),
        ("sources", Value::Map(state.sources.iter().map(source).collect())),
    ])
}

fn follower(state: &FollowerState) -> Value {
    let behind = state.behind.map(|behind| u64::try_from(behind.as_millis()).unwrap_or(u64::MAX));
    Value::map([
        ("state", text(if state.trouble.is_some() { "down" } else { "up" })),
        ("behind_ms", behind.into()),
        ("changes", state.changes.into()),
        ("resets", state.resets.into()),
        ("position", text(&*state.position)),
    ])
}

fn source(state: &SourceState) -> (String, Value) {
    let pairs = [
        ("loads", state.loads.into()),
        ("rows", state.rows.into()),
        ("misses", state.misses.into()),
        ("errors", state.errors.into()),
        ("unwatched", state.unwatched.as_deref().map(text).into()),
    ];
    let counted = pairs.into_iter().map(|(name, value)| (name.to_owned(), value));
    (state.name.clone(), Value::Map(counted.chain(times("load", &state.latency)).collect()))
}

/// The pairs of CACHE HEALTH behind status and reasons.
pub(super) fn health(state: &State) -> Vec<(String, Value)> {
    let behind = state.follower.behind.map(|behind| u64::try_from(behind.as_millis()).unwrap_or(u64::MAX));
    vec![
        ("address".to_owned(), text(&*state.place)),
        ("connections".to_owned(), u64::from(state.connections.0).into()),
        ("follower_behind_ms".to_owned(), behind.into()),
    ]
}

/// Where a key comes from.
pub(super) async fn origin(proxy: &Rc<Proxy>, l4: &L4, lane: LaneKey, key: &[u8]) -> Value {
    let Some(origin) = proxy.origin(l4, lane, key).await else {
        return Value::map([("source", Value::Nothing)]);
    };
    let yes = |yes| text(if yes { "yes" } else { "no" });
    Value::map([
        ("source", text(origin.source)),
        ("loaded", origin.loaded.map(yes).into()),
        ("known_to_have_no_row", yes(origin.known_nothing)),
    ])
}
