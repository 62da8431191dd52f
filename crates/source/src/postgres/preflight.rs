//! The preflight: is this server, with this role, ready for this source? Every answer says what to run.
//!
//! Reads only. One file for each thing that is looked at; all of them turn what the server says into findings.

mod publications;
mod server;
mod slots;
mod tables;

use super::publication::read_publication;
use super::slot::{orphan_slots, slot_state};
use super::wanted::wanted_tables;
use super::{Connector, Replication, Settings};
use serde::Serialize;
use server::Server;
use tokio_postgres::Client;
use viewfeed_change::Result;

/// What the server's lists show of an examination.
const APPLICATION: &str = "viewfeed doctor";
/// The oldest version whose replication we read, as `server_version_num` without its last four digits.
const VERSION_MIN: u32 = 13;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What is so, in one line.
    pub what: String,
    /// Why it matters; empty if it is good.
    pub why: String,
    /// What to run or to set, as SQL where it can be; None if there is nothing to do.
    pub run: Option<String>,
}

/// How bad a finding is, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Good,
    /// To be known.
    Note,
    /// It works, but may hurt.
    Warning,
    /// It does not work.
    Error,
}

impl Finding {
    fn new(severity: Severity, what: impl Into<String>, why: impl Into<String>, run: Option<String>) -> Self {
        Self {
            severity,
            what: what.into(),
            why: why.into(),
            run,
        }
    }

    fn good(what: impl Into<String>) -> Self {
        Self::new(Severity::Good, what, "", None)
    }

    fn note(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(Severity::Note, what, why, None)
    }

    fn warning(what: impl Into<String>, why: impl Into<String>, run: impl Into<String>) -> Self {
        Self::new(Severity::Warning, what, why, Some(run.into()))
    }

    fn error(what: impl Into<String>, why: impl Into<String>, run: impl Into<String>) -> Self {
        Self::new(Severity::Error, what, why, Some(run.into()))
    }
}

/// Looks at everything the source `source` with these settings needs: server, role, tables, publication, slots. Fails only
/// if the server cannot be asked.
pub async fn check(client: &Client, source: &str, settings: &Settings) -> Result<Vec<Finding>> {
    let server = Server::read(client).await?;
    let mut findings = server.findings(settings);
    if server.major() < VERSION_MIN {
        return Ok(findings);
    }
    let wanted = wanted_tables(client, settings).await?;
    findings.extend(tables::findings(&wanted, &server));
    findings.extend(tables::text_columns(client, settings).await?);
    let publication = read_publication(client, settings).await?;
    let asked = publications::Asked {
        source,
        settings,
        wanted: &wanted,
        server: &server,
    };
    findings.extend(publications::findings(publication.as_ref(), &asked)?);
    let slot = slot_state(client, settings).await?;
    findings.extend(slots::findings(&slot, &server, settings));
    findings.extend(slots::blockers(client, &slot).await?);
    findings.extend(slots::orphans(&orphan_slots(client, settings).await?));
    Ok(findings)
}

/// Connects as the settings say, and [`check`]s; if that finds no error, tries whether a replication connection is let in.
pub async fn examine(source: &str, settings: &Settings) -> Result<Vec<Finding>> {
    let connector = Connector::new(settings)?;
    let session = connector.sql(APPLICATION).await?;
    let mut findings = check(session.client(), source, settings).await?;
    if findings.iter().all(|finding| finding.severity < Severity::Error) {
        let opened = Replication::open(&connector, APPLICATION).await;
        findings.push(match opened {
            Ok(_) => Finding::good("a replication connection is let in"),
            Err(error) => Finding::error(
                "a replication connection is not let in",
                error.to_string(),
                "connect to the server itself, not to a pooler; see max_wal_senders and pg_hba.conf",
            ),
        });
    }
    Ok(findings)
}

/// `a, b and c`: all of them, in words.
fn listed(names: impl IntoIterator<Item = String>) -> String {
    let mut names: Vec<String> = names.into_iter().collect();
    match names.pop() {
        Some(last) if !names.is_empty() => format!("{} and {last}", names.join(", ")),
        last => last.unwrap_or_default(),
    }
}

/// `1 table`, `2 tables`.
fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}
