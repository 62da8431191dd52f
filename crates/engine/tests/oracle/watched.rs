//! A view that exists: its query from scratch, what it must hold, and what its deltas add up to.

use super::compare::{Weights, add, different, is_same, stored, weights};
use super::world::{Failure, unanswerable, wrong};
use arrow::array::RecordBatch;
use datafusion::logical_expr::LogicalPlan;
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
    /// Its query, planned to be run from scratch.
    plan: LogicalPlan,
    /// The same, ready to run, once what it reads is complete.
    query: Option<Prepared>,
    /// What DataFusion computes from scratch, until a table changes or time passes.
    expected: Option<Weights>,
    /// The sum of every delta it ever had.
    sum: Weights,
}

impl Watched {
    /// The view with this id and query, and the query's plan.
    pub(super) fn new(id: RelationId, sql: &str, plan: LogicalPlan) -> Self {
        Self {
            id,
            sql: sql.to_owned(),
            plan,
            query: None,
            expected: None,
            sum: Weights::new(),
        }
    }

    /// The plan of its query.
    pub(super) fn plan(&self) -> &LogicalPlan {
        &self.plan
    }

    /// Takes its query, ready to run; None: where it finds rows is of no use any more.
    pub(super) fn prepare(&mut self, query: Option<Prepared>) {
        self.query = query;
    }

    /// It was dropped and made anew, with this SELECT, of which there is no plan yet; its first delta is all it holds.
    pub(super) fn start_again(&mut self, sql: &str) {
        self.sql = sql.to_owned();
        self.expected = None;
        self.sum.clear();
    }

    /// Takes another plan of its query.
    pub(super) fn replan(&mut self, plan: LogicalPlan) {
        self.plan = plan;
        self.query = None;
    }

    /// Takes what DataFusion computes from scratch.
    pub(super) fn expect(&mut self, view: &Relation, rows: &[RecordBatch]) -> Result<(), Failure> {
        let schema = view.schema();
        let conformed = rows.iter().map(|rows| conform(rows, &schema).map(Batch::inserts));
        let conformed = conformed.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        self.expected = Some(weights(&schema, &conformed)?);
        Ok(())
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
        self.query.as_ref().is_none_or(Prepared::follows_clock)
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
        if self.expected.is_none() {
            let query = self.query.as_ref().expect("a view that is complete is prepared");
            self.expect(view, &answer(query, reader, now)?)?;
        }
        let expected = self.expected.as_ref().expect("it was just computed");
        if !is_same(&schema, &stored, expected) {
            return Err(different(view, "stored", &stored, "expected", expected));
        }
        if self.sum != stored {
            return Err(different(view, "sum of deltas", &self.sum, "stored", &stored));
        }
        Ok(stored.len())
    }
}

/// What DataFusion computes from scratch.
pub(super) fn answer(query: &Prepared, reader: &Reader, now: Timestamp) -> Result<Vec<RecordBatch>, Failure> {
    // DataFusion 55.2's last_value subtracts 1 from the length of an empty array, which panics in debug builds.
    let answered = catch_unwind(AssertUnwindSafe(|| query.run(reader, now)));
    answered
        .map_err(|_| Failure::Unanswerable("DataFusion panicked".to_owned()))?
        .map_err(unanswerable)
}
