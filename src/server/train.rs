//! `strata train-dictionary`: samples of home's values, the dictionary they make, and what it brings.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::home;
use crate::backend::cluster::{Cluster, from_slots};
use crate::backend::connection::Control;
use crate::backend::node::Node;
use crate::config::{Config, HostPort};
use crate::resp::{Proto, reply};
use crate::tier::compress::{Codec, Dictionary, Value};
use crate::tier::packing::Packings;
use crate::tier::training::{Trained, Training, train};

/// Keys that home is asked for at once (a hint), and asked about.
const PAGE: usize = 500;
/// Values that are sampled.
const MOST_SAMPLES: usize = 50_000;
/// Bytes of all samples: zstd recommends a hundred times the dictionary's.
const MOST_BYTES: usize = 64 << 20;
/// A longer value says little of small ones.
const LONGEST: usize = 64 << 10;
/// Home's name for the connection.
const NAME: &str = "strata-train";

/// Samples home and trains.
///
/// # Errors
/// In words for the operator: home does not answer, or has too few such values.
pub fn train_dictionary(config: &Config, training: &Training) -> anyhow::Result<Trained> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let values = runtime.block_on(sample(config, &training.pattern))?;
    train(values, training, codec(config)).map_err(anyhow::Error::msg)
}

/// Everything that is worth it is compressed, however small.
fn codec(config: &Config) -> impl Fn(&[Dictionary]) -> Codec {
    const SMALLEST: usize = 32;
    let (level, most) = (config.l3.compression_level, config.server.max_bulk);
    move |dictionaries| {
        Codec::new(i32::try_from(level).unwrap_or(i32::MAX), SMALLEST, most, dictionaries.into())
    }
}

/// String values of keys that match, as clients set them.
async fn sample(config: &Config, pattern: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let home = config.home();
    if home::embedded_is_home(config) {
        bail!(
            "home is an embedded Redis, which is empty until strata serves; name the one to sample (l2.url)"
        );
    }
    let packings = Packings::new(config).map_err(anyhow::Error::msg)?;
    let reader = packings.map_or_else(|| codec(config)(&[]), |packings| packings.codec());
    let mut samples = Samples { pattern, reader, values: Vec::new(), seen: HashSet::new(), bytes: 0 };
    if let Some(cluster) = home::cluster(home)? {
        let masters = masters(&cluster).await?;
        let count = masters.len();
        for (index, node) in masters.into_iter().enumerate() {
            // Each has its share, and what others left of theirs.
            let share = (index + 1, count);
            samples.take(&mut Control::new(node.dial.open(Proto::Resp2, 0, NAME).await?), share).await?;
        }
        return Ok(samples.values);
    }
    let node = Arc::new(home::node(home, None)?);
    let _watch = home::watch(home, &node).await;
    let db = u16::try_from(home.database).context("no such database")?;
    samples.take(&mut Control::new(node.dial.open(Proto::Resp2, db, NAME).await?), (1, 1)).await?;
    Ok(samples.values)
}

/// The masters of a cluster, by the first of its nodes that tells.
async fn masters(cluster: &Cluster) -> anyhow::Result<Vec<Arc<Node>>> {
    let mut why = "it has no nodes".to_owned();
    for number in cluster.everybody() {
        let asking = async {
            let node = cluster.node(number);
            let mut control = Control::new(node.dial.open(Proto::Resp2, 0, NAME).await?);
            answered(control.ask_raw(&[b"CLUSTER", b"SLOTS"]).await?)
        };
        match asking.await {
            Err(error) => why = format!("{}: {error:#}", cluster.place(number)),
            Ok(slots) => {
                let ranges = from_slots(&slots, &cluster.place(number)).unwrap_or_default();
                let masters: BTreeSet<_> = ranges.into_iter().map(|range| range.master).collect();
                let node = |at: &HostPort| cluster.meet(at).map(|number| cluster.node(number));
                return masters.iter().map(node).collect();
            }
        }
    }
    bail!("no node of the cluster says which others there are ({why})")
}

/// Values, as clients set them.
struct Samples<'a> {
    pattern: &'a str,
    reader: Codec,
    values: Vec<Vec<u8>>,
    seen: HashSet<Vec<u8>>,
    bytes: usize,
}

impl Samples<'_> {
    /// Takes those of one server, until there are so many parts of as many as there may be.
    async fn take(&mut self, control: &mut Control, (part, of): (usize, usize)) -> anyhow::Result<()> {
        let (most, most_bytes) = (MOST_SAMPLES / of * part, MOST_BYTES / of * part);
        let (count, mut cursor) = (PAGE.to_string(), b"0".to_vec());
        loop {
            let scan: [&[u8]; 8] = [
                b"SCAN",
                &cursor,
                b"MATCH",
                self.pattern.as_bytes(),
                b"COUNT",
                count.as_bytes(),
                b"TYPE",
                b"string",
            ];
            let page = answered(control.ask_raw(&scan).await?)?;
            let mut parts = reply::elements(&page);
            cursor = parts.next().and_then(reply::bulk).unwrap_or(b"0").to_vec();
            for key in parts.next().into_iter().flat_map(reply::elements).filter_map(reply::bulk) {
                if self.seen.insert(key.to_vec()) {
                    self.add(&control.ask_raw(&[b"GET", key]).await?);
                }
                if self.values.len() >= most || self.bytes >= most_bytes {
                    return Ok(());
                }
            }
            if cursor == b"0" {
                return Ok(());
            }
        }
    }

    /// Adds the value in an answer to GET.
    fn add(&mut self, stored: &[u8]) {
        // Gone meanwhile, to another node perhaps, or of another type.
        let Some(stored) = reply::bulk(stored).filter(|_| stored.starts_with(b"$")) else { return };
        let value = match self.reader.decode(stored) {
            Ok(Value::Unpacked(value)) => value,
            Ok(value) => value.bytes().to_vec(),
            Err(_) => return,
        };
        if (1..=LONGEST).contains(&value.len()) {
            self.bytes += value.len();
            self.values.push(value);
        }
    }
}

fn answered(reply: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    if reply::is_error(&reply) {
        bail!("home said {}", String::from_utf8_lossy(&reply).trim_end());
    }
    Ok(reply)
}
