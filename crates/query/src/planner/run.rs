//! Running plans: binding scans to rows, the last optimiser pass, and a runtime for as long as one call takes.

use super::Planner;
use crate::bind::{self, Rows};
use crate::session::OptimizerRun;
use crate::table::table_of;
use crate::{Purpose, check, failure};
use chrono::{DateTime, Utc};
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as PlanResult;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use futures::StreamExt;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};
use viewfeed_change::{Error, RelationId, Result, Timestamp, row};
use viewfeed_store::Reader;

impl Planner {
    /// Runs a plan against the state `reader` shows; `now` is what `now()` gives. Columns are plain types.
    ///
    /// Fails as `Invalid`/`EVALUATION` on a value that cannot be computed, as `Exhausted`/`MEMORY_LIMIT` at the memory
    /// limit, as `Precondition`/`VIEW_ERRORS` on a strict view that leaves out rows. A result without rows may come as no batch at all; its columns are the plan's.
    pub fn execute(&self, plan: &LogicalPlan, reader: &Reader, now: Timestamp) -> Result<Vec<RecordBatch>> {
        self.collect(plan, &Rows::Of(reader), now)
    }

    /// Runs a plan, handing over batch after batch until `each` fails. `each` may run other plans.
    pub fn execute_each(
        &self,
        plan: &LogicalPlan,
        reader: &Reader,
        now: Timestamp,
        each: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        self.run(plan, &Rows::Of(reader), now, each)
    }

    /// The same, but relations for which `tables` has rows are read from there.
    pub fn execute_each_with(
        &self,
        plan: &LogicalPlan,
        reader: &Reader,
        tables: &dyn Fn(RelationId) -> Option<Vec<RecordBatch>>,
        now: Timestamp,
        each: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        self.run(plan, &Rows::Partly(tables, reader), now, each)
    }

    /// Runs a plan whose scans of relations read from `tables` (by relation id) instead of a reader. Fails if `tables`
    /// has none for a relation of the plan.
    pub fn execute_over(
        &self,
        plan: &LogicalPlan,
        tables: &dyn Fn(RelationId) -> Option<Vec<RecordBatch>>,
        now: Timestamp,
    ) -> Result<Vec<RecordBatch>> {
        self.collect(plan, &Rows::Given(tables), now)
    }

    /// How a plan would be executed against `reader`, one operator per line: which arrangements are read by which
    /// keys, how tables are joined.
    pub fn explain(&self, plan: &LogicalPlan, reader: &Reader, now: Timestamp) -> Result<String> {
        let physical = self.physical_plan(plan, &Rows::Of(reader), now)?;
        Ok(displayable(physical.as_ref()).indent(false).to_string())
    }

    fn collect(&self, plan: &LogicalPlan, rows: &Rows<'_>, now: Timestamp) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        self.run(plan, rows, now, &mut |batch| {
            batches.push(batch);
            Ok(())
        })?;
        Ok(batches)
    }

    fn run(
        &self,
        plan: &LogicalPlan,
        rows: &Rows<'_>,
        now: Timestamp,
        each: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        self.drain(self.physical_plan(plan, rows, now)?, each)
    }

    /// Executes a physical plan, handing over batch after batch, in plain types, until `each` fails.
    pub(super) fn drain(
        &self,
        physical: Arc<dyn ExecutionPlan>,
        each: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let runtime = runtime()?;
        let started = {
            let _inside = runtime.enter();
            execute_stream(physical, self.task.clone())
        };
        let mut stream = started.map_err(failure::execution)?;
        // `each` runs outside of the runtime, so that it may run plans itself.
        while let Some(batch) = runtime.block_on(stream.next()) {
            let batch = batch.map_err(failure::execution)?;
            if batch.num_rows() > 0 {
                each(plain(&batch)?)?;
            }
        }
        Ok(())
    }

    pub(super) fn physical_plan(
        &self,
        plan: &LogicalPlan,
        rows: &Rows<'_>,
        now: Timestamp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let now = utc(now)?;
        let unfinished = is_unfinished(plan).map_err(failure::planning)?;
        let mut bound = bind::bind(plan.clone(), rows).map_err(failure::planning)?;
        if unfinished {
            let run = OptimizerRun::new(&self.session, Some(now));
            bound = self
                .finisher
                .optimize(bound, &run, |_, _| {})
                .map_err(failure::planning)?;
        }
        let planner: &Arc<dyn QueryPlanner + Send + Sync> = self.session.query_planner();
        let planned = planner.create_physical_plan(&bound, self.session.as_ref());
        futures::executor::block_on(planned).map_err(failure::planning)
    }
}

/// Whether the plan was made for a view, or calls functions like `now()`.
fn is_unfinished(plan: &LogicalPlan) -> PlanResult<bool> {
    let mut of_view = false;
    plan.apply_with_subqueries(|node| {
        of_view |= match node {
            LogicalPlan::Distinct(_) => true,
            LogicalPlan::TableScan(scan) => {
                table_of(scan).is_some_and(|table| table.purpose == Purpose::View)
            }
            _ => false,
        };
        Ok(if of_view {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    })?;
    Ok(of_view || check::depends_on_now(plan)?)
}

/// A runtime driven by the calling thread; DataFusion needs one to spawn on, and scans to wait in threads.
fn runtime() -> Result<Runtime> {
    let built = Builder::new_current_thread().build();
    built.map_err(|error| Error::internal("starting a runtime failed").because(error))
}

pub(super) fn utc(now: Timestamp) -> Result<DateTime<Utc>> {
    DateTime::from_timestamp_micros(now.0).ok_or_else(|| {
        Error::invalid("EVALUATION", "the time is out of range").hint("set the clock of the machine")
    })
}

/// `batch` with text, binary and dictionary columns in their plain forms.
fn plain(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = batch.schema();
    let plain_field = |field: &Arc<Field>| {
        Arc::new(
            field
                .as_ref()
                .clone()
                .with_data_type(row::plain_type(field.data_type())),
        )
    };
    let fields: Vec<_> = schema.fields().iter().map(plain_field).collect();
    if fields
        .iter()
        .zip(schema.fields())
        .all(|(plain, field)| plain == field)
    {
        return Ok(batch.clone());
    }
    row::conform(batch, &Arc::new(Schema::new(fields)))
}
