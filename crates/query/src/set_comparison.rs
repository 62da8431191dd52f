//! `x > ANY (SELECT …)` and `x > ALL (SELECT …)`: a name of its own for the subquery's column.
//!
//! DataFusion 55.2 turns them into EXISTS with `x` as a reference to the row around, then takes `x` for a column of the
//! subquery if that reads the same table, and answers for another question.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use std::sync::Arc;

/// What no column is called. Nested subqueries may share it: what is compared with it comes from around the subquery.
const NAME: &str = "__set_comparison";

/// `plan` with the column of every such subquery under a name that nothing around it has.
pub(crate) fn name_columns(plan: LogicalPlan) -> Result<LogicalPlan> {
    let named =
        plan.transform_up_with_subqueries(|plan| plan.map_expressions(|expr| expr.transform_up(name_column)));
    named.map(|named| named.data)
}

fn name_column(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::SetComparison(mut comparison) = expr else {
        return Ok(Transformed::no(expr));
    };
    let plan = comparison.subquery.subquery.as_ref();
    let columns = plan.schema().columns();
    let named = columns.into_iter().map(|column| Expr::Column(column).alias(NAME));
    let plan = LogicalPlanBuilder::from(plan.clone()).project(named)?.build()?;
    comparison.subquery.subquery = Arc::new(plan);
    Ok(Transformed::yes(Expr::SetComparison(comparison)))
}
