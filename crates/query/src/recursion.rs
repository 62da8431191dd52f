//! Ends recursive queries that do not end by themselves: the rows of a recursion are counted as they come, step by step.
//! The limit is the same for a query that is run and for a change of a view.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;
use std::fmt;
use std::sync::Arc;
use viewfeed_change::{Error, ErrorKind};

/// Rows that a recursion may give, over all of its steps.
const ROWS_MAX: usize = 10_000_000;
/// Batches that a recursion may give: at least one in every step but the last.
const BATCHES_MAX: usize = 100_000;

/// What a recursion has given.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecursionBudget {
    rows: usize,
    batches: usize,
}

impl RecursionBudget {
    /// Notes a batch of so many rows. Fails as `Exhausted`/`RECURSION_LIMIT` if it is too much.
    pub fn spend(&mut self, rows: usize) -> Result<(), Error> {
        self.rows = self.rows.saturating_add(rows);
        self.batches += 1;
        match self.rows > ROWS_MAX || self.batches > BATCHES_MAX {
            true => Err(spent()),
            false => Ok(()),
        }
    }
}

/// Puts a [`Budget`] on every recursion.
#[derive(Debug)]
pub(crate) struct LimitRecursion;

impl PhysicalOptimizerRule for LimitRecursion {
    fn name(&self) -> &str {
        "limit_recursion"
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let limited = plan.transform_up(|node| {
            Ok(match node.downcast_ref::<RecursiveQueryExec>() {
                Some(_) => Transformed::yes(Arc::new(Budget(node)) as Arc<dyn ExecutionPlan>),
                None => Transformed::no(node),
            })
        })?;
        Ok(limited.data)
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Hands on what a recursion gives until it is too much.
#[derive(Debug)]
struct Budget(Arc<dyn ExecutionPlan>);

impl DisplayAs for Budget {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecursionBudget: rows={ROWS_MAX}, batches={BATCHES_MAX}")
    }
}

impl ExecutionPlan for Budget {
    fn name(&self) -> &str {
        "RecursionBudget"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.0.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.0]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(child) => Ok(Arc::new(Self(child))),
            None => Err(DataFusionError::Internal("a recursion without a plan".to_owned())),
        }
    }

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let stream = self.0.execute(partition, task)?;
        let (schema, mut budget) = (stream.schema(), RecursionBudget::default());
        let counted = stream.map(move |batch| {
            let batch = batch?;
            let spent = budget.spend(batch.num_rows());
            spent.map_err(|error| DataFusionError::External(Box::new(error)))?;
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, counted)))
    }
}

fn spent() -> Error {
    let message =
        format!("a recursive query did not end within {ROWS_MAX} rows and {BATCHES_MAX} batches of them");
    Error::new(ErrorKind::Exhausted, "RECURSION_LIMIT", message).hint(
        "let it end: use UNION instead of UNION ALL if rows come again, or count the steps and stop: WHERE depth < 100",
    )
}
