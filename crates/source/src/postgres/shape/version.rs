//! Which version of its rows a table has: asked often, so one look at the catalog serves all tables.

use crate::postgres::answer::{self, Row};
use crate::postgres::pgoutput::Oid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tokio_postgres::Client;
use viewfeed_change::Result;

/// What tells whether a change of columns has written the rows anew, with other values maybe: it gives the columns another
/// version and the rows another file. VACUUM FULL, CLUSTER and TRUNCATE give them another file only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsVersion {
    /// A hash of the catalog's versions of the columns (`xmin`): every ALTER TABLE of one writes its row there anew.
    pub columns: i64,
    /// A hash of the files that are not the first ones of their tables or partitions: so it stays when a partition comes.
    pub files: i64,
}

/// What the catalog says of a table now.
#[derive(Clone, Copy, Debug)]
pub(in crate::postgres) struct TableVersion {
    /// The highest number that a column ever had.
    pub(in crate::postgres) last_number: i16,
    pub(in crate::postgres) rows: RowsVersion,
}

impl RowsVersion {
    /// Whether a change of columns has written the rows anew since. Not if this version is not known.
    pub fn is_rewritten(self, later: Self) -> bool {
        self != Self::default() && self.columns != later.columns && self.files != later.files
    }
}

/// Of each of `tables` that is there. A new table's file has the table's own number.
pub(in crate::postgres) async fn table_versions(
    client: &Client,
    tables: impl Iterator<Item = Oid>,
) -> Result<BTreeMap<Oid, TableVersion>> {
    let oids: Vec<String> = tables.map(|oid| oid.0.to_string()).collect();
    let oids = format!("'{{{}}}'::oid[]", oids.join(","));
    let versions = format!(
        "SELECT c.oid, c.relnatts, coalesce(hashtextextended(a.versions, 0), 0) AS columns,
            coalesce(hashtextextended(f.files, 0), 0) AS files
        FROM pg_catalog.pg_class c
        LEFT JOIN (
            SELECT attrelid, string_agg(attnum || ' ' || xmin, ',' ORDER BY attnum) AS versions
            FROM pg_catalog.pg_attribute WHERE attnum > 0 AND attrelid = ANY ({oids}) GROUP BY attrelid
        ) a ON a.attrelid = c.oid
        LEFT JOIN (
            SELECT root, string_agg(p.oid || ' ' || p.relfilenode, ',' ORDER BY p.oid) AS files
            FROM (
                SELECT oid, oid FROM unnest({oids}) AS t (oid)
                UNION SELECT r.oid, p.relid::oid
                FROM pg_catalog.pg_class r, pg_catalog.pg_partition_tree(r.oid) p
                WHERE r.relkind = 'p' AND r.oid = ANY ({oids})
            ) AS parts (root, part)
            JOIN pg_catalog.pg_class p ON p.oid = parts.part WHERE p.relfilenode <> p.oid GROUP BY root
        ) f ON f.root = c.oid
        WHERE c.oid = ANY ({oids})"
    );
    let rows = answer::rows(client, "looking whether tables were written anew", &versions).await?;
    rows.iter()
        .map(|row| Ok((Oid(row.value("oid")?), version(row)?)))
        .collect()
}

fn version(row: &Row) -> Result<TableVersion> {
    Ok(TableVersion {
        last_number: row.value("relnatts")?,
        rows: RowsVersion {
            columns: row.value("columns")?,
            files: row.value("files")?,
        },
    })
}
