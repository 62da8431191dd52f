//! Finds the rows on which an expression fails, and keeps count of them: one bad row must not stop a view.
//!
//! DataFusion computes a batch or fails. A batch that fails is halved until the rows that fail alone are found: O(bad ·
//! log n) computations, none more for a batch without one. (Materialize keeps an error collection beside each collection;
//! ours is a count per message, which is the sum of weights.) Whether a row fails is asked of the row alone, so the answer
//! does not depend on what came in the same batch: what fails when it comes fails in the same way when it goes.

use super::tally::Tally;
use std::ops::Range;
use std::sync::Arc;
use viewfeed_change::{Batch, Error, ErrorKind, RelationId, Result};
use viewfeed_store::{Txn, view_errors};

/// Rows that an operator left out of a change, by why.
#[derive(Default)]
pub(crate) struct LeftOut {
    by_message: Tally,
}

/// Where the errors of a node are kept.
#[derive(Clone)]
pub(crate) struct ErrorLog {
    view: RelationId,
    /// The node, as it is shown.
    node: Arc<str>,
}

impl LeftOut {
    /// Does `attempt` to the rows of `batch` for which it succeeds, in pieces if not to all; notes the others. `attempt`
    /// must do all or nothing, and fail for a batch if it does for a row of it.
    pub(crate) fn isolate(
        &mut self,
        batch: &Batch,
        attempt: &mut dyn FnMut(&Batch) -> Result<()>,
    ) -> Result<()> {
        let attempt = &mut |rows: Range<usize>| match rows.len() == batch.len() {
            true => attempt(batch),
            false => attempt(&slice(batch, rows)?),
        };
        let fail = &mut |row: usize, error: &Error| self.note(error, batch.weights()[row]);
        search(0..batch.len(), attempt, fail)
    }

    /// Notes a row that failed.
    pub(crate) fn note(&mut self, error: &Error, weight: i64) {
        self.by_message.add(error.message().as_bytes(), weight);
    }
}

impl ErrorLog {
    /// Of a node of `view`.
    pub(crate) fn new(view: RelationId, node: &str) -> Self {
        Self {
            view,
            node: node.into(),
        }
    }

    /// Counts what was left out.
    pub(crate) fn stage(&self, left_out: &LeftOut, txn: &mut Txn) -> Result<()> {
        for (message, rows) in left_out.by_message.iter().filter(|(_, rows)| *rows != 0) {
            let message = String::from_utf8_lossy(message);
            view_errors::add(txn, self.view, &self.node, &message, rows)?;
        }
        Ok(())
    }

    /// Notes which parts of the node, each computed as a whole, fail now, and which do not.
    pub(crate) fn stage_parts<'a>(
        &self,
        parts: impl Iterator<Item = (&'a [u8], Option<&'a Error>)>,
        txn: &mut Txn,
    ) -> Result<()> {
        let had_any = view_errors::had_any(txn, self.view)?;
        for (part, failure) in parts.filter(|(_, failure)| had_any || failure.is_some()) {
            view_errors::mark(txn, self.view, &self.node, part, failure.map(Error::message))?;
        }
        Ok(())
    }
}

/// Calls `attempt` with pieces of `places` that together are all of them without those that fail alone; calls `fail` with
/// these. In order. An error that is not of a row ends it.
pub(crate) fn search(
    places: Range<usize>,
    attempt: &mut dyn FnMut(Range<usize>) -> Result<()>,
    fail: &mut dyn FnMut(usize, &Error),
) -> Result<()> {
    let Err(error) = attempt(places.clone()) else {
        return Ok(());
    };
    if !is_of_a_row(&error) {
        return Err(error);
    }
    if places.len() <= 1 {
        places.for_each(|place| fail(place, &error));
        return Ok(());
    }
    let middle = places.start + places.len() / 2;
    search(places.start..middle, attempt, fail)?;
    search(middle..places.end, attempt, fail)
}

/// Whether a value of a row is the cause.
pub(crate) fn is_of_a_row(error: &Error) -> bool {
    error.kind() == ErrorKind::Invalid && error.reason() == "EVALUATION"
}

fn slice(batch: &Batch, rows: Range<usize>) -> Result<Batch> {
    let weights = batch.weights()[rows.clone()].to_vec();
    Batch::new(batch.rows().slice(rows.start, rows.len()), weights)
}

#[cfg(test)]
mod tests {
    use super::search;
    use std::ops::Range;
    use viewfeed_change::{Error, Result};

    /// What is kept of `0..count`, what fails, and how many attempts that took.
    fn sorted_out(count: usize, bad: &[usize]) -> (Vec<usize>, Vec<usize>, usize) {
        let (mut kept, mut failed, mut attempts) = (Vec::new(), Vec::new(), 0);
        let mut attempt = |places: Range<usize>| -> Result<()> {
            attempts += 1;
            if bad.iter().any(|place| places.contains(place)) {
                return Err(Error::invalid("EVALUATION", "bad"));
            }
            kept.extend(places);
            Ok(())
        };
        search(0..count, &mut attempt, &mut |place, _| failed.push(place)).unwrap();
        (kept, failed, attempts)
    }

    #[test]
    fn exactly_the_bad_rows_are_left_out() {
        assert_eq!(
            sorted_out(5, &[0, 3]),
            (vec![1, 2, 4], vec![0, 3], sorted_out(5, &[0, 3]).2)
        );
        assert_eq!(sorted_out(1, &[0]).1, [0]);
        assert_eq!(sorted_out(3, &[0, 1, 2]).0, [0usize; 0]);
    }

    #[test]
    fn a_good_batch_costs_nothing_more_and_a_bad_row_a_logarithm() {
        assert_eq!(sorted_out(8192, &[]).2, 1);
        assert_eq!(sorted_out(8192, &[4711]).2, 27);
    }

    #[test]
    fn an_error_that_is_no_rows_ends_it() {
        let mut attempt = |_: Range<usize>| Err(Error::internal("broken"));
        assert!(search(0..4, &mut attempt, &mut |_, _| panic!("no row")).is_err());
    }
}
