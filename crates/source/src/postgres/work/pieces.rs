//! Work in pieces, which are applied one after another in one epoch, each followed by what the views make of it.

use super::large::LargeTransaction;
use super::{SourceTransaction, Work};
use std::vec::IntoIter;
use viewfeed_change::Result;

/// Operations of transactions that are applied at a time. More are applied in pieces, each followed by what the views make of
/// it, so that a large transaction takes the memory of a small one beside what it writes.
pub(in crate::postgres) const PIECE_OPERATIONS_MAX: usize = 1 << 16;

/// The pieces of some work, in order, pulled one at a time: the next one may be waited for.
#[derive(Debug)]
pub struct Pieces {
    supply: Supply,
}

#[derive(Debug)]
enum Supply {
    Ready(IntoIter<Work>),
    /// None after its end, or an error.
    Large(Option<LargeTransaction>),
}

impl Pieces {
    pub(super) fn of(work: Work) -> Self {
        let supply = match work {
            Work::Transactions(transactions) => Supply::Ready(pieces_of(transactions).into_iter()),
            Work::Large(large) => Supply::Large(Some(large)),
            whole => Supply::Ready(vec![whole].into_iter()),
        };
        Self { supply }
    }

    /// Pieces that are in memory and have not been pulled. Of a large transaction they are only a few.
    pub fn waiting(&self) -> usize {
        match &self.supply {
            Supply::Ready(pieces) => pieces.len(),
            Supply::Large(large) => large.as_ref().map_or(0, LargeTransaction::waiting),
        }
    }
}

impl Iterator for Pieces {
    type Item = Result<Work>;

    fn next(&mut self) -> Option<Result<Work>> {
        let large = match &mut self.supply {
            Supply::Ready(pieces) => return pieces.next().map(Ok),
            Supply::Large(large) => large,
        };
        let piece = large.as_mut()?.receive();
        if !piece.as_ref().is_ok_and(|piece| piece.is_continued) {
            // Nobody decodes for us any more.
            *large = None;
        }
        Some(piece.map(|piece| Work::Transactions(vec![piece])))
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

#[cfg(test)]
mod tests {
    use super::super::large::decoded_while_applied;
    use super::*;
    use crate::postgres::pgoutput::{Oid, ReplicaIdentity, Xid};
    use crate::postgres::{Lsn, RowChange, RowChanges, TableEvent, TableShape};
    use arrow::array::RecordBatch;
    use arrow::datatypes::Schema;
    use std::sync::Arc;
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
        let pieces = Work::Transactions(transactions).pieces();
        let parts = pieces.map(|piece| match piece.unwrap() {
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

    fn part(is_continued: bool) -> Result<SourceTransaction> {
        Ok(SourceTransaction {
            is_continued,
            ..transaction(1, 1)
        })
    }

    #[test]
    fn a_large_transaction_ends_with_the_piece_that_nothing_follows() {
        let (sender, large) = decoded_while_applied(Lsn(1), 0);
        let mut pieces = Work::Large(large).pieces();
        for is_continued in [true, false] {
            assert!(sender.send(part(is_continued)).is_ok());
        }
        assert_eq!(pieces.waiting(), 2);
        assert!(matches!(pieces.next(), Some(Ok(Work::Transactions(piece))) if piece[0].is_continued));
        assert!(matches!(pieces.next(), Some(Ok(Work::Transactions(piece))) if !piece[0].is_continued));
        assert!(pieces.next().is_none());
    }

    #[test]
    fn a_large_transaction_that_is_broken_off_is_an_error() {
        let (sender, large) = decoded_while_applied(Lsn(1), 0);
        let mut pieces = Work::Large(large).pieces();
        assert!(sender.send(part(true)).is_ok());
        drop(sender);
        assert!(pieces.next().is_some_and(|piece| piece.is_ok()));
        let error = pieces.next().and_then(Result::err);
        assert_eq!(error.map(|error| error.reason()), Some("DECODING_STOPPED"));
        assert!(pieces.next().is_none());
    }

    #[test]
    fn who_decodes_learns_that_nobody_wants_the_rest() {
        let (sender, large) = decoded_while_applied(Lsn(1), 0);
        let mut pieces = Work::Large(large).pieces();
        assert!(sender.send(part(true)).is_ok());
        assert!(
            sender
                .send(Err(viewfeed_change::Error::internal("enough")))
                .is_ok()
        );
        assert!(pieces.next().is_some_and(|piece| piece.is_ok()));
        assert!(pieces.next().is_some_and(|piece| piece.is_err()));
        // After an error nothing is pulled any more, by whoever still has the pieces.
        assert!(pieces.next().is_none());
        assert!(sender.send(part(true)).is_err());
    }
}
