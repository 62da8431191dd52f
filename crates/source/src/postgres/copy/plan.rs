//! Which pieces the tables are read in.

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
    /// The table itself or a partition, as SQL names it. None if there is nothing to read.
    pub(super) part: Option<Arc<str>>,
    /// The first page.
    pub(super) from: u32,
    /// The page behind the last; none for all that follow.
    pub(super) to: Option<u32>,
    /// How many pages that are.
    pub(super) pages: u64,
}

/// How tables are read.
pub(super) struct Plan {
    /// The pieces, in the order of the tables.
    pub(super) pieces: Vec<Piece>,
    /// About how many rows each table has, if the server has counted them.
    pub(super) rows: Vec<Option<u64>>,
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
    SELECT t.place - 1 AS place, p.oid::regclass::text AS name,
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
    let mut pieces = Vec::new();
    let mut counts: Vec<Option<u64>> = vec![Some(0); tables.len()];
    for row in &rows {
        if row.get("is_rewritten") {
            let name: &str = row.get("name");
            return Err(changed(&format!(
                "{name} was written anew after the snapshot was taken"
            )));
        }
        let piece_pages = match row.get::<_, i32>("version") {
            RANGES_FROM.. => piece_pages.max(1),
            _ => u32::MAX,
        };
        let place = row.get::<_, i64>("place") as usize;
        let count = row
            .get::<_, Option<i64>>("rows")
            .and_then(|rows| u64::try_from(rows).ok());
        counts[place] = counts[place]
            .zip(count)
            .map(|(all, count)| all.saturating_add(count));
        cut(place, row.get("name"), row.get("pages"), piece_pages, &mut pieces);
    }
    add_empty(tables.len(), &mut pieces);
    Ok(Plan { pieces, rows: counts })
}

/// A partitioned table without partitions has nothing to read, but is to be finished.
fn add_empty(tables: usize, pieces: &mut Vec<Piece>) {
    let mut is_cut = vec![false; tables];
    for piece in pieces.iter() {
        is_cut[piece.table] = true;
    }
    let uncut = (0..tables).filter(|table| !is_cut[*table]);
    pieces.extend(uncut.map(|table| Piece {
        table,
        part: None,
        from: 0,
        to: None,
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

fn cut(table: usize, part: &str, pages: i64, piece_pages: u32, pieces: &mut Vec<Piece>) {
    let part: Arc<str> = part.into();
    // A relation has less than 2^32 pages.
    let pages = u32::try_from(pages).unwrap_or(u32::MAX);
    let mut from = 0_u32;
    loop {
        let end = from.saturating_add(piece_pages);
        let is_last = end >= pages;
        pieces.push(Piece {
            table,
            part: Some(part.clone()),
            from,
            // Pages that come later hold no row of the snapshot, but to look does not harm.
            to: (!is_last).then_some(end),
            pages: u64::from(end.min(pages).saturating_sub(from)),
        });
        if is_last {
            return;
        }
        from = end;
    }
}

fn changed(why: &str) -> Error {
    Error::new(ErrorKind::Conflict, "TABLE_REWRITTEN", why)
        .hint("read the tables' shapes anew, take a new snapshot and copy again")
}
