//! NOT IN with NULLs, as DataFusion's hash join has it (`null_aware`): nothing is not in a set with NULL, NULL is not in
//! the empty set only, and everything is not in the empty set. So beside the counts by key there are two more: of the
//! right side's rows, and of those whose key is NULL.

use super::super::aggregate::{bytes_of, count_of, negative};
use super::side::Side;
use viewfeed_change::{Batch, Result};
use viewfeed_store::{Reader, Txn};

/// How many rows the other side has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Others {
    rows: i64,
    null_keys: i64,
}

/// Which kept rows it concerns that [`Others`] changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Concerned {
    None,
    /// Those with a NULL key.
    NullKeys,
    All,
}

impl Others {
    /// As stored under `prefix`.
    pub(super) fn read(prefix: &[u8], reader: &Reader) -> Result<Self> {
        let count = |place| {
            let stored = reader.get(&key(prefix, place))?;
            stored.map_or(Ok(0), |bytes| count_of(&bytes))
        };
        Ok(Self {
            rows: count(0)?,
            null_keys: count(1)?,
        })
    }

    /// Adds a change of the other side and stores the sums.
    pub(super) fn add(self, prefix: &[u8], side: &Side, batch: &Batch, txn: &mut Txn) -> Result<Self> {
        let whole = side.whole_keys(batch.rows());
        let is_null = |row: usize| whole.as_ref().is_some_and(|whole| !whole.value(row));
        let mut sum = self;
        for (row, weight) in batch.weights().iter().enumerate() {
            sum.rows += weight;
            sum.null_keys += if is_null(row) { *weight } else { 0 };
        }
        for (place, count) in [sum.rows, sum.null_keys].into_iter().enumerate() {
            match count {
                ..0 => return Err(negative()),
                0 => txn.delete(key(prefix, place)),
                count => txn.put(key(prefix, place), bytes_of(count)),
            }
        }
        Ok(sum)
    }

    /// Whether a row counts as having a partner: NOT IN leaves it out. `count` rows have its key, which may be NULL.
    pub(super) fn is_matched(self, is_null_key: bool, count: i64) -> bool {
        match is_null_key {
            true => self.rows > 0,
            false => self.null_keys > 0 || count > 0,
        }
    }

    /// Which kept rows may stand otherwise than `before`, whatever their key's count.
    pub(super) fn concerned(self, before: Self) -> Concerned {
        if (before.null_keys > 0) != (self.null_keys > 0) {
            Concerned::All
        } else if (before.rows > 0) != (self.rows > 0) {
            Concerned::NullKeys
        } else {
            Concerned::None
        }
    }
}

fn key(prefix: &[u8], place: usize) -> Vec<u8> {
    [prefix, &[1, place as u8]].concat()
}
