//! Rows put together from the columns of others.

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::interleave;
use viewfeed_change::{Relation, Result};

/// Where a row, or a value of it, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the row that was there before, by number.
    Old(u32),
    /// In the row that was sent, by number.
    New(u32),
}

/// The values at `places(column)` for every column of `table`.
pub(super) fn gather(
    table: &Relation,
    old: &RecordBatch,
    new: &RecordBatch,
    places: impl Fn(usize) -> Vec<Place>,
) -> Result<RecordBatch> {
    let column = |at: usize| -> Result<ArrayRef> {
        let places: Vec<(usize, usize)> = places(at).into_iter().map(Place::pair).collect();
        let arrays: [&dyn Array; 2] = [old.column(at).as_ref(), new.column(at).as_ref()];
        Ok(interleave(&arrays, &places)?)
    };
    let columns = (0..table.columns.len()).map(column).collect::<Result<_>>()?;
    Ok(RecordBatch::try_new(table.schema(), columns)?)
}

impl Place {
    /// Which of the two batches, and which row of it.
    fn pair(self) -> (usize, usize) {
        match self {
            Self::Old(row) => (0, row as usize),
            Self::New(row) => (1, row as usize),
        }
    }
}
