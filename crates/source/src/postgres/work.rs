//! What a Postgres source asks of the loop: each is applied whole, in an epoch's transaction, and answered when it is durable.
//!
//! How it comes in pieces is in `pieces`, what is decoded while it is applied in `large`.

mod large;
mod pieces;

pub use large::LargeTransaction;
pub(super) use large::{PieceSender, decoded_while_applied};
pub(super) use pieces::PIECE_OPERATIONS_MAX;
pub use pieces::Pieces;

use super::pgoutput::Oid;
use super::stored::{SlotIdentity, StoredTable};
use super::{Lsn, Membership, PageRange, SourceTransaction, TableShape};
use arrow::array::RecordBatch;
use std::sync::Arc;
use viewfeed_change::Result;

/// Something to be applied.
#[derive(Debug)]
pub enum Work {
    /// The slot was made, by us or by somebody else: what was read from another one is out of date.
    Slot(SlotIdentity),
    /// These tables are published, and look like this.
    Tables(Vec<Published>),
    /// A snapshot was taken; the tables are copied from it.
    BeginCopy {
        /// What to copy.
        copies: Vec<Copy>,
        /// The point of the snapshot.
        at: Lsn,
        /// The timeline of the server it was taken on.
        timeline: u32,
    },
    /// Rows of a copy.
    Copied {
        /// The table.
        table: Oid,
        /// The attempt they belong to.
        attempt: u64,
        /// The rows, in the columns of the shape.
        rows: RecordBatch,
    },
    /// All rows of these pages have come: if the copy is interrupted, they are not read again.
    Read {
        /// The table.
        table: Oid,
        /// The attempt.
        attempt: u64,
        /// The pages.
        pages: PageRange,
    },
    /// All rows of a copy have come: what was kept meanwhile follows, a piece each time this is asked.
    Settle {
        /// The table.
        table: Oid,
        /// The attempt.
        attempt: u64,
    },
    /// The next transactions, in the order of their commits.
    Transactions(Vec<SourceTransaction>),
    /// The next transaction, too large to be in memory whole.
    Large(LargeTransaction),
    /// Nothing came up to here.
    Position(Lsn),
    /// A table is to be copied again, because somebody asks for it; all of them if none is named.
    Again {
        /// The name of the table here, without its schema.
        table: Option<String>,
        /// Why.
        why: String,
    },
    /// A copy failed: another one goes on with it, or begins anew.
    GiveUp {
        /// The table.
        table: Oid,
        /// The attempt.
        attempt: u64,
    },
    /// A copy cannot be made.
    Break {
        /// The table.
        table: Oid,
        /// The attempt.
        attempt: u64,
        /// Why, and what to do.
        why: String,
    },
}

/// A published table.
#[derive(Clone, Debug)]
pub struct Published {
    /// What it looks like.
    pub shape: TableShape,
    /// How it is in the publication.
    pub membership: Option<Membership>,
}

/// A copy that begins.
#[derive(Clone, Debug)]
pub struct Copy {
    /// The attempt, as it was asked for.
    pub attempt: u64,
    /// The table in the snapshot.
    pub shape: TableShape,
    /// Whether it goes on with the one that was interrupted, whose rows it does not read again: the table has looked like this since, and
    /// its rows have stayed in their file.
    pub goes_on: bool,
}

/// What a source learns when its work is durable.
#[derive(Clone, Debug)]
pub struct Applied {
    /// How far the source has been read.
    pub position: Lsn,
    /// The tables as they stand now.
    pub tables: Arc<Vec<StoredTable>>,
    /// Of [`Work::Settle`]: whether the table is complete.
    pub is_settled: bool,
}

impl Work {
    /// Whether it needs an epoch of its own, because it changes what exists or becomes readable, or comes in pieces.
    pub fn is_exclusive(&self) -> bool {
        match self {
            Self::Copied { .. } | Self::Read { .. } | Self::Position(_) => false,
            Self::Transactions(transactions) => {
                self.rows() > PIECE_OPERATIONS_MAX
                    || transactions.iter().any(SourceTransaction::changes_tables)
            }
            Self::Slot(_)
            | Self::Tables(_)
            | Self::BeginCopy { .. }
            | Self::Large(_)
            | Self::Settle { .. }
            | Self::Again { .. }
            | Self::GiveUp { .. }
            | Self::Break { .. } => true,
        }
    }

    /// The same in pieces, to be applied one after another in one epoch; at least one, and mostly just one. If one of them is an error,
    /// nothing of it may stay applied.
    pub fn pieces(self) -> Pieces {
        Pieces::of(self)
    }

    /// Rows it brings, about.
    pub fn rows(&self) -> usize {
        match self {
            Self::Copied { rows, .. } => rows.num_rows(),
            Self::Transactions(transactions) => transactions.iter().map(SourceTransaction::rows).sum(),
            // It has about a piece's at least, and nobody knows yet how many more.
            Self::Large(_) => PIECE_OPERATIONS_MAX,
            _ => 1,
        }
    }
}

/// The loop, as a source sees it.
pub trait Loop: Send + Sync + 'static {
    /// Applies `work` and answers when that is durable. After an error nothing of it was applied.
    fn apply(&self, work: Work) -> impl Future<Output = Result<Applied>> + Send;
}
