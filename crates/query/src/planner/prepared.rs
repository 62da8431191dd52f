//! A query planned to the end once, to be run again and again at other epochs: what costs is planning, wherever rows are
//! few.

use super::Planner;
use super::run::is_unfinished;
use crate::bind::{Rows, at};
use crate::failure;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;
use viewfeed_change::{Result, Timestamp};
use viewfeed_store::Reader;

/// A query of [`Planner::prepare`]. Holds no reader, so it may be kept. Valid as long as the relations it reads, and their arrangements, are there.
pub struct Prepared {
    planner: Planner,
    plan: LogicalPlan,
    /// None if what is executed depends on when: then each run plans anew.
    physical: Option<Arc<dyn ExecutionPlan>>,
}

impl Planner {
    /// Prepares a plan made for [`crate::Purpose::Batch`]. Which arrangements its scans use is chosen now, by what
    /// `reader` shows. Fails as [`Planner::execute`] fails at planning.
    pub fn prepare(&self, plan: LogicalPlan, reader: &Reader, now: Timestamp) -> Result<Prepared> {
        let physical = match is_unfinished(&plan).map_err(failure::planning)? {
            true => None,
            false => {
                let bound = self.physical_plan(&plan, &Rows::Of(reader), now)?;
                Some(at(bound, None).map_err(failure::planning)?)
            }
        };
        Ok(Prepared {
            planner: self.clone(),
            plan,
            physical,
        })
    }
}

impl Prepared {
    /// Whether runs share one plan: not if it calls functions like `now()`.
    pub fn is_planned(&self) -> bool {
        self.physical.is_some()
    }

    /// The rows as of `reader`, like [`Planner::execute`] gives them.
    pub fn run(&self, reader: &Reader, now: Timestamp) -> Result<Vec<RecordBatch>> {
        let Some(physical) = &self.physical else {
            return self.planner.execute(&self.plan, reader, now);
        };
        let physical = at(physical.clone(), Some(reader)).map_err(failure::planning)?;
        let mut batches = Vec::new();
        self.planner.drain(physical, &mut |batch| {
            batches.push(batch);
            Ok(())
        })?;
        Ok(batches)
    }
}
