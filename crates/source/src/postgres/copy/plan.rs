//! Which pieces the tables are read in.

use super::pages::{PageRange, ReadPages};
use crate::postgres::pgoutput::Oid;
use crate::postgres::{TableShape, failure};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio_postgres::Client;
use viewfeed_change::{Error, ErrorKind, Result};

/// From which version on a range of pages can be read without reading the others (`server_version_num`).
const RANGES_FROM: i32 = 140_000;

/// A part of a table that one worker reads.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// The table's place.
    pub(super) table: usize,
    /// What of it. None if there is nothing to read.
    pub(super) part: Option<PartPages>,
    /// How many pages there were when this was planned.
    pub(super) pages: u64,
}

/// Pages of a table.
#[derive(Clone, Debug)]
pub(super) struct PartPages {
    /// The table itself or a partition, as SQL names it.
    pub(super) name: Arc<str>,
    /// The pages. To the greatest number means all that follow.
    pub(super) range: PageRange,
}

/// A table without partitions, or a partition.
struct Part {
    /// The table's place.
    table: usize,
    oid: Oid,
    /// `relfilenode`.
    file: u32,
    name: Arc<str>,
    pages: u32,
    /// How many rows it has, about, if the server has counted them.
    rows: Option<u64>,
}

/// What the tables consist of.
pub(super) struct Plan {
    parts: Vec<Part>,
    /// The pages of a piece.
    piece_pages: u32,
}

/// The pieces that nobody has taken yet.
pub(super) struct Queue {
    pieces: Vec<Piece>,
    next: AtomicUsize,
}

impl Queue {
    pub(super) fn new(pieces: Vec<Piece>) -> Self {
        let next = AtomicUsize::new(0);
        Self { pieces, next }
    }

    pub(super) fn take(&self) -> Option<&Piece> {
        self.pieces.get(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// A table without partitions, or a partition, and how large it is. `$1` are the tables.
const PARTS: &str = "
    SELECT t.place - 1 AS place, p.oid AS oid, p.relfilenode AS file, p.oid::regclass::text AS name,
        pg_relation_size(p.oid) / current_setting('block_size')::int8 AS pages,
        CASE WHEN p.relpages > 0 AND p.reltuples >= 0 THEN p.reltuples / p.relpages
            * (pg_relation_size(p.oid) / current_setting('block_size')::int8) END::int8 AS rows,
        p.relfilenode IS DISTINCT FROM pg_relation_filenode(p.oid) AS is_rewritten,
        current_setting('server_version_num')::int4 AS version
    FROM unnest($1::oid[]) WITH ORDINALITY AS t (oid, place)
    JOIN pg_class p ON p.relkind = 'r'
        AND (p.oid = t.oid OR p.oid IN (SELECT l.relid FROM pg_partition_tree(t.oid) l WHERE l.isleaf))
    ORDER BY t.place, p.oid";

/// Locks the tables against being written anew, by the transaction of `client`, and cuts them into pieces.
///
/// ALTER TABLE that writes a table anew leaves it empty for older snapshots ("Caveats" of MVCC in the Postgres
/// documentation), and pages in two files do not add up: so the file must be the one of the snapshot, and stay.
pub(super) async fn plan(client: &Client, tables: &[TableShape], piece_pages: u32) -> Result<Plan> {
    let oids: Vec<u32> = tables.iter().map(|table| table.oid.0).collect();
    let failed = |error| failure::of_client("locking the tables of the snapshot", &error);
    let before = names(client, &oids).await?;
    if !before.is_empty() {
        let lock = format!("LOCK TABLE {} IN ACCESS SHARE MODE", before.join(", "));
        client.batch_execute(&lock).await.map_err(failed)?;
    }
    // A name may have come to mean another table before it was locked.
    if names(client, &oids).await? != before {
        return Err(changed("a table was renamed while it was locked"));
    }
    let rows = client.query(PARTS, &[&oids]).await.map_err(failed)?;
    let mut plan = Plan {
        parts: Vec::with_capacity(rows.len()),
        piece_pages: piece_pages.max(1),
    };
    for row in &rows {
        if row.get("is_rewritten") {
            let name: &str = row.get("name");
            return Err(changed(&format!(
                "{name} was written anew after the snapshot was taken"
            )));
        }
        if row.get::<_, i32>("version") < RANGES_FROM {
            plan.piece_pages = u32::MAX;
        }
        let rows = row.get::<_, Option<i64>>("rows");
        plan.parts.push(Part {
            table: row.get::<_, i64>("place") as usize,
            oid: Oid(row.get("oid")),
            file: row.get("file"),
            name: row.get::<_, &str>("name").into(),
            // A relation has less than 2^32 pages.
            pages: u32::try_from(row.get::<_, i64>("pages")).unwrap_or(u32::MAX),
            rows: rows.and_then(|rows| u64::try_from(rows).ok()),
        });
    }
    Ok(plan)
}

impl Plan {
    /// Whether what was read of a table lies in the files it has now.
    pub(super) fn has_files_of(&self, table: usize, read: &ReadPages) -> bool {
        let parts = self.parts.iter().filter(|part| part.table == table);
        let files: Vec<_> = parts.map(|part| (part.oid, part.file)).collect();
        read.is_in(&files)
    }

    /// The pieces, in the order of the tables, without what was `read` of each.
    pub(super) fn pieces(&self, read: &[ReadPages]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for part in &self.parts {
            for (from, to) in read[part.table].left_of(part.oid, 0, u32::MAX) {
                part.cut(from, to, self.piece_pages, &mut pieces);
            }
        }
        add_empty(read.len(), &mut pieces);
        pieces
    }

    /// About how many rows are in `pieces` of a table, if the server has counted its rows.
    pub(super) fn rows_in(&self, table: usize, pieces: &[Piece]) -> Option<u64> {
        let parts = || self.parts.iter().filter(|part| part.table == table);
        let rows: u64 = parts().map(|part| part.rows).sum::<Option<u64>>()?;
        let pages: u64 = parts().map(|part| u64::from(part.pages)).sum();
        let left = pieces.iter().filter(|piece| piece.table == table);
        let left: u64 = left.map(|piece| piece.pages).sum();
        let rows = u128::from(rows) * u128::from(left) / u128::from(pages.max(1));
        Some(u64::try_from(rows).unwrap_or(u64::MAX))
    }
}

impl Part {
    /// The pages `from..to` in pieces.
    fn cut(&self, mut from: u32, to: u32, piece_pages: u32, pieces: &mut Vec<Piece>) {
        // Pages that come later hold no row of the snapshot, but to look does not harm: the last piece reads them too.
        let known = match to {
            u32::MAX => self.pages,
            to => to,
        };
        loop {
            let end = from.saturating_add(piece_pages);
            let is_last = end >= known;
            let end = if is_last { to } else { end };
            let range = PageRange {
                part: self.oid,
                file: self.file,
                from,
                to: end,
            };
            pieces.push(Piece {
                table: self.table,
                part: Some(PartPages {
                    name: self.name.clone(),
                    range,
                }),
                pages: u64::from(end.min(known).saturating_sub(from)),
            });
            if is_last {
                return;
            }
            from = end;
        }
    }
}

/// A partitioned table without partitions, and one that was read before, have nothing to read, but are to be finished.
fn add_empty(tables: usize, pieces: &mut Vec<Piece>) {
    let mut is_cut = vec![false; tables];
    for piece in pieces.iter() {
        is_cut[piece.table] = true;
    }
    let uncut = (0..tables).filter(|table| !is_cut[*table]);
    pieces.extend(uncut.map(|table| Piece {
        table,
        part: None,
        pages: 0,
    }));
}

/// How the tables are called now, in their order: names come from what the server knows, not from the snapshot.
async fn names(client: &Client, oids: &[u32]) -> Result<Vec<String>> {
    let named = "SELECT t.oid::regclass::text FROM unnest($1::oid[]) WITH ORDINALITY AS t (oid, place) ORDER BY t.place";
    let rows = client.query(named, &[&oids]).await;
    let rows = rows.map_err(|error| failure::of_client("naming the tables of the snapshot", &error))?;
    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    // What is no table has no name but its number, which a name is never without quotes.
    match names
        .iter()
        .any(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    {
        true => Err(changed("a table was dropped after the snapshot was taken")),
        false => Ok(names),
    }
}

fn changed(why: &str) -> Error {
    Error::new(ErrorKind::Conflict, "TABLE_REWRITTEN", why)
        .hint("read the tables' shapes anew, take a new snapshot and copy again")
}
