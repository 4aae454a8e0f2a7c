//! The triggers of a source: by which of its keys a changed row is found, and how that is written in SQL.

use std::fmt::Write as _;

use anyhow::{Context, bail};
use ring::digest::{Context as Digest, SHA256};
use tokio_postgres::types::Type;

use super::MAX_KEY;
use super::session::{Session, words};
use crate::config::{Columns, Source, Watch};

/// A statement that changed more rows, or whose keys have more bytes, is about all keys.
const MAX_ROWS: usize = 10_000;
const MAX_BYTES: usize = 1_000_000;

/// The tables of a name: itself, and where it is partitioned its partitions, which may be written to directly.
const TABLES: &str = "WITH named AS (SELECT to_regclass($1)::oid AS oid) \
    SELECT c.oid, format('%I.%I', n.nspname, c.relname), c.relkind::text \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, named \
    WHERE c.oid = named.oid OR c.oid IN (SELECT relid FROM pg_partition_tree(named.oid::regclass)) \
    ORDER BY c.oid <> named.oid, 2";

/// Its columns with their types, those of domains too; whether equal texts are equal bytes there.
const COLUMNS: &str = "SELECT a.attname::text, CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END, \
    t.typtype = 'e', coalesce((SELECT collisdeterministic FROM pg_collation l WHERE l.oid = a.attcollation), true) \
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped";

/// A table with the triggers that it is to have.
pub(super) struct Table {
    oid: u32,
    /// With its schema, as in SQL.
    name: String,
    keys: Keys,
}

/// How the keys of a changed row are found.
enum Keys {
    /// These columns are the parts of the pattern. Whether the texts depend on settings of the session.
    Parts(Vec<String>, bool),
    /// Not at all, for this reason.
    All(String),
}

/// What the tables of a source need.
///
/// # Errors
/// A table that is none, a column that it lacks, or a query that the database refuses.
pub(super) async fn triggers(session: &Session, source: &Source) -> anyhow::Result<Vec<Table>> {
    let query = source.query.trim_end_matches(|char: char| char.is_whitespace() || char == ';');
    let prepared = session.client.prepare(query).await.map_err(|error| anyhow::anyhow!(words(&error)))?;
    let params = prepared.params().to_vec();
    let mut tables: Vec<Table> = Vec::new();
    for watch in &source.watch {
        let found = named(session, &watch.table).await.with_context(|| watch.table.clone())?;
        for (oid, name) in found {
            if tables.iter().any(|table| table.oid == oid) {
                bail!("{name} is watched twice");
            }
            let keys = keys(session, oid, source, watch, &params).await.with_context(|| name.clone())?;
            tables.push(Table { oid, name, keys });
        }
    }
    Ok(tables)
}

async fn named(session: &Session, table: &str) -> anyhow::Result<Vec<(u32, String)>> {
    let rows = session.client.query(TABLES, &[&table]).await;
    let rows = rows.map_err(|error| anyhow::anyhow!(words(&error)))?;
    let mut found = Vec::new();
    for row in rows {
        let (oid, name, kind): (u32, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        match kind.as_str() {
            "r" | "p" => found.push((oid, name)),
            "v" => bail!("is a view: name the tables that it reads"),
            "m" => bail!("is a materialized view: nothing tells of its changes"),
            "f" => bail!("is a foreign table: nothing tells of changes made elsewhere"),
            _ => bail!("is no table"),
        }
    }
    if found.is_empty() {
        bail!("there is no such table");
    }
    Ok(found)
}

/// A change is about the keys that the row's columns make only if equal values are equal texts, in the table and in the
/// statement: `1.0` and `1.00` are one number, and two keys.
async fn keys(
    session: &Session,
    oid: u32,
    source: &Source,
    watch: &Watch,
    params: &[Type],
) -> anyhow::Result<Keys> {
    let parts = source.pattern.names();
    let names = match &watch.columns {
        Columns::All => return Ok(Keys::All("as configured".to_owned())),
        Columns::SameNames => parts,
        Columns::Named(names) => names.as_slice(),
    };
    let rows = session.client.query(COLUMNS, &[&oid]).await;
    let rows = rows.map_err(|error| anyhow::anyhow!(words(&error)))?;
    let mut dated = false;
    for (at, name) in names.iter().enumerate() {
        let Some(row) = rows.iter().find(|row| row.try_get::<_, &str>(0).is_ok_and(|found| found == name))
        else {
            if watch.columns == Columns::SameNames {
                return Ok(Keys::All(format!("it has no column {name}")));
            }
            bail!("it has no column {name}");
        };
        let (kind, is_enum, bytewise): (u32, bool, bool) =
            (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        let Some(param) = params.get(at).filter(|_| params.len() == parts.len()) else {
            return Ok(Keys::All("the query does not use each part".to_owned()));
        };
        if !bytewise || !same_texts(param, kind, is_enum) {
            return Ok(Keys::All(format!(
                "values of {name} as {} may be equal and look different",
                param.name()
            )));
        }
        dated |= *param == Type::DATE;
    }
    Ok(Keys::Parts(names.to_vec(), dated))
}

/// Whether a column of this type equals a parameter exactly where their texts are equal.
fn same_texts(param: &Type, column: u32, column_is_enum: bool) -> bool {
    let is = |kinds: &[Type]| kinds.iter().any(|kind| kind.oid() == column);
    match *param {
        Type::INT2 | Type::INT4 | Type::INT8 => is(&[Type::INT2, Type::INT4, Type::INT8]),
        Type::TEXT | Type::VARCHAR => is(&[Type::TEXT, Type::VARCHAR, Type::BPCHAR]),
        Type::BPCHAR | Type::OID | Type::BOOL | Type::UUID | Type::DATE => param.oid() == column,
        _ => column_is_enum && param.oid() == column,
    }
}

impl Table {
    pub(super) fn words(&self) -> String {
        match &self.keys {
            Keys::Parts(columns, _) => format!("{}, by {}", self.name, columns.join(", ")),
            Keys::All(why) => format!("{}, each change is about all keys ({why})", self.name),
        }
    }

    /// The function, and a trigger for each kind of statement.
    pub(super) fn create(&self, source: &Source) -> String {
        let id = digest(&[source.name.clone(), self.oid.to_string()]);
        let settings = match self.keys {
            Keys::Parts(_, true) => " SET datestyle = 'ISO, YMD'",
            _ => "",
        };
        let mut sql = format!(
            "CREATE OR REPLACE FUNCTION strata.note_{id}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
             SET search_path = pg_catalog, pg_temp{settings} AS {};\n\
             REVOKE ALL ON FUNCTION strata.note_{id}() FROM PUBLIC;\n",
            literal(&self.body(source))
        );
        for (kind, tables) in [
            ("insert", " REFERENCING NEW TABLE AS strata_new"),
            ("update", " REFERENCING OLD TABLE AS strata_old NEW TABLE AS strata_new"),
            ("delete", " REFERENCING OLD TABLE AS strata_old"),
            ("truncate", ""),
        ] {
            let (name, table) = (format!("strata_{id}_{kind}"), &self.name);
            let _ = writeln!(
                sql,
                "DROP TRIGGER IF EXISTS {name} ON {table};\n\
                 CREATE TRIGGER {name} AFTER {} ON {table}{tables} FOR EACH STATEMENT EXECUTE FUNCTION strata.note_{id}();\n\
                 ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name};\n\
                 INSERT INTO strata.watch VALUES ({}, {}, '{name}');",
                kind.to_uppercase(),
                literal(&source.name),
                self.oid
            );
        }
        sql
    }

    fn body(&self, source: &Source) -> String {
        let name = literal(&source.name);
        let all = format!("INSERT INTO strata.change (source, keys) VALUES ({name}, NULL);");
        let of = |tables: &[&str]| match &self.keys {
            Keys::All(_) => {
                let any: Vec<_> =
                    tables.iter().map(|table| format!("EXISTS (SELECT FROM {table})")).collect();
                format!(
                    "INSERT INTO strata.change (source, keys) SELECT {name}, NULL WHERE {};",
                    any.join(" OR ")
                )
            }
            Keys::Parts(columns, _) => {
                let key = key_of(source, columns);
                let rows: Vec<_> =
                    tables.iter().map(|table| format!("SELECT {key} AS k FROM {table} AS r")).collect();
                format!(
                    "INSERT INTO strata.change (source, keys) SELECT {name}, \
                     CASE WHEN count(*) <= {MAX_ROWS} AND coalesce(sum(octet_length(k)), 0) <= {MAX_BYTES} THEN \
                     coalesce(array_agg(DISTINCT k) FILTER (WHERE octet_length(k) <= {MAX_KEY}), '{{}}') END \
                     FROM ({} LIMIT {}) AS q HAVING count(*) > 0;",
                    rows.join(" UNION ALL "),
                    MAX_ROWS + 1
                )
            }
        };
        format!(
            "BEGIN\n  IF TG_OP = 'INSERT' THEN\n    {}\n  ELSIF TG_OP = 'UPDATE' THEN\n    {}\n  \
             ELSIF TG_OP = 'DELETE' THEN\n    {}\n  ELSE\n    {all}\n  END IF;\n  RETURN NULL;\nEND",
            of(&["strata_new"]),
            of(&["strata_old", "strata_new"]),
            of(&["strata_old"])
        )
    }
}

/// The key of a row: the texts of the pattern with the columns between them.
fn key_of(source: &Source, columns: &[String]) -> String {
    let mut pieces = Vec::new();
    for (at, text) in source.pattern.literals().iter().enumerate() {
        if !text.is_empty() {
            pieces.push(literal(text));
        }
        if let Some(column) = columns.get(at) {
            pieces.push(format!("r.{}::text", identifier(column)));
        }
    }
    pieces.join(" || ")
}

/// Sixteen digits that tell these texts from others.
pub(super) fn digest(texts: &[String]) -> String {
    let mut digest = Digest::new(&SHA256);
    for text in texts {
        digest.update(&(text.len() as u64).to_le_bytes());
        digest.update(text.as_bytes());
    }
    digest.finish().as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A name as SQL reads it, whatever it contains.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL reads it, whatever it contains and whatever `standard_conforming_strings` says.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    match text.contains('\\') {
        true => format!(" E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::from_toml;

    #[test]
    fn names_and_texts_stay_what_they_are() {
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("\\'; DROP"), " E'\\\\''; DROP'");
    }

    #[test]
    fn a_key_is_made_of_columns_and_texts() {
        let text = "l4.source = [{ match = \"it's:{a}:{b}\", query = 'q' }]";
        let config = from_toml("f", text.as_bytes()).unwrap();
        let columns = ["x".to_owned(), "Y\"".to_owned()];
        let key = key_of(&config.l4.sources[0], &columns);
        assert_eq!(key, "'it''s:' || r.\"x\"::text || ':' || r.\"Y\"\"\"::text");
    }

    #[test]
    fn equal_values_have_equal_texts_only_in_some_types() {
        let same = |param: Type, column: Type| same_texts(&param, column.oid(), false);
        assert!(
            same(Type::INT4, Type::INT8) && same(Type::TEXT, Type::VARCHAR) && same(Type::DATE, Type::DATE)
        );
        for (param, column) in [
            (Type::NUMERIC, Type::NUMERIC),
            (Type::TEXT, Type::INT4),
            (Type::INT4, Type::NUMERIC),
            (Type::BPCHAR, Type::TEXT),
            (Type::TIMESTAMPTZ, Type::TIMESTAMPTZ),
        ] {
            assert!(!same(param.clone(), column.clone()), "{param} {column}");
        }
        assert!(same_texts(&Type::ANYENUM, Type::ANYENUM.oid(), true));
    }
}
