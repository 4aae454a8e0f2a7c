//! `strata train-dictionary`: samples of home's values, the dictionary they make, and what it brings.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::home;
use crate::backend::connection::Control;
use crate::config::Config;
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
    if home::cluster(home)?.is_some() {
        bail!("home is a cluster, whose nodes are not sampled together yet; name one of them (l2.url)");
    }
    let node = Arc::new(home::node(home, None)?);
    let _watch = home::watch(home, &node).await;
    let db = u16::try_from(home.database).context("no such database")?;
    let mut control = Control::new(node.dial.open(Proto::Resp2, db, "strata-train").await?);
    let (mut values, mut seen, mut bytes) = (Vec::new(), HashSet::new(), 0);
    let mut cursor = b"0".to_vec();
    loop {
        let count = PAGE.to_string();
        let scan: [&[u8]; 8] =
            [b"SCAN", &cursor, b"MATCH", pattern.as_bytes(), b"COUNT", count.as_bytes(), b"TYPE", b"string"];
        let page = answered(control.ask_raw(&scan).await?)?;
        let mut parts = reply::elements(&page);
        cursor = parts.next().and_then(reply::bulk).unwrap_or(b"0").to_vec();
        for key in parts.next().into_iter().flat_map(reply::elements).filter_map(reply::bulk) {
            if !seen.insert(key.to_vec()) {
                continue;
            }
            let stored = control.ask_raw(&[b"GET", key]).await?;
            // Gone meanwhile, or of another type.
            let Some(stored) = reply::bulk(&stored).filter(|_| stored.starts_with(b"$")) else { continue };
            let value = match reader.decode(stored) {
                Ok(Value::Unpacked(value)) => value,
                Ok(value) => value.bytes().to_vec(),
                Err(_) => continue,
            };
            if (1..=LONGEST).contains(&value.len()) {
                bytes += value.len();
                values.push(value);
            }
            if values.len() >= MOST_SAMPLES || bytes >= MOST_BYTES {
                return Ok(values);
            }
        }
        if cursor == b"0" {
            return Ok(values);
        }
    }
}

fn answered(reply: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    if reply::is_error(&reply) {
        bail!("home said {}", String::from_utf8_lossy(&reply).trim_end());
    }
    Ok(reply)
}
