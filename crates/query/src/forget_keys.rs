//! Keys of tables, forgotten once a plan has its names.
//!
//! SQL needs them to know that a column follows from those that are grouped by. What the optimiser of DataFusion 55.2 makes of them
//! behind joins is wrong: it took columns of one side of an outer join to follow from the key of the other, and grouped by
//! fewer columns than the query says. So it is not told of them; what a key is good for is known to who reads rows.

use crate::table::{RelationTable, table_of};
use datafusion::common::FunctionalDependencies;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::LogicalPlan;
use std::sync::Arc;

/// The same plan over tables that say nothing of their keys.
pub(crate) fn forget_keys(plan: LogicalPlan) -> Result<LogicalPlan> {
    let forgotten = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::TableScan(mut scan) => {
            let Some(table) = table_of(&scan) else {
                return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
            };
            scan.source = Arc::new(RelationTable::without_key(table.relation.clone(), table.purpose));
            let schema = scan.projected_schema.as_ref().clone();
            let schema = schema.with_functional_dependencies(FunctionalDependencies::empty())?;
            scan.projected_schema = Arc::new(schema);
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        }
        node => node.recompute_schema().map(Transformed::yes),
    })?;
    Ok(forgotten.data)
}
