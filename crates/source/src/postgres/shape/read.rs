//! Shapes from the server's catalog: which tables there are, which cannot be had and why.

use super::{ColumnShape, RowsVersion, TableShape, table_versions};
use crate::postgres::pgoutput::{Oid, ReplicaIdentity};
use crate::postgres::settings::{parse_columns, quoted};
use crate::postgres::value::{PostgresTypes, ValueType, sql_name};
use crate::postgres::{TablePattern, failure};
use tokio_postgres::{Client, Row};
use viewfeed_change::{Error, Result};

/// From which version on publications have column lists and row filters (`server_version_num`).
const COLUMN_LISTS_FROM: i32 = 150_000;
/// From which version on generated columns may be published.
const GENERATED_FROM: i32 = 180_000;

/// Which tables are asked for.
#[derive(Clone, Copy, Debug)]
pub enum Tables<'a> {
    /// Those of this publication: if it publishes by way of partition roots, the roots, else the partitions.
    Publication(&'a str),
    /// Those that these patterns (`schema.table`, `schema.*`) name. Of a partitioned table and its partitions only the
    /// former.
    Matching(&'a [String]),
}

/// What there is.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The tables that can be had, by schema and name.
    pub tables: Vec<TableShape>,
    /// Those that cannot.
    pub refused: Vec<Refused>,
    /// Patterns and names of columns that name nothing.
    pub unmatched: Vec<String>,
}

/// A table that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// `schema.table`.
    pub table: String,
    /// Why, for people.
    pub why: String,
    /// What to do about it, as SQL where possible.
    pub fix: String,
}

/// The tables as the catalog shows them now. `text_columns` are read as text whatever their type. A session that shows
/// values in the usual style (`datestyle = ISO` and so on) is assumed, for constants that columns were added with.
pub async fn read_shapes(client: &Client, tables: Tables<'_>, text_columns: &[String]) -> Result<Found> {
    let text_columns = parse_columns(&text_columns.join(", "))?;
    let (rows, patterns) = catalog(client, tables).await?;
    let types = PostgresTypes::read(client, rows.iter().filter_map(|row| row.get("type"))).await?;
    let mut found = Found::default();
    for rows in rows.chunk_by(|a, b| a.get::<_, u32>("oid") == b.get::<_, u32>("oid")) {
        match shape(rows, &types, &text_columns) {
            Ok(table) => found.tables.push(table),
            Err(refused) => found.refused.push(refused),
        }
    }
    let versions = table_versions(client, found.tables.iter().map(|table| table.oid)).await?;
    for table in &mut found.tables {
        table.rows = versions
            .get(&table.oid)
            .map(|version| version.rows)
            .unwrap_or_default();
    }
    found.unmatched = unmatched(&rows, &patterns, &text_columns);
    Ok(found)
}

/// What was asked for and is not there.
fn unmatched(rows: &[Row], patterns: &[(&str, TablePattern)], text_columns: &[[String; 3]]) -> Vec<String> {
    let matches = |pattern: &TablePattern| {
        let mut tables = rows.iter().map(|row| (row.get("schema"), row.get("name")));
        tables.any(|(schema, name)| pattern.matches(schema, name))
    };
    let is_there = |[schema, table, column]: &&[String; 3]| {
        rows.iter().any(|row| {
            (row.get("schema"), row.get("name"), row.get("column"))
                == (schema.as_str(), table.as_str(), Some(column.as_str()))
        })
    };
    let patterns = patterns.iter().filter(|(_, pattern)| !matches(pattern));
    let columns = text_columns.iter().filter(|column| !is_there(column));
    let written = |names: &[String; 3]| names.each_ref().map(|name| quoted(name)).join(".");
    patterns
        .map(|(text, _)| (*text).to_owned())
        .chain(columns.map(written))
        .collect()
}

/// A row for every column of every table; and the patterns asked for.
async fn catalog<'a>(
    client: &Client,
    tables: Tables<'a>,
) -> Result<(Vec<Row>, Vec<(&'a str, TablePattern)>)> {
    let failed = |error| failure::of_client("reading the catalog", &error);
    let version = client
        .query_one("SELECT current_setting('server_version_num')::int4", &[])
        .await
        .map_err(failed)?
        .get(0);
    match tables {
        Tables::Publication(name) => {
            let rows = client
                .query(&statement(&published(version), version), &[&name])
                .await
                .map_err(failed)?;
            if rows.is_empty() {
                publication_exists(client, name).await?;
            }
            Ok((rows, Vec::new()))
        }
        Tables::Matching(patterns) => {
            let patterns = patterns
                .iter()
                .map(|text| Ok((&**text, TablePattern::parse(text)?)))
                .collect::<Result<Vec<_>>>()?;
            let schemas: Vec<_> = patterns
                .iter()
                .map(|(_, pattern)| pattern.schema.clone())
                .collect();
            let names: Vec<_> = patterns
                .iter()
                .map(|(_, pattern)| pattern.table.clone())
                .collect();
            let rows = client
                .query(&statement(MATCHING, version), &[&schemas, &names])
                .await;
            Ok((rows.map_err(failed)?, patterns))
        }
    }
}

async fn publication_exists(client: &Client, name: &str) -> Result<()> {
    let rows = client
        .query("SELECT FROM pg_publication WHERE pubname = $1", &[&name])
        .await
        .map_err(|error| failure::of_client("reading the catalog", &error))?;
    if rows.is_empty() {
        let message = format!("there is no publication \"{name}\" in this database");
        return Err(Error::not_found("NO_PUBLICATION", message)
            .hint(format!("CREATE PUBLICATION {} FOR TABLE …", sql_name(name))));
    }
    Ok(())
}

/// `chosen` for a publication.
fn published(version: i32) -> String {
    let lists = match version {
        COLUMN_LISTS_FROM.. => "p.attnames::text[], p.rowfilter",
        _ => "NULL::text[], NULL::text",
    };
    format!(
        "SELECT c.oid, {lists} FROM pg_publication_tables p
         JOIN pg_namespace n ON n.nspname = p.schemaname
         JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename
         WHERE p.pubname = $1"
    )
}

/// `chosen` for patterns.
const MATCHING: &str = "
    SELECT m.oid, NULL::text[], NULL::text FROM matching m
    WHERE NOT EXISTS (
        SELECT FROM pg_partition_ancestors(m.oid) a JOIN matching o ON o.oid = a.relid WHERE a.relid <> m.oid
    )";

/// What is asked of the tables that the query `chosen` gives, with the names of their published columns and their row filter.
fn statement(chosen: &str, version: i32) -> String {
    let matching = match chosen {
        MATCHING => {
            "matching AS (
                SELECT DISTINCT c.oid FROM unnest($1::text[], $2::text[]) AS w (schema, name)
                JOIN pg_namespace n ON n.nspname = w.schema
                JOIN pg_class c ON c.relnamespace = n.oid
                    AND (c.relname = w.name OR w.name IS NULL AND c.relkind IN ('r', 'p', 'f'))
                WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm')
            ),"
        }
        _ => "",
    };
    let generated = match version {
        GENERATED_FROM.. => "(a.attgenerated = '' OR chosen.names IS NOT NULL)",
        _ => "a.attgenerated = ''",
    };
    format!(
        "WITH {matching} chosen (oid, names, row_filter) AS ({chosen})
        SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
            c.relpersistence::text AS persistence, c.relreplident::text AS identity, c.relnatts AS last_number,
            chosen.row_filter, {KEY} AS key, {ODD_PARTITION} AS odd_partition,
            a.attnum AS number, a.attname::text AS column, a.atttypid AS type, a.atttypmod AS modifier
        FROM chosen JOIN pg_class c ON c.oid = chosen.oid JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND {generated}
            AND (chosen.names IS NULL OR a.attname = ANY (chosen.names))
        ORDER BY n.nspname, c.relname, a.attnum"
    )
}

/// The columns of the index that identifies rows. One that is checked only at the commit does not.
const KEY: &str = "(
    SELECT (i.indkey::int2[])[0:i.indnkeyatts - 1] FROM pg_index i
    WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
        AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END
    LIMIT 1)";

/// A partition that is not replicated, or not with the identity that its root promises.
const ODD_PARTITION: &str = "(
    SELECT l.oid::regclass::text FROM pg_partition_tree(c.oid) p JOIN pg_class l ON l.oid = p.relid
    WHERE p.isleaf AND l.oid <> c.oid
        AND (l.relkind <> 'r' OR l.relpersistence <> 'p' OR l.relreplident NOT IN ('f', c.relreplident))
    ORDER BY 1 LIMIT 1)";

/// The table that `rows`, its columns, describe.
fn shape(rows: &[Row], types: &PostgresTypes, text_columns: &[[String; 3]]) -> Result<TableShape, Refused> {
    let table = &rows[0];
    let (schema, name): (String, String) = (table.get("schema"), table.get("name"));
    let identity = match table.get::<_, &str>("identity") {
        "f" => ReplicaIdentity::Full,
        "i" => ReplicaIdentity::Index,
        "n" => ReplicaIdentity::Nothing,
        _ => ReplicaIdentity::Default,
    };
    // A table without columns has one row, and no column in it.
    let columns = rows
        .iter()
        .filter(|row| row.get::<_, Option<i16>>("number").is_some());
    let mut columns: Vec<_> = columns
        .map(|row| {
            let names = [schema.as_str(), name.as_str(), row.get("column")];
            let is_text = text_columns.iter().any(|text| *text == names);
            column(row, types, is_text)
        })
        .collect();
    let key: Vec<i16> = table.get::<_, Option<_>>("key").unwrap_or_default();
    let is_published = |number: &i16| columns.iter().any(|column| column.number == *number);
    let is_whole = key.iter().all(is_published);
    if let Some((why, fix)) = refusal(table, identity, !key.is_empty(), is_whole) {
        let table = format!("{schema}.{name}");
        return Err(Refused { table, why, fix });
    }
    for column in &mut columns {
        column.is_key = is_whole && key.contains(&column.number);
    }
    Ok(TableShape {
        oid: Oid(table.get("oid")),
        identity,
        columns,
        last_number: table.get("last_number"),
        row_filter: table.get("row_filter"),
        rows: RowsVersion::default(),
        schema,
        name,
    })
}

fn column(row: &Row, types: &PostgresTypes, is_text: bool) -> ColumnShape {
    let (type_oid, type_modifier) = (row.get("type"), row.get("modifier"));
    let value = match is_text {
        true => ValueType::Text,
        false => types.value(type_oid, type_modifier),
    };
    ColumnShape {
        number: row.get("number"),
        name: row.get("column"),
        type_oid: Oid(type_oid),
        type_modifier,
        value,
        is_key: false,
    }
}

/// Why this table cannot be had, and what to do.
fn refusal(
    table: &Row,
    identity: ReplicaIdentity,
    has_key: bool,
    is_whole: bool,
) -> Option<(String, String)> {
    let (schema, name): (&str, &str) = (table.get("schema"), table.get("name"));
    let alter = format!("ALTER TABLE {}.{}", sql_name(schema), sql_name(name));
    if let Some((why, fix)) = no_log(table.get("kind"), table.get("persistence")) {
        return Some((why.to_owned(), fix.replace("{alter}", &alter)));
    }
    if let Some(partition) = table.get::<_, Option<&str>>("odd_partition") {
        return Some((
            format!(
                "its partition {partition} is not logged, or has another replica identity than the table"
            ),
            // The whole row goes with every identity of the table.
            format!("ALTER TABLE {partition} SET LOGGED, REPLICA IDENTITY FULL"),
        ));
    }
    let (why, fix) = no_identity(identity, has_key, is_whole)?;
    Some((why.to_owned(), fix.replace("{alter}", &alter)))
}

/// Of relations whose changes are not in the log.
fn no_log(kind: &str, persistence: &str) -> Option<(&'static str, &'static str)> {
    match (kind, persistence) {
        ("v" | "m", _) => Some((
            "it is a view: Postgres sends changes of tables only",
            "name the tables that it reads, and make the view here",
        )),
        ("f", _) => Some((
            "it is a foreign table: its changes are not in this server's log",
            "make a source of the server that holds it",
        )),
        (_, "u") => Some(("it is unlogged: its changes are not logged", "{alter} SET LOGGED")),
        (_, "t") => Some((
            "it is temporary: others cannot see it",
            "make it an ordinary table",
        )),
        _ => None,
    }
}

/// Of tables whose changes do not say which row it was.
fn no_identity(
    identity: ReplicaIdentity,
    has_key: bool,
    is_whole: bool,
) -> Option<(&'static str, &'static str)> {
    let silent = "its replica identity is NOTHING: which rows change is not sent";
    match identity {
        ReplicaIdentity::Full => None,
        ReplicaIdentity::Nothing if has_key => Some((silent, "{alter} REPLICA IDENTITY DEFAULT")),
        ReplicaIdentity::Nothing => Some((silent, "{alter} REPLICA IDENTITY FULL")),
        ReplicaIdentity::Default if !has_key => Some((
            "it has no primary key (or one that is deferrable): which rows change is not sent",
            "{alter} ADD PRIMARY KEY (…), or {alter} REPLICA IDENTITY FULL",
        )),
        ReplicaIdentity::Index if !has_key => Some((
            "the index of its replica identity is gone: which rows change is not sent",
            "{alter} REPLICA IDENTITY FULL",
        )),
        ReplicaIdentity::Default | ReplicaIdentity::Index if !is_whole => Some((
            "the publication leaves out columns of its key",
            "name the columns of the key in the publication's column list too",
        )),
        ReplicaIdentity::Default | ReplicaIdentity::Index => None,
    }
}
