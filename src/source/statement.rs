//! The statement of a source, prepared on a connection, and what keys are made of its rows.
//!
//! No SQL is ever made of a key: its parts are parameters, sent as text that PostgreSQL reads as the type of each. A
//! part counts only if it is written as PostgreSQL writes that value. So `user:042` is not another name of `user:42`,
//! which a change of the row would not find.

use std::error::Error;

use bytes::{BufMut, Bytes, BytesMut};
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type};
use tokio_postgres::{Client, Row};

use super::failure::Failure;
use super::mapping::Match;
use super::snapshot::Snapshot;
use super::{Content, Loaded};
use crate::config::{Reply, Rows, Source};

/// Bytes of what a key may hold: as much as Redis takes.
const MAX_VALUE: usize = 512 << 20;

/// A source's statement, prepared.
pub(super) struct Statement {
    prepared: tokio_postgres::Statement,
    params: Vec<Param>,
    /// Names of the fields of a hash.
    fields: Vec<Bytes>,
}

/// How a part of a key is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Param {
    /// A number from the least to the most of its type.
    Integer(i64, i64),
    Bool,
    Text,
    Uuid,
    /// PostgreSQL says how it would write it, in a column of its own.
    Echoed,
}

/// The parts of a key as parameters; None: one of them is no value of its type.
pub(super) type Arguments<'a> = Option<Vec<Text<'a>>>;

impl Statement {
    /// Prepares the query of a source, as the sources' own to look at it and then as it is asked.
    pub(super) async fn prepare(client: &Client, source: &Source) -> Result<Self, tokio_postgres::Error> {
        let query = source.query.trim_end_matches(|char: char| char.is_whitespace() || char == ';');
        let seen = client.prepare(query).await?;
        let params: Vec<Param> = seen.params().iter().map(Param::of).collect();
        let columns: Vec<&Type> = seen.columns().iter().map(|column| column.type_()).collect();
        let prepared = client.prepare(&wrapped(query, source, &columns, &params)).await?;
        let name = |column: &tokio_postgres::Column| Bytes::copy_from_slice(column.name().as_bytes());
        let fields = match source.reply {
            Reply::Hash => seen.columns().iter().map(name).collect(),
            Reply::Value | Reply::Json => Vec::new(),
        };
        Ok(Self { prepared, params, fields })
    }

    /// How many parameters it has.
    pub(super) fn params(&self) -> usize {
        self.params.len()
    }

    /// # Errors
    /// The statement has more parameters than the key has parts.
    pub(super) fn arguments<'a>(&self, wanted: &'a Match) -> Result<Arguments<'a>, Failure> {
        if self.params.len() > wanted.parts().len() {
            return Err(Failure::Refused(
                "the query has more parameters than the pattern has parts".to_owned(),
            ));
        }
        let parts = self.params.iter().zip(wanted.parts());
        Ok(parts.map(|(param, part)| param.read(part)).collect())
    }

    /// Asks. The future sends the request when it is first polled: of several on one client none waits for another.
    pub(super) async fn ask(
        &self,
        client: &Client,
        arguments: &[Text<'_>],
    ) -> Result<Option<Row>, tokio_postgres::Error> {
        let arguments: Vec<&(dyn ToSql + Sync)> =
            arguments.iter().map(|text| text as &(dyn ToSql + Sync)).collect();
        client.query_opt(&self.prepared, &arguments).await
    }

    /// What a key is made of, by the row that was found for it.
    ///
    /// # Errors
    /// Something that a key cannot hold.
    pub(super) fn loaded(
        &self,
        source: &Source,
        server: u64,
        row: &Row,
        arguments: &[Text<'_>],
    ) -> Result<Option<Loaded>, Failure> {
        let bytes = |at: usize| match row.try_get::<_, Option<Raw<'_>>>(at) {
            Ok(found) => Ok(found.map(|raw| raw.0)),
            Err(_) => Err(Failure::Unusable("a column that cannot be read")),
        };
        let values = row.len().saturating_sub(1 + self.echoed());
        let echoed = self.params.iter().zip(arguments).filter(|(param, _)| **param == Param::Echoed);
        for (at, (_, given)) in echoed.enumerate() {
            if bytes(values + 1 + at)? != Some(given.0) {
                return Ok(None);
            }
        }
        let snapshot = bytes(values)?.and_then(|text| std::str::from_utf8(text).ok());
        let snapshot = snapshot.and_then(|text| Snapshot::parse(server, text));
        let snapshot = snapshot.ok_or(Failure::Unusable("no snapshot came with it"))?;
        let content = match source.reply {
            Reply::Value | Reply::Json => match bytes(0)? {
                None => return Ok(None),
                Some(value) if value.len() > MAX_VALUE => return Err(Failure::Unusable("it is too large")),
                Some(value) => Content::Value(Bytes::copy_from_slice(value)),
            },
            Reply::Hash => {
                let mut fields: Vec<(Bytes, Bytes)> = Vec::with_capacity(self.fields.len());
                for (at, name) in self.fields.iter().enumerate() {
                    match bytes(at)? {
                        // Of two columns of one name the first counts.
                        Some(value) if !fields.iter().any(|(known, _)| known == name) => {
                            fields.push((name.clone(), Bytes::copy_from_slice(value)));
                        }
                        Some(_) | None => {}
                    }
                }
                if fields.is_empty() {
                    return Ok(None);
                }
                Content::Hash(fields)
            }
        };
        Ok(Some(Loaded { content, ttl: source.ttl, snapshot }))
    }

    fn echoed(&self) -> usize {
        self.params.iter().filter(|param| **param == Param::Echoed).count()
    }
}

/// The query in one that gives texts, the snapshot it was read in, and how PostgreSQL writes the parameters. Types of
/// parameters are those that the query itself gives them: FROM is looked at first.
fn wrapped(query: &str, source: &Source, columns: &[&Type], params: &[Param]) -> String {
    let names = |count: usize| (1..=count).map(|n| format!("strata_{n}")).collect::<Vec<_>>();
    let values: Vec<String> = names(columns.len())
        .into_iter()
        .zip(columns)
        .map(|(name, kind)| if *base(kind) == Type::BYTEA { name } else { format!("{name}::text") })
        .collect();
    let (list, alias, limit) = match (source.reply, source.rows) {
        (Reply::Value, _) => {
            (values.first().cloned().unwrap_or_default(), "(strata_1)".to_owned(), " LIMIT 1")
        }
        (Reply::Hash, _) => (values.join(", "), format!("({})", names(columns.len()).join(", ")), " LIMIT 1"),
        (Reply::Json, Rows::One) => ("row_to_json(strata_q)::text".to_owned(), String::new(), " LIMIT 1"),
        (Reply::Json, Rows::Many) => {
            ("'[' || string_agg(row_to_json(strata_q)::text, ',') || ']'".to_owned(), String::new(), "")
        }
    };
    let echoes: String = (1..)
        .zip(params)
        .filter(|(_, param)| **param == Param::Echoed)
        .map(|(number, _)| format!(", ${number}::text"))
        .collect();
    // A comment at the end of the query ends with its line.
    format!("SELECT {list}, pg_current_snapshot()::text{echoes} FROM (\n{query}\n) AS strata_q{alias}{limit}")
}

/// What a domain is made of.
fn base(kind: &Type) -> &Type {
    let mut kind = kind;
    while let Kind::Domain(inner) = kind.kind() {
        kind = inner;
    }
    kind
}

impl Param {
    fn of(kind: &Type) -> Self {
        match *kind {
            Type::INT2 => Self::Integer(i64::from(i16::MIN), i64::from(i16::MAX)),
            Type::INT4 => Self::Integer(i64::from(i32::MIN), i64::from(i32::MAX)),
            Type::INT8 => Self::Integer(i64::MIN, i64::MAX),
            Type::OID => Self::Integer(0, i64::from(u32::MAX)),
            Type::BOOL => Self::Bool,
            Type::TEXT | Type::VARCHAR => Self::Text,
            Type::UUID => Self::Uuid,
            _ => Self::Echoed,
        }
    }

    /// The text, if it can be one that PostgreSQL writes for a value of the type.
    fn read(self, part: &[u8]) -> Option<Text<'_>> {
        let text = std::str::from_utf8(part).ok().filter(|text| !text.contains('\0'))?;
        let written = match self {
            Self::Integer(least, most) => text
                .parse::<i64>()
                .is_ok_and(|number| (least..=most).contains(&number) && number.to_string() == text),
            Self::Bool => text == "true" || text == "false",
            Self::Uuid => is_uuid(part),
            Self::Text | Self::Echoed => true,
        };
        written.then_some(Text(part))
    }
}

/// 8-4-4-4-12 digits, none of them a capital.
fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

/// A parameter of any type, as text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

impl ToSql for Text<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_slice(self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    fn to_sql_checked(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.to_sql(kind, out)
    }
}

/// A column as its bytes.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(kind: &Type, text: &[u8]) -> bool {
        Param::of(kind).read(text).is_some()
    }

    #[test]
    fn parts_are_values_only_as_postgresql_writes_them() {
        type Texts = &'static [&'static [u8]];
        let table: &[(Type, Texts, Texts)] = &[
            (
                Type::INT2,
                &[b"0", b"-32768", b"32767"],
                &[b"32768", b"+1", b"01", b"-0", b" 1", b"1 ", b"abc", b""],
            ),
            (Type::INT4, &[b"2147483647", b"-1"], &[b"2147483648", b"1.0", b"1e3", b"0x10", b"\xd9\xa1"]),
            (Type::INT8, &[b"9223372036854775807"], &[b"9223372036854775808", b"1\0", b"1;", b"'1'"]),
            (Type::OID, &[b"0", b"4294967295"], &[b"-1", b"4294967296"]),
            (Type::BOOL, &[b"true", b"false"], &[b"t", b"TRUE", b"1", b"yes"]),
            (
                Type::UUID,
                &[b"00000000-0000-0000-0000-00000000000f"],
                &[b"00000000-0000-0000-0000-00000000000F", b"{00000000-0000-0000-0000-00000000000f}", b"0"],
            ),
            (
                Type::TEXT,
                &[b"'; DROP TABLE x; --", b"gr\xc3\xb6\xc3\x9fe", b"$1"],
                &[b"a\0b", b"\xff", b"\xed\xa0\x80"],
            ),
            (Type::NUMERIC, &[b"1.50", b"abc"], &[b"\0"]),
        ];
        for (kind, right, wrong) in table {
            for text in *right {
                assert!(reads(kind, text), "{kind} {text:?}");
            }
            for text in *wrong {
                assert!(!reads(kind, text), "{kind} {text:?}");
            }
        }
    }

    #[test]
    fn a_query_is_wrapped_by_what_it_is_to_give() {
        let source = |reply, rows| Source { reply, rows, ..Source::default() };
        let columns = [&Type::INT4, &Type::BYTEA];
        let wrap = |reply, rows| {
            wrapped("SELECT a, b -- c", &source(reply, rows), &columns, &[Param::Text, Param::Echoed])
        };
        let rest = "pg_current_snapshot()::text, $2::text FROM (\nSELECT a, b -- c\n) AS strata_q";
        assert_eq!(wrap(Reply::Value, Rows::One), format!("SELECT strata_1::text, {rest}(strata_1) LIMIT 1"));
        let hash = format!("SELECT strata_1::text, strata_2, {rest}(strata_1, strata_2) LIMIT 1");
        assert_eq!(wrap(Reply::Hash, Rows::One), hash);
        let many = format!("SELECT '[' || string_agg(row_to_json(strata_q)::text, ',') || ']', {rest}");
        assert_eq!(wrap(Reply::Json, Rows::Many), many);
    }
}
