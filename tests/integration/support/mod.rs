//! What every test stands on: real servers with a life cycle, a raw client, and a relay that breaks connections.

mod certificates;
mod client;
#[allow(dead_code, reason = "what tests of a home of several servers stand on")]
mod cluster;
mod port;
#[allow(dead_code, reason = "what tests of the database below home stand on")]
mod postgres;
mod process;
mod redis;
mod relay;
#[allow(dead_code, reason = "what tests of a home of several servers stand on")]
mod sentinel;
mod strata;
mod value;

use std::env;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use certificates::Certificates;
pub(crate) use client::{Client, Endpoint, encode};
#[allow(unused_imports, reason = "what tests of a home of several servers stand on")]
pub(crate) use cluster::{Cluster, Shape, slot_of};
pub(crate) use port::Port;
#[allow(unused_imports, reason = "what tests of the database below home stand on")]
pub(crate) use postgres::Postgres;
pub(crate) use process::Process;
pub(crate) use redis::{RedisServer, is_redis_7_0, skip};
pub(crate) use relay::{Direction, Part, Relay};
#[allow(unused_imports, reason = "what tests of a home of several servers stand on")]
pub(crate) use sentinel::{DOWN_AFTER, NAME, Sentinels};
pub(crate) use strata::Strata;
pub(crate) use value::Value;

/// An owned argument vector: the command's name first.
pub(crate) type Arguments = Vec<Vec<u8>>;

/// Builds an argument vector from anything that is bytes.
pub(crate) fn arguments<A: AsRef<[u8]>>(words: &[A]) -> Arguments {
    words.iter().map(|word| word.as_ref().to_vec()).collect()
}

/// What a proof is run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The proxy.
    Strata,
    /// Redis itself: the check of the check, which has to find nothing.
    Bare,
}

impl Target {
    /// `STRATA_TARGET=bare` checks the proof instead of the proxy.
    pub(crate) fn chosen() -> Target {
        match env::var("STRATA_TARGET").as_deref() {
            Ok("bare") => Target::Bare,
            Ok("strata") | Err(_) => Target::Strata,
            Ok(other) => panic!("STRATA_TARGET is `strata` or `bare`, not `{other}`"),
        }
    }
}

/// The value of an environment variable, or `default` where it is not set. A value that is no `T` fails the test.
pub(crate) fn setting<T: FromStr>(name: &str, default: T) -> T {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} can't be read")),
        Err(_) => default,
    }
}

/// `STRATA_SEED`, or one that differs from run to run. Whoever uses it prints it on failure.
pub(crate) fn seed() -> u64 {
    setting("STRATA_SEED", u64::from(rand::random::<u32>()))
}

/// Polls every 2 ms until `condition` holds; false if it does not within `limit`.
pub(crate) fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_until_sees_the_condition_come_true_and_gives_up_in_time() {
        let start = Instant::now();
        let mut polls = 0;
        assert!(wait_until(Duration::from_secs(5), || {
            polls += 1;
            polls == 3
        }));
        assert!(!wait_until(Duration::from_millis(10), || false));
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_setting_that_is_absent_takes_its_default() {
        assert_eq!(setting("STRATA_NO_SUCH_SETTING", 7), 7);
    }
}
