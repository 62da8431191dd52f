//! What a Postgres transaction did, in columns: the form in which it is handed to the loop.

use super::pgoutput::{Oid, Xid};
use super::{Lsn, TableShape};
use arrow::array::{RecordBatch, RecordBatchOptions};
use std::collections::BTreeMap;
use std::sync::Arc;
use viewfeed_change::{Result, Timestamp};

/// A committed transaction, whole.
#[derive(Clone, Debug)]
pub struct SourceTransaction {
    /// Its number at the server.
    pub xid: Xid,
    /// Where its commit record begins: a snapshot holds it if its own point is beyond.
    pub commit: Lsn,
    /// Where its commit record ends: the source's position after it.
    pub end: Lsn,
    /// When it was committed at the server.
    pub time: Timestamp,
    /// What it did, in order.
    pub events: Vec<TableEvent>,
    /// More of it follows, in the same work or the next piece of it.
    pub is_continued: bool,
}

/// Something that happened to a table.
#[derive(Clone, Debug)]
pub enum TableEvent {
    /// Its rows changed.
    Rows {
        /// The table.
        table: Oid,
        /// The columns of the rows, some of which the server may not have any more.
        shape: Arc<TableShape>,
        /// How.
        changes: RowChanges,
    },
    /// All rows of these tables went.
    Truncate {
        /// The tables.
        tables: Vec<Oid>,
    },
    /// From here on the table looks like this.
    Shape(TableShape),
    /// Its rows looked different when they changed: what happened to them in this transaction is not known.
    Missed {
        /// The table.
        table: Oid,
        /// But for the columns that it had before, in which they follow all the same.
        has_earlier_columns: bool,
    },
    /// From here on its changes cannot be followed.
    Unreadable {
        /// The table.
        table: Oid,
        /// Why, and what to do.
        why: String,
    },
}

/// Changes of the rows of one table, in order. Columns are those of the table's shape, all of them nullable.
#[derive(Clone, Debug)]
pub struct RowChanges {
    /// What was done, one after another.
    pub operations: Vec<RowChange>,
    /// The new rows: one for each insert and update, in order.
    pub new: RecordBatch,
    /// The old rows: one for each operation that comes with one, in order. A [`OldImage::Key`] has NULL in the other columns.
    pub old: RecordBatch,
    /// For rows of `new` (by place): the columns that were not sent, because they are large and did not change. Such a
    /// column is NULL in `new` and means nothing there.
    pub unchanged: BTreeMap<u32, Vec<u16>>,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// The next row of `new` came.
    Insert,
    /// A row became the next row of `new`.
    Update(OldImage),
    /// A row went.
    Delete(OldImage),
}

/// How an operation says which row it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldImage {
    /// Not at all: it has the key of the new row.
    None,
    /// By the key columns of the next row of `old`.
    Key,
    /// By the whole next row of `old`.
    Full,
}

impl RowChanges {
    /// The same in pieces of at most `operations_max` operations. Rows are shared, not copied.
    pub fn pieces(&self, operations_max: usize) -> Vec<Self> {
        let (whole, step) = (self.operations.len(), operations_max.max(1));
        let ends = (0..whole).step_by(step).map(|start| (start + step).min(whole));
        self.cut(ends)
    }

    /// The same in the columns of `shape`, which are at these places.
    pub(super) fn in_columns(&self, places: &[usize], shape: &TableShape) -> Result<Self> {
        let schema = shape.row_schema();
        let rows = |rows: &RecordBatch| {
            let columns = places.iter().map(|place| rows.column(*place).clone()).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
            RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        };
        let place_of = |column: &u16| places.iter().position(|place| *place == usize::from(*column));
        let unchanged = self.unchanged.iter().map(|(row, columns)| {
            let columns = columns.iter().filter_map(place_of).map(|place| place as u16);
            (*row, columns.collect::<Vec<u16>>())
        });
        Ok(Self {
            operations: self.operations.clone(),
            new: rows(&self.new)?,
            old: rows(&self.old)?,
            unchanged: unchanged.filter(|(_, columns)| !columns.is_empty()).collect(),
        })
    }

    /// The pieces that end before the operations with these numbers. Rows are shared, not copied.
    pub fn cut(&self, ends: impl Iterator<Item = usize>) -> Vec<Self> {
        let (mut start, mut new_row, mut old_row) = (0, 0, 0);
        let piece = |end: usize| {
            let operations = &self.operations[start..end];
            let new = operations.iter().filter(|operation| operation.has_new()).count();
            let old = operations.iter().filter(|operation| operation.has_old()).count();
            let unchanged = self.unchanged.range(new_row as u32..(new_row + new) as u32);
            let unchanged = unchanged.map(|(row, columns)| (row - new_row as u32, columns.clone()));
            let piece = Self {
                operations: operations.to_vec(),
                new: self.new.slice(new_row, new),
                old: self.old.slice(old_row, old),
                unchanged: unchanged.collect(),
            };
            (start, new_row, old_row) = (end, new_row + new, old_row + old);
            piece
        };
        ends.map(piece).collect()
    }
}

impl RowChange {
    /// Whether it comes with a row of `new`.
    pub fn has_new(self) -> bool {
        !matches!(self, Self::Delete(_))
    }

    /// Whether it comes with a row of `old`.
    pub fn has_old(self) -> bool {
        match self {
            Self::Insert => false,
            Self::Update(image) | Self::Delete(image) => image != OldImage::None,
        }
    }
}

impl SourceTransaction {
    /// Whether it changes more than rows.
    pub fn changes_tables(&self) -> bool {
        let is_change =
            |event: &TableEvent| !matches!(event, TableEvent::Rows { .. } | TableEvent::Truncate { .. });
        self.events.iter().any(is_change)
    }

    /// How many operations it has.
    pub fn rows(&self) -> usize {
        self.events.iter().map(TableEvent::rows).sum()
    }

    /// Takes its first events away, as many as have about `rows_max` operations, at least one; None if that is all of it, or
    /// if it changes more than rows: what a table looks like holds for the whole transaction.
    pub fn split_off_first(&mut self, rows_max: usize) -> Option<Self> {
        if self.changes_tables() {
            return None;
        }
        let mut rows = 0;
        let is_within = |event: &TableEvent| {
            let before = rows;
            rows += event.rows();
            before == 0 || rows <= rows_max
        };
        let first = self
            .events
            .iter()
            .map(is_within)
            .take_while(|is_within| *is_within);
        let count = first.count();
        if count == self.events.len() {
            return None;
        }
        let rest = self.events.split_off(count);
        Some(Self {
            events: std::mem::replace(&mut self.events, rest),
            is_continued: true,
            ..*self
        })
    }
}

impl TableEvent {
    /// How many operations it is.
    pub fn rows(&self) -> usize {
        match self {
            Self::Rows { changes, .. } => changes.operations.len(),
            _ => 1,
        }
    }
}
