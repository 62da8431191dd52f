//! One subscriber's stream of frames.

use std::time::Duration;
use viewfeed_change::{Batch, ColumnPath, Epoch, RelationId, Result, Timestamp, Transaction};

/// How changes are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Envelope {
    /// Rows to put, keys to take away.
    Upsert,
    /// Rows with weights.
    Diff,
    /// The whole result each time.
    State,
}

/// What to do when the token is older than the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnGap {
    /// RESET and a new snapshot.
    Reset,
    /// Fail as `OutOfRange`/`RESUME_TOKEN_COMPACTED`.
    Error,
}

/// Only rows whose values at `columns` are the ones encoded in `key` (by the row codec of those columns).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    /// The columns, each a path from the row.
    pub columns: Vec<ColumnPath>,
    /// Their values, encoded.
    pub key: Vec<u8>,
}

/// What to subscribe to.
#[derive(Clone, Debug)]
pub struct Request {
    /// The table or view.
    pub relation: RelationId,
    /// Which of its rows. If there is an arrangement by these columns, a snapshot reads only the matching rows.
    pub filter: Option<Filter>,
    /// The columns that make a row unique (UPSERT); empty: the relation's key. UPSERT without any key is refused.
    pub key: Vec<usize>,
    /// How changes are told.
    pub envelope: Envelope,
    /// Resume after this token.
    pub token: Option<Vec<u8>>,
    /// Without a token: no snapshot.
    pub skip_snapshot: bool,
    /// BYE `UP_TO_VERSION` once this is reached.
    pub up_to: Option<Epoch>,
    /// When the token is too old.
    pub on_gap: OnGap,
    /// How often PROGRESS comes when nothing changes.
    pub heartbeat: Duration,
    /// Hash of everything else the token is bound to (the rpc, the principal).
    pub bound_to: u64,
}

/// What a frame is for; see `viewfeed/v1/feed.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// First, at once.
    Hello,
    /// Part of the result at `version`.
    Snapshot,
    /// What changed.
    Delta,
    /// Nothing changed.
    Progress,
    /// Forget all rows; a snapshot follows.
    Reset,
    /// Last.
    Bye,
}

/// The rows of a frame.
#[derive(Clone, Debug)]
pub enum Rows {
    /// None.
    None,
    /// Rows to put, and rows (in the schema of the key columns) whose keys to take away. A key is in one of the two at most once.
    Upsert {
        /// In the relation's schema.
        puts: arrow::array::RecordBatch,
        /// Only the key columns.
        deletes: arrow::array::RecordBatch,
    },
    /// Consolidated changes.
    Diff(Batch),
    /// The whole result, a row of weight n n times.
    State(arrow::array::RecordBatch),
}

/// One message of a feed.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What it is for.
    pub kind: FrameKind,
    /// The epoch it completes.
    pub version: Epoch,
    /// Resume after this frame; None when `more`.
    pub token: Option<Vec<u8>>,
    /// More frames of the same version follow.
    pub more: bool,
    /// The snapshot or the backlog is complete.
    pub caught_up: bool,
    /// When `version` was committed, if known.
    pub commit_time: Option<Timestamp>,
    /// Rows in the whole result, if known.
    pub row_count: Option<u64>,
    /// Why (RESET, BYE).
    pub reason: &'static str,
    /// Schema version of the rows.
    pub schema_version: u32,
    /// The rows.
    pub rows: Rows,
}

/// A running feed. Dropping it ends it.
pub struct Subscription;

impl Subscription {
    /// The next frame; None after BYE. Safe to cancel.
    pub async fn next(&mut self) -> Option<Result<Frame>> {
        todo!()
    }
}

/// A source transaction with the epoch it became visible in.
pub struct TailedTransaction {
    /// Which.
    pub epoch: Epoch,
    /// Its changes, only of the relations asked for; never empty.
    pub transaction: Transaction,
    /// Whether it is the last of its epoch: only then may a reader resume after `epoch`.
    pub last_of_epoch: bool,
}

/// A running tail of transactions.
pub struct TransactionTail;

impl TransactionTail {
    /// The next transaction; None when the server drains. Safe to cancel. A reader that falls behind the live queue is
    /// continued from the log; behind the log's retention it fails as `OutOfRange`.
    pub async fn next(&mut self) -> Option<Result<TailedTransaction>> {
        todo!()
    }
}
