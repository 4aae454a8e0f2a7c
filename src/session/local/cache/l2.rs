//! What CACHE says of L2 where it holds copies, and does to it.

use std::sync::Arc;

use super::keys::{SHOWN, shown};
use super::{Value, text};
use crate::proxy::Proxy;
use crate::proxy::l2::L2;
use crate::proxy::l2::surface::CopyInfo;
use crate::resp::{Proto, encode};
use crate::session::Session;

const SILENT: &str = "ERR strata: L2 does not answer; what it holds is not used until it does";

impl Session {
    /// Drops all copies in L2, of all processes that share it.
    pub(super) fn clear_l2(&mut self, l2: Arc<L2>, and_l1: bool) {
        let proxy = self.context.proxy.clone();
        self.reply_later(async move {
            l2.ledger.renew();
            let dropped = proxy.drop_l2_matching(&l2, b"*").await;
            if let (Some(copies), true) = (&proxy.shared.copies, and_l1) {
                // What was read there meanwhile.
                copies.fence_all();
            }
            let mut out = Vec::new();
            match dropped {
                Some(_) => encode::simple(&mut out, "OK"),
                None => encode::error(&mut out, SILENT),
            }
            out
        });
    }

    /// Drops the copies of keys in both tiers; says of how many there were copies.
    pub(super) fn invalidate_in_l2(&mut self, l2: Arc<L2>, keys: Vec<&[u8]>) {
        let keys: Vec<Vec<u8>> = keys.into_iter().map(<[u8]>::to_vec).collect();
        let proxy = self.context.proxy.clone();
        self.reply_later(async move {
            let here: Vec<bool> = keys.iter().map(|key| proxy.drop_copies(&[key]) > 0).collect();
            let names: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
            let there = proxy.drop_l2_copies(&l2, &names).await;
            // What was read there meanwhile.
            proxy.drop_copies(&names);
            let mut out = Vec::new();
            match there {
                Some(there) => {
                    let of = here.iter().zip(&there).filter(|(here, there)| **here || **there).count();
                    encode::integer(&mut out, of as i64);
                }
                None => encode::error(&mut out, SILENT),
            }
            out
        });
    }
}

/// The copies of a key in L2.
pub(super) async fn copies_of(proxy: &Proxy, l2: &L2, key: &[u8]) -> Value {
    let Some(all) = proxy.l2_copies(l2, key).await else {
        return Value::map([("status", text("it does not answer"))]);
    };
    let shown = all.iter().take(SHOWN).map(describe).collect();
    Value::map([("copies", all.len().into()), ("requests", Value::List(shown))])
}

fn describe(copy: &CopyInfo) -> Value {
    Value::map([
        ("request", Value::Text(shown(&copy.command, &copy.tail))),
        ("protocol", if copy.proto == Proto::Resp3 { 3_u64 } else { 2 }.into()),
        ("db", u64::from(copy.db).into()),
        ("bytes", copy.len.into()),
        ("age_seconds", copy.age.into()),
        ("time_left_ms", copy.left.into()),
        ("believed", text(if copy.believed { "yes" } else { "no" })),
    ])
}
