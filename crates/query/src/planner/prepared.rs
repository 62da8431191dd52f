//! A query planned to the end once, to be run again and again over other rows: what costs is planning, wherever rows are
//! few.

use super::Planner;
use crate::bind::{Rows, at};
use crate::{check, failure};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use std::sync::{Arc, Mutex, PoisonError};
use viewfeed_change::{RelationId, Result, Timestamp};
use viewfeed_store::Reader;

/// A query of [`Planner::prepare`]. Holds no reader, so it may be kept. Valid as long as the relations it reads, and their arrangements, are there.
pub struct Prepared {
    planner: Planner,
    plan: LogicalPlan,
    /// Whether what is executed depends on when.
    follows_clock: bool,
    /// What was executed last, and when.
    last: Mutex<Option<(Timestamp, Arc<dyn ExecutionPlan>)>>,
}

impl Planner {
    /// Prepares a plan made for [`crate::Purpose::Batch`]. Which arrangements its scans use is chosen now, by what
    /// `reader` shows. Fails as [`Planner::execute`] fails at planning.
    pub fn prepare(&self, plan: LogicalPlan, reader: &Reader, now: Timestamp) -> Result<Prepared> {
        self.prepare_with(plan, &Rows::Of(reader), now)
    }

    /// Prepares a plan, of either purpose, that is run over rows that are given: by [`Prepared::run_over`].
    pub fn prepare_over(&self, plan: LogicalPlan) -> Result<Prepared> {
        self.prepare_with(plan, &Rows::Later, Timestamp::default())
    }

    fn prepare_with(&self, plan: LogicalPlan, rows: &Rows<'_>, now: Timestamp) -> Result<Prepared> {
        let follows_clock = check::depends_on_now(&plan).map_err(failure::planning)?;
        let last = match follows_clock {
            true => None,
            false => Some((now, self.waiting_plan(&plan, rows, now)?)),
        };
        Ok(Prepared {
            planner: self.clone(),
            plan,
            follows_clock,
            last: Mutex::new(last),
        })
    }

    fn waiting_plan(
        &self,
        plan: &LogicalPlan,
        rows: &Rows<'_>,
        now: Timestamp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        at(self.physical_plan(plan, rows, now)?, None).map_err(failure::planning)
    }
}

impl Prepared {
    /// Whether it calls functions like `now()`: then only runs at the same time share one plan.
    pub fn follows_clock(&self) -> bool {
        self.follows_clock
    }

    /// The rows as of `reader`, like [`Planner::execute`] gives them.
    pub fn run(&self, reader: &Reader, now: Timestamp) -> Result<Vec<RecordBatch>> {
        self.run_with(&Rows::Of(reader), now)
    }

    /// The rows over those of `tables`, like [`Planner::execute_over`] gives them: of a query that was prepared for that.
    pub fn run_over(
        &self,
        tables: &dyn Fn(RelationId) -> Option<Vec<RecordBatch>>,
        now: Timestamp,
    ) -> Result<Vec<RecordBatch>> {
        self.run_with(&Rows::Given(tables), now)
    }

    fn run_with(&self, rows: &Rows<'_>, now: Timestamp) -> Result<Vec<RecordBatch>> {
        let physical = at(self.physical(rows, now)?, Some(rows)).map_err(failure::planning)?;
        let mut batches = Vec::new();
        self.planner.drain(physical, &mut |batch| {
            batches.push(batch);
            Ok(())
        })?;
        Ok(batches)
    }

    /// What is executed at `now`, waiting for rows of the kind of `rows`.
    fn physical(&self, rows: &Rows<'_>, now: Timestamp) -> Result<Arc<dyn ExecutionPlan>> {
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((time, physical)) = last().as_ref()
            && (!self.follows_clock || *time == now)
        {
            return Ok(physical.clone());
        }
        let rows = match rows {
            Rows::Given(_) => &Rows::Later,
            other => other,
        };
        let physical = self.planner.waiting_plan(&self.plan, rows, now)?;
        last().replace((now, physical.clone()));
        Ok(physical)
    }
}
