//! A Redis Cluster as home: clients see one Redis.

mod copies;
mod failover;
mod leases;
mod load;
mod members;
mod messages;
mod moving;
mod noloop;
mod places;
mod reshard;
mod words;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use crate::support::{Client, Cluster, Shape, Value};

/// For what has to happen, however loaded the machine is.
const LONG: Duration = Duration::from_secs(120);

/// As `l3.request_timeout`: a failover takes less, whatever befalls it.
const PATIENT: (&str, &str) = ("l3.request_timeout", "120s");

/// Calls, and panics on an error.
fn good(client: &mut Client, words: &[&str]) -> Value {
    let reply = client.call(words).expect("strata answers");
    assert!(!reply.is_error(), "{words:?}: {reply:?}");
    reply
}

fn text(words: &str) -> Value {
    Value::Bulk(words.as_bytes().to_vec())
}

/// Three masters and no replicas.
fn small() -> Cluster {
    Cluster::start_as(Shape { replicas: 0, ..Shape::default() })
}

/// Ends what others do when it is dropped, by a failure too.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

impl<'a> End<'a> {
    fn of(end: &'a AtomicBool) -> Self {
        End(end)
    }
}
