//! What a source hands over, and what the engine answers with.

use crate::{Batch, Position, RelationId, SourceId, Timestamp};

/// Names a transaction within its source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub u64);

/// One whole transaction of a source: never split over epochs.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Where it comes from.
    pub source: SourceId,
    /// Its name within the source.
    pub id: TransactionId,
    /// The source's offset after it.
    pub position: Position,
    /// When it was committed at the source.
    pub commit_time: Timestamp,
    /// The rows it removed (weight −1) and added (weight +1), by table, in the order of its statements.
    pub changes: Vec<Delta>,
}

/// What changed in one relation.
#[derive(Clone, Debug)]
pub struct Delta {
    /// The table or view.
    pub relation: RelationId,
    /// Its changed rows, in the relation's schema.
    pub batch: Batch,
}
