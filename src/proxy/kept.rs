//! Values that this process keeps and home does not know: copies of no truth, which vanish like any copy.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::courier::Courier;
use super::{LaneKey, Proxy};
use crate::clock;
use crate::command::id;
use crate::config::Tier;
use crate::resp::{Proto, encode};
use crate::tier::copies::kind;
use crate::tier::flight::Identity;
use crate::tier::policy::Expiry;

const NOT_NOW: &str =
    "ERR strata: L1 keeps nothing now, because home announces no changes to it (see CACHE HEALTH)";
const NO_L1: &str = "ERR strata: there is no L1 (l1.enabled = false)";
const NOT_COPIED: &str = "ERR strata: a policy keeps copies from this key (no_cache, or read_from = replica)";
const NOT_IN_L2: &str = "ERR strata: a policy keeps this key from L2 (l2_ttl = 0s)";
const NOT_KEPT: &str =
    "ERR strata: L1 did not keep the value: it is too large, or the key was changed meanwhile";

impl Proxy {
    /// Has GET of this key in this database answered with `value`, for `ttl` at most, until the key is written by
    /// whomever; in L1 alone, or in L2, too. Returns once that is so.
    ///
    /// # Errors
    /// Why not, as a reply, code first.
    pub async fn keep_here(
        self: &Rc<Self>,
        db: u32,
        key: &[u8],
        value: &[u8],
        ttl: Option<Duration>,
        deepest: Tier,
    ) -> Result<(), &'static str> {
        let copies = self.shared.copies.as_ref().ok_or(NO_L1)?;
        // What the client wrote before has been announced.
        self.confirmed().await;
        let expiry = match ttl {
            Some(ttl) => Expiry::In(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
            None => Expiry::Never,
        };
        if !copies.policies().cacheable(key) {
            return Err(NOT_COPIED);
        }
        let lane = LaneKey { proto: Proto::Resp2, db, scripts: false, of: 0 };
        if deepest != Tier::L1 {
            let life = copies.policies().l2_life(key, false, expiry).ok_or(NOT_IN_L2)?;
            self.put_l2(lane, key, value, life).await?;
        }
        let now = clock::now();
        let (true, Some(life)) = (copies.vouched(now), copies.policies().life(key, false, expiry, now, None))
        else {
            return Err(NOT_NOW);
        };
        let mut reply = Vec::with_capacity(value.len() + 16);
        encode::bulk(&mut reply, value);
        let reply = Bytes::from(reply);
        let hash = copies.l1().hash(key);
        let node = self.way_of_key(lane, key).node;
        copies.fence(hash);
        let identity = |proto| Some(Identity { hash, key, kind: kind(id::GET, proto, db)?, tail: b"" });
        for proto in [Proto::Resp2, Proto::Resp3] {
            let id = identity(proto).ok_or(NOT_KEPT)?;
            let flight = copies.lone_flight(&id, copies.token(hash, &[]), now, (self.worker, node), true);
            copies.land(&flight, Some((reply.clone(), life)));
        }
        self.confirmed().await;
        let kept = identity(Proto::Resp2).is_some_and(|id| {
            copies.l1().reader().get(id.hash, id.key, id.kind, id.tail, clock::now()).is_some()
        });
        if kept || deepest != Tier::L1 { Ok(()) } else { Err(NOT_KEPT) }
    }

    /// Returns once the guard has read all that was announced by now, or is gone.
    async fn confirmed(&self) {
        let (sender, confirmed) = oneshot::channel();
        self.once_confirmed(Courier::to(sender), 0, Bytes::new());
        // Without a guard all copies end.
        let _ = confirmed.await;
    }
}
