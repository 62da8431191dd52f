//! Expressions as an incremental operator may hold them: computed from the row alone, the same every time.

use super::Lowering;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;

/// Why something is not lowered to incremental operators, in words for `EXPLAIN VIEW`.
pub(super) type Unsupported = String;

/// Why `expr` cannot be computed from its row alone, if so.
pub(super) fn unsupported(expr: &Expr) -> Option<Unsupported> {
    let mut reason = None;
    let look = |inner: &Expr| {
        reason = match inner {
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_) => {
                Some("a subquery in an expression".to_owned())
            }
            Expr::OuterReferenceColumn(..) => Some("a correlated subquery".to_owned()),
            Expr::Placeholder(_) => Some("a parameter".to_owned()),
            Expr::ScalarFunction(call) => match call.func.signature().volatility {
                Volatility::Immutable => None,
                Volatility::Stable => Some(format!("{}() depends on the time", call.name())),
                Volatility::Volatile => Some(format!("{}() gives another value each time", call.name())),
            },
            _ => None,
        };
        Ok(match reason {
            Some(_) => TreeNodeRecursion::Stop,
            None => TreeNodeRecursion::Continue,
        })
    };
    // `look` never fails
    expr.apply(look).ok();
    reason
}

/// Whether a plan, or a subquery of it, asks for the time.
pub(super) fn follows_clock(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let stable = |expr: &Expr| {
        if let Expr::ScalarFunction(call) = expr {
            found |= call.func.signature().volatility == Volatility::Stable;
        }
        Ok(TreeNodeRecursion::Continue)
    };
    let mut stable = stable;
    // neither closure fails
    plan.apply_with_subqueries(|node| node.apply_expressions(|expr| expr.apply(&mut stable)))
        .ok();
    found
}

/// Whether an expression asks for the time; not looking into subqueries.
pub(super) fn follows_clock_in(expr: &Expr) -> bool {
    let is_stable = |inner: &Expr| {
        let stable = |call: &ScalarFunction| call.func.signature().volatility == Volatility::Stable;
        Ok(matches!(inner, Expr::ScalarFunction(call) if stable(call)))
    };
    // `is_stable` never fails
    expr.exists(is_stable).unwrap_or(false)
}

impl Lowering<'_> {
    /// `expr` ready to be computed on batches with the columns of `schema`.
    pub(super) fn compile(
        &self,
        expr: &Expr,
        schema: &DFSchema,
    ) -> std::result::Result<Arc<dyn PhysicalExpr>, Unsupported> {
        if let Some(reason) = unsupported(expr) {
            return Err(reason);
        }
        self.planner
            .physical(expr, schema)
            .map_err(|error| error.to_string())
    }
}

/// `expr` as people write it.
pub(super) fn text(expr: &Expr) -> String {
    match expr {
        Expr::Alias(alias) if matches!(*alias.expr, Expr::Column(_)) => text(&alias.expr),
        Expr::Alias(alias) => format!("{} AS {}", text(&alias.expr), alias.name),
        other => other.human_display().to_string(),
    }
}

/// `exprs` as people write them, separated by commas.
pub(super) fn texts<'a>(exprs: impl IntoIterator<Item = &'a Expr>) -> String {
    exprs.into_iter().map(text).collect::<Vec<_>>().join(", ")
}
