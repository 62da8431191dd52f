//! How far a copy is, and how long it will take.
//!
//! Owns counting and guessing; the figures are for people, nothing depends on them. What an earlier attempt has read is not
//! counted.

use super::plan::{Piece, Plan};
use crate::postgres::TableShape;
use crate::postgres::pgoutput::Oid;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How far it is.
#[derive(Debug)]
pub struct CopyProgress {
    pub(super) tables: Vec<TableCounters>,
    began: Instant,
}

/// How far a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableProgress {
    /// The table.
    pub table: Oid,
    /// How many pages were read.
    pub pages_done: u64,
    /// How many there are.
    pub pages_total: u64,
    /// How many rows were in them.
    pub rows: u64,
    /// About how many there will be: what the server's statistics say, else as many a page as so far. None if neither is known.
    pub rows_expected: Option<u64>,
}

/// How far a copy is, and how long it will take if it goes on like this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyEstimate {
    /// How many rows were read.
    pub rows: u64,
    /// About how many there will be.
    pub rows_expected: Option<u64>,
    /// How many were read in a second, since the beginning.
    pub rows_per_second: u64,
    /// How long until all are read. None if that cannot be said yet.
    pub left: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct TableCounters {
    pub(super) table: Oid,
    pages_total: u64,
    rows_estimated: Option<u64>,
    pub(super) pages_done: AtomicU64,
    pub(super) rows: AtomicU64,
    pub(super) pieces_left: AtomicUsize,
}

impl CopyProgress {
    pub(super) fn new(tables: &[TableShape], plan: &Plan, pieces: &[Piece]) -> Self {
        let counters = tables.iter().enumerate().map(|(place, shape)| TableCounters {
            table: shape.oid,
            pages_total: 0,
            rows_estimated: plan.rows_in(place, pieces),
            pages_done: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            pieces_left: AtomicUsize::new(0),
        });
        let mut tables: Vec<_> = counters.collect();
        for piece in pieces {
            let counters = &mut tables[piece.table];
            counters.pages_total += piece.pages;
            *counters.pieces_left.get_mut() += 1;
        }
        let began = Instant::now();
        Self { tables, began }
    }

    /// Of every table, in their order.
    pub fn tables(&self) -> Vec<TableProgress> {
        self.tables.iter().map(TableCounters::progress).collect()
    }

    /// Of all tables.
    pub fn estimate(&self) -> CopyEstimate {
        let (tables, elapsed) = (self.tables(), self.began.elapsed());
        let rows = tables.iter().map(|table| table.rows).sum();
        let seconds = elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        CopyEstimate {
            rows,
            rows_expected: tables.iter().map(|table| table.rows_expected).sum(),
            rows_per_second: (rows as f64 / seconds) as u64,
            left: missing(&tables).and_then(|missing| left(rows, missing, elapsed)),
        }
    }

    /// How long until a table will have been read, if it goes on like this: they are read in their order. None if that cannot be
    /// said yet, or the table is none of these.
    pub fn left_of(&self, table: Oid) -> Option<Duration> {
        let tables = self.tables();
        let place = tables.iter().position(|other| other.table == table)?;
        let rows = tables.iter().map(|table| table.rows).sum();
        left(rows, missing(&tables[..=place])?, self.began.elapsed())
    }
}

impl TableCounters {
    fn progress(&self) -> TableProgress {
        let (pages_done, rows) = (
            self.pages_done.load(Ordering::Relaxed),
            self.rows.load(Ordering::Relaxed),
        );
        TableProgress {
            table: self.table,
            pages_done,
            pages_total: self.pages_total,
            rows,
            rows_expected: expected(self.rows_estimated, rows, pages_done, self.pages_total),
        }
    }
}

/// About how many rows a table has of which so many were read in so many pages.
fn expected(estimated: Option<u64>, rows: u64, pages_done: u64, pages_total: u64) -> Option<u64> {
    let by_pages = || {
        let expected = u128::from(rows) * u128::from(pages_total) / u128::from(pages_done);
        u64::try_from(expected).unwrap_or(u64::MAX)
    };
    match (estimated, pages_done) {
        (_, done) if done >= pages_total => Some(rows),
        (Some(estimated), _) => Some(estimated.max(rows)),
        (None, 0) => None,
        (None, _) => Some(by_pages().max(rows)),
    }
}

/// How many rows of these tables are still to be read.
fn missing(tables: &[TableProgress]) -> Option<u64> {
    let missing = tables
        .iter()
        .map(|table| Some(table.rows_expected?.saturating_sub(table.rows)));
    missing.sum()
}

/// How long `missing` rows take if `rows` took `elapsed`.
fn left(rows: u64, missing: u64, elapsed: Duration) -> Option<Duration> {
    match (missing, rows) {
        (0, _) => Some(Duration::ZERO),
        (_, 0) => None,
        _ => Duration::try_from_secs_f64(elapsed.as_secs_f64() * missing as f64 / rows as f64).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statistics_of_the_server_are_believed_until_there_are_more_rows() {
        assert_eq!(expected(Some(1000), 10, 1, 100), Some(1000));
        assert_eq!(expected(Some(1000), 1200, 50, 100), Some(1200));
        assert_eq!(expected(Some(1000), 900, 100, 100), Some(900));
    }

    #[test]
    fn without_statistics_the_pages_tell() {
        assert_eq!(expected(None, 0, 0, 100), None);
        assert_eq!(expected(None, 50, 10, 100), Some(500));
        // Rows are counted before the pages they are in.
        assert_eq!(expected(None, u64::MAX, 10, 100), Some(u64::MAX));
        assert_eq!(expected(None, 0, 0, 0), Some(0));
    }

    #[test]
    fn what_is_left_takes_as_long_as_what_was_done() {
        let second = Duration::from_secs(1);
        assert_eq!(left(100, 300, second), Some(3 * second));
        assert_eq!(left(0, 300, second), None);
        assert_eq!(left(0, 0, second), Some(Duration::ZERO));
    }
}
