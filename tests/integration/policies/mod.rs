//! What policies say of keys: compression at home, renewal, and where values are kept.

mod ahead;
mod compressed_cluster;
mod compression;
mod replicas;
mod values;

use crate::support::{Client, RedisServer, Strata, Value};

fn pair(policies: &str) -> (RedisServer, Strata) {
    let home = RedisServer::start(&[]);
    let strata = Strata::start_with(&home.unix().url(), policies, &[]);
    (home, strata)
}

fn call(client: &mut Client, command: &str) -> Value {
    let words: Vec<&str> = command.split(' ').collect();
    client.call(&words).unwrap_or_else(|e| panic!("{command}: {e}"))
}

fn bulk(text: impl AsRef<[u8]>) -> Value {
    Value::Bulk(text.as_ref().to_vec())
}

fn ok() -> Value {
    Value::Simple("OK".into())
}

/// The value of a name in a reply that is a map, or in RESP2 a flat array.
fn field(reply: &Value, name: &str) -> Value {
    let elements = reply.elements().unwrap_or_else(|| panic!("{reply:?} is no map"));
    let pair = elements.chunks(2).find(|pair| pair[0].bytes() == Some(name.as_bytes()));
    pair.unwrap_or_else(|| panic!("{reply:?} has no {name}"))[1].clone()
}

fn statistic(client: &mut Client, tier: &str, name: &str) -> i64 {
    field(&call(client, &format!("CACHE STATS {tier}")), name).integer().expect("a number")
}
