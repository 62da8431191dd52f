//! `x NOT IN (SELECT y … WHERE …)` with conditions on the row around it, or with an `x` that is no column.
//!
//! DataFusion 55.2 makes a null-aware anti join of every NOT IN, but runs those with one key only, and takes a literal `x`
//! for one that is not NULL-aware. Where its join does not do, the meaning is spelled out: no row of the subquery equals x,
//! and neither x nor any of its rows is NULL.

use datafusion::common::JoinType;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// Runs after the rule that makes joins of subqueries, while the condition of NOT IN is still the first of the join's.
#[derive(Debug)]
pub(crate) struct CorrelatedNotIn;

impl OptimizerRule for CorrelatedNotIn {
    fn name(&self) -> &'static str {
        "correlated_not_in"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(mut join) = plan else {
            return Ok(Transformed::no(plan));
        };
        let is_new = join.null_aware && join.join_type == JoinType::LeftAnti && join.on.is_empty();
        let mut conditions = match (&join.filter, is_new) {
            (Some(filter), true) => split_conjunction_owned(filter.clone()),
            _ => return Ok(Transformed::no(LogicalPlan::Join(join))),
        };
        let spelled_out = match &conditions[0] {
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::Eq,
                right,
            }) if conditions.len() > 1 || left.column_refs().is_empty() => {
                let is_null = |expr: &Expr| expr.clone().is_null();
                conditions[0].clone().or(is_null(left)).or(is_null(right))
            }
            _ => return Ok(Transformed::no(LogicalPlan::Join(join))),
        };
        conditions[0] = spelled_out;
        join.filter = conjunction(conditions);
        join.null_aware = false;
        Ok(Transformed::yes(LogicalPlan::Join(join)))
    }
}
