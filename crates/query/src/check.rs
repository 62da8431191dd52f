//! What plans may not contain: in a view what cannot be kept true, anywhere what could be planned but not run.

use crate::failure;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use std::collections::BTreeSet;
use viewfeed_change::{Error, Result};

/// Fails if `plan`, analysed but not optimised, cannot be kept true or has columns that cannot be told apart.
pub(crate) fn check_view(plan: &LogicalPlan) -> Result<()> {
    if let Some(call) = find(plan, volatile_name).map_err(failure::planning)? {
        return Err(Error::invalid(
            "SQL_PLAN",
            format!("a view cannot call {call}, which gives another value each time"),
        )
        .hint("store the value in a column (INSERT … or DEFAULT …) and select that"));
    }
    let placeholder = |expr: &Expr| match expr {
        Expr::Placeholder(placeholder) => Some(placeholder.id.clone()),
        _ => None,
    };
    if let Some(parameter) = find(plan, placeholder).map_err(failure::planning)? {
        return Err(Error::invalid(
            "SQL_PLAN",
            format!("a view cannot have the parameter {parameter}"),
        )
        .hint("select the column as well, and filter by it when reading the view"));
    }
    let mut seen = BTreeSet::new();
    for field in plan.schema().fields() {
        if !seen.insert(field.name()) {
            return Err(Error::invalid(
                "SQL_PLAN",
                format!("column \"{}\" is specified more than once", field.name()),
            )
            .hint("give each column of a view its own name: SELECT a.id AS a_id, …"));
        }
    }
    Ok(())
}

/// Fails if `plan`, optimised, still has a subquery that the optimiser could not turn into a join, or does more than
/// read.
pub(crate) fn check_runnable(plan: &LogicalPlan) -> Result<()> {
    if matches!(
        plan,
        LogicalPlan::Ddl(_) | LogicalPlan::Dml(_) | LogicalPlan::Copy(_) | LogicalPlan::Statement(_)
    ) {
        return Err(Error::invalid("SQL_PLAN", "a query cannot write")
            .hint("use INSERT … SELECT or CREATE TABLE … AS SELECT instead of SELECT … INTO"));
    }
    let left_over = |expr: &Expr| match expr {
        Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) => Some((
            "EXISTS, IN and ANY with this SELECT can only stand in WHERE, HAVING and ON",
            "JOIN the other table, or compare a count: (SELECT count(*) FROM … WHERE …) > 0",
        )),
        Expr::OuterReferenceColumn(..) => Some((
            "a subquery that depends on the row around it can filter and aggregate, but not LIMIT or sort",
            "JOIN the other table and use min, max or first_value, or number rows with row_number()",
        )),
        _ => None,
    };
    match find(plan, left_over).map_err(failure::planning)? {
        Some((message, advice)) => Err(Error::invalid("SQL_PLAN", message).hint(advice)),
        None => Ok(()),
    }
}

/// Whether `plan` calls a function whose value depends on when the query runs, like `now()`.
pub(crate) fn depends_on_now(plan: &LogicalPlan) -> PlanResult<bool> {
    Ok(find(plan, |expr| is_stable(expr).then_some(()))?.is_some())
}

/// Whether `expr` itself (not what is inside it) is a call of a function like `now()`.
pub(crate) fn is_stable(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.signature().volatility == Volatility::Stable)
}

fn volatile_name(expr: &Expr) -> Option<String> {
    let (name, volatility) = match expr {
        Expr::ScalarFunction(call) => (call.func.name(), call.func.signature().volatility),
        Expr::AggregateFunction(call) => (call.func.name(), call.func.signature().volatility),
        Expr::WindowFunction(call) => (call.fun.name(), call.fun.signature().volatility),
        _ => return None,
    };
    (volatility == Volatility::Volatile).then(|| format!("{name}()"))
}

/// The first thing `wanted` finds in the expressions of `plan` and its subqueries.
fn find<T>(plan: &LogicalPlan, wanted: impl Fn(&Expr) -> Option<T>) -> PlanResult<Option<T>> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                found = wanted(expr);
                Ok(match found {
                    Some(_) => TreeNodeRecursion::Stop,
                    None => TreeNodeRecursion::Continue,
                })
            })
        })
    })?;
    Ok(found)
}
