//! A view that exists: its query from scratch, what it must hold, and what its deltas add up to.

use super::compare::{Weights, add, different, is_same, stored, weights};
use super::world::{Failure, unanswerable, wrong};
use std::panic::{AssertUnwindSafe, catch_unwind};
use viewfeed_change::row::conform;
use viewfeed_change::{Batch, Relation, RelationId, Timestamp};
use viewfeed_query::Prepared;
use viewfeed_store::Reader;

/// A view and what is known of it.
pub(super) struct Watched {
    /// The view.
    pub(super) id: RelationId,
    pub(super) sql: String,
    /// Its query, planned to be run from scratch, once what it reads is complete.
    query: Option<Prepared>,
    /// What DataFusion computes from scratch, until a table changes or time passes.
    expected: Option<Weights>,
    /// The sum of every delta it ever had.
    sum: Weights,
}

impl Watched {
    /// The view with this id and query.
    pub(super) fn new(id: RelationId, sql: &str) -> Self {
        Self {
            id,
            sql: sql.to_owned(),
            query: None,
            expected: None,
            sum: Weights::new(),
        }
    }

    /// Takes a plan of its query; None: the one it has is of no use any more.
    pub(super) fn prepare(&mut self, query: Option<Prepared>) {
        self.query = query;
    }

    /// It was dropped and made anew, with this SELECT; its first delta is all it holds.
    pub(super) fn start_again(&mut self, sql: &str) {
        self.sql = sql.to_owned();
        self.expected = None;
        self.sum.clear();
    }

    /// Whether it has a plan.
    pub(super) fn is_prepared(&self) -> bool {
        self.query.is_some()
    }

    /// A delta was published.
    pub(super) fn publish(&mut self, view: &Relation, delta: &Batch) -> Result<(), Failure> {
        add(&mut self.sum, &view.schema(), delta)
    }

    /// A table has changed, or time has passed for a view that asks for it.
    pub(super) fn forget(&mut self) {
        self.expected = None;
    }

    /// Whether its query asks for the time.
    pub(super) fn follows_clock(&self) -> bool {
        !self.query.as_ref().is_some_and(Prepared::is_planned)
    }

    /// Stored rows = DataFusion's answer = the sum of deltas. Gives the number of distinct rows.
    pub(super) fn check(
        &mut self,
        view: &Relation,
        reader: &Reader,
        now: Timestamp,
    ) -> Result<usize, Failure> {
        let schema = view.schema();
        let stored = weights(&schema, &stored(reader, view)?)?;
        let expected = match self.expected.take() {
            Some(expected) => expected,
            None => {
                let query = self.query.as_ref().expect("a view that is complete is prepared");
                let conformed = answer(query, reader, now)?;
                let conformed = conformed
                    .iter()
                    .map(|rows| conform(rows, &schema).map(Batch::inserts));
                weights(&schema, &conformed.collect::<Result<Vec<_>, _>>().map_err(wrong)?)?
            }
        };
        if !is_same(&schema, &stored, &expected) {
            return Err(different(view, "stored", &stored, "expected", &expected));
        }
        if self.sum != stored {
            return Err(different(view, "sum of deltas", &self.sum, "stored", &stored));
        }
        self.expected = Some(expected);
        Ok(stored.len())
    }
}

/// What DataFusion computes from scratch.
pub(super) fn answer(
    query: &Prepared,
    reader: &Reader,
    now: Timestamp,
) -> Result<Vec<arrow::array::RecordBatch>, Failure> {
    // DataFusion 55.2's last_value subtracts 1 from the length of an empty array, which panics in debug builds.
    let answered = catch_unwind(AssertUnwindSafe(|| query.run(reader, now)));
    answered
        .map_err(|_| Failure::Unanswerable("DataFusion panicked".to_owned()))?
        .map_err(unanswerable)
}
