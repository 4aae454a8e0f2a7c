//! Values that L2 keeps for all processes that share it, and home does not know.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::{Instant, sleep};

use super::L2;
use crate::clock;
use crate::command::{by_id, id};
use crate::proxy::{LaneKey, Proxy};
use crate::resp::{Proto, encode, reply};
use crate::tier::l2::ledger::Pass;
use crate::tier::l2::name::field;
use crate::tier::l2::record::Epoch;
use crate::tier::l2::scripts::{PUT, RANDOM};

const NO_L2: &str = "ERR strata: there is no L2 that holds copies (l2.enabled, l1.enabled)";
const NOT_NOW: &str = "ERR strata: L2 keeps nothing now (see CACHE HEALTH)";
const NOT_KEPT: &str = "ERR strata: L2 did not keep the value";
const TOO_LARGE: &str = "ERR strata: the value is too large for L2";
/// What was announced of a key is deleted in L2 within this time, or L2 does not keep up.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(1);

impl Proxy {
    /// Has GET of this key in this database answered with `value` by all processes that share L2 and have no copy of
    /// their own, for `life`, until the key is written by whomever. All changes that count have been announced.
    ///
    /// # Errors
    /// Why not, as a reply, code first.
    pub(in crate::proxy) async fn put_l2(
        &self,
        lane: LaneKey,
        key: &[u8],
        value: &[u8],
        life: Duration,
    ) -> Result<(), &'static str> {
        let l2 = self.shared.l2.clone().ok_or(NO_L2)?;
        let copies = self.shared.copies.as_ref().ok_or(NO_L2)?;
        let pass = self.pass_for(&l2, copies.l1().hash(key)).await.ok_or(NOT_NOW)?;
        let mut plain = Vec::with_capacity(value.len() + 16);
        encode::bulk(&mut plain, value);
        let ends = l2.clock(clock::now()).saturating_add(u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
        let record = self.l2.codec.borrow_mut().pack(&plain, clock::unix_seconds(), ends).ok_or(TOO_LARGE)?;
        let mut random = [0; RANDOM];
        SystemRandom::new().fill(&mut random).map_err(|_| NOT_KEPT)?;
        let (db, get) = (u16::try_from(lane.db).unwrap_or(u16::MAX), by_id(id::GET).name);
        let origin = self.l2_origin(self.way_of_key(lane, key).node);
        let fields = [Proto::Resp2, Proto::Resp3].map(|proto| field(get, proto, db, origin, b""));
        let (name, ends) = (l2.names.copies(key), ends.to_string());
        let put: [&[u8]; 11] = [
            b"EVAL",
            PUT.as_bytes(),
            b"2",
            &name,
            l2.names.epoch(),
            &random,
            ends.as_bytes(),
            &fields[0],
            &record,
            &fields[1],
            &record,
        ];
        let answer = self.tell_l2(&l2, &put).await.ok_or(NOT_NOW)?;
        let epoch = reply::bulk(&answer).and_then(|epoch| Epoch::try_from(epoch).ok()).ok_or(NOT_KEPT)?;
        l2.ledger.adopt(pass, epoch);
        self.counters.l2_fills.add(1);
        Ok(())
    }

    /// The permission to use what L2 has of a key: what was announced of it is deleted there.
    async fn pass_for(&self, l2: &L2, hash: u64) -> Option<Pass> {
        let until = Instant::now() + PATIENCE;
        loop {
            match l2.ledger.pass(hash) {
                None if l2.ledger.vouched() && Instant::now() < until => sleep(PAUSE).await,
                pass => return pass,
            }
        }
    }
}
