//! `strata migrate`: what the database needs so that it tells of changes.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context, bail};

use super::session::{Dialer, Session, words};
use super::trigger::{Table, digest, identifier, literal, triggers};
use crate::config::{L4, Source};

/// The change log, to be run any number of times.
const SCHEMA: &str = include_str!("migrate.sql");

/// What [`SCHEMA`] made, by name: a role that is called strata makes its own tables in this schema unless it says
/// otherwise, and they stay.
const REMOVAL: &str = "DROP TABLE IF EXISTS strata.change, strata.watch, strata.source, strata.mark, strata.trimmed;\n\
    DROP FUNCTION IF EXISTS strata.ring(), strata.is_complete(text), strata.trim(interval);\n\
    DROP SCHEMA strata;\n";

/// A lock of PostgreSQL that one migration at a time holds.
const LOCK: &str = "SELECT pg_advisory_lock(1400136052, 3)";

/// Whoever writes to a watched table waits while its triggers are made, and no longer than so.
const PATIENCE: &str = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '5s';\n";

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migration {
    /// Only say what would be done, as SQL.
    pub dry_run: bool,
    /// Take everything away again.
    pub undo: bool,
    /// A role that strata comes as, if it is not the one that installs: it is given what that needs, and no more.
    pub grant: Option<String>,
}

/// What was done, or would be.
#[derive(Clone, Debug, Default)]
pub struct Migrated {
    /// In words, a line each.
    pub said: Vec<String>,
    /// The statements, one transaction; empty: there is nothing to do.
    pub sql: String,
}

/// Compares what is installed with the configuration, and changes what differs, in one transaction.
///
/// # Errors
/// What is wrong with a source, or what the database says.
pub async fn migrate(l4: &L4, wish: &Migration) -> anyhow::Result<Migrated> {
    let dialer = Arc::new(Dialer::new(l4)?);
    let session = dialer.open(None).await?;
    session.client.batch_execute(LOCK).await.map_err(said).context("another migration is under way")?;
    let mut done = Migrated::default();
    let installed = Installed::read(&session).await?;
    match wish.undo {
        true => installed.undo(&mut done),
        false => install(&session, l4, wish, &installed, &mut done).await?,
    }
    if !wish.dry_run && !done.sql.is_empty() {
        let transaction = format!("BEGIN;\n{PATIENCE}{}COMMIT;\n", done.sql);
        session.client.batch_execute(&transaction).await.map_err(said)?;
    }
    Ok(done)
}

fn said(error: tokio_postgres::Error) -> anyhow::Error {
    let hint = error.as_db_error().and_then(|said| said.hint()).map(|hint| format!(" ({hint})"));
    anyhow::anyhow!("{}{}", words(&error), hint.unwrap_or_default())
}

/// What must be installed for a source: another definition means other triggers.
pub(super) fn fingerprint(source: &Source) -> String {
    let mut parts = vec![SCHEMA.to_owned(), source.pattern.to_string(), source.query.clone()];
    parts.extend(source.watch.iter().map(ToString::to_string));
    digest(&parts)
}

/// The version of the change log, kept as the comment of its schema.
fn version() -> String {
    format!("strata's change log {}", digest(&[SCHEMA.to_owned()]))
}

/// What is there.
#[derive(Default)]
struct Installed {
    /// The comment of the schema; None: there is none.
    version: Option<String>,
    /// Names with their definitions, and whether their triggers are there.
    sources: Vec<(String, String, bool)>,
    /// Triggers with their source and table.
    triggers: Vec<(String, String, String)>,
    /// All functions of triggers, of tables that are gone too.
    functions: Vec<String>,
}

impl Installed {
    async fn read(session: &Session) -> anyhow::Result<Self> {
        let client = &session.client;
        let query = "SELECT coalesce(obj_description(to_regnamespace('strata'), 'pg_namespace'), ''), \
            to_regclass('strata.watch') IS NOT NULL AND to_regprocedure('strata.is_complete(text)') IS NOT NULL \
            WHERE to_regnamespace('strata') IS NOT NULL";
        let Some(row) = client.query_opt(query, &[]).await.map_err(said)? else {
            return Ok(Self::default());
        };
        let mut found = Self { version: Some(row.try_get(0)?), ..Self::default() };
        if !row.try_get::<_, bool>(1)? {
            if found.version.as_deref().is_some_and(|version| !version.starts_with("strata")) {
                bail!("there is a schema strata already, and it is not strata's");
            }
            return Ok(found);
        }
        let sources = "SELECT name, definition, strata.is_complete(name) FROM strata.source ORDER BY name";
        for row in client.query(sources, &[]).await.map_err(said)? {
            found.sources.push((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
        }
        let triggers = "SELECT w.source, w.trigger::text, format('%I.%I', n.nspname, c.relname) FROM strata.watch w \
            JOIN pg_class c ON c.oid = w.relation JOIN pg_namespace n ON n.oid = c.relnamespace \
            JOIN pg_trigger t ON t.tgrelid = w.relation AND t.tgname = w.trigger ORDER BY 1, 3, 2";
        for row in client.query(triggers, &[]).await.map_err(said)? {
            found.triggers.push((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
        }
        let functions = "SELECT proname::text FROM pg_proc \
            WHERE pronamespace = to_regnamespace('strata') AND proname LIKE 'note\\_%' ORDER BY 1";
        for row in client.query(functions, &[]).await.map_err(said)? {
            found.functions.push(row.try_get(0)?);
        }
        Ok(found)
    }

    fn undo(&self, done: &mut Migrated) {
        if self.version.is_none() {
            done.said.push("nothing is installed".to_owned());
            return;
        }
        for (name, ..) in &self.sources {
            self.drop_triggers(name, &mut done.sql);
        }
        for function in &self.functions {
            let _ = writeln!(done.sql, "DROP FUNCTION IF EXISTS strata.{}();", identifier(function));
        }
        done.sql.push_str(REMOVAL);
        done.said.push(format!("removed {} triggers and the schema strata", self.triggers.len()));
    }

    fn drop_triggers(&self, source: &str, sql: &mut String) {
        for (_, trigger, table) in self.triggers.iter().filter(|(of, ..)| of == source) {
            let _ = writeln!(sql, "DROP TRIGGER IF EXISTS {} ON {table};", identifier(trigger));
        }
    }
}

async fn install(
    session: &Session,
    l4: &L4,
    wish: &Migration,
    installed: &Installed,
    done: &mut Migrated,
) -> anyhow::Result<()> {
    let version = version();
    if installed.version.as_ref() != Some(&version) {
        let _ = writeln!(done.sql, "{SCHEMA}COMMENT ON SCHEMA strata IS {};", literal(&version));
        done.said.push("the change log: installed, as schema strata".to_owned());
    } else {
        done.said.push("the change log: there already".to_owned());
    }
    for source in &l4.sources {
        if source.watch.is_empty() {
            done.said.push(format!("{}: nothing to watch", source.name));
            continue;
        }
        let definition = fingerprint(source);
        let known = installed.sources.iter().find(|(name, ..)| *name == source.name);
        if known.is_some_and(|(_, found, complete)| *found == definition && *complete) {
            done.said.push(format!("{}: there already", source.name));
            continue;
        }
        let tables = triggers(session, source).await.with_context(|| source.name.clone())?;
        installed.drop_triggers(&source.name, &mut done.sql);
        create(source, &definition, &tables, &mut done.sql);
        done.said.extend(tables.iter().map(|table| format!("{}: {}", source.name, table.words())));
    }
    for (name, ..) in &installed.sources {
        if !l4.sources.iter().any(|source| source.name == *name) {
            done.said.push(format!("{name}: is of another configuration, and left as it is"));
        }
    }
    if let Some(role) = &wish.grant {
        let role = identifier(role);
        let _ = writeln!(
            done.sql,
            "GRANT USAGE ON SCHEMA strata TO {role};\n\
             GRANT SELECT ON strata.change, strata.source, strata.trimmed TO {role};\n\
             GRANT EXECUTE ON FUNCTION strata.is_complete(text), strata.trim(interval) TO {role};"
        );
        done.said.push(format!("{role} may follow and trim the change log"));
    }
    Ok(())
}

/// From now on changes are told; what was loaded before counts as changed.
fn create(source: &Source, definition: &str, tables: &[Table], sql: &mut String) {
    let name = literal(&source.name);
    let _ = writeln!(
        sql,
        "DELETE FROM strata.watch WHERE source = {name};\n\
         INSERT INTO strata.source VALUES ({name}, {}) ON CONFLICT (name) DO UPDATE SET definition = excluded.definition;",
        literal(definition)
    );
    for table in tables {
        sql.push_str(&table.create(source));
    }
    let _ = writeln!(sql, "INSERT INTO strata.change (source, keys) VALUES ({name}, NULL);");
}
