//! `INTERSECT ALL` and `EXCEPT ALL` as the standard counts them: a row that is l times on the left and r times on the
//! right is min(l, r) times in the intersection and max(0, l − r) times in the difference.
//!
//! DataFusion 55.2 plans them as semi and anti joins that do not count. Here the rows of both sides get a number among
//! their equals first, and the number is joined by as well: then no row is there twice, and not counting is right.

use crate::failure;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::error::Result as PlanResult;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{Distinct, Expr, ExprFunctionExt, Join, LogicalPlan, LogicalPlanBuilder, lit};
use viewfeed_change::Result;

/// The names of the numbers on the left and on the right.
const NUMBERS: [&str; 2] = ["__number_left", "__number_right"];

/// `plan`, as it was made from SQL and not optimised yet, with set operations that count.
pub(crate) fn counted(plan: LogicalPlan) -> Result<LogicalPlan> {
    let counted = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) if is_uncounted(&join) => count(join).map(Transformed::yes),
        node => Ok(Transformed::no(node)),
    });
    counted.map(|counted| counted.data).map_err(failure::planning)
}

/// Whether `join` stands for a set operation with ALL. Before the optimiser has run, nothing else joins NULLs this way
/// but the set operations without ALL, over a DISTINCT left side; a SELECT DISTINCT there comes to the same.
fn is_uncounted(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.filter.is_none()
        && !matches!(join.left.as_ref(), LogicalPlan::Distinct(Distinct::All(_)))
}

fn count(join: Join) -> PlanResult<LogicalPlan> {
    let columns: Vec<Expr> = join
        .left
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    let left = numbered(join.left.as_ref(), NUMBERS[0])?;
    let right = numbered(join.right.as_ref(), NUMBERS[1])?;
    let (mut left_keys, mut right_keys): (Vec<Expr>, Vec<Expr>) = join.on.into_iter().unzip();
    left_keys.push(Expr::Column(Column::from_name(NUMBERS[0])));
    right_keys.push(Expr::Column(Column::from_name(NUMBERS[1])));
    let joined = Join::try_new(
        left.into(),
        right.into(),
        left_keys.into_iter().zip(right_keys).collect(),
        None,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    LogicalPlanBuilder::from(LogicalPlan::Join(joined))
        .project(columns)?
        .build()
}

/// The rows of `plan` with their number among their equals, from 1, as one more column. −0.0 equals 0.0, as it does for
/// the join.
fn numbered(plan: &LogicalPlan, name: &str) -> PlanResult<LogicalPlan> {
    let schema = plan.schema();
    let columns: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
    let value = |(column, field): (&Expr, &std::sync::Arc<datafusion::arrow::datatypes::Field>)| match field
        .data_type()
        .is_floating()
    {
        true => column.clone() + lit(0.0),
        false => column.clone(),
    };
    let equals = columns.iter().zip(schema.fields()).map(value).collect();
    let number = row_number().partition_by(equals).build()?;
    let numbered = LogicalPlanBuilder::window_plan(plan.clone(), [number])?;
    let made = numbered
        .schema()
        .columns()
        .pop()
        .map(|column| Expr::Column(column).alias(name));
    LogicalPlanBuilder::from(numbered)
        .project(columns.into_iter().chain(made))?
        .build()
}
