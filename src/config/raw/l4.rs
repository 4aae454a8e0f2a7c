//! What the keys of `[l4]` and of one `[[l4.source]]` say before it is put together.

use std::path::PathBuf;
use std::time::Duration;

use super::{Key, YEAR, ZERO, key};
use crate::config::l4::{A_WATCH, Reply, Rows, Source};
use crate::config::pattern;
use crate::config::slot::Slot;
use crate::config::tiers::Tls;

/// What is put together of `[l4]`.
#[derive(Clone, Debug, Default)]
pub(in crate::config) struct RawL4 {
    pub(in crate::config) password_file: String,
    pub(in crate::config) ca_file: String,
    pub(in crate::config) cert_file: String,
    pub(in crate::config) key_file: String,
    pub(in crate::config) server_name: String,
}

/// What one `[[l4.source]]` says.
#[derive(Clone, Debug, Default)]
pub(in crate::config) struct RawSource {
    pub(in crate::config) source: Source,
    pub(in crate::config) pattern: String,
    pub(in crate::config) watch: Vec<String>,
}

impl From<&Tls> for RawL4 {
    fn from(Tls { ca_file, identity, server_name }: &Tls) -> Self {
        let shown = |path: &PathBuf| path.display().to_string();
        let [cert_file, key_file] =
            identity.as_ref().map_or_else(Default::default, |i| [shown(&i.cert_file), shown(&i.key_file)]);
        let ca_file = ca_file.as_ref().map_or_else(String::new, shown);
        let server_name = server_name.clone().unwrap_or_default();
        Self { password_file: String::new(), ca_file, cert_file, key_file, server_name }
    }
}

/// The keys of one `[[l4.source]]`.
#[rustfmt::skip]
pub(in crate::config) static SOURCE_KEYS: &[Key<RawSource>] = &[
    key("name", Slot::Text("a name of 1 to 256 bytes", |s| &mut s.source.name)),
    key("match", Slot::Text(pattern::ACCEPTED, |s| &mut s.pattern)),
    key("query", Slot::Statement("a SELECT with a parameter for each part of the pattern", |s| &mut s.source.query)),
    key("reply", Slot::Choice { names: REPLY, get: |s| s.source.reply.name(), set: set_reply }),
    key("rows", Slot::Choice { names: ROWS, get: |s| s.source.rows.name(), set: set_rows }),
    key("ttl", Slot::Span(Duration::from_secs(1)..=YEAR, |s| &mut s.source.ttl)),
    key("negative_ttl", Slot::Span(ZERO..=YEAR, |s| &mut s.source.negative_ttl)),
    key("watch", Slot::Texts(A_WATCH, |s| &mut s.watch)),
];

fn set_reply(raw: &mut RawSource, name: &str) {
    let all = [Reply::Value, Reply::Json, Reply::Hash];
    raw.source.reply = all.into_iter().find(|reply| reply.name() == name).unwrap_or_default();
}

fn set_rows(raw: &mut RawSource, name: &str) {
    raw.source.rows = if name == Rows::Many.name() { Rows::Many } else { Rows::One };
}

const REPLY: &[&str] = &["value", "json", "hash"];
const ROWS: &[&str] = &["one", "many"];
