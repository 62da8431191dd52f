//! How a table is in a publication, so that it is seen when that changes.
//!
//! A table that is dropped from a publication and added again loses what happened in between, and the stream does not say so
//! (Materialize documents this as undetectable from the stream). But its entry in the server's catalog is another one then.

use super::super::answer::{self, Row};
use super::super::pgoutput::Oid;
use super::super::wanted::{self, WantedTable};
use postgres_protocol::escape::{escape_identifier, escape_literal};
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;
use viewfeed_change::Result;

/// How a table is in a publication. Stored with the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The table.
    pub table: Oid,
    /// The number of its entry: of the table's own, else of its schema's, else of the whole publication. Another one
    /// when it is dropped and added again.
    pub entry: Oid,
    /// The published columns (`attnum`), if there is a list of them.
    pub columns: Option<Vec<i16>>,
    /// A digest of the row filter, if there is one.
    pub filter: Option<String>,
}

/// What changed in a publication since it was last looked at. A table is in one of the three at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MembershipChanges {
    /// Tables that came.
    pub added: Vec<Oid>,
    /// Tables that went.
    pub dropped: Vec<Oid>,
    /// Tables that went and came again, or of which other rows or columns are published: what is stored of them is not to
    /// be trusted.
    pub replaced: Vec<Oid>,
}

/// A table of a publication as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Member {
    pub(in super::super) schema: String,
    pub(in super::super) name: String,
    pub(in super::super) membership: Membership,
    /// The columns (`attnum`) that its row filter reads.
    pub(in super::super) filter_columns: Vec<i16>,
}

impl MembershipChanges {
    /// What happened from `before` to `now`.
    pub fn between(before: &[Membership], now: &[Membership]) -> Self {
        let find = |list: &[Membership], table: Oid| list.iter().find(|found| found.table == table).cloned();
        let mut changes = Self::default();
        for is in now {
            match find(before, is.table) {
                None => changes.added.push(is.table),
                Some(was) if was != *is => changes.replaced.push(is.table),
                Some(_) => {}
            }
        }
        let gone = before.iter().filter(|was| find(now, was.table).is_none());
        changes.dropped = gone.map(|was| was.table).collect();
        changes
    }

    /// Whether nothing did.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.dropped.is_empty() && self.replaced.is_empty()
    }
}

impl Member {
    /// As SQL writes it.
    pub(in super::super) fn sql_name(&self) -> String {
        wanted::sql_name(&self.schema, &self.name)
    }

    /// Whether its row filter reads columns that the replica identity of `table`, the same table, does not have.
    pub(in super::super) fn filters_beyond_identity(&self, table: &WantedTable) -> bool {
        let identity = table.identity.as_ref();
        let is_beyond = |column: &i16| identity.is_some_and(|identity| !identity.contains(column));
        self.filter_columns.iter().any(is_beyond)
    }

    /// Whether its list of columns lacks one of that identity.
    pub(in super::super) fn hides_identity(&self, table: &WantedTable) -> bool {
        match (&self.membership.columns, &table.identity) {
            (None, _) => false,
            // The identity is the whole row.
            (Some(_), None) => true,
            (Some(columns), Some(identity)) => !identity.iter().all(|column| columns.contains(column)),
        }
    }

    /// The statements that put it whole into the publication `publication`.
    pub(in super::super) fn again(&self, publication: &str) -> String {
        let (publication, table) = (escape_identifier(publication), self.sql_name());
        format!(
            "ALTER PUBLICATION {publication} DROP TABLE ONLY {table}; ALTER PUBLICATION {publication} ADD TABLE ONLY {table};"
        )
    }
}

/// The tables of a publication, by schema and name.
pub(super) async fn members(client: &Client, publication: &str) -> Result<Vec<Member>> {
    let has_schemas =
        "SELECT pg_catalog.to_regclass('pg_catalog.pg_publication_namespace') IS NOT NULL AS there";
    let has_schemas = answer::row(client, super::READING, has_schemas)
        .await?
        .is("there");
    let rows = answer::rows(client, super::READING, &query(publication, has_schemas)).await?;
    rows.iter().map(member).collect()
}

fn member(row: &Row) -> Result<Member> {
    Ok(Member {
        schema: row.name("schema")?,
        name: row.name("name")?,
        membership: Membership {
            table: Oid(row.value("oid")?),
            entry: Oid(row.value("entry")?),
            columns: row.text("columns").map(wanted::numbers),
            filter: row.text("filter").map(str::to_owned),
        },
        filter_columns: wanted::numbers(row.text("filter_columns").unwrap_or_default()),
    })
}

/// The list of columns as `1 2`: JSON writes it as `[1, 2]`.
const LISTED: &str = "pg_catalog.translate(pg_catalog.to_jsonb(r) ->> 'prattrs', '[],', '')";

/// Columns that only some versions have are asked for by way of JSON, where a missing one is NULL. Lists and filters came
/// with 15, as did whole schemas. A column that a filter reads stands in `pg_depend`, one of a list too.
fn query(publication: &str, has_schemas: bool) -> String {
    let (schema_entry, schemas) = match has_schemas {
        true => (
            "s.oid",
            "LEFT JOIN pg_catalog.pg_publication_namespace s ON s.pnpubid = p.oid AND s.pnnspid = n.oid",
        ),
        false => ("NULL", ""),
    };
    format!(
        "SELECT n.nspname AS schema, c.relname AS name, c.oid, coalesce(r.oid, {schema_entry}, p.oid) AS entry,
            {LISTED} AS columns,
            pg_catalog.md5(pg_catalog.to_jsonb(r) ->> 'prqual') AS filter,
            (SELECT pg_catalog.string_agg(a.attnum::text, ' ') FROM pg_catalog.pg_attribute a
                WHERE a.attrelid = c.oid AND (pg_catalog.to_jsonb(r) ->> 'prqual') IS NOT NULL
                AND (SELECT count(*) FROM pg_catalog.pg_depend d
                    WHERE d.classid = 'pg_catalog.pg_publication_rel'::pg_catalog.regclass AND d.objid = r.oid
                    AND d.refobjid = c.oid AND d.refobjsubid = a.attnum)
                    > CASE WHEN a.attnum::text = ANY (pg_catalog.string_to_array({LISTED}, ' '))
                        THEN 1 ELSE 0 END) AS filter_columns
        FROM pg_catalog.pg_publication p
        JOIN pg_catalog.pg_publication_tables t ON t.pubname = p.pubname
        JOIN pg_catalog.pg_namespace n ON n.nspname = t.schemaname
        JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
        LEFT JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = c.oid
        {schemas}
        WHERE p.pubname = {}
        ORDER BY n.nspname, c.relname",
        escape_literal(publication)
    )
}
