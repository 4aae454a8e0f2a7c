//! What `strata check` says of the database and of each source.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::migrate::fingerprint;
use super::session::{Dialer, Session, words};
use super::statement::Statement;
use crate::config::{L4, Source};

/// How the database, or one source, did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was tried; holds no secret.
    pub name: String,
    /// How long it took.
    pub took: Duration,
    /// What it is, or what is wrong with it.
    pub outcome: Result<String, String>,
}

/// Connects, prepares the statement of each source, and looks whether changes are told.
pub async fn check(l4: &L4) -> Vec<Finding> {
    let began = Instant::now();
    let opened = open(l4).await;
    let finding = |name: String, began: Instant, outcome| Finding { name, took: began.elapsed(), outcome };
    let name = format!("l4 {}", l4.url);
    let (session, version) = match opened {
        Ok(opened) => opened,
        Err(why) => return vec![finding(name, began, Err(why))],
    };
    let mut findings = vec![finding(name, began, Ok(version))];
    for source in &l4.sources {
        let began = Instant::now();
        findings.push(finding(format!("l4.source {}", source.name), began, look(&session, source).await));
    }
    findings
}

async fn open(l4: &L4) -> Result<(Session, String), String> {
    let dialer = Arc::new(Dialer::new(l4).map_err(|error| format!("{error:#}"))?);
    let session = dialer.open(None).await.map_err(|failure| failure.to_string())?;
    let asked = session.client.query_one("SELECT current_setting('server_version')", &[]).await;
    let version: String = asked.and_then(|row| row.try_get(0)).map_err(|error| words(&error))?;
    Ok((session, format!("PostgreSQL {version}")))
}

async fn look(session: &Session, source: &Source) -> Result<String, String> {
    let statement = Statement::prepare(&session.client, source).await.map_err(|error| words(&error))?;
    let (params, parts) = (statement.params(), source.pattern.names().len());
    if params > parts {
        return Err(format!("the query has {params} parameters, and the pattern {parts} parts"));
    }
    if source.watch.is_empty() {
        return Ok("nothing is watched: what is loaded lives for l4.load_lease".to_owned());
    }
    let there = "SELECT to_regclass('strata.source') IS NOT NULL";
    let there = session.client.query_one(there, &[]).await.and_then(|row| row.try_get(0));
    if !there.map_err(|error| words(&error))? {
        return Err("the change log is not installed: run strata migrate".to_owned());
    }
    let query = "SELECT definition, strata.is_complete(name) FROM strata.source WHERE name = $1";
    let row = session.client.query_opt(query, &[&source.name]).await.map_err(|error| words(&error))?;
    let row = row.ok_or("nothing is installed for it: run strata migrate")?;
    let of = |error: tokio_postgres::Error| words(&error);
    if row.try_get::<_, String>(0).map_err(of)? != fingerprint(source) {
        return Err("what is installed is of another configuration: run strata migrate".to_owned());
    }
    match row.try_get(1).map_err(of)? {
        true => Ok("its changes are told".to_owned()),
        false => Err("a trigger is missing or disabled: run strata migrate".to_owned()),
    }
}
