//! Hides orders that DataFusion 55.2 takes for known and that are not.
//!
//! **Grouping sets.** A group is taken for complete when a column it is ordered by has another value, and a constant is ordered by
//! definition. With grouping sets, rows come once for each set, and the column is NULL in some: groups were told to be
//! complete that were not, and came twice (apache/datafusion issues 16965 and 24421). So no order is known below, where
//! the rows of a batch are counted, nor above, where those of batches are brought together.
//!
//! **Outer joins.** What is a constant of one side, or equal in all its rows, is taken to be so above the join too, where it is
//! NULL in rows of which that side has no match: an ORDER BY that began with it lost it. So no order is known above.
//!
//! **UNION ALL.** A column that is one constant in one input and another one in the next is taken for a constant of all rows when
//! they are brought together: the same, and the same is done.

use datafusion::common::JoinType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties, ReplaceChildrenOptions,
};
use std::fmt;
use std::sync::Arc;

/// Puts [`Unordered`] below and above every aggregate over grouping sets, above outer joins of which a side that may be
/// missing has constants, and above unions of inputs that have some. To be run before the rules that rely on orders.
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
            if let Some(input) = input_of_grouping_sets(node.as_ref()) {
                let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
                let aggregate = node.replace_children(vec![Unordered::over(input)], anew)?;
                return Ok(Transformed::yes(Unordered::over(aggregate)));
            }
            if loses_constants(node.as_ref()) {
                return Ok(Transformed::yes(Unordered::over(node)));
            }
            Ok(Transformed::no(node))
        })?;
        Ok(hidden.data)
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// What an aggregate over grouping sets reads, or None if the node is something else.
fn input_of_grouping_sets(node: &dyn ExecutionPlan) -> Option<Arc<dyn ExecutionPlan>> {
    let aggregate = node.downcast_ref::<AggregateExec>()?;
    let over_sets = aggregate.group_expr().has_grouping_set();
    over_sets.then(|| aggregate.input().clone())
}

/// Whether the node is a union of inputs with constants or equal expressions, or an outer join whose side that is NULL where it has no
/// match has some.
fn loses_constants(node: &dyn ExecutionPlan) -> bool {
    let equal = |input: &Arc<dyn ExecutionPlan>| !input.equivalence_properties().eq_group().is_empty();
    if let Some(union) = node.downcast_ref::<UnionExec>() {
        return union.inputs().iter().any(equal);
    }
    let (left, right, kind) = if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        (join.left(), join.right(), join.join_type())
    } else if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
        (join.left(), join.right(), join.join_type())
    } else {
        return false;
    };
    match kind {
        JoinType::Left => equal(right),
        JoinType::Right => equal(left),
        JoinType::Full => equal(left) || equal(right),
        _ => false,
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
