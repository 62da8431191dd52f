//! The tables: can each be read, and be found again row by row?

use super::super::answer;
use super::super::wanted::{Refusal, RefusedTable, WantedTable, WantedTables};
use super::server::Server;
use super::{Finding, Settings, counted, listed};
use postgres_protocol::escape::{escape_identifier, escape_literal};
use std::collections::BTreeSet;
use tokio_postgres::Client;
use viewfeed_change::Result;

/// All that is to say of the tables that the source means.
pub(super) fn findings(wanted: &WantedTables, server: &Server) -> Vec<Finding> {
    let mut findings: Vec<Finding> = wanted.unmatched.iter().map(unmatched).collect();
    findings.extend(without_identity(&wanted.refused));
    findings.extend(wanted.refused.iter().filter_map(refused));
    findings.extend(unreadable(&wanted.tables, server));
    findings.extend(hidden_rows(&wanted.tables, server));
    findings.extend(partitioned(&wanted.tables));
    findings.extend(generated(&wanted.tables));
    let is_ready = |table: &&WantedTable| table.access.reads && !table.access.is_filtered;
    let ready = wanted.tables.iter().filter(is_ready).count();
    if ready > 0 {
        let what = format!(
            "{} can be read and identified row by row",
            counted(ready, "table")
        );
        findings.push(Finding::good(what));
    }
    findings
}

/// Columns of the option `text_columns` that do not exist.
pub(super) async fn text_columns(client: &Client, settings: &Settings) -> Result<Option<Finding>> {
    let columns = settings.text_column_parts()?;
    if columns.is_empty() {
        return Ok(None);
    }
    let values = columns.iter().map(|parts| {
        format!(
            "({})",
            parts.each_ref().map(|part| escape_literal(part)).join(", ")
        )
    });
    let sql = format!(
        "SELECT pg_catalog.format('%I.%I.%I', v.s, v.t, v.c) AS name FROM (VALUES {}) v (s, t, c)
        WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = v.s AND c.relname = v.t AND a.attname = v.c AND a.attnum > 0)",
        values.collect::<Vec<_>>().join(", ")
    );
    let rows = answer::rows(client, "reading the columns", &sql).await?;
    let missing = rows
        .iter()
        .map(|row| row.name("name"))
        .collect::<Result<Vec<_>>>()?;
    Ok((!missing.is_empty()).then(|| {
        Finding::error(
            format!(
                "text_columns names columns that do not exist: {}",
                listed(missing)
            ),
            "they would not be read as text",
            "correct the option text_columns",
        )
    }))
}

fn unmatched(pattern: &super::super::TablePattern) -> Finding {
    match pattern.table {
        Some(_) => Finding::error(
            format!("there is no table {pattern}"),
            "the source names it",
            "create the table, or correct the option tables",
        ),
        None => Finding::warning(
            format!("{pattern} matches no table"),
            "the source has nothing from there",
            "create tables, or correct the option tables",
        ),
    }
}

fn without_identity(refused: &[RefusedTable]) -> Option<Finding> {
    let tables: Vec<&RefusedTable> = refused
        .iter()
        .filter(|table| table.is_without_identity())
        .collect();
    if tables.is_empty() {
        return None;
    }
    let names = listed(tables.iter().map(|table| table.sql_name()));
    let run = tables
        .iter()
        .filter_map(|table| table.why.remedy(&table.sql_name()));
    Some(Finding::error(
        format!(
            "{} without replica identity: {names}",
            counted(tables.len(), "table")
        ),
        "no row of theirs could be found again, and once published the server refuses UPDATE and DELETE on them for everybody",
        run.collect::<Vec<_>>().join("\n"),
    ))
}

/// Tables that cannot be replicated for another reason: an error only for those that were named.
fn refused(table: &RefusedTable) -> Option<Finding> {
    let what = format!("table {table}");
    let run = || match table.why.remedy(&table.sql_name()) {
        Some(run) => run,
        None => "leave it out of the option tables".to_owned(),
    };
    match table.why {
        Refusal::NoIdentity | Refusal::NoIdentityOfPartitions(_) => None,
        _ if table.is_named => Some(Finding::error(what, "the source names it", run())),
        Refusal::View => None,
        Refusal::Unlogged | Refusal::Foreign | Refusal::Temporary => {
            Some(Finding::note(what, "it is left out"))
        }
    }
}

fn unreadable(tables: &[WantedTable], server: &Server) -> Option<Finding> {
    let tables: Vec<&WantedTable> = tables.iter().filter(|table| !table.access.reads).collect();
    if tables.is_empty() {
        return None;
    }
    let role = escape_identifier(&server.role);
    let names: Vec<String> = tables.iter().map(|table| table.sql_name()).collect();
    let schemas: BTreeSet<String> = tables
        .iter()
        .map(|table| escape_identifier(&table.schema))
        .collect();
    let schemas = schemas.into_iter().collect::<Vec<_>>().join(", ");
    Some(Finding::error(
        format!(
            "role {role} may not read {}: {}",
            counted(tables.len(), "table"),
            listed(names.clone())
        ),
        "the rows that are there already are copied by SELECT",
        format!(
            "GRANT USAGE ON SCHEMA {schemas} TO {role}; GRANT SELECT ON {} TO {role};",
            names.join(", ")
        ),
    ))
}

fn hidden_rows(tables: &[WantedTable], server: &Server) -> Option<Finding> {
    let hidden = tables.iter().filter(|table| table.access.is_filtered);
    let names: Vec<String> = hidden.map(WantedTable::sql_name).collect();
    if names.is_empty() {
        return None;
    }
    let role = escape_identifier(&server.role);
    Some(Finding::error(
        format!(
            "row-level security hides rows from role {role}: {}",
            listed(names)
        ),
        "the stream has all rows, the copy of those that are there already would not",
        format!("ALTER ROLE {role} BYPASSRLS;"),
    ))
}

fn partitioned(tables: &[WantedTable]) -> Option<Finding> {
    let partitioned = tables.iter().filter(|table| table.is_partitioned);
    let names: Vec<String> = partitioned.map(WantedTable::sql_name).collect();
    (!names.is_empty()).then(|| {
        Finding::note(
            format!("partitioned: {}", listed(names)),
            "each is one table here, whatever its partitions",
        )
    })
}

fn generated(tables: &[WantedTable]) -> Option<Finding> {
    let generated = tables.iter().filter(|table| table.generated_columns > 0);
    let names: Vec<String> = generated.map(WantedTable::sql_name).collect();
    (!names.is_empty()).then(|| {
        Finding::note(
            format!("with generated columns: {}", listed(names)),
            "the stream does not have these columns: they are left out, and a view can compute them",
        )
    })
}
