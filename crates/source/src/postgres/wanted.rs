//! Which tables of the server a source means, and which of these it cannot have.
//!
//! Owns the one query that finds them with everything the checks ask about a table; what their columns look like is left to
//! `shape`.

use super::answer::{self, Row};
use super::pgoutput::Oid;
use super::{Settings, TablePattern};
use postgres_protocol::escape::{escape_identifier, escape_literal};
use std::fmt;
use tokio_postgres::Client;
use viewfeed_change::{Error, ErrorKind, Result};

/// The tables that a source means.
#[derive(Clone, Debug, Default)]
pub struct WantedTables {
    /// Those it can have, by schema and name.
    pub tables: Vec<WantedTable>,
    /// Those it cannot.
    pub refused: Vec<RefusedTable>,
    /// Patterns that no table matches.
    pub unmatched: Vec<TablePattern>,
}

/// A table that can be replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedTable {
    /// Its number at the server.
    pub oid: Oid,
    /// Its schema there.
    pub schema: String,
    /// Its name there.
    pub name: String,
    /// Whether it has partitions; then they are replicated as this one table.
    pub is_partitioned: bool,
    /// The columns (`attnum`) that identify a row; None: all of them (`REPLICA IDENTITY FULL`).
    pub identity: Option<Vec<i16>>,
    /// What the connection's role may do with it.
    pub access: Access,
    /// Generated columns: the stream does not have them.
    pub generated_columns: u32,
}

/// What a role may do with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// SELECT on all columns, and USAGE on the schema.
    pub reads: bool,
    /// It belongs to the role, so that it can be put into a publication.
    pub owns: bool,
    /// Row-level security hides rows from the role.
    pub is_filtered: bool,
}

/// A table that cannot be replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedTable {
    /// Its schema there.
    pub schema: String,
    /// Its name there.
    pub name: String,
    /// Whether it was named, not only its schema.
    pub is_named: bool,
    /// Why not.
    pub why: Refusal,
}

/// Why a table cannot be replicated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Without an identity no row can be found again, and once published the server refuses the UPDATEs and DELETEs of
    /// whoever uses the table.
    NoIdentity,
    /// So many of its partitions have none.
    NoIdentityOfPartitions(u32),
    /// Its changes are not in the write-ahead log.
    Unlogged,
    /// It lives on another server.
    Foreign,
    /// It is a view, materialized or not.
    View,
    /// It goes with its session.
    Temporary,
}

impl Refusal {
    /// In words, as the end of a sentence about the table.
    pub fn text(self) -> String {
        match self {
            Self::NoIdentity => {
                "has no replica identity: published, its UPDATEs and DELETEs would fail for everybody".into()
            }
            Self::NoIdentityOfPartitions(count) => {
                format!(
                    "has {count} partitions without a replica identity: their UPDATEs and DELETEs would fail"
                )
            }
            Self::Unlogged => "is unlogged: its changes are not in the write-ahead log".into(),
            Self::Foreign => "is a foreign table: its changes are on another server".into(),
            Self::View => "is a view: only tables have changes".into(),
            Self::Temporary => "is temporary: it goes with its session".into(),
        }
    }

    /// What to run, for the table `name` as SQL writes it.
    pub fn remedy(self, name: &str) -> Option<String> {
        match self {
            Self::NoIdentity => Some(format!(
                "ALTER TABLE {name} ADD PRIMARY KEY (…); -- or, at the price of larger WAL: ALTER TABLE {name} REPLICA \
                 IDENTITY FULL;"
            )),
            Self::NoIdentityOfPartitions(_) => Some(format!(
                "ALTER TABLE {name} ADD PRIMARY KEY (…); -- it is made for every partition"
            )),
            Self::Unlogged => Some(format!("ALTER TABLE {name} SET LOGGED;")),
            Self::Foreign | Self::View | Self::Temporary => None,
        }
    }
}

impl WantedTables {
    /// Whether this table is one of them.
    pub(super) fn has(&self, table: Oid) -> bool {
        self.tables.iter().any(|wanted| wanted.oid == table)
    }

    /// Fails if a table that was named, not only its schema, is missing or cannot be replicated.
    pub fn check_named(&self) -> Result<()> {
        if let Some(pattern) = self.unmatched.iter().find(|pattern| pattern.table.is_some()) {
            let message = format!("there is no table {pattern} in the database");
            return Err(Error::not_found("UNKNOWN_TABLE", message)
                .hint("correct the option tables, or create the table first"));
        }
        match self.refused.iter().find(|table| table.is_named) {
            Some(table) => Err(table.error()),
            None => Ok(()),
        }
    }

    /// Fails also if one that was not named cannot be replicated for want of an identity.
    pub fn check_all(&self) -> Result<()> {
        self.check_named()?;
        match self.refused.iter().find(|table| table.is_without_identity()) {
            Some(table) => Err(table.error()),
            None => Ok(()),
        }
    }
}

impl WantedTable {
    /// As SQL writes it.
    pub fn sql_name(&self) -> String {
        sql_name(&self.schema, &self.name)
    }
}

impl RefusedTable {
    /// As SQL writes it.
    pub fn sql_name(&self) -> String {
        sql_name(&self.schema, &self.name)
    }

    /// Whether an identity would do.
    pub fn is_without_identity(&self) -> bool {
        matches!(self.why, Refusal::NoIdentity | Refusal::NoIdentityOfPartitions(_))
    }

    /// That it was asked for all the same.
    pub fn error(&self) -> Error {
        let name = self.sql_name();
        let message = format!("table {name} {}", self.why.text());
        let error = Error::new(ErrorKind::Precondition, "TABLE_NOT_REPLICABLE", message);
        error.hint(match self.why.remedy(&name) {
            Some(run) => format!("run at the server: {run} — or leave the table out of the option tables"),
            None => "leave it out of the option tables".to_owned(),
        })
    }
}

impl fmt::Display for RefusedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.sql_name(), self.why.text())
    }
}

/// `"schema"."table"`, quoted in any case.
pub(super) fn sql_name(schema: &str, name: &str) -> String {
    format!("{}.{}", escape_identifier(schema), escape_identifier(name))
}

/// The tables at the server that the settings mean. Of a partitioned table that is wanted, the partitions are not wanted by
/// themselves; views, foreign and unlogged tables that only a `schema.*` matches are refused without being an error.
pub async fn wanted_tables(client: &Client, settings: &Settings) -> Result<WantedTables> {
    let patterns = settings.patterns()?;
    let mut wanted = WantedTables::default();
    let rows = answer::rows(client, "reading the tables", &query(&patterns)).await?;
    for row in &rows {
        let (schema, name) = (row.name("schema")?, row.name("name")?);
        let is_named = patterns
            .iter()
            .any(|pattern| pattern.table.is_some() && pattern.matches(&schema, &name));
        match refusal(row)? {
            Some(why) => wanted.refused.push(RefusedTable {
                schema,
                name,
                is_named,
                why,
            }),
            None => wanted.tables.push(table(row, schema, name)?),
        }
    }
    let matched = |pattern: &TablePattern| {
        let tables = wanted.tables.iter().map(|table| (&table.schema, &table.name));
        let refused = wanted.refused.iter().map(|table| (&table.schema, &table.name));
        tables
            .chain(refused)
            .any(|(schema, name)| pattern.matches(schema, name))
    };
    wanted.unmatched = patterns
        .iter()
        .filter(|pattern| !matched(pattern))
        .cloned()
        .collect();
    Ok(wanted)
}

fn table(row: &Row, schema: String, name: String) -> Result<WantedTable> {
    Ok(WantedTable {
        oid: Oid(row.value("oid")?),
        schema,
        name,
        is_partitioned: row.text("kind") == Some("p"),
        identity: row.text("identity").map(numbers),
        access: Access {
            reads: row.is("reads"),
            owns: row.is("owns"),
            is_filtered: row.is("is_filtered"),
        },
        generated_columns: row.value("generated_columns")?,
    })
}

/// Of a text such as `1 2`, as the server writes lists of columns.
pub(super) fn numbers(text: &str) -> Vec<i16> {
    text.split(' ').filter_map(|number| number.parse().ok()).collect()
}

fn refusal(row: &Row) -> Result<Option<Refusal>> {
    Ok(match (row.text("kind"), row.text("persistence")) {
        (Some("f"), _) => Some(Refusal::Foreign),
        (Some("v" | "m"), _) => Some(Refusal::View),
        (_, Some("u")) => Some(Refusal::Unlogged),
        (_, Some("t")) => Some(Refusal::Temporary),
        _ if !row.is("has_identity") => Some(Refusal::NoIdentity),
        _ => match row.value("bare_partitions")? {
            0 => None,
            count => Some(Refusal::NoIdentityOfPartitions(count)),
        },
    })
}

/// Whether the table `alias` of `pg_class` has what identifies a row: the whole row, a primary key, or a unique index that
/// was chosen and is still there.
fn has_identity(alias: &str) -> String {
    let index = |is: &str| {
        format!(
            "EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = {alias}.oid AND i.{is} AND i.indimmediate AND \
             i.indisvalid)"
        )
    };
    format!(
        "CASE {alias}.relreplident WHEN 'f' THEN true WHEN 'd' THEN {} WHEN 'i' THEN {} ELSE false END",
        index("indisprimary"),
        index("indisreplident")
    )
}

/// The columns of that key or index, without those it only includes; NULL for the whole row.
const IDENTITY: &str = "(SELECT pg_catalog.array_to_string((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1], ' ')
                FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND CASE c.relreplident WHEN 'd' THEN i.indisprimary
                    WHEN 'i' THEN i.indisreplident ELSE false END LIMIT 1)";

/// Tables, views and foreign tables that match, but no partition of a table that matches, and none of the server's own.
fn query(patterns: &[TablePattern]) -> String {
    format!(
        "WITH matching AS (
            SELECT c.*, n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND ({})
                AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast'))
        SELECT c.oid, c.nspname AS schema, c.relname AS name, c.relkind AS kind, c.relpersistence AS persistence,
            pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE')
                AND pg_catalog.has_table_privilege(c.oid, 'SELECT') AS reads,
            pg_catalog.pg_has_role(c.relowner, 'USAGE') AS owns,
            pg_catalog.row_security_active(c.oid) AS is_filtered,
            {} AS has_identity, {IDENTITY} AS identity,
            (SELECT count(*) FROM pg_catalog.pg_partition_tree(c.oid) t JOIN pg_catalog.pg_class l ON l.oid = t.relid
                WHERE c.relkind = 'p' AND l.relkind = 'r' AND NOT {}) AS bare_partitions,
            (SELECT count(*) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
                AND NOT a.attisdropped AND a.attgenerated <> '') AS generated_columns
        FROM matching c
        WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(c.oid) a JOIN matching m ON m.oid = a.relid
            WHERE a.relid <> c.oid)
        ORDER BY c.nspname, c.relname",
        condition(patterns),
        has_identity("c"),
        has_identity("l"),
    )
}

/// That the table `c` in the schema `n` matches one of the patterns.
fn condition(patterns: &[TablePattern]) -> String {
    let each = patterns.iter().map(|pattern| {
        let schema = format!("n.nspname = {}", escape_literal(&pattern.schema));
        match &pattern.table {
            None => schema,
            Some(table) => format!("{schema} AND c.relname = {}", escape_literal(table)),
        }
    });
    each.collect::<Vec<_>>().join(" OR ")
}
