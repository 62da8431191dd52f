//! The rows of a stretch of a partition with how often each was there and is there now, and the stored form of one:
//!
//! ```text
//! where the row starts in the key (u32) ‖ how often it is there ‖ what was before it (running windows)
//! ```

use crate::operator::aggregate::{Cursor, negative, write_unsigned};
use crate::operator::ordered_rows::Change;
use arrow::array::RecordBatch;
use viewfeed_change::row::RowCodec;
use viewfeed_change::{Error, Result};

/// A row of a stretch.
pub(super) struct Entry {
    /// Group, sort key and row.
    pub(super) key: Vec<u8>,
    pub(super) row_start: usize,
    /// How often it was there before the step, and is after it.
    pub(super) counts: [u64; 2],
    /// What is stored with it.
    pub(super) stored: Vec<u8>,
}

impl Entry {
    /// A row that is stored under `key` with `value`, and what changes about it.
    pub(super) fn stored(key: &[u8], value: &[u8], change: Option<&Change<'_>>) -> Result<Self> {
        let (row_start, count, rest) = parts(value)?;
        if row_start > key.len() {
            return Err(damaged());
        }
        Ok(Self {
            key: key.to_vec(),
            row_start,
            counts: [count, changed(count, change.map_or(0, |change| change.weight))?],
            stored: rest.to_vec(),
        })
    }

    /// A row that was not there.
    pub(super) fn new(change: &Change<'_>) -> Result<Self> {
        Ok(Self {
            key: change.entry.to_vec(),
            row_start: change.cut.row_start,
            counts: [0, changed(0, change.weight)?],
            stored: Vec::new(),
        })
    }

    /// What is stored for it when `rest` is to be read again with it.
    pub(super) fn value(&self, rest: &[u8]) -> Vec<u8> {
        value(self.row_start, self.counts[1], rest)
    }

    pub(super) fn is_changed(&self) -> bool {
        self.counts[0] != self.counts[1]
    }
}

/// The rows of `entries`, each once.
pub(super) fn rows<'a>(entries: impl Iterator<Item = &'a Entry>, codec: &RowCodec) -> Result<RecordBatch> {
    codec.decode(entries.map(|entry| &entry.key[entry.row_start..]))
}

/// The stored form.
pub(super) fn value(row_start: usize, count: u64, rest: &[u8]) -> Vec<u8> {
    let mut value = (row_start as u32).to_be_bytes().to_vec();
    write_unsigned(count, &mut value);
    value.extend(rest);
    value
}

/// How often a stored row is there.
pub(super) fn count(value: &[u8]) -> Result<u64> {
    Ok(parts(value)?.1)
}

/// `count` with `weight` added. Fails if more is taken away than was there.
pub(super) fn changed(count: u64, weight: i64) -> Result<u64> {
    count.checked_add_signed(weight).ok_or_else(negative)
}

fn parts(value: &[u8]) -> Result<(usize, u64, &[u8])> {
    let mut input = Cursor(value);
    let row_start = u32::from_be_bytes(input.array()?);
    let count = input.unsigned()?;
    Ok((row_start as usize, count, input.0))
}

fn damaged() -> Error {
    Error::corrupt("the stored state of a window is damaged")
}
