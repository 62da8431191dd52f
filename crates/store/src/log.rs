//! The epoch log: the commit, and the history feeds resume from.

use viewfeed_change::row::Rows;
use viewfeed_change::{Epoch, Position, RelationId, Result, SourceId, Timestamp, TransactionId};

/// Reads epochs in order.
pub struct LogReader;

impl Iterator for LogReader {
    type Item = Result<LoggedEpoch>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}

/// One epoch as it was logged.
#[derive(Clone, Debug)]
pub struct LoggedEpoch {
    /// Which.
    pub epoch: Epoch,
    /// When it was committed.
    pub commit_time: Timestamp,
    /// The source transactions in it.
    pub transactions: Vec<LoggedTransaction>,
    /// What they changed in views.
    pub deltas: Vec<LoggedDelta>,
}

/// A source transaction as it was logged.
#[derive(Clone, Debug)]
pub struct LoggedTransaction {
    /// Where it comes from.
    pub source: SourceId,
    /// Its name within the source.
    pub id: TransactionId,
    /// The source's offset after it.
    pub position: Position,
    /// When it was committed at the source.
    pub commit_time: Timestamp,
    /// Its table changes.
    pub changes: Vec<LoggedDelta>,
}

/// A delta in the row encoding of the relation's schema at that version.
#[derive(Clone, Debug)]
pub struct LoggedDelta {
    /// The table or view.
    pub relation: RelationId,
    /// The version of the schema the rows are encoded with.
    pub schema_version: u32,
    /// The rows.
    pub rows: Rows,
    /// Their weights.
    pub weights: Vec<i64>,
}
