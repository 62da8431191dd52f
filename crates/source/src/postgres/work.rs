//! What a Postgres source asks of the loop: each is applied whole, in an epoch's transaction, and answered when it is durable.

use super::pgoutput::Oid;
use super::stored::{SlotIdentity, StoredTable};
use super::{Lsn, Membership, PageRange, SourceTransaction, TableShape};
use arrow::array::RecordBatch;
use std::sync::Arc;
use viewfeed_change::Result;

/// Operations of transactions that are applied at a time. More are applied in pieces, each followed by what the views make of
/// it, so that a large transaction takes the memory of a small one beside what it writes.
const PIECE_OPERATIONS_MAX: usize = 1 << 16;

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
            | Self::Settle { .. }
            | Self::Again { .. }
            | Self::GiveUp { .. }
            | Self::Break { .. } => true,
        }
    }

    /// The same in pieces, to be applied one after another in one epoch; at least one, and mostly just one.
    pub fn pieces(self) -> Vec<Self> {
        match self {
            Self::Transactions(transactions) => pieces_of(transactions),
            whole => vec![whole],
        }
    }

    /// Rows it brings, about.
    pub fn rows(&self) -> usize {
        match self {
            Self::Copied { rows, .. } => rows.num_rows(),
            Self::Transactions(transactions) => transactions.iter().map(SourceTransaction::rows).sum(),
            _ => 1,
        }
    }
}

fn pieces_of(transactions: Vec<SourceTransaction>) -> Vec<Work> {
    let (mut pieces, mut piece, mut room) = (Vec::new(), Vec::new(), PIECE_OPERATIONS_MAX);
    for mut transaction in transactions {
        if room == 0 {
            pieces.push(Work::Transactions(std::mem::take(&mut piece)));
            room = PIECE_OPERATIONS_MAX;
        }
        while let Some(first) = transaction.split_off_first(room) {
            piece.push(first);
            pieces.push(Work::Transactions(std::mem::take(&mut piece)));
            room = PIECE_OPERATIONS_MAX;
        }
        room = room.saturating_sub(transaction.rows());
        piece.push(transaction);
    }
    pieces.push(Work::Transactions(piece));
    pieces
}

/// The loop, as a source sees it.
pub trait Loop: Send + Sync + 'static {
    /// Applies `work` and answers when that is durable. After an error nothing of it was applied.
    fn apply(&self, work: Work) -> impl Future<Output = Result<Applied>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::pgoutput::{ReplicaIdentity, Xid};
    use crate::postgres::{RowChange, RowChanges, TableEvent};
    use arrow::array::RecordBatch;
    use arrow::datatypes::Schema;
    use viewfeed_change::Timestamp;

    const EVENT_OPERATIONS: usize = PIECE_OPERATIONS_MAX / 4;

    /// A transaction of so many events, each a quarter of a piece.
    fn transaction(end: u64, events: usize) -> SourceTransaction {
        let empty = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let shape = TableShape {
            oid: Oid(1),
            schema: "public".to_owned(),
            name: "t".to_owned(),
            identity: ReplicaIdentity::Default,
            columns: Vec::new(),
            last_number: 0,
            row_filter: None,
            rows: Default::default(),
        };
        let event = TableEvent::Rows {
            table: Oid(1),
            shape: Arc::new(shape),
            changes: RowChanges {
                operations: vec![RowChange::Insert; EVENT_OPERATIONS],
                new: empty.clone(),
                old: empty,
                unchanged: Default::default(),
            },
        };
        SourceTransaction {
            xid: Xid(end as u32),
            commit: Lsn(end),
            end: Lsn(end),
            time: Timestamp(0),
            events: vec![event; events],
            is_continued: false,
        }
    }

    /// Of each piece its parts of transactions: which one, how many events, whether more of it follows.
    fn pieces(transactions: Vec<SourceTransaction>) -> Vec<Vec<(u64, usize, bool)>> {
        let pieces = Work::Transactions(transactions).pieces().into_iter();
        let parts = pieces.map(|piece| match piece {
            Work::Transactions(transactions) => transactions
                .iter()
                .map(|part| (part.end.0, part.events.len(), part.is_continued))
                .collect(),
            other => panic!("{other:?}"),
        });
        parts.collect()
    }

    #[test]
    fn a_large_transaction_comes_in_pieces_and_small_ones_together() {
        assert_eq!(pieces(vec![]), [vec![]]);
        let small = vec![transaction(1, 1), transaction(2, 2)];
        assert!(!Work::Transactions(small.clone()).is_exclusive());
        assert_eq!(pieces(small), [vec![(1, 1, false), (2, 2, false)]]);
        let mixed = vec![
            transaction(1, 1),
            transaction(2, 9),
            transaction(3, 1),
            transaction(4, 3),
        ];
        assert!(Work::Transactions(mixed.clone()).is_exclusive());
        let expected = [
            vec![(1, 1, false), (2, 3, true)],
            vec![(2, 4, true)],
            vec![(2, 2, false), (3, 1, false), (4, 1, true)],
            vec![(4, 2, false)],
        ];
        assert_eq!(pieces(mixed), expected);
    }

    #[test]
    fn a_transaction_that_changes_what_a_table_is_stays_whole() {
        let mut changing = transaction(1, 9);
        changing.events.push(TableEvent::Missed {
            table: Oid(1),
            has_earlier_columns: false,
        });
        assert_eq!(pieces(vec![changing]), [vec![(1, 10, false)]]);
    }
}
