//! What is fed to every engine: plain rows from a seed, the same for all of them, and their form as columns.

pub(crate) mod auctions;
pub(crate) mod orders;
pub(crate) mod players;

use arrow::array::{ArrayRef, RecordBatch};
use viewfeed_change::{Batch, Relation, Result};

/// Rows as columns of `relation`.
pub(crate) fn batch(relation: &Relation, columns: Vec<ArrayRef>, weights: Vec<i64>) -> Result<Batch> {
    Batch::new(RecordBatch::try_new(relation.schema(), columns)?, weights)
}
