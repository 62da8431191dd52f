//! Hides from grouping sets that their rows come in an order.
//!
//! DataFusion 55.2 takes a group for complete when a column it is ordered by has another value, and a constant is ordered by
//! definition. With grouping sets, rows come once for each set, and the column is NULL in some: groups were told to be
//! complete that were not, and came twice (apache/datafusion issues 16965 and 24421). So no order is known below, where
//! the rows of a batch are counted, nor above, where those of batches are brought together.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};
use std::fmt;
use std::sync::Arc;

/// Puts [`Unordered`] below and above every aggregate over grouping sets. To be run before the rules that rely on orders.
#[derive(Debug)]
pub(crate) struct HideOrders;

impl PhysicalOptimizerRule for HideOrders {
    fn name(&self) -> &str {
        "hide_orders"
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let hidden = plan.transform_up(|node| {
            let aggregate = node.downcast_ref::<AggregateExec>();
            let Some(aggregate) = aggregate.filter(|aggregate| aggregate.group_expr().has_grouping_set())
            else {
                return Ok(Transformed::no(node));
            };
            let input = Unordered::over(aggregate.input().clone());
            let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            let aggregate = node.replace_children(vec![input], anew)?;
            Ok(Transformed::yes(Unordered::over(aggregate)))
        })?;
        Ok(hidden.data)
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The rows of its input, of whose order nothing is known.
#[derive(Debug)]
struct Unordered {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl Unordered {
    fn over(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let below = input.properties();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            below.output_partitioning().clone(),
            below.emission_type,
            below.boundedness,
        );
        Arc::new(Self {
            input,
            properties: Arc::new(properties),
        })
    }
}

impl DisplayAs for Unordered {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unordered")
    }
}

impl ExecutionPlan for Unordered {
    fn name(&self) -> &str {
        "Unordered"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
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
        let none = || DataFusionError::Internal("an order was hidden of nothing".to_owned());
        Ok(Self::over(children.pop().ok_or_else(none)?))
    }

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, task)
    }
}
