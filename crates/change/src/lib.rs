//! The words every part of viewfeed speaks: a batch of weighted rows, a relation, a position, an epoch, a clock,
//! an error. Owns the row codec, because what a row *is* must be the same everywhere.
//!
//! Knows no other crate of the workspace, no runtime, no file and no network.

mod batch;
mod clock;
mod epoch;
mod error;
mod position;
mod relation;
pub mod row;
mod transaction;

pub use batch::Batch;
pub use clock::{Clock, ManualClock, Timestamp};
pub use epoch::Epoch;
pub use error::{Error, ErrorKind, Result};
pub use position::{Position, SourceId};
pub use relation::{
    Check, Column, ColumnPath, Index, LogicalType, OnError, Relation, RelationId, RelationKind, RelationName,
    Relations, Table, View,
};
pub use transaction::{Delta, Transaction, TransactionId};
