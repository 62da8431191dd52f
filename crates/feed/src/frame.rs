//! What a subscriber receives.

use arrow::array::RecordBatch;
use viewfeed_change::{Batch, Epoch, Timestamp};

/// Why a feed was reset or ended: the values of [`Frame::reason`].
pub mod reason {
    /// RESET: the token is older than the retained history.
    pub const HISTORY_EXPIRED: &str = "HISTORY_EXPIRED";
    /// RESET: the token is of another database, or newer than this one.
    pub const HISTORY_LOST: &str = "HISTORY_LOST";
    /// RESET: the relation behind the token was dropped and another has taken its place.
    pub const RELATION_REPLACED: &str = "RELATION_REPLACED";
    /// RESET or BYE: the columns changed.
    pub const SCHEMA_CHANGED: &str = "SCHEMA_CHANGED";
    /// RESET or BYE: the subscriber did not keep up.
    pub const SLOW_CONSUMER: &str = "SLOW_CONSUMER";
    /// BYE: the relation was dropped.
    pub const RELATION_DROPPED: &str = "RELATION_DROPPED";
    /// BYE: the version that was asked for is reached.
    pub const UP_TO_VERSION: &str = "UP_TO_VERSION";
    /// BYE: the view is strict and leaves out rows; coming back is refused until it does not.
    pub const VIEW_ERRORS: &str = "VIEW_ERRORS";
    /// BYE: the server stops.
    pub const DRAIN: &str = "DRAIN";
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
    /// Nothing changed. With `more`, in the midst of a snapshot, it says only that the server is alive.
    Progress,
    /// Forget all rows; a snapshot follows.
    Reset,
    /// Last. A snapshot that it interrupts is void.
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
        puts: RecordBatch,
        /// Only the key columns.
        deletes: RecordBatch,
    },
    /// Consolidated changes.
    Diff(Batch),
    /// The whole result, a row of weight n n times.
    State(RecordBatch),
}

/// One message of a feed.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What it is for.
    pub kind: FrameKind,
    /// The epoch it completes.
    pub version: Epoch,
    /// Resume after this frame; None when `more`, and before the first snapshot is complete.
    pub token: Option<Vec<u8>>,
    /// More frames of the same version follow.
    pub more: bool,
    /// The snapshot or the backlog is complete.
    pub caught_up: bool,
    /// When `version` was committed, if known.
    pub commit_time: Option<Timestamp>,
    /// Rows in the whole result, if known.
    pub row_count: Option<u64>,
    /// Why (RESET, BYE); see [`reason`].
    pub reason: &'static str,
    /// Schema version of the rows.
    pub schema_version: u32,
    /// Frames with the same number have the same rows, of the same relation in the same envelope: encode them once.
    /// None: nobody else gets these rows.
    pub shared: Option<u64>,
    /// The rows.
    pub rows: Rows,
}

impl Frame {
    /// A frame without rows, token or marks.
    pub(crate) fn bare(kind: FrameKind, version: Epoch, schema_version: u32) -> Self {
        Self {
            kind,
            version,
            token: None,
            more: false,
            caught_up: false,
            commit_time: None,
            row_count: None,
            reason: "",
            schema_version,
            shared: None,
            rows: Rows::None,
        }
    }
}
